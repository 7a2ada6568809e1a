//! What librdkafka tells between calls: its log lines, errors of connections, and
//! statistics. Each client that we start carries one watcher, and all write to
//! the same book, so that a failed call can say why.
//!
//! Not here: what the numbers are called outside, which `stats` knows.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::ProducerContext,
};

use crate::{error::code_of, said::Said, stats::Statistics};

/// So many errors are remembered: a cluster has a few brokers, each fails in one
/// or two ways.
const REMEMBERED: usize = 16;

/// An error that came between calls.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) code: Option<Code>,
    pub(crate) reason: String,
}

/// What all clients of one log have told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    seen: Mutex<VecDeque<Seen>>,
    statistics: Mutex<Vec<(&'static str, Statistics)>>,
    said: Mutex<Said>,
}

impl Book {
    /// Writes an error down.
    pub(crate) fn note_error(&self, error: &KafkaError, reason: &str) {
        self.warn(reason);
        let mut seen = locked(&self.seen);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(Seen { at: Instant::now(), code: code_of(error), reason: reason.to_owned() });
    }

    /// Passes a log line of librdkafka on.
    pub(crate) fn note_log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            // One config serves all kinds of clients; a key that one does not use is no news.
            _ if facility == "CONFWARN" => tracing::debug!(target: "kafka", "{line}"),
            // Comes once more as an error.
            _ if facility == "FAIL" || facility == "ERROR" => tracing::debug!(target: "kafka", "{line}"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "kafka", "{facility} {line}")
            }
            RDKafkaLogLevel::Warning => self.warn(line),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "kafka", "{facility} {line}"),
            RDKafkaLogLevel::Debug => tracing::debug!(target: "kafka", "{facility} {line}"),
        }
    }

    /// Warns a person, once a minute of the same.
    fn warn(&self, line: &str) {
        match locked(&self.said).pass(line, Instant::now()) {
            Some(0) => tracing::warn!(target: "kafka", "{line}"),
            Some(times) => tracing::warn!(target: "kafka", "{line} (and {times} times more since the last such line)"),
            None => tracing::debug!(target: "kafka", "{line}"),
        }
    }

    /// Keeps the newest statistics of a kind of client.
    pub(crate) fn note_statistics(&self, client: &'static str, json: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(json) else { return };
        let mut all = locked(&self.statistics);
        all.retain(|(kind, _)| *kind != client);
        all.push((client, statistics));
    }

    /// The newest statistics of each kind of client.
    pub(crate) fn statistics(&self) -> Vec<(&'static str, Statistics)> {
        locked(&self.statistics).clone()
    }

    /// Errors since a moment, oldest first.
    pub(crate) fn since(&self, moment: Instant) -> Vec<Seen> {
        locked(&self.seen).iter().filter(|seen| seen.at >= moment).cloned().collect()
    }
}

/// The context of a client that only asks.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    book: Arc<Book>,
    client: &'static str,
}

impl Watcher {
    pub(crate) fn new(book: &Arc<Book>, client: &'static str) -> Self {
        Self { book: Arc::clone(book), client }
    }
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.book.note_log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.book.note_error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.book.note_statistics(self.client, json);
    }
}

impl ConsumerContext for Watcher {}

impl ProducerContext for Watcher {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Locks, also where a thread panicked while it held the lock: every change
/// under these locks is whole at each step.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
