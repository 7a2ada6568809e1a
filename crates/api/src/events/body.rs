//! Bodies of requests: their media type, their size, their JSON.
//!
//! Not here: what is in them.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Ndjson,
}

/// What a body says it is; 415 where that is not taken. A type must be named:
/// the forms that a page elsewhere can send without asking are refused by it.
pub(crate) fn media(headers: &HeaderMap, taken: &[Media]) -> Result<Media, Problem> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let found = match essence.as_str() {
        "application/json" => Some(Media::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Media::Ndjson),
        _ => None,
    };
    found.filter(|media| taken.contains(media)).ok_or_else(|| {
        let names = if taken.contains(&Media::Ndjson) {
            "application/json or application/x-ndjson"
        } else {
            "application/json"
        };
        let found = if named.is_empty() { "none" } else { named };
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("send Content-Type: {names}; found {found}"))
    })
}

/// The whole body; 413 where it is larger than `limit_bytes`.
pub(crate) async fn read(body: Body, limit_bytes: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit_bytes).await.map_err(|error| {
        let too_large = std::iter::successors(std::error::Error::source(&error), |source| source.source())
            .any(|source| source.to_string().contains("length limit exceeded"));
        if too_large {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is larger than {limit_bytes} bytes (api.body_limit_bytes); send it in parts"),
            )
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "the body ended early")
        }
    })
}

/// A JSON body as a type: 400 where it is not JSON, 422 where a field is wrong.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "$", "expected an object, found a list"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if !inner.is_data() {
            return Problem::bad("$", format!("the body is not JSON: {inner}"));
        }
        let path = if path == "." { "$".to_owned() } else { format!("$.{path}") };
        // Which of two was meant nobody can know: as good as no JSON.
        if inner.to_string().starts_with("duplicate field") {
            return Problem::bad(path, format!("a name stands twice in it: {inner}"));
        }
        Problem::field(StatusCode::UNPROCESSABLE_ENTITY, path, inner.to_string())
    })?;
    deserializer.end().map_err(|_| Problem::bad("$", "more than one JSON value"))?;
    Ok(parsed)
}
