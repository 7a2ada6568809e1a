//! The log's contents: counted, appended in their order to the target's empty
//! partitions, and read back and compared.
//!
//! What a target's partition holds is always the beginning of what it will hold,
//! so an end at any moment is gone on with from its end.
//!
//! Not here: offsets (`offsets`) and what names them (`rewrite`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tapedeck_flow::Stop;
use tapedeck_log::{GroupOffset, Log, LogError, LogRecord, PollLimits, Record, TopicInfo, TopicPartition};

use super::{
    offsets::{Offsets, Part},
    rewrite::rewrite,
};
use crate::exit;

/// Large, since nothing else waits.
const READ: PollLimits = PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };
/// Records of one append: enough that a round trip does not count.
const APPEND: usize = 4_000;
/// Bytes of one append, about.
const APPEND_BYTES: usize = 4 << 20;
/// Tries of one append; the target is looked at before each.
const TRIES: u32 = 8;
/// Between two tries: what was on its way has come, or never will.
const BETWEEN: Duration = Duration::from_secs(1);
/// Reads in a row that bring nothing before an end is not believed to come: a
/// minute, longer than any election.
const EMPTY_READS: u32 = 600;

/// What is read and where it goes.
pub(super) struct Tape<'a> {
    pub(super) source: &'a dyn Log,
    pub(super) target: &'a dyn Log,
    pub(super) stop: &'a Stop,
    /// Told how many records were done.
    pub(super) seen: &'a dyn Fn(u64),
}

/// A topic as it was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    pub(crate) topic: String,
    /// Records of the source.
    pub(crate) records: u64,
    /// Records that were read back from the target.
    pub(crate) found: u64,
    /// Of the records that both hold.
    pub(crate) digest_source: String,
    pub(crate) digest_target: String,
    pub(crate) equal: bool,
    /// Why fewer were found, where that is as it should be.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) note: String,
}

/// The partitions of a topic.
pub(super) fn places(info: &TopicInfo) -> impl Iterator<Item = TopicPartition> + '_ {
    info.partitions.iter().map(|part| TopicPartition::new(Arc::clone(&info.config.name), part.partition))
}

impl Tape<'_> {
    /// Reads all of the source once, for which records are there.
    ///
    /// # Errors
    /// Those of the source; the wish to stop.
    pub(super) fn survey(&self, topics: &[TopicInfo]) -> anyhow::Result<Offsets> {
        let mut offsets = Offsets::default();
        for place in topics.iter().flat_map(places) {
            let mut part = Part::default();
            let (start, end) = self.source.bounds(&place)?;
            self.each(self.source, &place, start, end, &mut |record| {
                part.push(record.offset);
                Ok(())
            })?;
            offsets.insert(&place, part);
        }
        Ok(offsets)
    }

    /// Appends what a partition of the target does not hold yet.
    ///
    /// # Errors
    /// Those of both logs; a target that holds something else.
    pub(super) fn copy(&self, place: &TopicPartition, offsets: &Offsets) -> anyhow::Result<()> {
        let part = offsets.part(place).context("a partition that was not surveyed")?;
        let mut tries = 0;
        loop {
            let there = self.target.written_end(place)?;
            ensure_ours(place, there, part)?;
            if there == part.count() {
                return Ok(());
            }
            match self.copy_from(place, there, part, offsets) {
                Ok(()) => return Ok(()),
                Err(error) if is_transient(&error) && tries < TRIES => {
                    tries += 1;
                    tracing::warn!("{place}: {error:#}; the target is looked at again");
                    if self.stop.wait(BETWEEN) {
                        return Err(exit::Coded::interrupted().into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn copy_from(&self, place: &TopicPartition, there: u64, part: &Part, offsets: &Offsets) -> anyhow::Result<()> {
        let from = part.old(there).context("the target holds no more than was surveyed")?;
        let (start, end) = self.source.bounds(place)?;
        ensure!(
            from >= start,
            "{place}: records that are not on the target yet were deleted from the source by their retention: \
             empty the target (or take another prefix) and begin anew"
        );
        let (mut batch, mut bytes, mut next) = (Vec::new(), 0, there);
        self.each(self.source, place, from, end, &mut |record| {
            let record = rewrite(record, offsets)?;
            bytes += record.bytes();
            batch.push(record);
            if batch.len() >= APPEND || bytes >= APPEND_BYTES {
                bytes = 0;
                self.append(place, std::mem::take(&mut batch), &mut next)?;
            }
            Ok(())
        })?;
        self.append(place, batch, &mut next)?;
        ensure!(next == part.count(), "{place}: the source has changed since it was surveyed");
        Ok(())
    }

    fn append(&self, place: &TopicPartition, batch: Vec<Record>, next: &mut u64) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len() as u64;
        for placement in self.target.append(batch)? {
            ensure!(
                placement.offset == *next && placement.partition == place.partition,
                "{place}: a record got offset {} on the target and not {next}: somebody else writes there; stop it, \
                 empty the target and begin anew",
                placement.offset
            );
            *next += 1;
        }
        (self.seen)(count);
        Ok(())
    }

    /// Reads both back and compares them.
    ///
    /// # Errors
    /// Those of both logs.
    pub(super) fn compare(&self, info: &TopicInfo, offsets: &Offsets) -> anyhow::Result<Compared> {
        let mut compared = Compared {
            topic: info.config.name.to_string(),
            records: 0,
            found: 0,
            digest_source: String::new(),
            digest_target: String::new(),
            equal: false,
            note: String::new(),
        };
        let (mut source, mut target) = (Sha256::new(), Sha256::new());
        for place in places(info) {
            let part = offsets.part(&place).context("a partition that was not surveyed")?;
            compared.records += part.count();
            if info.config.compact {
                self.compare_newest(&place, part, offsets, [&mut source, &mut target], &mut compared)?;
            } else {
                self.compare_all(&place, part, offsets, [&mut source, &mut target], &mut compared)?;
            }
        }
        compared.digest_source = hex(source);
        compared.digest_target = hex(target);
        compared.equal = compared.digest_source == compared.digest_target;
        Ok(compared)
    }

    /// Record by record, from the first that the target still has.
    fn compare_all(
        &self,
        place: &TopicPartition,
        part: &Part,
        offsets: &Offsets,
        digests: [&mut Sha256; 2],
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let (start, end) = self.target.bounds(place)?;
        let [source, target] = digests;
        if let Some(from) = part.old(start) {
            let until = self.source.bounds(place)?.1;
            self.each(self.source, place, from, until, &mut |record| {
                let offset = part.exact(record.offset).context("a record that was not surveyed")?;
                add(source, offset, &rewrite(record, offsets)?);
                Ok(())
            })?;
        }
        let mut found = 0;
        self.each(self.target, place, start, end, &mut |record| {
            found += 1;
            (self.seen)(1);
            add(target, record.offset, &as_record(record));
            Ok(())
        })?;
        compared.found += found;
        if start > 0 {
            compared.note = format!("{start} of partition {} are older than the topic keeps", place.partition);
        }
        Ok(())
    }

    /// The newest record of each key: the target may have compacted already.
    fn compare_newest(
        &self,
        place: &TopicPartition,
        part: &Part,
        offsets: &Offsets,
        digests: [&mut Sha256; 2],
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let (start, end) = self.source.bounds(place)?;
        let mut newest = [BTreeMap::new(), BTreeMap::new()];
        self.each(self.source, place, start, end, &mut |record| {
            let offset = part.exact(record.offset).context("a record that was not surveyed")?;
            keep(&mut newest[0], offset, rewrite(record, offsets)?);
            Ok(())
        })?;
        let (start, end) = self.target.bounds(place)?;
        let mut found = 0;
        self.each(self.target, place, start, end, &mut |record| {
            found += 1;
            (self.seen)(1);
            keep(&mut newest[1], record.offset, as_record(record));
            Ok(())
        })?;
        for (digest, newest) in digests.into_iter().zip(newest) {
            newest.values().for_each(|(offset, record)| add(digest, *offset, record));
        }
        compared.found += found;
        compared.note = "the newest of each key are compared".into();
        Ok(())
    }

    /// The committed offsets of all groups, mapped.
    ///
    /// # Errors
    /// Those of both logs; a group of the target that has members.
    pub(super) fn carry_groups(&self, offsets: &Offsets) -> anyhow::Result<Vec<(String, usize)>> {
        let mut carried = Vec::new();
        for group in self.source.groups()? {
            let mapped: Vec<GroupOffset> = group
                .offsets
                .iter()
                .filter(|offset| offsets.part(&offset.partition).is_some())
                .map(|offset| GroupOffset {
                    next: offsets.next(&offset.partition.topic, offset.partition.partition, offset.next),
                    partition: offset.partition.clone(),
                })
                .collect();
            if !mapped.is_empty() {
                self.reset(&group.group, &mapped)?;
            }
            carried.push((group.group, mapped.len()));
        }
        Ok(carried)
    }

    /// A cluster that has just made its first group may need a moment.
    fn reset(&self, group: &str, offsets: &[GroupOffset]) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            match self.target.reset_offsets(group, offsets) {
                Err(error) if error.is_transient() && tries < TRIES && !self.stop.wait(BETWEEN) => {
                    tries += 1;
                    tracing::warn!("{error}; it is tried again");
                }
                done => return Ok(done?),
            }
        }
    }

    /// Calls for each record from an offset to an end.
    pub(super) fn each(
        &self,
        log: &dyn Log,
        place: &TopicPartition,
        from: u64,
        end: u64,
        take: &mut dyn FnMut(LogRecord) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if from >= end {
            return Ok(());
        }
        let mut reader = log.reader()?;
        reader.assign(&[(place.clone(), from)])?;
        let mut empty = 0;
        while reader.position(place).is_some_and(|next| next < end) {
            if self.stop.requested() {
                return Err(exit::Coded::interrupted().into());
            }
            let records = reader.poll(READ)?;
            empty = if records.is_empty() { empty + 1 } else { 0 };
            if empty == EMPTY_READS {
                bail!("{place} does not bring what lies before its end {end}");
            }
            records.into_iter().filter(|record| record.offset < end).try_for_each(&mut *take)?;
        }
        Ok(())
    }
}

fn ensure_ours(place: &TopicPartition, there: u64, part: &Part) -> anyhow::Result<()> {
    if there <= part.count() {
        return Ok(());
    }
    Err(exit::input(format!(
        "{place} of the target holds {there} offsets, more than the source's {}: it is not empty. Take another kafka.prefix, or \
         delete the topics there",
        part.count()
    )))
}

fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().find_map(|cause| cause.downcast_ref::<LogError>()).is_some_and(LogError::is_transient)
}

fn as_record(record: LogRecord) -> Record {
    let LogRecord { topic, partition, key, value, headers, timestamp_ms, .. } = record;
    Record { topic, partition: Some(partition), key, value, headers, timestamp_ms: Some(timestamp_ms) }
}

fn keep(newest: &mut BTreeMap<Option<bytes::Bytes>, (u64, Record)>, offset: u64, record: Record) {
    match record.value {
        Some(_) => newest.insert(record.key.clone(), (offset, record)),
        None => newest.remove(&record.key),
    };
}

/// Each part after its length, so that no byte moves from one to the next unseen.
fn add(digest: &mut Sha256, offset: u64, record: &Record) {
    let mut part = |bytes: Option<&[u8]>| {
        digest.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        digest.update(bytes.unwrap_or_default());
    };
    part(Some(&offset.to_le_bytes()));
    part(Some(&record.partition.unwrap_or_default().to_le_bytes()));
    part(Some(&record.timestamp_ms.unwrap_or_default().to_le_bytes()));
    part(record.key.as_deref());
    part(record.value.as_deref());
    part(Some(record.headers.as_bytes()));
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
