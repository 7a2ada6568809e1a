//! The emitter: `emit()` returns at once, whatever the log does, and what it
//! accepted is sent, in order, also when the process is killed.
//!
//! ```text
//!  producing thread            sender thread                 appender thread
//!  emit() ─► frame ─► ring ──► batch ───────────────────────► log.append_kept
//!                      │         ▲                                 │
//!                      └► spool ─┘◄──── acknowledged, or not ──────┘
//! ```
//!
//! - [`Producer::emit`] writes the event as one frame with a checksum into a ring
//!   of its thread, a file in memory that outlives the process, and gives a
//!   [`Ticket`]. It asks nobody.
//! - The sender takes what is in the rings every few milliseconds and gives it to
//!   the log. When the log fails, or does not answer in time, what it was given
//!   goes to the spool on disk, and all that is newer behind it, until the log has
//!   taken all of that; then the rings are sent straight again.
//! - After a few failures in a row a breaker leaves the log alone for a while, and
//!   then probes it with one batch.
//! - [`Producer::durable`] says up to which ticket all is in the log: a role acts
//!   on a decision at once, and moves its offsets when its ticket is durable.
//!
//! What is promised: what `emit()` accepted is in the log at least once, events of
//! one producer in the order of their tickets. An event that is there twice (after
//! a kill, or an answer that came late) is there with the same id, and readers
//! leave it out. What breaks it: a power cut takes what is in a ring and not on
//! disk; a lost disk takes the spool.
//!
//! ```no_run
//! # use std::{path::Path, sync::Arc, time::Duration};
//! # use tapedeck_flow::{Boundaries, EmitError, Emitter, EmitterConfig, Outbound};
//! # fn example(log: Arc<dyn tapedeck_log::Log>, event: Outbound) -> Result<(), EmitError> {
//! let emitter = Emitter::open(log, Path::new("data/emit/pricer"), "pricer", &EmitterConfig::default(), Boundaries::default())?;
//! let mut producer = emitter.producer()?;
//! let ticket = producer.emit(&event, "pricer")?;
//! assert!(producer.wait_durable(ticket, Duration::from_secs(10)));
//! emitter.close(Duration::from_secs(10));
//! # Ok(())
//! # }
//! ```
//!
//! Not here: who emits what, and which commit waits for it.

mod alerts;
mod appender;
mod batch;
mod config;
mod core;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod home;
mod leftovers;
mod map;
mod producer;
mod recover;
mod refused;
mod ring;
mod sender;
mod shared;
mod spool;
mod stats;
mod topics;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tapedeck_log::{Log, Record};

use self::{
    alerts::Alerts,
    appender::Appender,
    core::{Core, Line, Slot},
    home::Home,
    leftovers::Leftover,
    refused::Refused,
    sender::Sender,
    shared::Shared,
    spool::{Limits, Spool},
    stats::add,
    topics::Topics,
};
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

/// How long closing waits for a thread that is in the middle of an `emit()`; it
/// is there for microseconds, or for a write to the disk.
const EMIT_ENDS: Duration = Duration::from_secs(5);

/// Takes events at once and sees to it that they reach the log. Dropped without
/// [`Emitter::close`] it leaves what is not sent to the next start.
pub struct Emitter {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
}

impl Emitter {
    /// Opens the emitter `name` in its folder, which nobody else may use. What an
    /// earlier process left there waits until [`Emitter::send_leftovers`] or
    /// [`Emitter::producer`] is called, and is sent before anything newer.
    ///
    /// # Errors
    /// The folder is in use, the disk is full, or a file or the log cannot be
    /// read. Nothing is lost then.
    pub fn open(
        log: Arc<dyn Log>,
        dir: &Path,
        name: &str,
        config: &EmitterConfig,
        boundaries: Boundaries,
    ) -> Result<Self, EmitError> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| EmitError::Io(format!("emitter `{name}`: {what}: {error}"));
        let mut home = Home::open(dir, name)?;
        let topics = Topics::ask(log.as_ref()).map_err(|error| failed("the log's topics", &error))?;
        let limits = Limits { max_bytes: config.spool_max_bytes, segment_bytes: config.segment_bytes };
        let opened = Spool::open(dir, limits, Arc::clone(&topics.set), boundaries.clone());
        let (mut spool, opened) = opened.map_err(|error| failed("the spool", &error))?;
        let (stats, alerts) = (EmitterStats::default(), Alerts::default());
        for file in &opened.kept {
            tracing::error!(file, "a part of the spool is of another version or of other topics, and was set aside");
            alerts.kept(file.clone());
        }
        add(&stats.kept_files, opened.kept.len() as u64);
        add(&stats.torn, opened.torn);
        if opened.torn > 0 {
            tracing::warn!(
                emitter = name,
                ends = opened.torn,
                "the spool ends in the middle of a record, as after a kill in the middle of a write: that record was not \
                 accepted. Where somebody shortened a file by hand, what was cut off is lost"
            );
        }
        recover::take_over(&mut home, &mut spool, &opened, &stats, &alerts)?;
        let refused = Refused::new(dir, home.start(), config.spool_max_bytes, topics.set.fingerprint);
        let leftover = Leftover::until((!spool.is_drained()).then(|| spool.end()));
        let core = Core::new(home, spool, leftover);
        let shared = Arc::new(Shared::new(name, config, boundaries, topics, core, alerts, stats));
        let sender = start(&shared, log, refused).map_err(|error| failed("its threads", &error))?;
        Ok(Self { shared, sender: Some(sender) })
    }

    /// A producer with a ring of its own, for one thread. What an earlier process
    /// left and no role was asked about is sent from now on.
    ///
    /// # Errors
    /// The ring cannot be made: the disk is full, or the emitter closed.
    pub fn producer(&self) -> Result<Producer, EmitError> {
        if self.shared.is_closed() {
            return Err(EmitError::Closed);
        }
        self.shared.free_leftovers();
        let config = &self.shared.config;
        let mut core = self.shared.core();
        let failed = |error| EmitError::Io(format!("a ring of emitter `{}`: {error}", self.shared.name));
        let (path, file, stream) = core.home.new_ring(&config.ring_dir, config.ring_bytes).map_err(failed)?;
        let made = ring::create(&file, stream, config.ring_bytes);
        let (writer, reader) = match made {
            Ok(ring) => ring,
            Err(error) => {
                // The next start deletes what cannot be deleted now.
                let _ = core.home.remove_ring(&path);
                return Err(failed(error));
            }
        };
        let line = Arc::new(Line { stream, ..Line::default() });
        core.slots.push(Slot { reader, line: Arc::clone(&line), path, file });
        drop(core);
        Ok(Producer::new(Arc::clone(&self.shared), line, writer))
    }

    /// Sends what an earlier process left behind, leaving out what `keep`
    /// refuses; before a role's first record, and before its first producer.
    /// Returns when all of it is in the log, or a stop is asked for.
    ///
    /// # Errors
    /// The emitter ended.
    pub fn send_leftovers(&self, keep: &mut dyn FnMut(&Record) -> bool, stop: &Stop) -> Result<Leftovers, Failure> {
        self.shared.send_leftovers(keep, stop)
    }

    /// Its counters.
    pub fn stats(&self) -> Arc<EmitterStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Accepts nothing more, and sends what it can within the time. The rest
    /// stays for the next start.
    pub fn close(mut self, timeout: Duration) -> Closed {
        Closed { remaining: self.end(timeout) }
    }

    /// Ends, and says how many records are left.
    fn end(&mut self, timeout: Duration) -> u64 {
        let Some(sender) = self.sender.take() else { return 0 };
        let now = Instant::now();
        self.shared.refuse_all();
        let is_busy = || self.shared.core().slots.iter().any(|slot| slot.line.busy.load(Ordering::SeqCst));
        while is_busy() && now.elapsed() < EMIT_ENDS {
            std::thread::yield_now();
        }
        self.shared.end_sender(now + timeout);
        // A panic there was told of already.
        let _ = sender.join();
        self.shared.core().leave()
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Starts the sender, and the appender behind it.
fn start(shared: &Arc<Shared>, log: Arc<dyn Log>, refused: Refused) -> std::io::Result<JoinHandle<()>> {
    let own = Arc::clone(shared);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let run = move || {
        let me = std::thread::current();
        own.set_sender(me.clone());
        let appender = Appender::start(log, &own.name, me);
        let failure = appender.as_ref().err().map(|error| std::io::Error::other(error.to_string()));
        let _ = tell.send(failure);
        let Ok(appender) = appender else { return };
        let sender = Sender::new(Arc::clone(&own), appender, refused);
        if catch_unwind(AssertUnwindSafe(|| sender.run())).is_err() {
            tracing::error!(emitter = own.name, "the sender of the emitter panicked: nothing more is accepted");
            own.refuse_all();
        }
    };
    let thread = std::thread::Builder::new().name(format!("emit-{}", shared.name)).spawn(run)?;
    match told.recv() {
        Ok(None) => Ok(thread),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(std::io::Error::other("the sender ended at once")),
    }
}
