//! `/api/admin/dlq/…`: dead letters listed, grouped by error, shown, sent again,
//! purged.
//!
//! Not here: how they are sent again, which `flow::redrive` does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde::Serialize;
use tapedeck_contracts::Timestamp;
use tapedeck_flow::{
    Boundaries, Failure,
    redrive::{Closed, Entry, Found, Register},
};
use tapedeck_log::{Log, LogError, TopicInfo};
use utoipa::ToSchema;

use crate::{admin::records::text, app::lock, problem::Problem};

mod ask;
pub(crate) mod groups;
pub(crate) mod jobs;
pub(crate) mod letter;
pub(crate) mod list;
mod work;

/// What the process remembers of dead letters.
pub(crate) struct Dlq {
    /// What became of them, read on as the log grows.
    register: Arc<Mutex<Register>>,
    jobs: Mutex<jobs::Jobs>,
    boundaries: Boundaries,
}

impl Dlq {
    pub(crate) fn new(boundaries: Boundaries) -> Self {
        Self { register: Arc::default(), jobs: Mutex::default(), boundaries }
    }

    /// What became of dead letters, as of now.
    pub(crate) fn register(&self) -> Arc<Mutex<Register>> {
        Arc::clone(&self.register)
    }
}

/// How many dead letters lie open, by the topic of their records.
pub(crate) fn depth(
    register: &Mutex<Register>,
    log: &dyn Log,
    topics: &[TopicInfo],
) -> Result<BTreeMap<String, u64>, LogError> {
    let mut register = lock(register);
    register.refresh(log).map_err(log_error)?;
    Ok(register.depth(topics))
}

/// A dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterItem {
    /// The same however often it was written.
    pub(super) id: String,
    /// Where it lies: `<topic>.dlq/<partition>/<offset>`.
    place: String,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    written_at: Timestamp,
    /// `open`, `redriven` or `purged`.
    status: &'static str,
    /// When that was; null while it is open.
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
    /// Where the record lies that failed, and when it was written there.
    topic: String,
    partition: u32,
    offset: u64,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The group that failed, and its role.
    group: String,
    role: String,
    /// `undecodable`, `invalid`, `handler`, `panic` or `store`.
    class: &'static str,
    error: String,
    /// Where in the body, as a JSON path; null where it is not the body.
    path: Option<String>,
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    first_failure: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_failure: Timestamp,
    /// How often the record had been sent again when it failed.
    redrives: u32,
    /// Text, or base64 with `key_encoding`.
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<&'static str>,
    /// Of the record's value.
    value_bytes: usize,
}

impl DeadLetterItem {
    pub(super) fn new(found: &Found, closed: Option<&Closed>) -> Self {
        let (letter, account) = (&found.letter, &found.letter.account);
        let (key, key_encoding) = match letter.key.as_deref().map(text) {
            Some((text, encoding)) => (Some(text), encoding),
            None => (None, None),
        };
        Self {
            id: found.id.to_string(),
            place: found.place.to_string(),
            written_at: Timestamp::from_millis(found.written_ms),
            status: closed.map_or("open", |closed| closed.status.name()),
            closed_at: closed.map(|closed| closed.at),
            topic: letter.origin.topic.clone(),
            partition: letter.origin.partition,
            offset: letter.origin.offset,
            timestamp: Timestamp::from_millis(letter.timestamp_ms),
            group: account.group.clone(),
            role: account.role.clone(),
            class: account.class.name(),
            error: account.error.clone(),
            path: account.path.clone(),
            attempts: account.attempts,
            first_failure: account.first_failure,
            last_failure: account.last_failure,
            redrives: letter.redrive.as_ref().map_or(0, |redrive| redrive.n),
            key,
            key_encoding,
            value_bytes: found.value_bytes,
        }
    }
}

/// What became of a dead letter.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClosedItem {
    /// `redriven` or `purged`.
    status: &'static str,
    /// For the how-manieth time its record was sent; as it was, where purged.
    n: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: String,
    reason: String,
    /// Where it lies; in several places where it was written again.
    places: Vec<String>,
}

impl From<Entry> for ClosedItem {
    fn from(entry: Entry) -> Self {
        let Entry { status, n, at, actor, reason, places, .. } = entry;
        Self { status: status.name(), n, at, actor, reason, places }
    }
}

/// A failure as the log's own error, for calls of the log.
fn log_error(failure: Failure) -> LogError {
    match failure {
        Failure::Transient(detail) => LogError::Transient(detail),
        other => LogError::Fatal(other.to_string()),
    }
}

/// A failure as a problem.
fn problem(failure: Failure) -> Problem {
    Problem::from(log_error(failure))
}
