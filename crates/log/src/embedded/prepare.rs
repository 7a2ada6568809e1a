//! From records to pieces of partitions: checks, partitions, bytes. Done in the
//! caller's thread, so that the writer only writes.
//!
//! Not here: offsets, which the writer gives.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    shared::{Partition, Shared, Topic, read},
    writer::BATCH_BYTES,
};
use crate::{LogError, Placement, Record, Result, batch::Segment, partitioner::partition_of};

/// Records that lie ready to be written.
pub(crate) struct Prepared {
    pub(crate) segments: Vec<(Arc<Partition>, Segment)>,
    /// For each record its segment and its place there.
    places: Vec<(u32, u32)>,
}

/// One partition while its records are gathered.
struct Slot {
    partition: Arc<Partition>,
    bytes_left: usize,
    segment: Option<u32>,
}

impl Prepared {
    /// Splits what the writer takes from what tells where each record lies.
    pub(crate) fn split(self) -> (Vec<(Arc<Partition>, Segment)>, Places) {
        let partitions = self.segments.iter().map(|(partition, _)| partition.name.partition).collect();
        (self.segments, Places { partitions, places: self.places })
    }
}

/// Where each record of a call lies, but for the offsets.
pub(crate) struct Places {
    partitions: Vec<u32>,
    places: Vec<(u32, u32)>,
}

impl Places {
    /// With the base offsets of the segments.
    pub(crate) fn at(&self, bases: &[u64]) -> Vec<Placement> {
        let place = |(segment, nth): &(u32, u32)| Placement {
            partition: self.partitions[*segment as usize],
            offset: bases[*segment as usize] + u64::from(*nth),
        };
        self.places.iter().map(place).collect()
    }
}

/// Checks records and lays them together by partition.
///
/// # Errors
/// Poison for the first record that can never be written.
pub(crate) fn prepare(shared: &Shared, records: &[Record]) -> Result<Prepared> {
    let now_ms = now_ms();
    let mut slots: Vec<Slot> = Vec::new();
    let mut slot_of: HashMap<usize, usize> = HashMap::new();
    let mut chosen = Vec::with_capacity(records.len());
    let mut topic: Option<Arc<Topic>> = None;
    for (index, record) in records.iter().enumerate() {
        if topic.as_ref().is_none_or(|topic| topic.name != record.topic) {
            topic = shared.topic(&record.topic);
        }
        let poison = |detail| LogError::Poison { index, detail };
        let topic = topic.as_ref().ok_or_else(|| {
            poison(format!("topic `{}` does not exist: create it, or correct the name", record.topic))
        })?;
        let partition = choose(shared, topic, record).map_err(poison)?;
        let bytes = record.bytes();
        check(shared, topic, record, bytes).map_err(poison)?;
        let slot = *slot_of.entry(partition.index).or_insert_with(|| {
            slots.push(Slot { partition: Arc::clone(partition), bytes_left: 0, segment: None });
            slots.len() - 1
        });
        slots[slot].bytes_left += bytes;
        chosen.push(slot);
    }
    Ok(gather(records, slots, &chosen, now_ms))
}

/// Milliseconds since the epoch, now.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn gather(records: &[Record], mut slots: Vec<Slot>, chosen: &[usize], now_ms: i64) -> Prepared {
    let mut segments: Vec<(Arc<Partition>, Segment)> = Vec::with_capacity(slots.len());
    let mut places = Vec::with_capacity(records.len());
    for (record, slot) in records.iter().zip(chosen) {
        let slot = &mut slots[*slot];
        let bytes = record.bytes();
        let current = match slot.segment {
            Some(segment) if segments[segment as usize].1.len() + bytes <= BATCH_BYTES => segment,
            _ => {
                let room = slot.bytes_left.min(BATCH_BYTES.max(bytes));
                segments.push((Arc::clone(&slot.partition), Segment::with_capacity(room)));
                segments.len() as u32 - 1
            }
        };
        slot.segment = Some(current);
        slot.bytes_left -= bytes;
        let segment = &mut segments[current as usize].1;
        places.push((current, segment.count));
        let timestamp_ms = record.timestamp_ms.unwrap_or(now_ms);
        segment.push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), record.headers.as_bytes());
    }
    Prepared { segments, places }
}

fn choose<'a>(shared: &Shared, topic: &'a Topic, record: &Record) -> std::result::Result<&'a Arc<Partition>, String> {
    /// Records without a key that go to one partition before the next takes its
    /// turn, so that they lie in few batches.
    const IN_A_ROW: u64 = 64;
    let count = topic.partitions.len() as u32;
    let number = match (record.partition, &record.key) {
        (Some(number), _) => number,
        (None, Some(key)) => partition_of(key, count),
        (None, None) => (shared.spread.fetch_add(1, Ordering::Relaxed) / IN_A_ROW % u64::from(count)) as u32,
    };
    topic
        .partitions
        .get(number as usize)
        .ok_or_else(|| format!("topic `{}` has no partition {number}, only 0 to {}", topic.name, count - 1))
}

fn check(shared: &Shared, topic: &Topic, record: &Record, bytes: usize) -> std::result::Result<(), String> {
    let most = shared.config.max_record_bytes;
    if bytes > most {
        return Err(format!(
            "{bytes} bytes for topic `{}` are more than a record may have ({most}): make it smaller, or raise the limit",
            topic.name
        ));
    }
    if record.key.is_none() && read(&topic.config).compact {
        return Err(format!("topic `{}` keeps the newest record of each key, and this one has no key", topic.name));
    }
    Ok(())
}
