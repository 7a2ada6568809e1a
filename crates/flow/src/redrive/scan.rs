//! Reading dead letter topics: oldest first, partition by partition, to act on
//! all; newest first over all partitions, for people. Bounded in both.
//!
//! Not here: which dead letters are wanted, and what became of them.

use std::{ops::ControlFlow, time::Duration};

use tapedeck_contracts::{catalogue::origin_of_dlq, headers::Place};
use tapedeck_log::{Log, LogError, LogRecord, PollLimits, Reader, TopicInfo, TopicPartition};

use super::{LetterId, Recent};
use crate::{DeadLetter, Failure};

/// One read: some MB, so that bodies at the size limit are a few at a time.
const READ: PollLimits = PollLimits { max_records: 1_000, max_bytes: 4 << 20, timeout: Duration::from_millis(100) };
/// Reads in a row that bring nothing although records should be there.
const EMPTY_READS: u32 = 50;
/// How near two copies of a dead letter lie: within a batch of its reader.
const NEAR_RECORDS: usize = 8_192;
/// The same in bytes, where bodies are large.
const NEAR_BYTES: usize = 16 << 20;
/// Read backwards at a time, of each partition; kept without their bodies.
const BLOCK: u64 = 64;

/// A partition of a dead letter topic, from its first offset to the one after
/// its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The partition.
    pub place: TopicPartition,
    /// The first offset to read.
    pub start: u64,
    /// The offset to stop before.
    pub end: u64,
}

/// A dead letter and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: LetterId,
    /// Where it lies in its dead letter topic.
    pub place: Place,
    /// When it was written, in ms since the epoch.
    pub written_ms: i64,
    /// How large the record's value is, also where it was left out.
    pub value_bytes: usize,
    /// What it says.
    pub letter: DeadLetter,
}

/// A record of a dead letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// A dead letter.
    Letter(Box<Found>),
    /// Something else that somebody wrote there, and why it cannot be read.
    Unreadable(Place, String),
}

/// The partitions of the dead letter topics, by topic and partition, as they are
/// now; of one topic's dead letters where it is named.
pub fn parts(topics: &[TopicInfo], origin: Option<&str>) -> Vec<Part> {
    let wanted = |info: &&TopicInfo| {
        origin_of_dlq(&info.config.name).is_some_and(|topic| origin.is_none_or(|origin| origin == topic))
    };
    let mut parts: Vec<Part> = topics
        .iter()
        .filter(wanted)
        .flat_map(|info| {
            info.partitions.iter().map(|part| Part {
                place: TopicPartition::new(info.config.name.as_ref(), part.partition),
                start: part.start,
                end: part.end,
            })
        })
        .collect();
    parts.sort_by(|a, b| a.place.cmp(&b.place));
    parts
}

/// Remembers the ids that lie in a part, up to 16 MiB of it: a dead letter that was
/// written twice lies near its other copy.
///
/// # Errors
/// Those of the log.
pub fn ids_within(log: &dyn Log, part: &Part, recent: &mut Recent) -> Result<(), Failure> {
    let (mut records, mut bytes) = (0, 0);
    let _ = read(log, part, READ, &mut |record| {
        records += 1;
        bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
        if let Scanned::Letter(found) = Scanned::of(record) {
            recent.insert(found.id);
        }
        let enough = records >= NEAR_RECORDS || bytes >= NEAR_BYTES;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(())
}

/// The dead letter at a place; none where nothing (any more) lies there.
///
/// # Errors
/// Those of the log.
pub fn letter_at(log: &dyn Log, place: &Place) -> Result<Option<Scanned>, Failure> {
    Ok(record_at(log, place)?.map(Scanned::of))
}

/// The record at a place; none where nothing (any more) lies there.
pub(super) fn record_at(log: &dyn Log, place: &Place) -> Result<Option<LogRecord>, Failure> {
    let topics = log.topics()?;
    let info = topics.iter().find(|info| *info.config.name == *place.topic);
    let Some(part) = info.and_then(|info| info.partitions.iter().find(|part| part.partition == place.partition)) else {
        return Ok(None);
    };
    if !(part.start..part.end).contains(&place.offset) {
        return Ok(None);
    }
    let part = Part {
        place: TopicPartition::new(place.topic.as_str(), place.partition),
        start: place.offset,
        end: place.offset + 1,
    };
    let mut found = None;
    let _ = read(log, &part, PollLimits { max_records: 1, ..READ }, &mut |record| {
        found = Some(record);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found.filter(|record| record.offset == place.offset))
}

/// Oldest first, one partition after the other.
pub struct Forward<'a> {
    log: &'a dyn Log,
}

impl<'a> Forward<'a> {
    /// Over a log.
    pub fn new(log: &'a dyn Log) -> Self {
        Self { log }
    }

    /// Gives each record of a partition, in order, until it is told to stop.
    ///
    /// # Errors
    /// Those of the log, and those of who is given the records.
    pub fn each(
        &self,
        part: &Part,
        take: &mut dyn FnMut(Scanned) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<ControlFlow<()>, Failure> {
        read(self.log, part, READ, &mut |record| take(Scanned::of(record)))
    }
}

/// Newest first over all partitions, by (time written, partition, offset), without
/// the records' bodies and headers.
pub struct Newest<'a> {
    log: &'a dyn Log,
    /// With what of each was read and not given yet, oldest first.
    parts: Vec<(Part, Vec<(i64, Scanned)>)>,
}

impl<'a> Newest<'a> {
    /// Over these partitions.
    pub fn new(log: &'a dyn Log, parts: Vec<Part>) -> Self {
        Self { log, parts: parts.into_iter().map(|part| (part, Vec::new())).collect() }
    }

    /// For each partition the offset before which it was not read yet.
    pub fn ends(&self) -> Vec<u64> {
        let end = |(part, block): &(Part, Vec<(i64, Scanned)>)| {
            block.last().map_or(part.end, |(_, scanned)| scanned.place().offset + 1)
        };
        self.parts.iter().map(end).collect()
    }

    /// The next record.
    ///
    /// # Errors
    /// Those of the log.
    pub fn next_record(&mut self) -> Result<Option<Scanned>, Failure> {
        for (part, block) in &mut self.parts {
            if block.is_empty() {
                fill(self.log, part, block)?;
            }
        }
        let heads = self.parts.iter().enumerate().filter_map(|(index, (_, block))| {
            let (written_ms, scanned) = block.last()?;
            Some((*written_ms, index, scanned.place().offset))
        });
        let Some((_, index, _)) = heads.max() else { return Ok(None) };
        Ok(self.parts[index].1.pop().map(|(_, scanned)| scanned))
    }
}

impl Scanned {
    /// Reads a record of a dead letter topic.
    pub fn of(record: LogRecord) -> Self {
        let place = crate::inbound::place_of(&record);
        let read = DeadLetter::read(&record).and_then(|letter| Ok((letter.id.0.parse::<LetterId>()?, letter)));
        match read {
            Err(why) => Self::Unreadable(place, why),
            Ok((id, letter)) => {
                let left_out = letter.omitted.iter().find(|one| one.part == "value").map(|one| one.bytes);
                let value_bytes = left_out.unwrap_or_else(|| letter.value.as_ref().map_or(0, bytes::Bytes::len));
                Self::Letter(Box::new(Found { id, place, written_ms: record.timestamp_ms, value_bytes, letter }))
            }
        }
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        match self {
            Self::Letter(found) => &found.place,
            Self::Unreadable(place, _) => place,
        }
    }

    /// Without what is large, and without a share of the buffer it was read into.
    fn slim(self) -> Self {
        match self {
            Self::Letter(mut found) => {
                let letter = &mut found.letter;
                (letter.value, letter.headers) = (None, tapedeck_log::Headers::new());
                letter.key = letter.key.take().map(|key| bytes::Bytes::copy_from_slice(&key));
                Self::Letter(found)
            }
            unreadable @ Self::Unreadable(..) => unreadable,
        }
    }
}

/// Reads the block before what was read.
fn fill(log: &dyn Log, part: &mut Part, block: &mut Vec<(i64, Scanned)>) -> Result<(), Failure> {
    // Offsets may have gaps: a block may be empty and the one before it not.
    while block.is_empty() && part.end > part.start {
        let piece = Part { start: part.start.max(part.end.saturating_sub(BLOCK)), ..part.clone() };
        part.end = piece.start;
        let _ = read(log, &piece, READ, &mut |record| {
            block.push((record.timestamp_ms, Scanned::of(record).slim()));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

/// Reads a partition from start to end. What retention takes meanwhile is left out.
fn read(
    log: &dyn Log,
    part: &Part,
    limits: PollLimits,
    take: &mut dyn FnMut(LogRecord) -> Result<ControlFlow<()>, Failure>,
) -> Result<ControlFlow<()>, Failure> {
    let mut empty = 0;
    let mut reader = log.reader()?;
    let mut at = part.start;
    reader.assign(&[(part.place.clone(), at)])?;
    while at < part.end {
        let records = match reader.poll(limits) {
            Ok(records) => records,
            Err(LogError::OutOfRange { start, .. }) if start > at => {
                at = start;
                reader.assign(&[(part.place.clone(), at)])?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        empty = if records.is_empty() { empty + 1 } else { 0 };
        for record in records {
            if record.offset >= part.end || take(record)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        at = position(reader.as_ref(), &part.place, at);
        if empty == EMPTY_READS && at < part.end {
            return Err(Failure::Transient(format!("{} brings no records from offset {at} on; try again", part.place)));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn position(reader: &dyn Reader, place: &TopicPartition, at: u64) -> u64 {
    reader.position(place).unwrap_or(at).max(at)
}
