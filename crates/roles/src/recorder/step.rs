//! The last step of a role that writes the store: rows and the offsets they came
//! from in one `apply`, which compares and sets; the group's offset follows.
//!
//! Not here: making rows.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tapedeck_flow::{
    Boundaries, Boundary, Failure,
    runtime::{Move, Resume, Step},
};
use tapedeck_log::{Member, TopicPartition};
use tapedeck_store::{Batch, Row, Store, StoreError};

use crate::positions::{self, Positions, now_ms};

/// Writes the store; one row a delivery, in the order of the batch.
pub struct StoreStep {
    store: Arc<dyn Store>,
    positions: Positions,
    boundaries: Boundaries,
}

impl StoreStep {
    /// The step of a group.
    pub fn new(store: Arc<dyn Store>, group: String) -> Self {
        Self { store, positions: Positions::new(group), boundaries: Boundaries::default() }
    }

    /// Tells these of the boundaries that it passes.
    #[must_use]
    pub fn watched_by(self, boundaries: Boundaries) -> Self {
        Self { boundaries, ..self }
    }
}

impl Step for StoreStep {
    type Effect = Vec<Row>;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.positions.resume(&*self.store, partitions)
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        Ok(vec![BTreeMap::new(); partitions.len()])
    }

    fn perform(&mut self, member: &mut dyn Member, rows: Vec<Row>, moves: &[Move]) -> Result<(), Failure> {
        let offsets = self.positions.moves(moves);
        if !offsets.is_empty() {
            let group = self.positions.group().to_owned();
            let batch = Batch { group, rows, offsets, ingested_at_ms: now_ms() };
            self.store.apply(&batch).map_err(|error| failure(error, &batch.rows))?;
            self.boundaries.pass(Boundary::Apply);
            self.positions.moved(moves);
        }
        self.positions.publish(member, moves)
    }
}

/// What a store's error comes to; `rows` are those of the call.
fn failure(error: StoreError, rows: &[Row]) -> Failure {
    let place = |row: &Row| format!("{}/{}/{}", row.origin.topic, row.origin.partition, row.origin.offset);
    match positions::failure(error) {
        Failure::Poison { index, path, detail, .. } => {
            let place = rows.get(index).map(place).unwrap_or_default();
            Failure::Poison { index, place, path, detail }
        }
        other => other,
    }
}
