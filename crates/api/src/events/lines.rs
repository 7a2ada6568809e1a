//! From a body to its events, and from an event to its record.
//!
//! Not here: writing them.

use std::str;

use serde::Deserialize;
use serde_json::value::RawValue;
use tapedeck_contracts::{
    DecodeError, Event, EventId, EventKind,
    headers::TRACEPARENT,
    ids::{MAX_ID_BYTES, NAMESPACE},
};
use tapedeck_flow::Outbound;
use uuid::Uuid;

use super::{Line, body::Media};
use crate::{
    app::now,
    layers::Context,
    problem::{FieldProblem, Problem},
};

/// How far ahead of our clock an event from outside may be: a day, since clocks
/// and zones are set wrong by hours, and nobody trades tomorrow.
const MOST_AHEAD_US: i64 = 24 * 3_600 * 1_000_000;

/// The texts of a body's events, each with its line (or its place in the array)
/// from 1.
pub(crate) fn read(bytes: &[u8], media: Media, max_events: usize) -> Result<Vec<(usize, &[u8])>, Problem> {
    let texts: Vec<(usize, &[u8])> = match media {
        Media::Ndjson => {
            let lines = bytes.split(|byte| *byte == b'\n').enumerate();
            lines.map(|(at, line)| (at + 1, line.trim_ascii())).filter(|(_, line)| !line.is_empty()).collect()
        }
        Media::Json if bytes.trim_ascii_start().first() == Some(&b'[') => {
            let items: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
            items.iter().enumerate().map(|(at, item)| (at + 1, item.get().as_bytes())).collect()
        }
        Media::Json => {
            let item: &RawValue = serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
            vec![(1, item.get().as_bytes())]
        }
    };
    if texts.is_empty() {
        return Err(Problem::bad("$", "the body holds no event"));
    }
    if texts.len() > max_events {
        let detail = format!("{} events; at most {max_events} a request, send them in parts", texts.len());
        return Err(Problem::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(texts)
}

fn not_json(error: &serde_json::Error) -> Problem {
    let hint = if error.to_string().contains("trailing characters") {
        " (lines of JSON go as application/x-ndjson)"
    } else {
        ""
    };
    Problem::bad("$", format!("the body is not JSON: {error}{hint}"))
}

/// Reads and checks one event, and makes its record.
pub(crate) fn event(topic: &str, kind: EventKind, line: usize, text: &[u8], context: &Context) -> Line {
    Line { line, outcome: outcome(topic, kind, text, context) }
}

fn outcome(
    topic: &str,
    kind: EventKind,
    text: &[u8],
    context: &Context,
) -> Result<(EventId, tapedeck_log::Record), FieldProblem> {
    let event = Event::decode(kind, text).map_err(|error| match error {
        DecodeError::Field(field) => FieldProblem { path: field.path, detail: field.detail },
        other => FieldProblem { path: "$".into(), detail: other.to_string() },
    })?;
    check_time(&event)?;
    let id = match event.event_id() {
        Some(id) => id.clone(),
        None => given_id(text)?.unwrap_or_else(|| id_of_bytes(topic, text)),
    };
    let mut record = Outbound::first(topic, id.clone(), event)
        .into_record("api")
        .map_err(|failure| FieldProblem { path: "$".into(), detail: failure.to_string() })?;
    record.headers = record.headers.with(TRACEPARENT, &context.traceparent);
    Ok((id, record))
}

/// Refuses times that cannot be: an account's "now" is that of its newest event,
/// and one event of the year 9999 would hide all others.
fn check_time(event: &Event) -> Result<(), FieldProblem> {
    let (time, now) = (event.event_time(), now());
    if time <= now.plus_micros(MOST_AHEAD_US) {
        return Ok(());
    }
    let detail = format!("expected a time up to a day ahead of this machine's clock ({now}), found {time}");
    Err(FieldProblem { path: "$.timestamp".into(), detail })
}

/// The id that an event in the standard envelope carries beside it.
fn given_id(text: &[u8]) -> Result<Option<EventId>, FieldProblem> {
    #[derive(Deserialize)]
    struct Ids {
        event_id: Option<String>,
        ce_id: Option<String>,
    }
    let ids: Ids = serde_json::from_slice(text)
        .map_err(|_| FieldProblem { path: "$.event_id".into(), detail: "expected a string".into() })?;
    match ids.event_id.or(ids.ce_id) {
        Some(id) if id.is_empty() || id.len() > MAX_ID_BYTES => Err(FieldProblem {
            path: "$.event_id".into(),
            detail: format!("expected 1 to {MAX_ID_BYTES} bytes, found {}", id.len()),
        }),
        id => Ok(id.map(EventId)),
    }
}

/// The id of an event that brings none: made of its bytes, so that the same
/// event posted again has the same id.
fn id_of_bytes(topic: &str, text: &[u8]) -> EventId {
    let name = [topic.as_bytes(), b"/", text].concat();
    EventId::from(Uuid::new_v5(&NAMESPACE, &name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers_over_empty_ones() {
        let lines = read(b"{\"a\":1}\r\n\n  \n{\"b\":2}", Media::Ndjson, 10).unwrap();
        assert_eq!(lines, [(1, &b"{\"a\":1}"[..]), (4, &b"{\"b\":2}"[..])]);
    }

    #[test]
    fn an_object_over_several_lines_and_an_array_are_json() {
        assert_eq!(read(b"{\n\"a\": 1\n}", Media::Json, 10).unwrap().len(), 1);
        assert_eq!(read(b" [{\"a\":1}, {\"b\":2}]", Media::Json, 10).unwrap().len(), 2);
    }

    #[test]
    fn lines_sent_as_json_are_refused_with_the_remedy() {
        let problem = read(b"{\"a\":1}\n{\"b\":2}", Media::Json, 10).unwrap_err();
        assert!(problem.detail.contains("application/x-ndjson"), "{}", problem.detail);
    }

    #[test]
    fn an_id_of_bytes_is_the_same_again_and_differs_by_topic() {
        assert_eq!(id_of_bytes("a", b"x"), id_of_bytes("a", b"x"));
        assert_ne!(id_of_bytes("a", b"x"), id_of_bytes("b", b"x"));
    }
}
