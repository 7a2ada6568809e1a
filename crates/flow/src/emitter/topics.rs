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
    /// All names and their numbers of partitions.
    pub(super) set: Arc<TopicSet>,
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
        let topics = log.topics()?;
        let set = TopicSet::new(topics.iter().map(|topic| (&*topic.config.name, topic.config.partitions)));
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
            set: Arc::new(set),
            max_record_bytes: log.max_record_bytes(),
            record_overhead: empty.bytes(),
        })
    }

    /// The topic of a name, where it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<str>> {
        self.names.get(name)
    }
}

/// Names of topics with their numbers of partitions.
#[derive(Debug)]
pub(super) struct TopicSet {
    /// A line for each, `name/partitions`, in the order of the names.
    text: String,
    /// Stands for all of it.
    pub(super) fingerprint: u64,
}

impl TopicSet {
    /// Of these.
    pub(super) fn new<'a>(topics: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut topics: Vec<(&str, u32)> = topics.into_iter().collect();
        topics.sort_unstable();
        let mut text = String::new();
        for (name, partitions) in topics {
            text.push_str(&format!("{name}/{partitions}\n"));
        }
        Self::of_text(text)
    }

    /// As [`TopicSet::text`] gave it.
    pub(super) fn of_text(text: String) -> Self {
        let fingerprint = super::frame::u64_at(&Sha256::digest(&text), 0);
        Self { text, fingerprint }
    }

    /// All of it in lines.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether each topic of an older set is here with as many partitions, so that
    /// its records can be sent to where they were meant to go.
    pub(super) fn has_all_of(&self, older: &Self) -> bool {
        let here: HashSet<&str> = self.text.lines().collect();
        older.text.lines().all(|line| here.contains(line))
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
