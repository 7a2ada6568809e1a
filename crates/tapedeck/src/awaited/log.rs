//! A log that is waited for: its calls go to the one that was opened.
//!
//! Not here: opening it. Kafka alone is waited for; an embedded log is there or fails.

use std::sync::Arc;

use tapedeck_log::{
    Figure, GroupInfo, GroupOffset, Log, LogError, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition, Unframe,
};

use super::Awaited;

impl Awaited<dyn Log> {
    fn log(&self) -> Result<&Arc<dyn Log>> {
        self.there().map_err(LogError::Transient)
    }
}

impl Log for Awaited<dyn Log> {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.log()?.create_topics(topics)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.log()?.topics()
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        self.log()?.add_partitions(topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        self.log()?.delete_topics(topics)
    }

    fn wanted_replication(&self) -> Result<Option<Replication>> {
        self.log()?.wanted_replication()
    }

    fn figures(&self) -> Vec<Figure> {
        self.opened.get().map(|log| log.figures()).unwrap_or_default()
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.log()?.append(records)
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        self.opened.get()?.unframe()
    }

    fn max_record_bytes(&self) -> usize {
        tapedeck_kafka::MAX_RECORD_BYTES
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.log()?.append_kept(records)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.log()?.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.log()?.written_end(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.log()?.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.log()?.reader()
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        self.log()?.join(group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.log()?.committed(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.log()?.groups()
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.log()?.reset_offsets(group, offsets)
    }
}
