//! The topics of the log, as an emitter knows them: looked up without asking the
//! log, which may be away.
//!
//! Not here: making topics.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashSet;
use sha2::{Digest, Sha256};
use tapedeck_log::{Headers, Log, LogError, Record};

/// The topics at one time, and the largest record.
#[derive(Debug)]
pub(super) struct Topics {
    names: HashSet<Arc<str>>,
    /// Stands for all names and their numbers of partitions.
    pub(super) fingerprint: u64,
    /// As [`Record::bytes`] counts.
    pub(super) max_record_bytes: usize,
    /// What a record counts beside its key, value and headers.
    pub(super) record_overhead: usize,
}

impl Topics {
    /// As they are now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn ask(log: &dyn Log) -> Result<Self, LogError> {
        let mut topics = log.topics()?;
        topics.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        let mut hash = Sha256::new();
        for topic in &topics {
            hash.update(format!("{}/{}\n", topic.config.name, topic.config.partitions));
        }
        let hash = hash.finalize();
        let empty = Record {
            topic: "".into(),
            partition: None,
            key: None,
            value: None,
            headers: Headers::new(),
            timestamp_ms: None,
        };
        Ok(Self {
            names: topics.into_iter().map(|topic| topic.config.name).collect(),
            fingerprint: super::frame::u64_at(&hash, 0),
            max_record_bytes: log.max_record_bytes(),
            record_overhead: empty.bytes(),
        })
    }

    /// The topic of a name, where it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.names.get(name)
    }
}

/// The newest topics that anybody asked for.
pub(super) struct Newest(Mutex<Arc<Topics>>);

impl Newest {
    /// These.
    pub(super) fn new(topics: Topics) -> Self {
        Self(Mutex::new(Arc::new(topics)))
    }

    /// The newest.
    pub(super) fn get(&self) -> Arc<Topics> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Newer ones came.
    pub(super) fn set(&self, topics: Arc<Topics>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = topics;
    }
}
