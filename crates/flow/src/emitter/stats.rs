//! What an emitter says of itself, for metrics and probes.
//!
//! Not here: the text format of metrics, which the api writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::breaker::BreakerState;

/// Counters of one emitter since it was opened; each only grows, but for those
/// that say "now".
#[derive(Debug, Default)]
pub struct EmitterStats {
    /// Events that `emit()` accepted.
    pub emitted: AtomicU64,
    /// Records that the log acknowledged, those of earlier runs included.
    pub sent: AtomicU64,
    /// Calls to the log.
    pub sends: AtomicU64,
    /// Calls to the log that failed, and seconds over which one was not answered.
    pub send_failures: AtomicU64,
    /// Failures since the last success, now.
    pub send_failures_in_row: AtomicU64,
    /// Records in the spool that the log has not acknowledged, now.
    pub spooled_records: AtomicU64,
    /// Bytes of the spool on disk, now.
    pub spooled_bytes: AtomicU64,
    /// Bytes in all rings that the log has not acknowledged, now.
    pub ring_bytes: AtomicU64,
    /// Times that `emit()` answered that ring and spool are full.
    pub full: AtomicU64,
    /// Events that their source gave up because ring and spool were full.
    pub dropped: AtomicU64,
    /// Records that the log can never take, set aside in a file.
    pub refused: AtomicU64,
    /// Records of earlier runs that were left out, because their cause will be
    /// handled again.
    pub left_out: AtomicU64,
    /// Files of earlier runs that were set aside unsent.
    pub kept_files: AtomicU64,
    /// Damaged or unfinished records found in rings and spool.
    pub torn: AtomicU64,
    /// How the breaker stands now: 0 closed, 1 open, 2 half open.
    pub breaker: AtomicU64,
}

impl EmitterStats {
    /// How the breaker stands.
    pub fn breaker_state(&self) -> BreakerState {
        match self.breaker.load(Relaxed) {
            1 => BreakerState::Open,
            2 => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    pub(super) fn set_breaker(&self, state: BreakerState) {
        let number = match state {
            BreakerState::Closed => 0,
            BreakerState::Open => 1,
            BreakerState::HalfOpen => 2,
        };
        self.breaker.store(number, Relaxed);
    }
}

/// Counts.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
