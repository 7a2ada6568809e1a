//! `GET /api/admin/dlq/letters/{topic}/{partition}/{offset}`: one dead letter, with
//! everything that is known of it.
//!
//! Not here: marking the place in the body, which is for who shows it.

use std::sync::{Arc, Mutex};

use axum::{
    extract::{Path, State},
    http::Uri,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use tapedeck_contracts::{catalogue::origin_of_dlq, headers::Place};
use tapedeck_flow::redrive::{Register, Scanned, letter_at, restore};
use tapedeck_log::Log;
use utoipa::ToSchema;

use super::{ClosedItem, DeadLetterItem, problem};
use crate::{
    admin::records::text,
    app::{App, lock},
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Of a body, as much is given: more than a person reads, and within what a
/// browser bears.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// A header of the record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeaderItem {
    name: String,
    /// Text, or base64 with `encoding`.
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

/// A part that did not fit into the dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OmittedItem {
    /// `key`, `value` or `headers`.
    part: String,
    bytes: usize,
    sha256: String,
}

/// A dead letter with its record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterShown {
    #[serde(flatten)]
    letter: DeadLetterItem,
    /// The version of tapedeck that failed.
    version: String,
    /// What became of it; null while it is open.
    closed: Option<ClosedItem>,
    /// The record's headers, in order.
    headers: Vec<HeaderItem>,
    /// The record's value: text, or base64 with `value_encoding`; null is a
    /// tombstone, or one that was left out and is gone.
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_encoding: Option<&'static str>,
    /// Whether only the first MiB is given.
    value_cut: bool,
    /// What did not fit into the dead letter.
    omitted: Vec<OmittedItem>,
    /// Why that cannot be had from where the record lies; null where it was put
    /// back in, or nothing was left out.
    omitted_gone: Option<String>,
}

/// One dead letter, whole.
#[utoipa::path(get, path = "/api/admin/dlq/letters/{topic}/{partition}/{offset}", tag = "admin",
    params(
        ("topic" = String, Path, description = "The dead letter topic, such as alerts.v1.dlq"),
        ("partition" = u32, Path, description = "The partition"),
        ("offset" = u64, Path, description = "The offset"),
    ), responses(
    (status = 200, description = "The dead letter", body = DeadLetterShown),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn dlq_letter(
    State(app): State<Arc<App>>,
    Path((topic, partition, offset)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let text = format!("{topic}/{partition}/{offset}");
    let place = Place::parse(&text).filter(|place| origin_of_dlq(&place.topic).is_some());
    let place = place.ok_or_else(|| {
        Problem::bad("path", format!("`{text}` is no place of a dead letter, such as alerts.v1.dlq/0/17"))
    })?;
    let register = app.dlq.register();
    let shown = app.log(move |log| Ok(read(log.as_ref(), &register, &place))).await??;
    Ok(json(&shown))
}

fn read(log: &dyn Log, register: &Mutex<Register>, place: &Place) -> Result<DeadLetterShown, Problem> {
    let mut found = match letter_at(log, place).map_err(problem)? {
        None => {
            return Err(Problem::not_found(format!(
                "{place} holds no record (any more); dead letters are kept 14 days"
            )));
        }
        Some(Scanned::Unreadable(_, why)) => return Err(Problem::not_found(format!("{place}: {why}"))),
        Some(Scanned::Letter(found)) => *found,
    };
    let mut register = lock(register);
    register.refresh(log).map_err(problem)?;
    let closed = register.get(found.id).cloned();
    let entry = register.entry(log, found.id).map_err(problem)?;
    drop(register);
    let omitted = found.letter.omitted.clone();
    let omitted_gone = restore(log, &mut found.letter).map_err(problem)?.err().map(|missing| missing.to_string());
    let (value, value_encoding, value_cut) = body(found.letter.value.as_deref());
    let header = |(name, value): (&str, &[u8])| {
        let (value, encoding) = text(value);
        HeaderItem { name: name.to_owned(), value, encoding }
    };
    Ok(DeadLetterShown {
        letter: DeadLetterItem::new(&found, closed.as_ref()),
        version: found.letter.version.clone(),
        closed: entry.map(ClosedItem::from),
        headers: found.letter.headers.iter().map(header).collect(),
        value,
        value_encoding,
        value_cut,
        omitted: omitted
            .into_iter()
            .map(|one| OmittedItem { part: one.part, bytes: one.bytes, sha256: one.sha256 })
            .collect(),
        omitted_gone,
    })
}

/// A body within its limit: text as long as it is text.
fn body(value: Option<&[u8]>) -> (Option<String>, Option<&'static str>, bool) {
    let Some(value) = value else { return (None, None, false) };
    let cut = value.len() > MAX_VALUE_BYTES;
    let Ok(text) = std::str::from_utf8(value) else {
        let some = &value[..value.len().min(MAX_VALUE_BYTES)];
        return (Some(STANDARD.encode(some)), Some("base64"), cut);
    };
    let end = (0..=text.len().min(MAX_VALUE_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (Some(text[..end].to_owned()), None, cut)
}
