//! Reading: places in partitions, what lies there next, and waiting at the tail.
//!
//! Not here: groups.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::{
    cache,
    schema::{base_of, failure, last_row_id, row_id},
    shared::{Partition, Shared, Span, read},
};
use crate::{
    LogError, LogRecord, PollLimits, Reader, Result, TopicPartition,
    batch::{Batch, Place, RECORD_HEAD},
};

/// The longest single wait; longer polls wait several times.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Places in some partitions, and taking turns among them.
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    cursors: Vec<Cursor>,
    /// Which cursor is first next time.
    turn: usize,
}

/// A place in a partition.
struct Cursor {
    partition: Arc<Partition>,
    /// The topic's name under a count of references of its own, as [`Cursor::body`].
    topic: Arc<str>,
    position: u64,
    paused: bool,
    /// Batches that were read already, from the position on.
    ahead: VecDeque<Arc<Batch>>,
    /// The place in the first of them; none where it must be looked for.
    place: Option<Place>,
    /// The body of the first of them, under a count of references of its own: each
    /// record holds a few, and readers on several cores would fight for one.
    body: Bytes,
}

/// What is left of a poll's limits.
#[derive(Clone, Copy)]
struct Room {
    records: usize,
    bytes: usize,
}

impl Fetcher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, cursors: Vec::new(), turn: 0 }
    }

    /// Reads a partition from an offset, anew where it did already.
    pub(crate) fn seek(&mut self, partition: Arc<Partition>, position: u64) {
        match self.cursors.iter_mut().find(|cursor| cursor.partition.index == partition.index) {
            Some(cursor) => cursor.seek(position),
            None => {
                let topic = Arc::from(&*partition.name.topic);
                let (ahead, place, body) = (VecDeque::new(), None, Bytes::new());
                self.cursors.push(Cursor { partition, topic, position, paused: false, ahead, place, body });
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.cursors.clear();
    }

    /// Reads only partitions that pass.
    pub(crate) fn retain(&mut self, keep: impl Fn(&TopicPartition) -> bool) {
        self.cursors.retain(|cursor| keep(&cursor.partition.name));
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.cursors.iter().find(|cursor| cursor.partition.name == *partition).map(|cursor| cursor.position)
    }

    pub(crate) fn pause(&mut self, partitions: &[TopicPartition], paused: bool) {
        for cursor in self.cursors.iter_mut().filter(|cursor| partitions.contains(&cursor.partition.name)) {
            cursor.paused = paused;
        }
    }

    /// What is there now, of each partition its share.
    pub(crate) fn fetch(&mut self, limits: PollLimits) -> Result<Vec<LogRecord>> {
        self.shared.check_open()?;
        let count = self.cursors.len();
        let mut ready: Vec<(usize, Span)> = Vec::new();
        {
            let view = read(&self.shared.view);
            for nth in 0..count {
                let index = (self.turn + nth) % count;
                let cursor = &self.cursors[index];
                let span = view.spans[cursor.partition.index];
                if !cursor.paused && cursor.position != span.end {
                    ready.push((index, span));
                }
            }
        }
        let mut records = Vec::new();
        if ready.is_empty() {
            return Ok(records);
        }
        self.turn = (ready[0].0 + 1) % count;
        let mut room = Room { records: limits.max_records.max(1), bytes: limits.max_bytes.max(1) };
        let share = Room { records: room.records.div_ceil(ready.len()), bytes: room.bytes.div_ceil(ready.len()) };
        // First each its share, then whoever has more.
        for round in 0..2 {
            for (index, span) in &ready {
                if room.records == 0 || room.bytes == 0 {
                    break;
                }
                let most = if round == 0 { share.within(room) } else { room };
                let left = match self.cursors[*index].read(&self.shared, *span, most, &mut records) {
                    Ok(left) => left,
                    // What was read before the bad place is given first; the
                    // error comes with the next poll.
                    Err(_) if !records.is_empty() => return Ok(records),
                    Err(error) => return Err(error),
                };
                room.records -= most.records - left.records;
                room.bytes -= most.bytes - left.bytes;
            }
        }
        Ok(records)
    }
}

impl Room {
    fn within(self, other: Self) -> Self {
        Self { records: self.records.min(other.records), bytes: self.bytes.min(other.bytes) }
    }
}

impl Cursor {
    fn seek(&mut self, position: u64) {
        self.position = position;
        self.ahead.clear();
        self.place = None;
    }

    /// Reads what fits; returns the room that is left.
    fn read(&mut self, shared: &Shared, span: Span, mut room: Room, out: &mut Vec<LogRecord>) -> Result<Room> {
        if self.position < span.start || self.position > span.end {
            return Err(self.out_of_range(span));
        }
        while self.position < span.end && room.records > 0 && room.bytes > 0 {
            if self.ahead.is_empty() && !self.load(shared, span)? {
                break;
            }
            let batch = Arc::clone(&self.ahead[0]);
            if batch.base >= span.end {
                break;
            }
            let place = match self.place {
                Some(place) => place,
                None => {
                    self.body = batch.own_body();
                    batch.find(self.position).map_err(|what| self.damaged(shared, batch.base, &what))?
                }
            };
            let place =
                self.take(&batch, place, &mut room, out).map_err(|what| self.damaged(shared, batch.base, &what))?;
            self.place = place;
            if place.is_none() {
                self.position = batch.last + 1;
                self.ahead.pop_front();
                self.body = Bytes::new();
            }
        }
        Ok(room)
    }

    /// Reads on in a batch; returns the place reached, none at its end.
    fn take(
        &mut self,
        batch: &Batch,
        mut place: Place,
        room: &mut Room,
        out: &mut Vec<LogRecord>,
    ) -> std::result::Result<Option<Place>, String> {
        out.reserve(room.records.min(batch.left(place)));
        while room.records > 0 && room.bytes > 0 {
            let Some((entry, next)) = batch.read_from(&self.body, place)? else { return Ok(None) };
            let bytes = RECORD_HEAD
                + entry.key.as_ref().map_or(0, bytes::Bytes::len)
                + entry.value.as_ref().map_or(0, bytes::Bytes::len)
                + entry.headers.as_bytes().len();
            room.records -= 1;
            room.bytes = room.bytes.saturating_sub(bytes);
            self.position = entry.offset + 1;
            place = next;
            out.push(LogRecord {
                topic: Arc::clone(&self.topic),
                partition: self.partition.name.partition,
                offset: entry.offset,
                timestamp_ms: entry.timestamp_ms,
                key: entry.key,
                value: entry.value,
                headers: entry.headers,
            });
        }
        Ok(Some(place).filter(|place| batch.left(*place) > 0))
    }

    /// Gets the batches at the position, from memory or the file; false where
    /// there are none.
    fn load(&mut self, shared: &Shared, span: Span) -> Result<bool> {
        self.place = None;
        if let Some(batch) = cache::find(&self.partition, self.position) {
            self.ahead.push_back(batch);
            return Ok(true);
        }
        let position = self.position;
        self.ahead = shared.with_reader(|connection| read_batches(shared, connection, &self.partition, position))?;
        if self.ahead.front().is_none_or(|batch| batch.base > position) {
            // Either a gap, or it was removed just now.
            let now = shared.span(&self.partition);
            if position < now.start {
                self.ahead.clear();
                return Err(self.out_of_range(now));
            }
        }
        Ok(self.ahead.front().is_some_and(|batch| batch.base < span.end))
    }

    fn out_of_range(&self, span: Span) -> LogError {
        LogError::OutOfRange {
            partition: self.partition.name.clone(),
            wanted: self.position,
            start: span.start,
            end: span.end,
        }
    }

    fn damaged(&self, shared: &Shared, base: u64, what: &str) -> LogError {
        damaged(shared, &self.partition, base, what)
    }
}

/// Batches from the one that holds an offset on, about a megabyte of them.
pub(crate) fn read_batches(
    shared: &Shared,
    connection: &Connection,
    partition: &Partition,
    offset: u64,
) -> Result<VecDeque<Arc<Batch>>> {
    /// Rows and bytes that are read in one go: what one large batch has.
    const ROWS: usize = 256;
    const BYTES: usize = 1 << 20;
    let failed = |error| failure(&shared.file, error);
    let mut statement = connection
        .prepare_cached(
            "SELECT id, last_offset, data FROM batches
             WHERE id BETWEEN coalesce(
                 (SELECT id FROM batches WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1), ?2) AND ?3
             AND last_offset >= ?4 ORDER BY id",
        )
        .map_err(failed)?;
    let mut rows = statement
        .query(params![row_id(partition.id, 0), row_id(partition.id, offset), last_row_id(partition.id), offset])
        .map_err(failed)?;
    let mut batches = VecDeque::new();
    let mut bytes = 0;
    while bytes < BYTES && batches.len() < ROWS {
        let Some(row) = rows.next().map_err(failed)? else { break };
        let base = base_of(row.get(0).map_err(failed)?);
        let blob = row.get_ref(2).map_err(failed)?.as_blob().unwrap_or_default().to_vec();
        bytes += blob.len();
        match Batch::open(blob) {
            Ok(batch) if batch.base == base && Ok(batch.last) == row.get(1) => batches.push_back(Arc::new(batch)),
            // What lies before it can still be read.
            _ if !batches.is_empty() => break,
            Ok(_) => return Err(damaged(shared, partition, base, "it belongs elsewhere")),
            Err(what) => return Err(damaged(shared, partition, base, &what)),
        }
    }
    Ok(batches)
}

/// What a person is told of a batch that cannot be read.
pub(crate) fn damaged(shared: &Shared, partition: &Partition, base: u64, what: &str) -> LogError {
    LogError::Fatal(format!(
        "the batch of {} at offset {base} in {} is damaged: {what}. Nothing was skipped. Stop tapedeck, copy the \
         folder, then restore a backup; or read on beyond the batch by resetting the group's offset",
        partition.name,
        shared.file.display()
    ))
}

/// The first offset whose record is at least as new.
pub(crate) fn offset_at(shared: &Shared, partition: &Partition, timestamp_ms: i64) -> Result<u64> {
    let span = shared.span(partition);
    let failed = |error| failure(&shared.file, error);
    let base = shared.with_reader(|connection| {
        let mut statement = connection
            .prepare_cached(
                "SELECT id FROM batches WHERE id BETWEEN ?1 AND ?2 AND max_timestamp_ms >= ?3 ORDER BY id LIMIT 1",
            )
            .map_err(failed)?;
        let mut rows = statement
            .query(params![row_id(partition.id, 0), last_row_id(partition.id), timestamp_ms])
            .map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
        let base = base_of(row.get(0).map_err(failed)?);
        drop(rows);
        Ok(read_batches(shared, connection, partition, base)?.pop_front())
    })?;
    let Some(batch) = base else { return Ok(span.end) };
    let entries = batch.entries().map_err(|what| damaged(shared, partition, batch.base, &what))?;
    let found = entries.iter().find(|entry| entry.timestamp_ms >= timestamp_ms && entry.offset >= span.start);
    Ok(found.map_or(span.end, |entry| entry.offset).min(span.end))
}

/// Reads partitions of its own choice.
pub(crate) struct EmbeddedReader {
    shared: Arc<Shared>,
    fetcher: Fetcher,
}

impl EmbeddedReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { fetcher: Fetcher::new(Arc::clone(&shared)), shared }
    }
}

impl Reader for EmbeddedReader {
    fn assign(&mut self, from: &[(TopicPartition, u64)]) -> Result<()> {
        let found: Vec<_> = from
            .iter()
            .map(|(partition, position)| Ok((self.shared.partition(partition)?, *position)))
            .collect::<Result<_>>()?;
        self.fetcher.clear();
        for (partition, position) in found {
            self.fetcher.seek(partition, position);
        }
        Ok(())
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Vec<LogRecord>> {
        let deadline = deadline(limits.timeout);
        loop {
            let heard = self.shared.bell.rings();
            let records = self.fetcher.fetch(limits)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !records.is_empty() || left.is_zero() {
                return Ok(records);
            }
            self.shared.bell.wait(heard, left);
        }
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.fetcher.position(partition)
    }
}

/// When a poll that begins now is over.
pub(crate) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(LONGEST_WAIT)
}
