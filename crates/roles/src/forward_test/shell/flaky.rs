//! A log whose transacts fail two times of three, in three ways.
//!
//! Not here: what should come of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tapedeck_log::{
    GroupOffset, Log, LogAround, LogError, Member, Placement, PollLimits, Polled, Record, Result, TopicPartition,
};

/// Passes everything on, but fails at transacts.
pub(super) struct Flaky {
    log: Arc<dyn Log>,
    transacts: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
}

impl Flaky {
    pub(super) fn new(log: Arc<dyn Log>) -> Self {
        Self { log, transacts: Arc::default(), failures: Arc::default() }
    }

    pub(super) fn failures(&self) -> usize {
        self.failures.load(Relaxed)
    }
}

impl LogAround for Flaky {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = self.log.join(group, member, topics)?;
        let (transacts, failures) = (Arc::clone(&self.transacts), Arc::clone(&self.failures));
        Ok(Box::new(FlakyMember { group: group.to_owned(), member, transacts, failures }))
    }
}

struct FlakyMember {
    group: String,
    member: Box<dyn Member>,
    transacts: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
}

impl Member for FlakyMember {
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
    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>> {
        let turn = self.transacts.fetch_add(1, Relaxed);
        if turn.is_multiple_of(3) {
            return self.member.transact(records, offsets);
        }
        self.failures.fetch_add(1, Relaxed);
        match turn / 3 % 3 {
            0 => Err(LogError::Transient("nothing was written".into())),
            1 => Err(LogError::Fenced { group: self.group.clone() }),
            // As when the process dies between the writing and its answer.
            _ => {
                self.member.transact(records, offsets)?;
                Err(LogError::Transient("written, and the answer was lost".into()))
            }
        }
    }
}
