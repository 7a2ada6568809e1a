//! A real log whose appends to chosen topics fail for a while.
//!
//! Not here: everything else, which is the real log's.

use std::sync::{Arc, Mutex};

use tapedeck_log::{
    GroupInfo, GroupOffset, Log, LogError, Member, Placement, Reader, Record, Result, TopicConfig, TopicInfo,
    TopicPartition,
};

/// Says whether an append of these records fails.
pub(crate) type Fails = Box<dyn FnMut(&[Record]) -> bool + Send>;

/// The log, and when its appends fail.
pub(crate) struct Faulty {
    log: Arc<dyn Log>,
    fails: Mutex<Fails>,
}

impl Faulty {
    pub(crate) fn around(log: Arc<dyn Log>, fails: impl FnMut(&[Record]) -> bool + Send + 'static) -> Arc<dyn Log> {
        Arc::new(Self { log, fails: Mutex::new(Box::new(fails)) })
    }
}

impl Log for Faulty {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.log.create_topics(topics)
    }
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log.topics()
    }
    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        if (self.fails.lock().unwrap())(&records) {
            return Err(LogError::Transient("the disk is full".into()));
        }
        self.log.append(records)
    }
    fn max_record_bytes(&self) -> usize {
        self.log.max_record_bytes()
    }
    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.log.bounds(partition)
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
