//! A log around another one: it says which, and writes out only what it does
//! differently.
//!
//! Not here: members and readers, which a log around another may wrap as well.

use std::sync::Arc;

use crate::{
    Figure, GroupInfo, GroupOffset, Log, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition, Unframe,
};

/// A log that stands around another. Each method is that of [`Log`] by the same
/// name and asks the log underneath; [`LogAround::append_kept`] alone goes through
/// [`LogAround::append`], so that what is done there is done to all that is written.
#[expect(clippy::missing_errors_doc, reason = "the errors are those of the log's methods")]
pub trait LogAround: Send + Sync {
    /// The log underneath.
    fn under(&self) -> &dyn Log;

    /// See [`Log::create_topics`].
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.under().create_topics(topics)
    }

    /// See [`Log::topics`].
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.under().topics()
    }

    /// See [`Log::add_partitions`].
    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        self.under().add_partitions(topic, partitions)
    }

    /// See [`Log::delete_topics`].
    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        self.under().delete_topics(topics)
    }

    /// See [`Log::wanted_replication`].
    fn wanted_replication(&self) -> Result<Option<Replication>> {
        self.under().wanted_replication()
    }

    /// See [`Log::figures`].
    fn figures(&self) -> Vec<Figure> {
        self.under().figures()
    }

    /// See [`Log::append`].
    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.under().append(records)
    }

    /// See [`Log::append_kept`].
    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.append(records.to_vec())
    }

    /// See [`Log::unframe`].
    fn unframe(&self) -> Option<&dyn Unframe> {
        self.under().unframe()
    }

    /// See [`Log::max_record_bytes`].
    fn max_record_bytes(&self) -> usize {
        self.under().max_record_bytes()
    }

    /// See [`Log::bounds`].
    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.under().bounds(partition)
    }

    /// See [`Log::written_end`].
    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.under().written_end(partition)
    }

    /// See [`Log::offset_at`].
    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.under().offset_at(partition, timestamp_ms)
    }

    /// See [`Log::reader`].
    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.under().reader()
    }

    /// See [`Log::join`].
    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        self.under().join(group, member, topics)
    }

    /// See [`Log::committed`].
    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.under().committed(group)
    }

    /// See [`Log::groups`].
    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.under().groups()
    }

    /// See [`Log::reset_offsets`].
    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.under().reset_offsets(group, offsets)
    }
}

impl<L: LogAround> Log for L {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        LogAround::create_topics(self, topics)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        LogAround::topics(self)
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        LogAround::add_partitions(self, topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        LogAround::delete_topics(self, topics)
    }

    fn wanted_replication(&self) -> Result<Option<Replication>> {
        LogAround::wanted_replication(self)
    }

    fn figures(&self) -> Vec<Figure> {
        LogAround::figures(self)
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        LogAround::append(self, records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        LogAround::append_kept(self, records)
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        LogAround::unframe(self)
    }

    fn max_record_bytes(&self) -> usize {
        LogAround::max_record_bytes(self)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        LogAround::bounds(self, partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        LogAround::written_end(self, partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        LogAround::offset_at(self, partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        LogAround::reader(self)
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        LogAround::join(self, group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        LogAround::committed(self, group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        LogAround::groups(self)
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        LogAround::reset_offsets(self, group, offsets)
    }
}
