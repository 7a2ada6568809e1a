//! `POST /api/admin/records/{topic}`: records as bytes, with key, headers and
//! partition as they are given; also to topics that are not in the catalogue.
//!
//! Not here: events, which have an endpoint of their own and need none of this.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{DecodeError, Event, catalogue::Catalogue};
use tapedeck_log::{Headers, Log, LogError, Record};
use utoipa::ToSchema;

use super::records;
use crate::{
    app::App,
    events::{
        self,
        body::{self, Media},
    },
    params::Params,
    problem::{FieldProblem, Problem, ProblemBody},
    routes,
};

/// Records of one request at most, as for events.
const MAX_RECORDS: usize = 20_000;

/// A record to be written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRecord {
    /// Where to; else the key chooses, and without one the log spreads.
    partition: Option<u32>,
    /// Base64; null for none.
    key: Option<String>,
    /// Base64; null is a tombstone.
    value: Option<String>,
    /// Names and base64, in order.
    #[serde(default)]
    #[schema(value_type = Vec<Vec<String>>)]
    headers: Vec<(String, String)>,
}

/// What became of one record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RawResult {
    /// Of the body, from 1.
    line: usize,
    /// `accepted` or `rejected`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FieldProblem>,
}

/// What became of all.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RawResults {
    accepted: usize,
    rejected: usize,
    results: Vec<RawResult>,
}

/// Writes records as they are given, one JSON object a line. A record of a topic of
/// the catalogue must be an event of it (or a tombstone, where the topic is
/// compacted); to any other topic that the log has, anything goes.
#[utoipa::path(post, path = "/api/admin/records/{topic}", tag = "admin",
    params(("topic" = String, Path, description = "A topic of the log")),
    request_body(description = "One record a line", content((RawRecord = "application/x-ndjson"))),
    responses(
        (status = 202, description = "A result for each; the accepted are durable", body = RawResults),
        (status = 400, description = "None was taken; `results` says why", body = RawResults),
        (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn post_records(
    State(app): State<Arc<App>>,
    Path(topic): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    events::refuse_closed(&topic)?;
    body::media(&headers, &[Media::Ndjson])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    let written = app.log(move |log| {
        if Catalogue::get().topic(&topic).is_none()
            && let Err(problem) = records::find(&log.topics()?, &topic)
        {
            return Ok(Err(problem));
        }
        match read(&topic, &bytes) {
            Ok(lines) => Ok(Ok(write(log.as_ref(), lines)?)),
            Err(problem) => Ok(Err(problem)),
        }
    });
    let results = written.await??;
    let accepted = results.iter().filter(|result| result.error.is_none()).count();
    let answer = RawResults { accepted, rejected: results.len() - accepted, results };
    if accepted > 0 {
        return Ok((StatusCode::ACCEPTED, routes::json(&answer)).into_response());
    }
    let detail = format!("none of {} records was taken", answer.rejected);
    let mut problem = Problem::new(StatusCode::BAD_REQUEST, detail);
    problem.extra.insert("accepted".into(), serde_json::json!(answer.accepted));
    problem.extra.insert("rejected".into(), serde_json::json!(answer.rejected));
    problem.extra.insert("results".into(), serde_json::json!(answer.results));
    Err(problem)
}

/// A line and its record, or why there is none.
type Line = (usize, Result<Record, FieldProblem>);

fn read(topic: &str, bytes: &[u8]) -> Result<Vec<Line>, Problem> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let lines: Vec<Line> = lines.map(|(at, line)| (at + 1, record(topic, line))).collect();
    match lines.len() {
        0 => Err(Problem::bad("$", "the body holds no record")),
        count if count > MAX_RECORDS => {
            let detail = format!("{count} records; at most {MAX_RECORDS} a request, send them in parts");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        _ => Ok(lines),
    }
}

fn record(topic: &str, line: &[u8]) -> Result<Record, FieldProblem> {
    let problem = |path: &str, detail: String| FieldProblem { path: path.to_owned(), detail };
    let raw: RawRecord = serde_json::from_slice(line).map_err(|error| problem("$", error.to_string()))?;
    let decoded =
        |path: &str, text: &str| STANDARD.decode(text).map_err(|_| problem(path, "expected base64".to_owned()));
    let optional = |path: &str, text: &Option<String>| text.as_deref().map(|text| decoded(path, text)).transpose();
    let (key, value) = (optional("$.key", &raw.key)?, optional("$.value", &raw.value)?);
    if let Some(known) = Catalogue::get().topic(topic) {
        match (&value, known.event) {
            (None, _) if !known.compact => {
                return Err(problem(
                    "$.value",
                    format!("a tombstone means nothing in `{topic}`, which is not compacted"),
                ));
            }
            (Some(value), Some(kind)) => {
                Event::decode(kind, value).map_err(|error| match error {
                    DecodeError::Field(field) => FieldProblem { path: field.path, detail: field.detail },
                    other => problem("$", other.to_string()),
                })?;
            }
            _ => {}
        }
    }
    let mut headers = Vec::with_capacity(raw.headers.len());
    for (name, value) in &raw.headers {
        headers.push((name.as_str(), decoded("$.headers", value)?));
    }
    Ok(Record {
        topic: topic.into(),
        partition: raw.partition,
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: Headers::build(headers),
        timestamp_ms: None,
    })
}

/// Appends the good records as one call. One that the log refuses for good is left
/// out and the rest written again: nothing of a call that it refuses is written.
fn write(log: &dyn Log, mut lines: Vec<Line>) -> Result<Vec<RawResult>, LogError> {
    loop {
        let good: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].1.is_ok()).collect();
        let records: Vec<Record> = lines.iter().filter_map(|(_, record)| record.as_ref().ok().cloned()).collect();
        let placements = match log.append(records) {
            Ok(placements) => placements,
            Err(LogError::Poison { index, detail }) => {
                let at = *good.get(index).ok_or_else(|| LogError::Fatal(detail.clone()))?;
                lines[at].1 = Err(FieldProblem { path: "$".into(), detail });
                continue;
            }
            Err(other) => return Err(other),
        };
        let mut placements = placements.into_iter();
        let result = |(line, record): Line| match record {
            Ok(_) => {
                let place = placements.next();
                let (partition, offset) = (place.map(|place| place.partition), place.map(|place| place.offset));
                RawResult { line, status: "accepted", partition, offset, error: None }
            }
            Err(error) => RawResult { line, status: "rejected", partition: None, offset: None, error: Some(error) },
        };
        return Ok(lines.into_iter().map(result).collect());
    }
}
