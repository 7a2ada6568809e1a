//! The log on Apache Kafka or Redpanda, through librdkafka. The only crate that
//! names it.
//!
//! Not here: delivery. What a failure means for a record is said by the kind of
//! its error; what is done about it, `flow` decides.

use std::sync::Arc;

use rdkafka::Offset;
use tapedeck_log::{
    Figure, GroupInfo, GroupOffset, Log, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition,
};

mod client;
pub mod config;
mod diagnose;
mod error;
mod member;
mod names;
mod native;
mod reader;
mod security;
mod stats;
mod transact;
mod watch;

pub use config::KafkaConfig;

use client::Client;

/// A log on a cluster.
pub struct KafkaLog {
    client: Arc<Client>,
}

impl KafkaLog {
    /// Connects to the cluster of a config.
    ///
    /// # Errors
    /// Fatal where the config is wrong or the brokers refuse who we are; transient
    /// where none can be reached, with what was tried.
    pub fn connect(config: &KafkaConfig) -> Result<Arc<Self>> {
        let client = Client::connect(config)?;
        Ok(Arc::new(Self { client }))
    }
}

impl Log for KafkaLog {
    fn create_topics(&self, _topics: &[TopicConfig]) -> Result<()> {
        unreachable!()
    }
    fn topics(&self) -> Result<Vec<TopicInfo>> {
        unreachable!()
    }
    fn append(&self, _records: Vec<Record>) -> Result<Vec<Placement>> {
        unreachable!()
    }
    fn max_record_bytes(&self) -> usize {
        1 << 20
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.client.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.client.written_end(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        let number = self.client.must_exist(partition)?;
        let doing = format!("look for a time in {partition}");
        // A negative number would be a place, not a time.
        let at = Offset::Offset(timestamp_ms.max(0));
        match self.client.one_offset(partition, number, at, true, &doing)? {
            offset if offset >= 0 => Ok(client::unsigned(offset)),
            _ => Ok(self.client.bounds(partition)?.1),
        }
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        reader::open_reader(&self.client)
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        member::join(&self.client, group, member, topics)
    }

    fn committed(&self, _group: &str) -> Result<Vec<GroupOffset>> {
        unreachable!()
    }
    fn groups(&self) -> Result<Vec<GroupInfo>> {
        unreachable!()
    }
    fn reset_offsets(&self, _group: &str, _offsets: &[GroupOffset]) -> Result<()> {
        unreachable!()
    }
    fn figures(&self) -> Vec<Figure> {
        stats::figures(&self.client.book.statistics())
    }
    fn wanted_replication(&self) -> Result<Option<Replication>> {
        Ok(None)
    }
}
