//! Retention of the store, on a thread of its own so that no batch waits for it.
//!
//! Not here: what is deleted, which the store knows.

use std::time::Duration;

use tapedeck_flow::{Failure, Stop};
use tapedeck_store::{Retention, Store, StoreError};

use crate::positions::now_ms;

/// How often it looks: rows are kept for days, so a minute more is nothing, and
/// a minute's worth of rows is little work.
const EVERY: Duration = Duration::from_secs(60);
/// Between two calls while there is more to delete, so that writers get their turn.
const BREATH: Duration = Duration::from_millis(20);

/// Deletes what was kept long enough, until somebody asks to stop.
///
/// # Errors
/// Fatal: a person must act, and the text says how.
pub fn run_retention(store: &dyn Store, rules: &[Retention], stop: &Stop) -> Result<(), Failure> {
    while !stop.requested() {
        let rest = match store.enforce_retention(rules, now_ms()) {
            Ok(0) => EVERY,
            Ok(deleted) => {
                tracing::debug!(deleted, "rows past their retention were deleted");
                BREATH
            }
            Err(StoreError::Fatal(detail)) => return Err(Failure::Fatal(detail)),
            Err(error) => {
                tracing::warn!(%error, "retention is tried again");
                EVERY
            }
        };
        stop.wait(rest);
    }
    Ok(())
}
