//! What keeps the log from growing for ever: retention by time and size, and
//! the thread that sees to it.
//!
//! Not here: compaction.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use rusqlite::Connection;

use super::{
    change::Change,
    compaction::{self, Cleaned},
    prepare::now_ms,
    schema::{base_of, failure, last_row_id, row_id},
    shared::{Partition, Shared, Span, lock, read},
    writer::Job,
};
use crate::{Result, TopicConfig};

/// How often the thread looks: retention is counted in hours, and disk use may
/// be half a minute behind.
const EVERY: Duration = Duration::from_secs(30);
/// Every so many looks compaction also takes what is hardly worth it, so that
/// old tombstones go: about once an hour.
const THOROUGH_EVERY: u64 = 120;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bytes that retention removed.
    pub removed_bytes: u64,
    /// Records that compaction removed.
    pub compacted_records: u64,
}

/// Sweeps, one at a time.
pub(crate) struct Maintenance {
    shared: Arc<Shared>,
    memory: Mutex<Memory>,
    stop: Mutex<bool>,
    stopping: Condvar,
}

/// What is remembered from sweep to sweep, by the partition's index.
#[derive(Default)]
struct Memory {
    cleaned: HashMap<usize, Cleaned>,
    counted: HashMap<usize, Span>,
}

/// Batches at the front of a partition that may go.
#[derive(Clone, Copy, Debug, Default)]
struct Front {
    start: u64,
    bytes: u64,
}

impl Maintenance {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, memory: Mutex::default(), stop: Mutex::new(false), stopping: Condvar::new() }
    }

    /// Sweeps now and then until asked to stop.
    pub(crate) fn run(&self) {
        for look in 1_u64.. {
            let stop = lock(&self.stop);
            let (stop, _) = self
                .stopping
                .wait_timeout_while(stop, EVERY, |stop| !*stop)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if *stop {
                return;
            }
            drop(stop);
            if let Err(error) = self.sweep(now_ms(), look % THOROUGH_EVERY == 0)
                && self.shared.check_open().is_ok()
            {
                tracing::warn!(%error, "old records could not be removed; it is tried again");
            }
        }
    }

    pub(crate) fn stop(&self) {
        *lock(&self.stop) = true;
        self.stopping.notify_all();
    }

    /// Removes what is too old or too much, and compacts; `thorough` also where
    /// little would be gained.
    pub(crate) fn sweep(&self, now_ms: i64, thorough: bool) -> Result<Swept> {
        let mut memory = lock(&self.memory);
        let mut swept = Swept::default();
        let topics = read(&self.shared.topics).clone();
        for topic in topics.values() {
            let config = read(&topic.config).clone();
            for partition in &topic.partitions {
                if config.delete {
                    swept.removed_bytes += self.remove_old(partition, &config, now_ms)?;
                }
                if config.compact {
                    let cleaned = memory.cleaned.entry(partition.index).or_default();
                    swept.compacted_records += compaction::compact(&self.shared, partition, cleaned, now_ms, thorough)?;
                }
            }
        }
        self.count(&mut memory)?;
        Ok(swept)
    }

    /// Has the writer note how much there is in partitions that changed.
    fn count(&self, memory: &mut Memory) -> Result<()> {
        let topics = read(&self.shared.topics).clone();
        let spans = read(&self.shared.view).spans.clone();
        let all = topics.values().flat_map(|topic| &topic.partitions);
        let changed: Vec<_> = all
            .filter(|partition| {
                let span = spans[partition.index];
                span != memory.counted.get(&partition.index).copied().unwrap_or_default()
            })
            .cloned()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.shared.ask(|answer| Job::Change(Change::Count(changed), answer))?;
        memory.counted = spans.into_iter().enumerate().collect();
        Ok(())
    }

    fn remove_old(&self, partition: &Arc<Partition>, config: &TopicConfig, now_ms: i64) -> Result<u64> {
        let oldest_ms = config.retention.map(|kept| now_ms.saturating_sub(millis(kept)));
        let cap = Some(self.shared.config.max_topic_bytes).filter(|cap| *cap > 0 && !config.compact);
        let most_bytes = [config.retention_bytes, cap].into_iter().flatten().min();
        if oldest_ms.is_none() && most_bytes.is_none() {
            return Ok(0);
        }
        let mut removed = 0;
        loop {
            let span = self.shared.span(partition);
            let front = self.shared.with_reader(|connection| {
                find_front(connection, partition, span, oldest_ms, most_bytes)
                    .map_err(|error| failure(&self.shared.file, error))
            })?;
            if front.start <= span.start {
                return Ok(removed);
            }
            let (partition, Front { start, bytes }) = (Arc::clone(partition), front);
            self.shared.ask(|answer| Job::Change(Change::Remove { partition, start, bytes }, answer))?;
            removed += bytes;
        }
    }
}

/// The batches at the front that are older than `oldest_ms`, or without which
/// there would still be `most_bytes`.
fn find_front(
    connection: &Connection,
    partition: &Partition,
    span: Span,
    oldest_ms: Option<i64>,
    most_bytes: Option<u64>,
) -> rusqlite::Result<Front> {
    /// What one transaction removes at most, so that appends wait only
    /// some milliseconds for it.
    const ROWS: usize = 1000;
    const BYTES: u64 = 32 << 20;
    let mut statement = connection.prepare_cached(
        "SELECT id, last_offset, max_timestamp_ms, bytes FROM batches WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    )?;
    let mut rows = statement.query([row_id(partition.id, 0), last_row_id(partition.id)])?;
    let mut front = Front { start: span.start, bytes: 0 };
    for _ in 0..ROWS {
        let Some(row) = rows.next()? else { break };
        let (base, last) = (base_of(row.get(0)?), row.get::<_, u64>(1)?);
        let (newest_ms, bytes): (i64, u64) = (row.get(2)?, row.get(3)?);
        let too_old = oldest_ms.is_some_and(|oldest| newest_ms < oldest);
        let too_much = most_bytes.is_some_and(|most| span.bytes >= front.bytes + bytes + most);
        if base >= span.end || !(too_old || too_much) || front.bytes >= BYTES {
            break;
        }
        front = Front { start: last + 1, bytes: front.bytes + bytes };
    }
    Ok(front)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
