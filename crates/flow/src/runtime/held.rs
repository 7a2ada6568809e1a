//! A partition that is held: its ledger, its window of ids, where its effect
//! stands, and whether a record stopped it.
//!
//! Not here: what moves it.

use std::{collections::BTreeSet, sync::Arc};

use tapedeck_contracts::EventKind;
use tapedeck_log::{LogRecord, TopicPartition};

use super::{Move, Resume};
use crate::{Delivery, Ledger, dedupe::Window, record_hash::record_hash};

/// A partition that is held.
pub(super) struct Held {
    pub(super) place: TopicPartition,
    /// What its topic carries.
    pub(super) kind: EventKind,
    /// Whether its topic takes tombstones.
    pub(super) compacted: bool,
    pub(super) ledger: Ledger,
    pub(super) window: Window,
    /// Offsets whose effect was visible before they were read.
    pub(super) ahead: BTreeSet<u64>,
    /// Where reading began.
    pub(super) opened_at: u64,
    /// Where the effect stands.
    pub(super) visible: Option<u64>,
    /// The last record whose effect is visible.
    pub(super) last: Option<(u64, u64)>,
    /// Why it stopped.
    pub(super) blocked: Option<String>,
}

/// What a partition becomes once the step has been taken.
pub(super) struct Trial {
    /// Which of those held.
    pub(super) index: usize,
    pub(super) ledger: Ledger,
    pub(super) step: Move,
}

impl Held {
    /// Whether a record lies in this partition.
    pub(super) fn owns(&self, record: &LogRecord) -> bool {
        self.place.partition == record.partition
            && (Arc::ptr_eq(&self.place.topic, &record.topic) || self.place.topic == record.topic)
    }

    /// Whether the position moved since the last step with nothing to handle.
    pub(super) fn passed(&self) -> bool {
        self.ledger.next() != self.visible.unwrap_or(self.opened_at)
    }

    /// The step has been taken.
    pub(super) fn accept(&mut self, ledger: Ledger, step: Move) {
        self.ledger = ledger;
        self.visible = Some(step.next);
        self.last = step.last;
    }

    /// Believes what the effect says after a failure that left it open, and takes
    /// what is visible out of what is pending. False where another process has
    /// gone on.
    pub(super) fn reconcile(&mut self, resume: &Resume, pending: &mut Vec<Delivery>) -> bool {
        // A position that only markers moved may have been kept by the group alone.
        let unmoved = resume.next.is_none() && self.last.is_none();
        if (resume.next < self.visible && !unmoved) || resume.next.is_some_and(|next| next > self.ledger.position()) {
            return false;
        }
        self.visible = resume.next.or(self.visible);
        self.last = resume.last.or(self.last);
        let visible = |record: &LogRecord| {
            resume.next.is_some_and(|next| record.offset < next) || resume.held.contains(&record.offset)
        };
        let mut settled = Vec::new();
        pending.retain(|delivery| {
            let done = self.owns(&delivery.record) && visible(&delivery.record);
            if done {
                settled.push(delivery.record.offset);
            }
            !done
        });
        for offset in settled {
            self.ledger.settle(offset);
        }
        true
    }
}

/// Which of those held a record belongs to; `hint` is where the last one was,
/// since records come in runs.
pub(super) fn slot_of(held: &[Held], record: &LogRecord, hint: usize) -> Option<usize> {
    match held.get(hint) {
        Some(slot) if slot.owns(record) => Some(hint),
        _ => held.iter().position(|slot| slot.owns(record)),
    }
}

/// The moves that settling a batch comes to, with those of partitions where only
/// duplicates or markers went by. Nothing changes yet.
pub(super) fn trials(held: &[Held], batch: &[Delivery]) -> Vec<Trial> {
    let mut open: Vec<Option<(Ledger, &LogRecord)>> = held.iter().map(|_| None).collect();
    let mut hint = 0;
    for delivery in batch {
        let record = &delivery.record;
        let Some(slot) = slot_of(held, record, hint) else { continue };
        hint = slot;
        let (ledger, newest) = open[slot].get_or_insert_with(|| (held[slot].ledger.clone(), record));
        ledger.settle(record.offset);
        *newest = record;
    }
    let moved = held.iter().zip(open).enumerate();
    moved
        .filter_map(|(index, (slot, open))| match open {
            Some((ledger, newest)) => Some((index, slot, ledger, Some((newest.offset, record_hash(newest))))),
            None if slot.passed() => Some((index, slot, slot.ledger.clone(), slot.last)),
            None => None,
        })
        .map(|(index, slot, ledger, last)| {
            let (next, ahead) = (ledger.next(), ledger.ahead().collect());
            let step = Move { partition: slot.place.clone(), expected: slot.visible, next, ahead, last };
            Trial { index, ledger, step }
        })
        .collect()
}
