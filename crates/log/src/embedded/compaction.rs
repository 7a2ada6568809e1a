//! Compaction: of the records of a key only the newest stays, and its tombstone
//! goes after a while. Offsets stay as they are and get gaps. The newest batch
//! is never touched, so a partition's end outlives everything.
//!
//! Not here: when it runs, and removing by age.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    change::{Change, Piece},
    reader::{damaged, read_batches},
    schema::{base_of, failure, last_row_id, row_id},
    shared::{Partition, Shared},
    writer::{BATCH_BYTES, Job},
};
use crate::{
    Result,
    batch::{Batch, Entry, Segment},
};

/// Keys that one run looks at; the next run goes on. With keys of 50 bytes
/// about 100 MB.
const KEYS: usize = 1_000_000;
/// Fewer new bytes than this are left for later, unless a run is thorough.
const WORTH_BYTES: u64 = 4 << 20;

/// How far a partition is clean, since this process runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleaned {
    to: u64,
    /// The partition's size after the last run.
    bytes: u64,
}

/// The newest offset of each key, from some offset on.
pub(crate) struct Newest {
    offsets: HashMap<Vec<u8>, u64>,
    /// Below this everything was looked at.
    covered_to: u64,
}

/// When records go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Tombstones written before this go.
    pub(crate) tombstones_before_ms: i64,
}

/// Compacts a partition; returns how many records went.
pub(crate) fn compact(
    shared: &Shared,
    partition: &Arc<Partition>,
    cleaned: &mut Cleaned,
    now_ms: i64,
    thorough: bool,
) -> Result<u64> {
    let span = shared.span(partition);
    let Some(active) = last_base(shared, partition)? else { return Ok(0) };
    let new_bytes = span.bytes.saturating_sub(cleaned.bytes);
    // As much new as old: each byte is then written about twice in the end.
    if active <= span.start || (!thorough && new_bytes < WORTH_BYTES.max(cleaned.bytes)) {
        return Ok(0);
    }
    let newest = gather(shared, partition, cleaned.to.max(span.start), span.end)?;
    let kept_ms = i64::try_from(shared.config.tombstone_retention.as_millis()).unwrap_or(i64::MAX);
    let rule = Rule { tombstones_before_ms: now_ms.saturating_sub(kept_ms) };
    let until = active.min(newest.covered_to);
    let mut removed = 0;
    let mut at = span.start;
    while at < until {
        let batches = shared.with_reader(|connection| read_batches(shared, connection, partition, at))?;
        let chunk = chunk(batches, until);
        let Some(last) = chunk.last() else { break };
        at = last.last + 1;
        removed += rewrite(shared, partition, &chunk, &newest, rule)?;
    }
    *cleaned = Cleaned { to: until, bytes: shared.span(partition).bytes };
    Ok(removed)
}

impl Newest {
    pub(crate) fn new(from: u64) -> Self {
        Self { offsets: HashMap::new(), covered_to: from }
    }

    /// Takes note of a record.
    pub(crate) fn see(&mut self, entry: &Entry) {
        if let Some(key) = &entry.key {
            match self.offsets.get_mut(&key[..]) {
                Some(offset) => *offset = entry.offset,
                None => drop(self.offsets.insert(key.to_vec(), entry.offset)),
            }
        }
    }

    /// Whether a record stays.
    pub(crate) fn keeps(&self, entry: &Entry, rule: Rule) -> bool {
        let Some(key) = &entry.key else { return true };
        let newest = self.offsets.get(&key[..]).is_none_or(|offset| *offset <= entry.offset);
        newest && (entry.value.is_some() || entry.timestamp_ms >= rule.tombstones_before_ms)
    }
}

/// Looks at the records from an offset on.
fn gather(shared: &Shared, partition: &Partition, from: u64, end: u64) -> Result<Newest> {
    let mut newest = Newest::new(from);
    while newest.covered_to < end && newest.offsets.len() < KEYS {
        let at = newest.covered_to;
        let batches = shared.with_reader(|connection| read_batches(shared, connection, partition, at))?;
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            for entry in entries(shared, partition, &batch)? {
                newest.see(&entry);
            }
            newest.covered_to = batch.last + 1;
        }
    }
    Ok(newest)
}

/// Batches that become one: below `until`, and not too many bytes.
fn chunk(batches: VecDeque<Arc<Batch>>, until: u64) -> Vec<Arc<Batch>> {
    let mut chunk: Vec<Arc<Batch>> = Vec::new();
    let mut bytes = 0;
    for batch in batches {
        bytes += batch.memory();
        let base = chunk.first().map_or(batch.base, |first| first.base);
        let too_far = batch.last - base >= u64::from(u32::MAX);
        if batch.base >= until || (!chunk.is_empty() && (bytes > BATCH_BYTES || too_far)) {
            break;
        }
        chunk.push(batch);
    }
    chunk
}

fn rewrite(
    shared: &Shared,
    partition: &Arc<Partition>,
    chunk: &[Arc<Batch>],
    newest: &Newest,
    rule: Rule,
) -> Result<u64> {
    let (from, last) = (chunk[0].base, chunk[chunk.len() - 1].last);
    let (mut segment, mut offsets, mut removed) = (Segment::with_capacity(0), Vec::new(), 0);
    for batch in chunk {
        for entry in entries(shared, partition, batch)? {
            if newest.keeps(&entry, rule) {
                offsets.push(entry.offset);
                let (key, value) = (entry.key.as_deref(), entry.value.as_deref());
                segment.push(entry.timestamp_ms, key, value, entry.headers.as_bytes());
            } else {
                removed += 1;
            }
        }
    }
    if removed == 0 && chunk.len() == 1 {
        return Ok(0);
    }
    let newest_ms = segment.max_timestamp_ms;
    let with = (!offsets.is_empty()).then(|| {
        let blob = segment.seal_with_gaps(from, last, &offsets, shared.config.compress);
        Piece { base: from, last, newest_ms, blob }
    });
    let bytes = stored_bytes(shared, partition, from, last)?;
    let change = Change::Replace { partition: Arc::clone(partition), from, to: last + 1, bytes, with };
    shared.ask(|answer| Job::Change(change, answer))?;
    Ok(removed)
}

fn entries(shared: &Shared, partition: &Partition, batch: &Batch) -> Result<Vec<Entry>> {
    batch.entries().map_err(|what| damaged(shared, partition, batch.base, &what))
}

fn last_base(shared: &Shared, partition: &Partition) -> Result<Option<u64>> {
    let first_and_last = [row_id(partition.id, 0), last_row_id(partition.id)];
    let id: Option<i64> = one(shared, "SELECT max(id) FROM batches WHERE id BETWEEN ?1 AND ?2", first_and_last)?;
    Ok(id.map(base_of))
}

fn stored_bytes(shared: &Shared, partition: &Partition, from: u64, last: u64) -> Result<u64> {
    let between = [row_id(partition.id, from), row_id(partition.id, last)];
    let bytes: Option<i64> = one(shared, "SELECT sum(bytes) FROM batches WHERE id BETWEEN ?1 AND ?2", between)?;
    Ok(bytes.unwrap_or(0).unsigned_abs())
}

fn one(shared: &Shared, sql: &str, between: [i64; 2]) -> Result<Option<i64>> {
    shared.with_reader(|connection| {
        let mut statement = connection.prepare_cached(sql).map_err(|error| failure(&shared.file, error))?;
        statement.query_row(between, |row| row.get(0)).map_err(|error| failure(&shared.file, error))
    })
}
