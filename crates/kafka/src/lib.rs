//! The log on Apache Kafka or Redpanda, through librdkafka. The only crate that
//! names it.
//!
//! Not here: delivery. What a failure means for a record is said by the kind of
//! its error; what is done about it, `flow` decides.

use std::sync::{Arc, OnceLock};

use tapedeck_log::{
    Figure, GroupInfo, GroupOffset, Log, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition,
};

mod acls;
mod admin;
mod ahead;
mod asker;
mod client;
pub mod config;
mod consumer;
mod diagnose;
mod error;
mod groups;
mod member;
mod names;
mod native;
mod placing;
mod positions;
mod producer;
mod reader;
mod said;
mod security;
mod stats;
mod tls;
mod topics;
mod transact;
mod watch;
mod writer;

pub use acls::{Acl, AclOperation, AclResource};
pub use config::KafkaConfig;
pub use placing::MAX_RECORD_BYTES;

use admin::Admin;
use client::Client;
use producer::Producer;

/// A log on a cluster.
pub struct KafkaLog {
    client: Arc<Client>,
    producer: Producer,
    admin: OnceLock<Admin>,
}

impl KafkaLog {
    /// Connects to the cluster of a config.
    ///
    /// # Errors
    /// Fatal where the config is wrong or the brokers refuse who we are; transient
    /// where none can be reached, with what was tried.
    pub fn connect(config: &KafkaConfig) -> Result<Arc<Self>> {
        let client = Client::connect(config)?;
        Ok(Arc::new(Self { producer: Producer::new(Arc::clone(&client)), client, admin: OnceLock::new() }))
    }

    /// Gives rights; those that are there stay.
    ///
    /// # Errors
    /// Fatal where the brokers keep no rights, or this user may not give them.
    pub fn create_acls(&self, acls: &[Acl]) -> Result<()> {
        acls::create(&self.client, acls)
    }

    /// How many partitions of the cluster lack a copy that is in sync, whosever they
    /// are: the end of one more broker may stop these.
    ///
    /// # Errors
    /// Transient where no broker answers.
    pub fn out_of_sync(&self) -> Result<usize> {
        topics::out_of_sync(&self.client)
    }

    /// Started with the first question for it: most processes have none.
    fn admin(&self) -> Result<&Admin> {
        if let Some(admin) = self.admin.get() {
            return Ok(admin);
        }
        let admin = Admin::new(&self.client)?;
        Ok(self.admin.get_or_init(|| admin))
    }
}

impl Log for KafkaLog {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        topics::create(&self.client, self.admin()?, topics)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        topics::list(&self.client, self.admin()?)
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        topics::add_partitions(&self.client, self.admin()?, topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        topics::delete(&self.client, self.admin()?, topics)
    }

    fn wanted_replication(&self) -> Result<Option<Replication>> {
        topics::wanted_replication(&self.client).map(Some)
    }

    fn figures(&self) -> Vec<Figure> {
        stats::figures(&self.client.book.statistics())
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.producer.append(&records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.producer.append(records)
    }

    fn max_record_bytes(&self) -> usize {
        MAX_RECORD_BYTES
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.client.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.client.written_end(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.client.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        reader::open_reader(&self.client)
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        member::join(&self.client, group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        groups::committed(&self.client, group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        groups::list(&self.client)
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        groups::reset(&self.client, group, offsets)
    }
}
