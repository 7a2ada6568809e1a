//! The last step of a role on the trading path: what it decides is emitted at
//! once, and its state and positions move when that is durable. The commit
//! waits, the decision never does.
//!
//! Not here: the ring, the spool and the sending, which are the emitter's.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tapedeck_contracts::{
    catalogue::group_of,
    headers::{CAUSE, Place},
};
use tapedeck_log::{GroupOffset, Log, Member, Record, TopicPartition};

use super::{HandedOver, LogEffect, LogStep, Move, Resume, StateChange, Step};
use crate::{
    Failure, Stop,
    emitter::{EmitError, Emitter, Producer, Ticket},
};

/// A [`LogStep`] whose effects' `first` records are emitted when a batch is
/// handled, and whose `records` and state follow when those are durable.
pub struct EmitStep {
    step: LogStep,
    producer: Producer,
    last: Ticket,
}

impl EmitStep {
    /// The step of a role, on the thread that is to run it. Sends first what an
    /// earlier process left in the emitter, but for events whose cause lies below
    /// the group's position: those were sent by who moved it, and a host that
    /// comes back after hours must not speak out of turn. None where somebody
    /// asked to stop before all of that was sent: the rest waits for the next start.
    ///
    /// # Errors
    /// Those of the log and of the emitter.
    pub fn open(
        step: LogStep,
        log: &Arc<dyn Log>,
        role: &str,
        emitter: &Emitter,
        stop: &Stop,
    ) -> Result<Option<Self>, Failure> {
        let committed = log.committed(&group_of(role))?;
        let left = emitter.send_leftovers(&mut |record| is_due(record, &committed), stop)?;
        if left.sent + left.left_out > 0 {
            tracing::info!(
                role,
                sent = left.sent,
                left_out = left.left_out,
                "sent what an earlier process left behind"
            );
        }
        if left.remaining > 0 {
            return Ok(None); // A producer would let go what nobody has judged.
        }
        let producer = emitter.producer().map_err(failure)?;
        Ok(Some(Self { step, producer, last: Ticket::default() }))
    }
}

impl Step for EmitStep {
    type Effect = LogEffect;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.step.resume(partitions)
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        self.step.restate(partitions)
    }

    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        self.step.perform(member, effect, moves)
    }

    fn hands_over(&self) -> bool {
        true
    }

    fn hand_over(&mut self, effect: &mut LogEffect) -> Result<Ticket, Failure> {
        for record in effect.first.drain(..) {
            self.last = self.producer.emit_record(&record).map_err(failure)?;
        }
        Ok(self.last)
    }

    fn bytes_of(&self, effect: &LogEffect) -> usize {
        let of_value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let state = effect.state.iter().map(|change| change.key.len() + of_value(&change.value));
        state.sum::<usize>() + effect.records.iter().map(Record::bytes).sum::<usize>()
    }

    fn durable(&self) -> Ticket {
        self.producer.durable()
    }

    fn perform_handed(
        &mut self,
        member: &mut dyn Member,
        effects: &[HandedOver<'_, LogEffect>],
        moves: &[Move],
    ) -> Result<(), Failure> {
        self.step.perform(member, merged(effects), moves)
    }
}

/// Several effects as one: all records, and of each key of the state the newest
/// value.
fn merged(effects: &[HandedOver<'_, LogEffect>]) -> LogEffect {
    let mut newest: BTreeMap<(u32, &str), &StateChange> = BTreeMap::new();
    for HandedOver { effect, partitions } in effects {
        for change in effect.state.iter().filter(|change| partitions.contains(&change.partition)) {
            newest.insert((change.partition, &change.key), change);
        }
    }
    LogEffect {
        first: Vec::new(),
        records: effects.iter().flat_map(|handed| handed.effect.records.iter().cloned()).collect(),
        state: newest.into_values().cloned().collect(),
    }
}

/// Whether a record that was left behind is still to be said.
fn is_due(record: &Record, committed: &[GroupOffset]) -> bool {
    let Some(cause) = record.headers.text(CAUSE).and_then(Place::parse) else { return true };
    let is_of = |offset: &&GroupOffset| {
        *offset.partition.topic == *cause.topic && offset.partition.partition == cause.partition
    };
    committed.iter().find(is_of).is_none_or(|offset| cause.offset >= offset.next)
}

fn failure(error: EmitError) -> Failure {
    match error {
        // Nothing is read while the spool is full.
        EmitError::Full | EmitError::Io(_) => Failure::Transient(error.to_string()),
        // One of the batch makes it, and nobody says which.
        EmitError::TooLarge { .. } => Failure::Refused(error.to_string()),
        EmitError::UnknownTopic(_) | EmitError::Closed => Failure::Fatal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_log::Headers;

    use super::*;

    fn caused_by(place: &str) -> Record {
        Record {
            topic: "strategy-signals".into(),
            partition: None,
            key: None,
            value: None,
            headers: Headers::new().with(CAUSE, place),
            timestamp_ms: None,
        }
    }

    #[test]
    fn what_was_left_behind_is_said_only_where_its_cause_is_not_behind_the_group() {
        let committed = [GroupOffset { partition: TopicPartition::new("market-data-updates", 2), next: 7 }];
        assert!(!is_due(&caused_by("market-data-updates/2/6"), &committed));
        assert!(is_due(&caused_by("market-data-updates/2/7"), &committed));
        assert!(is_due(&caused_by("market-data-updates/1/0"), &committed));
        assert!(is_due(&Record { headers: Headers::new(), ..caused_by("") }, &committed));
    }

    #[test]
    fn several_effects_keep_the_newest_value_of_each_key_of_their_own_partitions() {
        let change = |partition, key: &str, value: &str| StateChange {
            partition,
            key: key.into(),
            value: Some(value.as_bytes().to_vec()),
        };
        let one = LogEffect { state: vec![change(0, "a", "1"), change(1, "a", "x")], ..LogEffect::default() };
        let two = LogEffect { state: vec![change(0, "a", "2"), change(0, "b", "3")], ..LogEffect::default() };
        let handed = |effect, partitions: &[u32]| HandedOver { effect, partitions: partitions.to_vec() };
        let merged = merged(&[handed(&one, &[0]), handed(&two, &[0, 1])]);
        assert_eq!(
            merged.state,
            [change(0, "a", "2"), change(0, "b", "3")],
            "what partition 1 says is not ours any more"
        );
    }
}
