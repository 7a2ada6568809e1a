//! The topics as they were last seen, kept in the folder: an emitter must know them
//! when it is opened, and the log may be away then.
//!
//! Not here: making topics, and what an emitter wants to know of them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tapedeck_log::{
    Figure, GroupInfo, GroupOffset, Log, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition, Unframe,
};

/// Names and numbers of partitions.
const FILE: &str = "topics.json";

/// A log that tells from memory which topics there are, where it cannot be asked.
pub(crate) struct KnownTopics {
    log: Arc<dyn Log>,
    path: PathBuf,
    /// What a log that was never seen will have.
    wanted: Vec<TopicConfig>,
    /// What lies in the file.
    kept: Mutex<Vec<(String, u32)>>,
}

impl KnownTopics {
    /// Before a log, with the folder's memory; `wanted` are those that will be made
    /// where nothing is remembered.
    pub(crate) fn before(log: Arc<dyn Log>, dir: &Path, wanted: Vec<TopicConfig>) -> Self {
        let path = dir.join(FILE);
        // What cannot be read is as good as never seen: it is written anew.
        let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { log, path, wanted, kept: Mutex::new(kept) }
    }

    /// Whole or not at all. What cannot be kept is not known at a start without the
    /// log, which is no reason to fail now.
    fn keep(&self, topics: &[TopicInfo]) {
        let seen: Vec<(String, u32)> =
            topics.iter().map(|topic| (topic.config.name.to_string(), topic.config.partitions)).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept == seen {
            return;
        }
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
            file.write_all(&serde_json::to_vec(&seen)?)?;
            file.persist(&self.path)?;
            Ok(())
        };
        match write() {
            Ok(()) => *kept = seen,
            Err(error) => tracing::warn!(%error, "the names of the topics cannot be kept in {}", self.path.display()),
        }
    }

    fn remembered(&self) -> Vec<TopicInfo> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let info = |config: TopicConfig| TopicInfo { config, partitions: Vec::new(), replication: None };
        if kept.is_empty() {
            return self.wanted.iter().cloned().map(info).collect();
        }
        let config = |(name, partitions): &(String, u32)| TopicConfig {
            name: name.as_str().into(),
            partitions: *partitions,
            retention: None,
            retention_bytes: None,
            delete: false,
            compact: false,
        };
        kept.iter().map(config).map(info).collect()
    }
}

impl Log for KnownTopics {
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        match self.log.topics() {
            Ok(topics) => {
                self.keep(&topics);
                Ok(topics)
            }
            Err(error) if error.is_transient() => Ok(self.remembered()),
            Err(error) => Err(error),
        }
    }

    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.log.create_topics(topics)
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        self.log.add_partitions(topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        self.log.delete_topics(topics)
    }

    fn wanted_replication(&self) -> Result<Option<Replication>> {
        self.log.wanted_replication()
    }

    fn figures(&self) -> Vec<Figure> {
        self.log.figures()
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.log.append(records)
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        self.log.unframe()
    }

    fn max_record_bytes(&self) -> usize {
        self.log.max_record_bytes()
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.log.append_kept(records)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.log.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.log.written_end(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.log.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.log.reader()
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        self.log.join(group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.log.committed(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.log.groups()
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.log.reset_offsets(group, offsets)
    }
}
