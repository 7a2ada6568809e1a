//! Where a role stands that writes the store: the offsets that its last step moves,
//! and the group's, which follow.
//!
//! Not here: what the step writes.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tapedeck_flow::{
    Failure,
    runtime::{Move, Resume},
};
use tapedeck_log::{GroupOffset, Member, TopicPartition};
use tapedeck_store::{OffsetMove, Store, StoreError};

/// The positions of a group, as the store keeps them.
pub(crate) struct Positions {
    group: String,
    /// Where the store stands. The group's offset may be further, past offsets
    /// that hold no records: the store moves only with a record.
    stored: HashMap<TopicPartition, Option<u64>>,
}

impl Positions {
    /// Those of a group, not known yet.
    pub(crate) fn new(group: String) -> Self {
        Self { group, stored: HashMap::new() }
    }

    /// The group.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Where the store says that these partitions go on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn resume(&mut self, store: &dyn Store, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        let asked: Vec<(Arc<str>, u32)> =
            partitions.iter().map(|place| (Arc::clone(&place.topic), place.partition)).collect();
        let found = store.resume(&self.group, &asked).map_err(failure)?;
        if found.len() != partitions.len() {
            return Err(Failure::Fatal(format!(
                "the store answered {} of {} positions",
                found.len(),
                partitions.len()
            )));
        }
        for (place, resume) in partitions.iter().zip(&found) {
            self.stored.insert(place.clone(), resume.next);
        }
        let resume =
            |r: tapedeck_store::Resume| Resume { next: r.next, held: r.held, last: r.last, ..Resume::default() };
        Ok(found.into_iter().map(resume).collect())
    }

    /// The moves that the store is asked for.
    pub(crate) fn moves(&self, moves: &[Move]) -> Vec<OffsetMove> {
        let with_record = moves.iter().filter_map(|step| Some((step, step.last?)));
        with_record
            .map(|(step, last)| OffsetMove {
                topic: Arc::clone(&step.partition.topic),
                partition: step.partition.partition,
                expected: self.stored.get(&step.partition).copied().flatten(),
                next: step.next,
                last,
            })
            .collect()
    }

    /// The store made these moves.
    pub(crate) fn moved(&mut self, moves: &[Move]) {
        for step in moves.iter().filter(|step| step.last.is_some()) {
            self.stored.insert(step.partition.clone(), Some(step.next));
        }
    }

    /// Commits a copy of what the store keeps: where it fails, the next one brings it
    /// up to date.
    ///
    /// # Errors
    /// Only a lost seat counts.
    pub(crate) fn publish(&self, member: &mut dyn Member, moves: &[Move]) -> Result<(), Failure> {
        let published: Vec<GroupOffset> =
            moves.iter().map(|step| GroupOffset { partition: step.partition.clone(), next: step.next }).collect();
        match member.commit(&published).map_err(Failure::from) {
            Err(failure @ Failure::Fenced(_)) => Err(failure),
            Err(failure) => {
                tracing::warn!(group = self.group, %failure, "the group's offset stays behind the store's for now");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// What a store's error comes to. A record that the store names has no place here:
/// who knows the rows says it.
pub(crate) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::Transient(detail) => Failure::Transient(detail),
        StoreError::Poison { index, detail } => Failure::Poison { index, place: String::new(), path: None, detail },
        conflict @ StoreError::Conflict { .. } => Failure::Fenced(conflict.to_string()),
        StoreError::Fatal(detail) => Failure::Fatal(detail),
    }
}

/// The time of this machine, in ms since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
