//! `POST /api/v1/events/{topic}`: events from elsewhere, a result for each, the
//! good ones durable before the answer, or safe from the end of this process.
//!
//! Not here: what becomes of them.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_contracts::{EventId, EventKind};
use tapedeck_log::{Log, LogError, Placement, Record};
use utoipa::ToSchema;

use crate::{
    app::App,
    layers::Context,
    params::{Params, nearest},
    problem::{FieldProblem, Problem, ProblemBody},
    routes,
};

pub(crate) mod body;
mod lines;
mod spool;

use body::Media;

/// Events of one request at most: a result for each must fit into an answer.
const MAX_EVENTS: usize = 20_000;
/// Topics that nobody writes from outside, and what to do instead.
const CLOSED: [(&str, &str); 2] = [
    ("risk-commands", "use POST /api/risk/ess/trip or /api/risk/ess/arm, which the audit log keeps"),
    ("audit-logs", "what it keeps is written by tapedeck alone"),
];

/// What an answer with `?ack=spool` says of all that were accepted.
const SPOOL_NOTE: &str = "not in the log yet: kept by this process, also over its end, and sent when the log takes it";

/// What a 503 of a post that waited for the log says of its events.
const UNKNOWN: &str = "whether events of this post were written is not known: send the same body again until it is \
                       taken, and readers drop by event_id what is there twice";

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
pub(crate) enum EventResult {
    /// Durable, or on its way to the log (`ack` is `spool`).
    Accepted {
        /// Of the body, or of the array, from 1.
        line: usize,
        event_id: String,
        /// Where it lies, once it is in the log.
        #[serde(skip_serializing_if = "Option::is_none")]
        partition: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        /// `spool` where the event is not in the log yet.
        #[serde(skip_serializing_if = "Option::is_none")]
        ack: Option<&'static str>,
    },
    /// Not written.
    Rejected {
        /// Of the body, or of the array, from 1.
        line: usize,
        error: FieldProblem,
    },
}

/// What became of all.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsResult {
    accepted: usize,
    rejected: usize,
    /// With `?ack=spool`: what that means for the accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    results: Vec<EventResult>,
}

/// What the answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    /// That the events are durable in the log.
    Log,
    /// That they outlive this process; the log may be away.
    Spool,
}

/// An event on its way: read and checked, or refused.
pub(crate) struct Line {
    pub(crate) line: usize,
    pub(crate) outcome: Result<(EventId, Record), FieldProblem>,
}

/// Writes events. A JSON object, a JSON array of objects, or NDJSON; an event in
/// the standard envelope may carry its id at the top as `event_id` or `ce_id`,
/// and without one gets an id from its bytes: posting it again is harmless.
///
/// With `?ack=spool` the answer does not wait for the log: the accepted outlive
/// the end of the process and are sent when the log takes them, in order.
#[utoipa::path(post, path = "/api/v1/events/{topic}", tag = "commands",
    params(
        ("topic" = String, Path, description = "A topic of the catalogue"),
        ("ack" = Option<String>, Query, description = "`log` (default): answered once durable in the log; `spool`: once it outlives this process")),
    request_body(description = "Events of the topic", content(
        (serde_json::Value = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 202, description = "A result for each; the accepted are durable, or on their way with `ack=spool`", body = EventsResult),
        (status = 400, description = "None was taken; `results` says why", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The log does not answer, and whether it took the events is not known: send the same body again, readers drop what is there twice. With `ack=spool`: ring and spool are full, `results` says which were taken", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(topic): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    let mut params = Params::of(&uri)?;
    let ack = params.word("ack", &[("log", Ack::Log), ("spool", Ack::Spool)])?.unwrap_or(Ack::Log);
    params.finish()?;
    let kind = open_topic(&topic)?;
    let media = body::media(&headers, &[Media::Json, Media::Ndjson])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    // Reading and checking thousands of events takes long enough to do it where
    // blocking is allowed.
    let read = move || -> Result<Vec<Line>, Problem> {
        let texts = lines::read(&bytes, media, MAX_EVENTS)?;
        Ok(texts.into_iter().map(|(n, text)| lines::event(&topic, kind, n, text, &context)).collect())
    };
    let (results, stopped) = match ack {
        Ack::Log => {
            let written = app.log(move |log| match read() {
                Ok(lines) => Ok(Ok(write(log.as_ref(), lines).map_err(unknown)?)),
                Err(problem) => Ok(Err(problem)),
            });
            (written.await??, None)
        }
        Ack::Spool => app.emit(move |producer| Ok(spool::emit(producer, read()?))).await?,
    };
    answer(&app, ack, results, stopped)
}

/// The answer; `stopped` is why not all good events could be taken.
fn answer(app: &App, ack: Ack, results: Vec<EventResult>, stopped: Option<Problem>) -> Result<Response, Problem> {
    let accepted = results.iter().filter(|result| matches!(result, EventResult::Accepted { .. })).count();
    let rejected = results.len() - accepted;
    app.metrics.events_accepted.inc_by(accepted as u64);
    app.metrics.events_rejected.inc_by(rejected as u64);
    let note = (ack == Ack::Spool).then_some(SPOOL_NOTE);
    let result = EventsResult { accepted, rejected, note, results };
    if let Some(problem) = stopped {
        return Err(with_results(problem, &result));
    }
    if result.accepted == 0 {
        return Err(none_taken(&result));
    }
    Ok((StatusCode::ACCEPTED, routes::json(&result)).into_response())
}

/// Refuses a topic that nobody writes from outside.
pub(crate) fn refuse_closed(topic: &str) -> Result<(), Problem> {
    let forbidden =
        |why: &str| Problem::new(StatusCode::FORBIDDEN, format!("topic `{topic}` cannot be written: {why}"));
    if let Some((_, why)) = CLOSED.iter().find(|(name, _)| *name == topic) {
        return Err(forbidden(why));
    }
    match Catalogue::get().topic(topic) {
        _ if topic.ends_with(".dlq") => Err(forbidden("a dead letter topic is written by the readers of its topic")),
        Some(found) if found.event.is_none() => Err(forbidden("it keeps the state of a role")),
        _ => Ok(()),
    }
}

/// The kind of events of a topic that is open to writers outside.
fn open_topic(topic: &str) -> Result<EventKind, Problem> {
    refuse_closed(topic)?;
    match Catalogue::get().topic(topic).and_then(|found| found.event) {
        Some(kind) => Ok(kind),
        None => {
            let open = Catalogue::get().topics().filter(|topic| topic.event.is_some()).map(|topic| topic.name.as_str());
            let near = nearest(topic, open);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            Err(Problem::not_found(format!("topic `{topic}` is not in the catalogue{hint}")))
        }
    }
}

/// Appends the good lines as one call. A record that the log refuses for good is
/// left out and the rest written again: readers know the ids.
fn write(log: &dyn Log, mut lines: Vec<Line>) -> Result<Vec<EventResult>, LogError> {
    loop {
        let good: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].outcome.is_ok()).collect();
        if good.is_empty() {
            return Ok(results(lines, Vec::new()));
        }
        let records = lines.iter().filter_map(|line| line.outcome.as_ref().ok()).map(|(_, record)| record.clone());
        match log.append(records.collect()) {
            Ok(placements) => return Ok(results(lines, placements)),
            Err(LogError::Poison { index, detail }) => {
                let at = *good.get(index).ok_or_else(|| LogError::Fatal(detail.clone()))?;
                lines[at].outcome = Err(FieldProblem { path: "$".into(), detail });
            }
            Err(other) => return Err(other),
        }
    }
}

/// Says with a failure that may pass what is known of the events then.
fn unknown(error: LogError) -> LogError {
    match error {
        LogError::Transient(why) => LogError::Transient(format!("{why}; {UNKNOWN}")),
        other => other,
    }
}

fn results(lines: Vec<Line>, placements: Vec<Placement>) -> Vec<EventResult> {
    let mut placements = placements.into_iter();
    let result = |line: Line| {
        Some(match line.outcome {
            Ok((id, _)) => {
                let Placement { partition, offset } = placements.next()?;
                let (partition, offset) = (Some(partition), Some(offset));
                EventResult::Accepted { line: line.line, event_id: id.0, partition, offset, ack: None }
            }
            Err(error) => EventResult::Rejected { line: line.line, error },
        })
    };
    lines.into_iter().filter_map(result).collect()
}

/// 400 with the reasons of all lines.
fn none_taken(result: &EventsResult) -> Problem {
    let rejected = || {
        result.results.iter().filter_map(|result| match result {
            EventResult::Rejected { line, error } => Some((*line, error)),
            EventResult::Accepted { .. } => None,
        })
    };
    let first = rejected().next().map(|(line, error)| format!("; line {line}: {}: {}", error.path, error.detail));
    let detail = format!("none of {} events was taken{}", result.rejected, first.unwrap_or_default());
    let mut problem = Problem::new(StatusCode::BAD_REQUEST, detail);
    problem.errors = rejected().map(|(_, error)| error.clone()).collect();
    with_results(problem, result)
}

/// A problem that says what became of each event.
fn with_results(mut problem: Problem, result: &EventsResult) -> Problem {
    for (name, value) in [
        ("accepted", serde_json::json!(result.accepted)),
        ("rejected", serde_json::json!(result.rejected)),
        ("results", serde_json::json!(result.results)),
    ] {
        problem.extra.insert(name.into(), value);
    }
    problem
}
