//! `GET /api/admin/emitter`: how the emitters of this process stand.
//!
//! Not here: emitting.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_flow::{breaker::BreakerState, emitter::EmitterStats};
use utoipa::ToSchema;

use crate::{app::App, params::Params, problem::Problem, routes::json};

/// An emitter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EmitterItem<'a> {
    /// `api`, or the role whose it is.
    emitter: &'a str,
    /// closed, open, half_open.
    breaker: &'static str,
    /// Records taken from the program.
    emitted: u64,
    /// Records that are durable in the log.
    sent: u64,
    /// Records that wait in the spool now.
    spooled_records: u64,
    /// Bytes of the spool on disk now.
    spooled_bytes: u64,
    /// Bytes that wait in the rings now.
    ring_bytes: u64,
    /// Records that their source gave up because ring and spool were full.
    dropped: u64,
    /// Records that the log refused for good.
    refused: u64,
    /// Sends that failed since one worked.
    send_failures_in_row: u64,
    /// Calls to the log, and those that failed.
    sends: u64,
    send_failures: u64,
    /// Times that an event was not taken because ring and spool were full.
    full: u64,
    /// Records of an earlier process left out, because their cause is handled again.
    left_out: u64,
    /// Files of an earlier process that were set aside unsent.
    kept_files: u64,
    /// Damaged or unfinished records that were found.
    torn: u64,
}

/// All emitters of this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Emitters<'a> {
    items: Vec<EmitterItem<'a>>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

/// The state of a breaker in a word.
pub(crate) fn breaker(stats: &EmitterStats) -> &'static str {
    match stats.breaker_state() {
        BreakerState::Closed => "closed",
        BreakerState::Open => "open",
        BreakerState::HalfOpen => "half_open",
    }
}

fn item<'a>(emitter: &'a str, stats: &EmitterStats) -> EmitterItem<'a> {
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    EmitterItem {
        emitter,
        breaker: breaker(stats),
        emitted: read(&stats.emitted),
        sent: read(&stats.sent),
        spooled_records: read(&stats.spooled_records),
        spooled_bytes: read(&stats.spooled_bytes),
        ring_bytes: read(&stats.ring_bytes),
        dropped: read(&stats.dropped),
        refused: read(&stats.refused),
        send_failures_in_row: read(&stats.send_failures_in_row),
        sends: read(&stats.sends),
        send_failures: read(&stats.send_failures),
        full: read(&stats.full),
        left_out: read(&stats.left_out),
        kept_files: read(&stats.kept_files),
        torn: read(&stats.torn),
    }
}

/// What waits in the emitters of this process, and whether they send.
#[utoipa::path(get, path = "/api/admin/emitter", tag = "admin", responses(
    (status = 200, description = "All emitters of this process", body = Emitters),
))]
pub(crate) async fn emitter(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let items = app.emitters.iter().map(|(name, stats)| item(name, stats)).collect();
    Ok(json(&Emitters { items, next_cursor: None }))
}
