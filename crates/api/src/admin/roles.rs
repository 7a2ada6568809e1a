//! `GET /api/admin/roles`: how the roles of this process stand.
//!
//! Not here: roles of other processes; their groups show those.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_flow::{Gauges, Phase};
use utoipa::ToSchema;

use crate::{
    app::{App, now},
    metrics::oldest_unsettled_seconds,
    params::Params,
    problem::Problem,
    routes::json,
};

/// A role.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoleItem<'a> {
    role: &'a str,
    /// starting, standby, running, retrying, blocked, stopped, failed.
    phase: &'static str,
    /// What is tried again; or why it is blocked or failed, and what to do.
    detail: Option<String>,
    /// Records handled.
    records: u64,
    /// Batches made visible.
    batches: u64,
    /// Records left out because their event was handled before.
    duplicates: u64,
    /// Records that could not be decoded or handled.
    poison: u64,
    /// Dead letters written.
    dead_letters: u64,
    /// Records left out because they were sent again for another group.
    redriven_skipped: u64,
    /// Tries after a transient failure.
    retries: u64,
    /// Tries of single records after a failure that was theirs.
    record_retries: u64,
    /// Signals that came after their market event was passed.
    late: u64,
    /// Numbers of the sequencer that never came.
    gaps: u64,
    /// Microseconds that the last batch took from decode to visible.
    batch_us: u64,
    /// The newest number of the sequencer that was handled.
    last_seq: u64,
    /// Bytes held of what was read and is not visible yet.
    in_flight_bytes: u64,
    /// Age of the oldest record that was read and is not settled yet.
    oldest_unsettled_seconds: f64,
    /// Partitions that are paused.
    paused_partitions: u64,
}

/// All roles of this process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Roles<'a> {
    items: Vec<RoleItem<'a>>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

fn item<'a>(role: &'a str, gauges: &Gauges) -> RoleItem<'a> {
    let (phase, detail) = match gauges.phase() {
        Phase::Starting => ("starting", None),
        Phase::Standby => ("standby", None),
        Phase::Running => ("running", None),
        Phase::Retrying(what) => ("retrying", Some(what)),
        Phase::Blocked(why) => ("blocked", Some(why)),
        Phase::Stopped => ("stopped", None),
        Phase::Failed(why) => ("failed", Some(why)),
    };
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    RoleItem {
        role,
        phase,
        detail,
        records: read(&gauges.records),
        batches: read(&gauges.batches),
        duplicates: read(&gauges.duplicates),
        poison: read(&gauges.poison),
        dead_letters: read(&gauges.dead_letters),
        redriven_skipped: read(&gauges.redriven_skipped),
        retries: read(&gauges.retries),
        record_retries: read(&gauges.record_retries),
        late: read(&gauges.late),
        gaps: read(&gauges.gaps),
        batch_us: read(&gauges.batch_us),
        last_seq: read(&gauges.last_seq),
        in_flight_bytes: read(&gauges.in_flight_bytes),
        oldest_unsettled_seconds: oldest_unsettled_seconds(gauges, now().millis()),
        paused_partitions: read(&gauges.paused),
    }
}

/// How the roles of this process stand.
#[utoipa::path(get, path = "/api/admin/roles", tag = "admin", responses(
    (status = 200, description = "All roles of this process", body = Roles),
))]
pub(crate) async fn roles(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let items = app.roles.iter().map(|(name, gauges)| item(name, gauges)).collect();
    Ok(json(&Roles { items, next_cursor: None }))
}
