//! The thread that brings what was emitted to the log.
//!
//! Not here: emitting.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tapedeck_log::{Log, Record};

use super::{EmitError, EmitterConfig, EmitterStats, stats::add};
use crate::{Boundaries, Boundary, backoff::Backoff};

/// Records that wait for the log, so many at most.
const WAITING: usize = 100_000;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Record, Arc<AtomicU64>, u64)>,
    until: Option<Instant>,
}

/// What producers and the sender share.
pub(super) struct Shared {
    log: Arc<dyn Log>,
    config: EmitterConfig,
    pub(super) stats: Arc<EmitterStats>,
    pub(super) boundaries: Boundaries,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(log: Arc<dyn Log>, config: EmitterConfig, boundaries: Boundaries) -> Self {
        let (stats, queue, changed) = Default::default();
        Self { log, config, stats, boundaries, queue, changed }
    }

    pub(super) fn push(&self, record: Record, durable: Arc<AtomicU64>, ticket: u64) -> Result<(), EmitError> {
        let (bytes, max) = (record.bytes(), self.log.max_record_bytes());
        if bytes > max {
            return Err(EmitError::TooLarge { bytes, max });
        }
        let topics = self.log.topics().map_err(|error| EmitError::Io(error.to_string()))?;
        let names: HashSet<_> = topics.iter().map(|topic| &topic.config.name).collect();
        if !names.contains(&record.topic) {
            return Err(EmitError::UnknownTopic(record.topic.to_string()));
        }
        let mut queue = self.lock();
        if queue.until.is_some() {
            return Err(EmitError::Closed);
        }
        if queue.waiting.len() >= WAITING {
            return Err(EmitError::Full);
        }
        queue.waiting.push_back((record, durable, ticket));
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn close(&self, until: Instant) {
        self.lock().until = Some(until);
        self.changed.notify_all();
    }

    pub(super) fn waiting(&self) -> u64 {
        self.lock().waiting.len() as u64
    }

    pub(super) fn wait_until(&self, timeout: Duration, done: impl Fn() -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |_| !done());
        drop(waited);
        done()
    }

    pub(super) fn run(&self) {
        let mut backoff = Backoff::default();
        loop {
            let waited = self.changed.wait_timeout_while(self.lock(), Duration::from_secs(1), |queue| {
                queue.waiting.is_empty() && queue.until.is_none()
            });
            let queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.until.is_some_and(|until| queue.waiting.is_empty() || Instant::now() >= until) {
                return;
            }
            let batch: Vec<_> = queue.waiting.iter().take(self.config.batch_max_records).cloned().collect();
            drop(queue);
            if batch.is_empty() {
                continue;
            }
            let records: Vec<Record> = batch.iter().map(|(record, ..)| record.clone()).collect();
            add(&self.stats.sends, 1);
            match self.log.append_kept(&records) {
                Ok(_) => {
                    self.boundaries.pass(Boundary::Append);
                    backoff.reset();
                    add(&self.stats.sent, records.len() as u64);
                    self.lock().waiting.drain(..batch.len());
                    for (_, durable, ticket) in &batch {
                        durable.store(*ticket, Ordering::Release);
                    }
                    self.changed.notify_all();
                }
                Err(error) => {
                    tracing::warn!(%error, "the log did not take a batch");
                    std::thread::sleep(backoff.next_wait());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
