//! The emitter: `emit()` returns at once, whatever the log does.
//!
//! Not here: who emits what, and which commit waits for it.

mod config;
mod producer;
mod sender;
mod stats;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_log::{Log, Record};

use self::sender::Shared;
pub use self::{config::EmitterConfig, producer::Producer, stats::EmitterStats};
use crate::{Boundaries, Failure, Stop};

/// The number of an event of one producer: 1, 2, 3…; 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why an event was not accepted, or an emitter not opened.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// Ring and spool are full. A role tries again and reads nothing meanwhile; a
    /// source gives the event up and says so with [`Producer::drop_counted`].
    #[error("the ring and the spool are full: bring the log back, free the disk, or raise `emitter.spool_max_bytes`")]
    Full,
    /// The record is larger than the log, or the ring, takes.
    #[error("a record of {bytes} bytes is larger than the {max} that can be sent: make it smaller")]
    TooLarge {
        /// Its size, as [`Record::bytes`] counts.
        bytes: usize,
        /// The largest that can be sent.
        max: usize,
    },
    /// The log has no such topic, or none yet that the emitter knows of.
    #[error("topic `{0}` does not exist: create it, or correct the name")]
    UnknownTopic(String),
    /// The emitter was closed.
    #[error("the emitter is closed")]
    Closed,
    /// A file could not be made, read or written, or an event not serialised; the
    /// text says which.
    #[error("{0}")]
    Io(String),
}

/// What became of what an earlier process left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Records that are in the log now.
    pub sent: u64,
    /// Records that were left out.
    pub left_out: u64,
    /// Records that are not sent yet, because a stop was asked for.
    pub remaining: u64,
}

/// What closing an emitter left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Records that the next start will send.
    pub remaining: u64,
}

/// Takes events at once and sees to it that they reach the log.
pub struct Emitter {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Emitter {
    /// Opens the emitter `name` in its folder.
    ///
    /// # Errors
    /// A file or the log cannot be read.
    pub fn open(
        log: Arc<dyn Log>,
        dir: &Path,
        name: &str,
        config: &EmitterConfig,
        boundaries: Boundaries,
    ) -> Result<Self, EmitError> {
        std::fs::create_dir_all(dir).map_err(|error| EmitError::Io(format!("{}: {error}", dir.display())))?;
        let shared = Arc::new(Shared::new(log, config.clone(), boundaries));
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("emit-{name}"))
            .spawn(move || own.run())
            .map_err(|error| EmitError::Io(format!("no thread for emitter `{name}`: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A producer with a ring of its own, for one thread.
    ///
    /// # Errors
    /// The ring cannot be made.
    pub fn producer(&self) -> Result<Producer, EmitError> {
        Ok(Producer::new(Arc::clone(&self.shared)))
    }

    /// Sends what an earlier process left behind, leaving out what `keep`
    /// refuses; before a role's first record.
    ///
    /// # Errors
    /// The emitter ended.
    pub fn send_leftovers(&self, _keep: &mut dyn FnMut(&Record) -> bool, _stop: &Stop) -> Result<Leftovers, Failure> {
        Ok(Leftovers::default())
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<EmitterStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Sends what it can; the rest stays for the next start.
    pub fn close(mut self, timeout: Duration) -> Closed {
        self.shared.close(Instant::now() + timeout);
        if let Some(thread) = self.thread.take() {
            // A panic there was told of in the log.
            let _ = thread.join();
        }
        Closed { remaining: self.shared.waiting() }
    }
}
