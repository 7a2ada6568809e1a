//! Where each record of a call goes, decided before any of them is sent: the
//! topic's name on the cluster and the partition.
//!
//! Not here: sending.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tapedeck_log::{LogError, Record, Result, partitioner::partition_of};

use crate::client::Client;

/// A record as large as this is written, and none larger; the same as the embedded
/// log's, so that what it holds can move to a cluster.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// So many records without a key go to one partition before the next one's turn:
/// enough to fill batches, few enough to spread a call.
const STICKY_RECORDS: usize = 128;

/// Decides for records; one for each log, so that records without a key go round.
#[derive(Debug, Default)]
pub(crate) struct Placing {
    turn: AtomicU32,
}

/// Where the records of one call go.
#[derive(Debug)]
pub(crate) struct Places {
    topics: Vec<Topic>,
    /// For each record its topic, as an index, and the partition.
    of: Vec<(u32, i32)>,
}

#[derive(Debug)]
struct Topic {
    ours: Arc<str>,
    outer: String,
    partitions: u32,
    keyless: usize,
    turn: u32,
}

impl Places {
    /// The topic's name on the cluster, and the partition, of a record of the call.
    pub(crate) fn of(&self, index: usize) -> (&str, i32) {
        let (topic, partition) = self.of[index];
        (&self.topics[topic as usize].outer, partition)
    }
}

impl Placing {
    /// Places all records of a call.
    ///
    /// # Errors
    /// Poison for the first record that can never be written; transient where the
    /// cluster cannot say which topics there are.
    pub(crate) fn places(&self, client: &Client, records: &[Record]) -> Result<Places> {
        let mut places = Places { topics: Vec::new(), of: Vec::with_capacity(records.len()) };
        let mut last = 0;
        for (index, record) in records.iter().enumerate() {
            if record.bytes() > MAX_RECORD_BYTES {
                let detail =
                    format!("{} bytes are more than the {MAX_RECORD_BYTES} that a record may have", record.bytes());
                return Err(LogError::Poison { index, detail });
            }
            // Mostly the topic of the record before; the same text is mostly the same pointer.
            let is_topic = |topic: &Topic| Arc::ptr_eq(&topic.ours, &record.topic) || topic.ours == record.topic;
            if !places.topics.get(last).is_some_and(is_topic) {
                last = match places.topics.iter().position(is_topic) {
                    Some(known) => known,
                    None => {
                        places.topics.push(self.topic(client, index, record)?);
                        places.topics.len() - 1
                    }
                };
            }
            let partition = partition(client, &mut places.topics[last], index, record)?;
            places.of.push((last as u32, partition));
        }
        Ok(places)
    }

    fn topic(&self, client: &Client, index: usize, record: &Record) -> Result<Topic> {
        let Some(partitions) = client.known_partitions(&record.topic)? else {
            return Err(LogError::Poison { index, detail: client.no_such_topic(&record.topic) });
        };
        Ok(Topic {
            ours: Arc::clone(&record.topic),
            outer: client.outer(&record.topic),
            partitions,
            keyless: 0,
            turn: self.turn.fetch_add(1, Ordering::Relaxed),
        })
    }
}

fn partition(client: &Client, topic: &mut Topic, index: usize, record: &Record) -> Result<i32> {
    let chosen = match (record.partition, &record.key) {
        (Some(partition), _) => {
            if partition >= topic.partitions {
                topic.partitions = client.partitions_now(&record.topic)?.unwrap_or(topic.partitions);
            }
            partition
        }
        (None, Some(key)) => partition_of(key, topic.partitions),
        (None, None) => {
            let turn = topic.keyless / STICKY_RECORDS;
            topic.keyless += 1;
            // A count of what one call holds fits.
            topic.turn.wrapping_add(turn as u32) % topic.partitions
        }
    };
    match i32::try_from(chosen) {
        Ok(partition) if chosen < topic.partitions => Ok(partition),
        _ => Err(LogError::Poison {
            index,
            detail: format!("topic `{}` has {} partitions, from 0, and so no {chosen}", topic.ours, topic.partitions),
        }),
    }
}
