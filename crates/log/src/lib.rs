//! The tape: a partitioned, durable log in Kafka's words (topic, partition, key,
//! header, offset, group), as a trait, and the embedded log behind it.
//!
//! Not here: what an event means. Keys and values are bytes. Nothing is written
//! down here that Kafka cannot do: offsets may have gaps, a poll may bring
//! nothing, a member may lose its partitions at any poll.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

mod around;
mod batch;
pub mod conformance;
pub mod embedded;
pub mod error;
mod framed;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod headers;
pub mod lag;
pub mod partitioner;

pub use around::LogAround;
pub use embedded::{EmbeddedConfig, EmbeddedLog};
pub use error::{LogError, Result};
pub use framed::{Unframe, UnframeError};
pub use headers::{Headers, HeadersBuilder};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where to.
    pub topic: Arc<str>,
    /// The partition, where the writer chooses it; else the key does (murmur2,
    /// as Kafka's default), and without a key the log spreads.
    pub partition: Option<u32>,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Headers,
    /// When it is written, in ms since the epoch; the log's clock where none.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// How large it is, as limits count it: key, value, headers, and what a log
    /// writes before them.
    pub fn bytes(&self) -> usize {
        let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        batch::RECORD_HEAD + len(&self.key) + len(&self.value) + self.headers.as_bytes().len()
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Where from.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset; the next record's may be larger by more than one.
    pub offset: u64,
    /// When it was written, in ms since the epoch.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Headers,
}

/// Where a written record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// A group's place in a partition: the offset of the next record to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the next record.
    pub next: u64,
}

/// What a topic is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Number of partitions.
    pub partitions: u32,
    /// How long records are kept; none keeps for ever.
    pub retention: Option<Duration>,
    /// How many bytes of records a partition keeps; none keeps all.
    pub retention_bytes: Option<u64>,
    /// Old records are deleted (by time and size).
    pub delete: bool,
    /// Only the newest record of each key is kept.
    pub compact: bool,
}

/// A partition as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition, from 0.
    pub partition: u32,
    /// The first offset that can still be read.
    pub start: u64,
    /// The offset that the next record will get, or more.
    pub end: u64,
    /// Bytes kept.
    pub bytes: u64,
}

/// How many brokers keep a partition, and how many must have a record before it
/// is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Copies of a partition.
    pub factor: u32,
    /// Copies that must have a record, of those that keep up.
    pub min_in_sync: u32,
}

/// A topic as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// What it is made of.
    pub config: TopicConfig,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionInfo>,
    /// How it is copied; none where a log keeps no copies.
    pub replication: Option<Replication>,
}

/// A number that a log tells of itself, for the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Its name without our prefix, with its unit: `kafka_queue_bytes`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Whether it only grows.
    pub is_counter: bool,
    /// One label and its value, of a bounded set: `("broker", "1")`.
    pub label: Option<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// A group as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub group: String,
    /// Its members, with the partitions that each owns; empty when nobody is there.
    pub members: Vec<(String, Vec<TopicPartition>)>,
    /// Its committed offsets.
    pub offsets: Vec<GroupOffset>,
}

/// What a poll brought.
#[derive(Debug)]
pub enum Polled {
    /// Records, of any of the partitions, in offset order within each. Empty
    /// when the time ran out.
    Records(Vec<LogRecord>),
    /// Partitions that this member owns from now on, where it did not before.
    /// They are read from the committed offset (from the start where there is
    /// none) unless the member seeks.
    Assigned(Vec<TopicPartition>),
    /// Partitions that this member must give up: until its next poll it may
    /// still commit what it has handled of them, after it may not.
    Revoked(Vec<TopicPartition>),
}

/// How much one poll may bring, and how long it may wait for the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollLimits {
    /// At most so many records.
    pub max_records: usize,
    /// About so many bytes at most; one record always fits.
    pub max_bytes: usize,
    /// How long to wait where nothing is there.
    pub timeout: Duration,
}

/// A durable, partitioned log.
pub trait Log: Send + Sync {
    /// Makes the topics that are not there. A topic that is there keeps its
    /// partitions and takes the retention and the clean-up that are asked for.
    ///
    /// # Errors
    /// Fatal where a topic is there with another number of partitions.
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()>;

    /// All topics, by name.
    ///
    /// # Errors
    /// The log cannot be read.
    fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// Gives a topic more partitions. Keys go elsewhere from then on: order by
    /// key, state and the test for duplicates do not bear it for what is there.
    ///
    /// # Errors
    /// No such topic; fatal where it has more partitions already.
    fn add_partitions(&self, topic: &str, _partitions: u32) -> Result<()> {
        Err(LogError::Fatal(format!("partitions of `{topic}` cannot be added through this log")))
    }

    /// Deletes topics with all that they hold.
    ///
    /// # Errors
    /// No such topic; nothing is deleted then.
    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        Err(LogError::Fatal(format!("topics cannot be deleted through this log: {}", topics.join(", "))))
    }

    /// How topics would be copied that are made now; none where a log keeps no copies.
    ///
    /// # Errors
    /// The log cannot be asked; fatal where it has not as many brokers as the config wants.
    fn wanted_replication(&self) -> Result<Option<Replication>> {
        Ok(None)
    }

    /// What the log tells of itself as of now; nothing where it has nothing to tell.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// Writes records and returns where they lie, in the order given, once they
    /// are durable. Records of one call that go to one partition keep their
    /// order. Whether a call that fails wrote some of its records is not known.
    ///
    /// # Errors
    /// Transient where it may be tried again; poison names a record that can
    /// never be written (no such topic or partition, too large).
    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>>;

    /// What opens the values that lie in a frame; none where nothing was given that
    /// could. Records are read as they lie.
    fn unframe(&self) -> Option<&dyn Unframe> {
        None
    }

    /// How large a record may be, as [`Record::bytes`] counts.
    fn max_record_bytes(&self) -> usize;

    /// The same for records that the caller keeps, to write them again where
    /// this fails.
    ///
    /// # Errors
    /// Those of [`Log::append`].
    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.append(records.to_vec())
    }

    /// The first offset that can be read and the one after the last, as of now.
    ///
    /// # Errors
    /// No such partition, or the log cannot be read.
    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)>;

    /// The offset after the last record that was written, also where it is not to
    /// be seen yet: a transaction may be open, or ended a moment ago.
    ///
    /// # Errors
    /// Those of [`Log::bounds`].
    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        Ok(self.bounds(partition)?.1)
    }

    /// The first offset whose record was written at or after the time; the end
    /// where there is none.
    ///
    /// # Errors
    /// No such partition, or the log cannot be read.
    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64>;

    /// A reader that chooses its partitions itself and belongs to no group.
    ///
    /// # Errors
    /// The log cannot be read.
    fn reader(&self) -> Result<Box<dyn Reader>>;

    /// Joins a group as a member that shares the topics with the others.
    ///
    /// # Errors
    /// No such topic, or the log cannot be read.
    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>>;

    /// A group's committed offsets; empty for a group never seen.
    ///
    /// # Errors
    /// The log cannot be read.
    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>>;

    /// All groups, by name.
    ///
    /// # Errors
    /// The log cannot be read.
    fn groups(&self) -> Result<Vec<GroupInfo>>;

    /// Sets committed offsets of a group without members.
    ///
    /// # Errors
    /// Fatal where the group has members.
    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()>;
}

/// Reads partitions of its own choice.
pub trait Reader: Send {
    /// Reads these partitions, from these offsets, and no others. An offset
    /// below the start of the log is an error at the next poll.
    ///
    /// # Errors
    /// No such partition.
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> Result<()>;

    /// The next records; empty when the time ran out.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] where a position is not in the log (any more).
    fn poll(&mut self, limits: PollLimits) -> Result<Vec<LogRecord>>;

    /// The offset from which a partition is read next. It also moves past what
    /// holds no records (markers, compacted offsets).
    fn position(&self, partition: &TopicPartition) -> Option<u64>;
}

/// A member of a group. Dropping it leaves the group.
pub trait Member: Send {
    /// The next records of the partitions it owns, or a change of those. A
    /// member that does not poll for longer than the session allows loses its
    /// seat.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] where a position is not in the log (any more);
    /// [`LogError::Fenced`] where the seat is lost: drop the member and join again.
    fn poll(&mut self, limits: PollLimits) -> Result<Polled>;

    /// The partitions it owns.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// The offset from which a partition it owns is read next.
    fn position(&self, partition: &TopicPartition) -> Option<u64>;

    /// Reads a partition it owns from another offset.
    ///
    /// # Errors
    /// The partition is not its own.
    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> Result<()>;

    /// Brings no records of these partitions until they are resumed; the seat
    /// is kept.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Ends a pause.
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Commits offsets of the group.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where the seat is lost.
    fn commit(&mut self, offsets: &[GroupOffset]) -> Result<()>;

    /// Records and the group's offsets in one step: readers see both or
    /// neither. The offsets may be of partitions that the member reads by
    /// assignment.
    ///
    /// # Errors
    /// [`LogError::Fenced`] where the seat is lost; nothing was written then.
    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>>;
}
