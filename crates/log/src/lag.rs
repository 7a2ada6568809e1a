//! How far a group is behind: in records and in time.
//!
//! Not here: alerts about it, and gauges.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{Log, PollLimits, Result, TopicPartition};

/// How long a record that must be there is waited for: a reader that has to find its
/// broker first, on a busy machine, takes more than a second.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A group's lag in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset of the next record to take; none where the group has committed
    /// nothing, and would begin at the start.
    pub committed: Option<u64>,
    /// The first offset that can still be read.
    pub start: u64,
    /// The offset after the last record.
    pub end: u64,
    /// Offsets between the group and the end; not each need hold a record.
    pub lag_records: u64,
    /// How long ago the oldest record that waits was written; 0 where none does.
    pub lag_ms: u64,
}

impl PartitionLag {
    /// Whether records were removed that the group had not taken yet.
    pub fn has_gap(&self) -> bool {
        self.committed.is_some_and(|committed| committed < self.start)
    }
}

/// A group's lag in all partitions of these topics and in all others that it has
/// committed, in order. `now_ms` is in ms since the epoch.
///
/// # Errors
/// The log cannot be read.
pub fn of_group(log: &dyn Log, group: &str, topics: &[Arc<str>], now_ms: i64) -> Result<Vec<PartitionLag>> {
    let mut places: BTreeMap<TopicPartition, Option<u64>> = BTreeMap::new();
    for topic in log.topics()?.iter().filter(|topic| topics.contains(&topic.config.name)) {
        let name = |number| TopicPartition::new(Arc::clone(&topic.config.name), number);
        places.extend((0..topic.config.partitions).map(|number| (name(number), None)));
    }
    places.extend(log.committed(group)?.into_iter().map(|offset| (offset.partition, Some(offset.next))));
    places.into_iter().map(|(partition, committed)| of_partition(log, partition, committed, now_ms)).collect()
}

fn of_partition(log: &dyn Log, partition: TopicPartition, committed: Option<u64>, now_ms: i64) -> Result<PartitionLag> {
    let (start, end) = log.bounds(&partition)?;
    let from = committed.unwrap_or(start).max(start);
    let oldest_ms = if from < end { oldest_ms(log, &partition, from, end)? } else { None };
    let lag_ms = oldest_ms.map_or(0, |oldest| u64::try_from(now_ms.saturating_sub(oldest)).unwrap_or(0));
    Ok(PartitionLag { partition, committed, start, end, lag_records: end.saturating_sub(from), lag_ms })
}

/// When the first record from an offset on was written; none where there is
/// none after all, as between markers.
fn oldest_ms(log: &dyn Log, partition: &TopicPartition, from: u64, end: u64) -> Result<Option<i64>> {
    let mut reader = log.reader()?;
    reader.assign(&[(partition.clone(), from)])?;
    let deadline = Instant::now() + READ_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let records = reader.poll(PollLimits { max_records: 1, max_bytes: 1, timeout: left })?;
        if let Some(record) = records.first() {
            return Ok(Some(record.timestamp_ms));
        }
        // A poll may also have moved over markers alone.
        if left.is_zero() || reader.position(partition).is_none_or(|position| position >= end) {
            return Ok(None);
        }
    }
}
