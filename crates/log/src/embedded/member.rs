//! A member of a group: polls, gives up and takes partitions, commits.
//!
//! Not here: who owns what, which `groups` decides.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{
    groups::{Step, Ticket},
    prepare::prepare,
    reader::{Fetcher, deadline},
    shared::{Partition, Shared, lock, read},
    writer::{Job, Write},
};
use crate::{GroupOffset, LogError, Member, Placement, PollLimits, Polled, Record, Result, TopicPartition};

/// A seat in a group.
pub(crate) struct EmbeddedMember {
    shared: Arc<Shared>,
    ticket: Ticket,
    fetcher: Fetcher,
    owned: BTreeSet<TopicPartition>,
}

impl EmbeddedMember {
    pub(crate) fn join(shared: Arc<Shared>, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Self> {
        shared.check_open()?;
        let mut counted = Vec::with_capacity(topics.len());
        for name in topics {
            let topic = shared.topic(name).ok_or_else(|| {
                LogError::Fatal(format!(
                    "group `{group}` cannot read topic `{name}`: it does not exist, create it first"
                ))
            })?;
            counted.push((Arc::clone(&topic.name), topic.partitions.len() as u32));
        }
        let ticket = lock(&shared.groups).join(group, member, &counted, Instant::now());
        shared.bell.ring();
        Ok(Self { fetcher: Fetcher::new(Arc::clone(&shared)), shared, ticket, owned: BTreeSet::new() })
    }

    /// What changed in the group for this member, which is seen by asking.
    fn step(&mut self) -> Result<Option<Polled>> {
        let mut groups = lock(&self.shared.groups);
        let step = groups.poll(&self.ticket, Instant::now());
        let changed = groups.take_changed();
        drop(groups);
        if changed {
            self.shared.bell.ring();
        }
        match step {
            Step::Stay => Ok(None),
            Step::Lost => {
                self.owned.clear();
                self.fetcher.clear();
                Err(self.fenced())
            }
            Step::Revoked(partitions) => {
                self.owned.retain(|owned| !partitions.contains(owned));
                self.fetcher.pause(&partitions, true);
                Ok(Some(Polled::Revoked(partitions)))
            }
            Step::Assigned(partitions) => {
                self.take(&partitions)?;
                Ok(Some(Polled::Assigned(partitions)))
            }
        }
    }

    /// Reads new partitions from where the group is.
    fn take(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        for name in partitions {
            let partition = self.shared.partition(name)?;
            let view = read(&self.shared.view);
            let committed = view.committed.get(&self.ticket.group).and_then(|offsets| offsets.get(name)).copied();
            let from = committed.unwrap_or(view.spans[partition.index].start);
            drop(view);
            self.owned.insert(name.clone());
            self.fetcher.seek(partition, from);
        }
        Ok(())
    }

    fn fenced(&self) -> LogError {
        LogError::Fenced { group: self.ticket.group.to_string() }
    }
}

impl Member for EmbeddedMember {
    fn poll(&mut self, limits: PollLimits) -> Result<Polled> {
        let deadline = deadline(limits.timeout);
        // Others' seats are looked after, and its own kept, while it waits.
        let longest = self.shared.config.session_timeout / 3;
        loop {
            self.shared.check_open()?;
            // What was revoked before is given up by coming back.
            self.fetcher.retain(|partition| self.owned.contains(partition));
            let heard = self.shared.bell.rings();
            if let Some(change) = self.step()? {
                return Ok(change);
            }
            let records = self.fetcher.fetch(limits)?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !records.is_empty() || left.is_zero() {
                return Ok(Polled::Records(records));
            }
            self.shared.bell.wait(heard, left.min(longest));
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.owned.iter().cloned().collect()
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        self.fetcher.position(partition)
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        if !self.owned.contains(partition) {
            return Err(LogError::Fatal(format!(
                "{partition} is not owned by this member of group `{}`: seek only what was assigned",
                self.ticket.group
            )));
        }
        self.fetcher.seek(self.shared.partition(partition)?, offset);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.fetcher.pause(partitions, true);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        let owned: Vec<_> = partitions.iter().filter(|partition| self.owned.contains(*partition)).cloned().collect();
        self.fetcher.pause(&owned, false);
    }

    fn commit(&mut self, offsets: &[GroupOffset]) -> Result<()> {
        self.transact(Vec::new(), offsets).map(drop)
    }

    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>> {
        self.shared.check_open()?;
        let offsets = find(&self.shared, offsets)?;
        let (segments, places) = prepare(&self.shared, &records)?.split();
        let write = Write { segments, offsets, ticket: Some(self.ticket.clone()) };
        let bases = self.shared.ask(|answer| Job::Write(write, answer))?;
        Ok(places.at(&bases))
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        lock(&self.shared.groups).leave(&self.ticket);
        self.shared.bell.ring();
    }
}

/// The partitions that offsets are of.
pub(crate) fn find(shared: &Shared, offsets: &[GroupOffset]) -> Result<Vec<(Arc<Partition>, u64)>> {
    offsets.iter().map(|offset| Ok((shared.partition(&offset.partition)?, offset.next))).collect()
}
