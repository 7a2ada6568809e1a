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
    /// Tries after a transient failure.
    pub retries: AtomicU64,
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
