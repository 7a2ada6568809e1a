//! The last step of a role that writes the log: its state, the positions that the
//! state reflects (`@at`) and the group's offsets, in one `transact`.
//!
//! Not here: what the state is.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tapedeck_contracts::catalogue::{group_of, state_topic};
use tapedeck_log::{GroupOffset, Log, Member, Record, TopicPartition};

use super::{Move, Resume, Step};
use crate::{
    Boundaries, Boundary, Failure,
    state::{self, AT, At},
};

/// What a batch of such a role comes to.
#[derive(Debug, Default)]
pub struct LogEffect {
    /// Appended before the step, outside of it: after a crash between the two
    /// they come again, with the same ids.
    pub first: Vec<Record>,
    /// Visible with the step.
    pub records: Vec<Record>,
    /// Only what changed.
    pub state: Vec<StateChange>,
}

/// A key of the state that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The number of the input's partition.
    pub partition: u32,
    /// Which key.
    pub key: String,
    /// Its value; none deletes it.
    pub value: Option<Vec<u8>>,
}

/// Writes the log, and keeps state in `tapedeck.<role>.state`.
pub struct LogStep {
    log: Arc<dyn Log>,
    group: String,
    topic: Arc<str>,
    /// What `@at` says, by partition of the state.
    at: BTreeMap<u32, At>,
    /// The state that is visible, by partition of it, so that it need not be read
    /// again where only a record failed.
    kept: BTreeMap<u32, BTreeMap<String, Bytes>>,
    boundaries: Boundaries,
}

impl LogStep {
    /// The step of a role.
    pub fn new(log: Arc<dyn Log>, role: &str) -> Self {
        Self {
            log,
            group: group_of(role),
            topic: state_topic(role).into(),
            at: BTreeMap::new(),
            kept: BTreeMap::new(),
            boundaries: Boundaries::default(),
        }
    }

    /// Tells these of the boundaries that it passes.
    #[must_use]
    pub fn watched_by(self, boundaries: Boundaries) -> Self {
        Self { boundaries, ..self }
    }
}

impl Step for LogStep {
    type Effect = LogEffect;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        let committed = self.log.committed(&self.group)?;
        partitions.iter().map(|place| self.resume_one(place, &committed)).collect()
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        Ok(partitions.iter().map(|place| self.kept.get(&place.partition).cloned().unwrap_or_default()).collect())
    }

    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        if !effect.first.is_empty() {
            self.log.append(effect.first)?;
            self.boundaries.pass(Boundary::Append);
        }
        let mut at: BTreeMap<u32, At> = BTreeMap::new();
        for step in moves {
            let number = step.partition.partition;
            let entry = at.entry(number).or_insert_with(|| self.at.get(&number).cloned().unwrap_or_default());
            let place = step.partition.to_string();
            if step.ahead.is_empty() {
                entry.ahead.remove(&place);
            } else {
                entry.ahead.insert(place.clone(), step.ahead.clone());
            }
            entry.next.insert(place, step.next);
        }
        let mut records = effect.records;
        records.reserve(effect.state.len() + at.len());
        let mut changed = Vec::with_capacity(effect.state.len());
        for StateChange { partition, key, value } in effect.state {
            let record = state::record(&self.topic, partition, &key, value);
            changed.push((partition, key, record.value.clone()));
            records.push(record);
        }
        for (number, at) in &at {
            let value = serde_json::to_vec(at).map_err(|error| Failure::Fatal(format!("`{AT}`: {error}")))?;
            records.push(state::record(&self.topic, *number, AT, Some(value)));
        }
        let offsets: Vec<GroupOffset> =
            moves.iter().map(|step| GroupOffset { partition: step.partition.clone(), next: step.next }).collect();
        member.transact(records, &offsets)?;
        self.at.extend(at);
        for (partition, key, value) in changed {
            let kept = self.kept.entry(partition).or_default();
            match value {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
        }
        Ok(())
    }
}

impl LogStep {
    fn resume_one(&mut self, place: &TopicPartition, committed: &[GroupOffset]) -> Result<Resume, Failure> {
        let mut state = state::load(self.log.as_ref(), &self.topic, place.partition)?;
        let at = match state.remove(AT) {
            None => At::default(),
            Some(value) => serde_json::from_slice(&value).map_err(|error| {
                Failure::Fatal(format!(
                    "{}/{} keeps an `{AT}` that cannot be read ({error}); it was written by something else, or by a \
                     newer version: use that version, or clear the state with `tapedeck groups reset {} --with-state \
                     --to earliest`",
                    self.topic, place.partition, self.group
                ))
            })?,
        };
        let name = place.to_string();
        // Without state the group's offset is where somebody set it.
        let set = committed.iter().find(|offset| offset.partition == *place).map(|offset| offset.next);
        let next = at.next.get(&name).copied().or(set);
        let held = at.ahead.get(&name).cloned().unwrap_or_default();
        self.at.insert(place.partition, at);
        self.kept.insert(place.partition, state.clone());
        Ok(Resume { next, held, last: None, state })
    }
}
