//! What a role says of itself while it runs, for probes and metrics.
//!
//! Not here: the text format of metrics, which the api writes.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// How a role stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not yet there.
    #[default]
    Starting,
    /// Another process is the active one.
    Standby,
    /// At work.
    Running,
    /// Something failed that may pass, and is tried again until it works; the text
    /// says what.
    Retrying(String),
    /// A partition cannot go on; the text says why and what to do.
    Blocked(String),
    /// It ended as it should.
    Stopped,
    /// It ended with an error.
    Failed(String),
}

/// Counters of one role; each only grows, but for those that say otherwise.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Records handled.
    pub records: AtomicU64,
    /// Batches made visible.
    pub batches: AtomicU64,
    /// Records left out because their event was handled before.
    pub duplicates: AtomicU64,
    /// Records that could not be decoded or handled.
    pub poison: AtomicU64,
    /// Dead letters that are durable.
    pub dead_letters: AtomicU64,
    /// Records left out because they were sent again for another group.
    pub redriven_skipped: AtomicU64,
    /// Tries after a transient failure.
    pub retries: AtomicU64,
    /// Tries of single records after a failure that was theirs.
    pub record_retries: AtomicU64,
    /// Signals that came after their market event was passed.
    pub late: AtomicU64,
    /// Numbers of the sequencer that never came.
    pub gaps: AtomicU64,
    /// Offsets that retention took from the log before they were read.
    pub missed: AtomicU64,
    /// Microseconds that the last batch took from decode to visible; moves both ways.
    pub batch_us: AtomicU64,
    /// The newest number of the sequencer that was handled; moves both ways.
    pub last_seq: AtomicU64,
    /// Memory held by what was read and is not visible yet, about; moves both ways.
    pub in_flight_bytes: AtomicU64,
    /// When the oldest record was written that was read and is not settled yet, in
    /// ms since the epoch; 0 where there is none; moves both ways.
    pub oldest_unsettled_ms: AtomicU64,
    /// Partitions that are paused, because a record of theirs is tried alone, or
    /// its dead letter cannot be written, or the memory is used; moves both ways.
    pub paused: AtomicU64,
    phase: Mutex<Phase>,
}

impl Gauges {
    /// How the role stands.
    pub fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how the role stands.
    pub fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// Counts.
    pub fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Relaxed);
    }
}
