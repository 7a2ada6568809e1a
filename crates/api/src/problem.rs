//! Errors as RFC 9457 problem details.
//!
//! Not here: the request's id and path, which the outermost layer adds when it
//! writes the body.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tapedeck_log::LogError;
use tapedeck_store::StoreError;
use utoipa::ToSchema;

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// The query parameter, or the JSON path from `$`.
    pub(crate) path: String,
    /// What was expected and what was found.
    pub(crate) detail: String,
}

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) detail: String,
    pub(crate) errors: Vec<FieldProblem>,
    /// Seconds after which trying again may help.
    pub(crate) retry_after_s: Option<u64>,
    /// Further members of the body.
    pub(crate) extra: serde_json::Map<String, serde_json::Value>,
}

/// A problem as it is on the wire.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody<'a> {
    /// Always `about:blank`: the status says which kind it is.
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    /// A few words for the kind.
    pub(crate) title: &'a str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here, and what to do.
    pub(crate) detail: &'a str,
    /// The path that was asked for.
    pub(crate) instance: &'a str,
    /// The `x-request-id` of the answer.
    pub(crate) request_id: &'a str,
    /// Each thing that is wrong with the input.
    pub(crate) errors: &'a [FieldProblem],
    #[serde(flatten)]
    #[schema(ignore)]
    pub(crate) extra: &'a serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            extra: serde_json::Map::new(),
        }
    }

    /// 400 that names a query parameter or a place in the body.
    pub(crate) fn bad(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::field(StatusCode::BAD_REQUEST, path, detail)
    }

    /// A status with one place that is wrong.
    pub(crate) fn field(status: StatusCode, path: impl Into<String>, detail: impl Into<String>) -> Self {
        let (path, detail) = (path.into(), detail.into());
        let mut problem = Self::new(status, format!("{path}: {detail}"));
        problem.errors.push(FieldProblem { path, detail });
        problem
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 503 that may pass.
    pub(crate) fn unavailable(detail: impl Into<String>, retry_after_s: u64) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        problem.retry_after_s = Some(retry_after_s);
        problem
    }

    /// 500; what happened is in the process's log.
    pub(crate) fn internal(what: &str) -> Self {
        tracing::error!(what, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "an error inside tapedeck; its log has it under this request id")
    }

    /// The body, for a path and a request id.
    pub(crate) fn body(&self, instance: &str, request_id: &str) -> Vec<u8> {
        let body = ProblemBody {
            kind: "about:blank",
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            request_id,
            errors: &self.errors,
            extra: &self.extra,
        };
        serde_json::to_vec(&body).expect("a problem is text and JSON values")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Transient(detail) => Self::unavailable(format!("the store cannot answer now: {detail}"), 1),
            other => Self::internal(&other.to_string()),
        }
    }
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Transient(detail) => Self::unavailable(format!("the log cannot answer now: {detail}"), 1),
            LogError::OutOfRange { .. } => Self::bad("from", error.to_string()),
            // It says what a person must do, such as which right to give.
            LogError::Fatal(detail) => {
                tracing::error!(detail, "the log needs a person");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the log needs a person: {detail}"))
            }
            other => Self::internal(&other.to_string()),
        }
    }
}

/// The response carries the problem as an extension; the outermost layer writes
/// its body, because only that one knows the request's id and path.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}
