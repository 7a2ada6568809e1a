//! A log that takes nothing while it is told to be away; what reads works.
//!
//! Not here: tests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tapedeck_log::{
    EmbeddedLog, GroupInfo, GroupOffset, Log, LogError, Member, Placement, Reader, Record, Result, TopicConfig,
    TopicInfo, TopicPartition,
};

/// A log and the wish that it be away.
pub(crate) struct AwayLog {
    pub(crate) inner: Arc<EmbeddedLog>,
    pub(crate) away: Arc<AtomicBool>,
}

impl Log for AwayLog {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.inner.create_topics(topics)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.inner.topics()
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        if self.away.load(Relaxed) {
            return Err(LogError::Transient("the log is away".into()));
        }
        self.inner.append(records)
    }

    fn max_record_bytes(&self) -> usize {
        self.inner.max_record_bytes()
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.inner.bounds(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.inner.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.inner.reader()
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        self.inner.join(group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.inner.committed(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.inner.groups()
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.inner.reset_offsets(group, offsets)
    }
}
