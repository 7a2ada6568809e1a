//! A log that takes nothing while it is told to be away; what reads works.
//!
//! Not here: tests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tapedeck_log::{EmbeddedLog, Log, LogAround, LogError, Placement, Record, Result};

/// A log and the wish that it be away.
pub(crate) struct AwayLog {
    pub(crate) inner: Arc<EmbeddedLog>,
    pub(crate) away: Arc<AtomicBool>,
}

impl LogAround for AwayLog {
    fn under(&self) -> &dyn Log {
        &*self.inner
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        if self.away.load(Relaxed) {
            return Err(LogError::Transient("the log is away".into()));
        }
        self.inner.append(records)
    }
}
