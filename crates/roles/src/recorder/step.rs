//! The last step of a role that writes the store: rows and the offsets they came
//! from in one `apply`, which compares and sets; the group's offset follows.
//!
//! Not here: making rows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tapedeck_flow::{
    Boundaries, Boundary, Failure,
    runtime::{Move, Resume, Step},
};
use tapedeck_log::{GroupOffset, Member, TopicPartition};
use tapedeck_store::{Batch, OffsetMove, Row, Store, StoreError};

/// Writes the store; one row a delivery, in the order of the batch.
pub struct StoreStep {
    store: Arc<dyn Store>,
    group: String,
    /// Where the store stands. The group's offset may be further, past offsets
    /// that hold no records: the store moves only with a record.
    stored: HashMap<TopicPartition, Option<u64>>,
    boundaries: Boundaries,
}

impl StoreStep {
    /// The step of a group.
    pub fn new(store: Arc<dyn Store>, group: String) -> Self {
        Self { store, group, stored: HashMap::new(), boundaries: Boundaries::default() }
    }

    /// Tells these of the boundaries that it passes.
    #[must_use]
    pub fn watched_by(self, boundaries: Boundaries) -> Self {
        Self { boundaries, ..self }
    }

    fn moves(&self, moves: &[Move]) -> Vec<OffsetMove> {
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
}

impl Step for StoreStep {
    type Effect = Vec<Row>;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        let asked: Vec<(Arc<str>, u32)> =
            partitions.iter().map(|place| (Arc::clone(&place.topic), place.partition)).collect();
        let found = self.store.resume(&self.group, &asked).map_err(|error| failure(error, &[]))?;
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

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        Ok(vec![BTreeMap::new(); partitions.len()])
    }

    fn perform(&mut self, member: &mut dyn Member, rows: Vec<Row>, moves: &[Move]) -> Result<(), Failure> {
        let offsets = self.moves(moves);
        if !offsets.is_empty() {
            let batch = Batch { group: self.group.clone(), rows, offsets, ingested_at_ms: now_ms() };
            self.store.apply(&batch).map_err(|error| failure(error, &batch.rows))?;
            self.boundaries.pass(Boundary::Apply);
            for step in moves.iter().filter(|step| step.last.is_some()) {
                self.stored.insert(step.partition.clone(), Some(step.next));
            }
        }
        // A published copy of what the store keeps: where it fails, the next one
        // brings it up to date. Only a lost seat counts.
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

/// What a store's error comes to; `rows` are those of the call.
fn failure(error: StoreError, rows: &[Row]) -> Failure {
    match error {
        StoreError::Transient(detail) => Failure::Transient(detail),
        StoreError::Poison { index, detail } => {
            let place = |row: &Row| format!("{}/{}/{}", row.origin.topic, row.origin.partition, row.origin.offset);
            let place = rows.get(index).map(place).unwrap_or_default();
            Failure::Poison { index, place, path: None, detail }
        }
        conflict @ StoreError::Conflict { .. } => Failure::Fenced(conflict.to_string()),
        StoreError::Fatal(detail) => Failure::Fatal(detail),
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
