//! A log with a registry before it: what is appended to its topics is framed on
//! the way, and readers are told what opens frames. Records are read as they lie,
//! so that positions, hashes and dead letters are those of the log.
//!
//! It frames where the log is called, which is behind an emitter's ring: `emit()`
//! never asks a registry.
//!
//! Not here: what a log does.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use tapedeck_contracts::headers::REDRIVE;
use tapedeck_log::{
    GroupOffset, Log, LogAround, LogError, Member, Placement, PollLimits, Polled, Record, Result, TopicPartition,
    Unframe,
};

use crate::{Frame, Registry, RegistryError, writer::Writer};

/// What a framed body may be larger than its JSON: the frame's head, and a byte
/// for each optional field that a body leaves out.
const ROOM_BYTES: usize = 512;

/// By topic.
type Writers = BTreeMap<Arc<str>, Writer>;

/// A log whose bodies a registry knows.
pub struct FramedLog {
    log: Arc<dyn Log>,
    framer: Arc<Framer>,
}

struct Framer {
    registry: Registry,
    writers: OnceLock<Writers>,
}

impl FramedLog {
    /// Puts a registry before a log. Nothing is asked yet.
    pub fn new(log: Arc<dyn Log>, registry: Registry) -> Self {
        Self { log, framer: Arc::new(Framer { registry, writers: OnceLock::new() }) }
    }

    /// Finds the ids of all schemas that are written with, before anything is; a
    /// registry that does not answer is waited for a while. Without this they are
    /// found at the first append.
    ///
    /// # Errors
    /// A schema is not there and may not be registered, or would break readers;
    /// the registry did not answer in all that time.
    pub fn prepare(&self) -> std::result::Result<(), RegistryError> {
        if self.framer.registry.writes() && self.framer.writers.get().is_none() {
            // Who was faster found the same.
            let _ = self.framer.writers.set(self.framer.registry.writers_at_last()?);
        }
        Ok(())
    }
}

impl Framer {
    /// Frames what is to be framed.
    fn frame(&self, records: &mut [Record]) -> Result<()> {
        if !self.registry.writes() {
            return Ok(());
        }
        let writers = self.writers()?;
        for (index, record) in records.iter_mut().enumerate() {
            let Some(writer) = writers.get(&record.topic) else { continue };
            let Some(value) = record.value.as_ref().filter(|value| !Frame::is_one(value)) else { continue };
            // What is sent again is sent as it was.
            if record.headers.get(REDRIVE).is_some() {
                continue;
            }
            let framed = writer.frame(value).map_err(|fault| LogError::Poison {
                index,
                detail: format!("the body does not fit the schema of `{}`: {fault}", record.topic),
            })?;
            record.value = Some(framed);
        }
        Ok(())
    }

    fn writers(&self) -> Result<&Writers> {
        if let Some(writers) = self.writers.get() {
            return Ok(writers);
        }
        let found = self.registry.writers().map_err(|error| match error {
            RegistryError::Away(why) => LogError::Transient(why),
            RegistryError::NotFound(why) | RegistryError::Refused(why) => LogError::Fatal(why),
        })?;
        Ok(self.writers.get_or_init(|| found))
    }
}

impl LogAround for FramedLog {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        Some(&self.framer.registry)
    }

    fn append(&self, mut records: Vec<Record>) -> Result<Vec<Placement>> {
        self.framer.frame(&mut records)?;
        self.log.append(records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        if !self.framer.registry.writes() {
            return self.log.append_kept(records);
        }
        LogAround::append(self, records.to_vec())
    }

    fn max_record_bytes(&self) -> usize {
        let room = if self.framer.registry.writes() { ROOM_BYTES } else { 0 };
        self.log.max_record_bytes().saturating_sub(room)
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = self.log.join(group, member, topics)?;
        if !self.framer.registry.writes() {
            return Ok(member);
        }
        Ok(Box::new(FramedMember { member, framer: Arc::clone(&self.framer) }))
    }
}

/// A member whose records are framed.
struct FramedMember {
    member: Box<dyn Member>,
    framer: Arc<Framer>,
}

impl Member for FramedMember {
    fn transact(&mut self, mut records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>> {
        self.framer.frame(&mut records)?;
        self.member.transact(records, offsets)
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled> {
        self.member.poll(limits)
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.member.assignment()
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.member.position(partition)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        self.member.seek(partition, offset)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.member.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.member.resume(partitions);
    }

    fn commit(&mut self, offsets: &[GroupOffset]) -> Result<()> {
        self.member.commit(offsets)
    }
}
