//! A partition that is held: its ledger, its window of ids, what waits of it,
//! where its effect stands, and what keeps it from going on.
//!
//! Not here: what moves it.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_contracts::{EventKind, Timestamp};
use tapedeck_log::{LogRecord, TopicPartition};

use super::{Move, Resume, later::Later, queue::Queue};
use crate::{Delivery, Ledger, backoff::Backoff, dedupe::Window, record_hash::record_hash};

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
    /// The last record that is a dead letter, the same way.
    pub(super) set_aside: Option<(u64, u64)>,
    /// Decoded, not visible, and in no batch yet.
    pub(super) queue: Queue,
    /// The first of the queue fails, and is tried alone; the rest waits.
    pub(super) ordeal: Option<Ordeal>,
    /// A record that cannot be read now, which waits in the log.
    pub(super) later: Option<Later>,
    /// It was put back to that record: what else the last poll brought comes again.
    pub(super) sought: bool,
    /// Records that went through all their tries since waiting last helped one.
    pub(super) hopeless: u32,
    /// A dead letter could not be written, and the rest waits.
    pub(super) letters_wait: bool,
    /// Why it stopped.
    pub(super) blocked: Option<String>,
    /// It is paused at the log.
    pub(super) paused: bool,
    /// The handler's state of it may differ from what is visible.
    pub(super) stale: bool,
    /// Where its effect stands may differ from what is believed.
    pub(super) unsure: bool,
}

/// A record that fails now and may not later, while it is tried alone.
#[derive(Debug)]
pub(super) struct Ordeal {
    pub(super) offset: u64,
    pub(super) tries: u32,
    pub(super) first_failure: Timestamp,
    pub(super) backoff: Backoff,
    /// When it is tried again.
    pub(super) due: Instant,
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

    /// Whether what waits of it may be handled.
    pub(super) fn is_free(&self) -> bool {
        self.ordeal.is_none() && !self.letters_wait
    }

    /// Whether it may be read on.
    pub(super) fn is_open(&self) -> bool {
        self.is_free() && self.blocked.is_none() && self.poll_wait().is_none()
    }

    /// When its first record is to be tried alone.
    pub(super) fn trial_due(&self) -> Option<Instant> {
        if self.letters_wait { None } else { self.ordeal.as_ref().map(|ordeal| ordeal.due) }
    }

    /// How long a record waits that is tried alone. A record that waited through
    /// all its tries halves the waits of the next: what it waited for did not
    /// come, and a partition full of such records must not take for ever.
    pub(super) fn wait(&self, backoff: &mut Backoff) -> Duration {
        let wait = backoff.next_wait();
        1_u32.checked_shl(self.hopeless).map_or(Duration::ZERO, |share| wait / share)
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

    /// A record became a dead letter.
    pub(super) fn settle_aside(&mut self, offset: u64, hash: u64) {
        self.ledger.settle(offset);
        self.set_aside = self.set_aside.max(Some((offset, hash)));
    }

    /// Believes what the effect says after a failure that left it open, and takes
    /// what is visible out of what waits. False where another process has gone on.
    pub(super) fn reconcile(&mut self, resume: &Resume, work: &mut Queue) -> bool {
        // A position that only markers moved may have been kept by the group alone.
        let unmoved = resume.next.is_none() && self.last.is_none();
        if (resume.next < self.visible && !unmoved) || resume.next.is_some_and(|next| next > self.ledger.position()) {
            return false;
        }
        self.visible = resume.next.or(self.visible);
        self.last = resume.last.or(self.last);
        let visible = |offset: u64| resume.next.is_some_and(|next| offset < next) || resume.held.contains(&offset);
        let place = self.place.clone();
        let done = work.take(|delivery| is_of(&place, &delivery.record) && visible(delivery.record.offset));
        for delivery in done.into_iter().chain(self.queue.take(|delivery| visible(delivery.record.offset))) {
            self.ledger.settle(delivery.record.offset);
        }
        if self.ordeal.as_ref().is_some_and(|ordeal| visible(ordeal.offset)) {
            self.ordeal = None;
        }
        true
    }
}

fn is_of(place: &TopicPartition, record: &LogRecord) -> bool {
    place.partition == record.partition && place.topic == record.topic
}

/// Which of those held a record belongs to; `hint` is where the last one was,
/// since records come in runs.
pub(super) fn slot_of(held: &[Held], record: &LogRecord, hint: usize) -> Option<usize> {
    match held.get(hint) {
        Some(slot) if slot.owns(record) => Some(hint),
        _ => held.iter().position(|slot| slot.owns(record)),
    }
}

/// What of a batch is of one partition.
pub(super) struct Part {
    pub(super) place: TopicPartition,
    pub(super) offsets: Vec<u64>,
    /// Offset and hash of the last of them.
    pub(super) last: (u64, u64),
}

/// A batch by partitions.
pub(super) fn parts(held: &[Held], batch: &[Delivery]) -> Vec<Part> {
    let mut open: Vec<(Vec<u64>, Option<&LogRecord>)> = held.iter().map(|_| (Vec::new(), None)).collect();
    let mut hint = 0;
    for delivery in batch {
        let record = &delivery.record;
        let Some(slot) = slot_of(held, record, hint) else { continue };
        hint = slot;
        open[slot].0.push(record.offset);
        open[slot].1 = Some(record);
    }
    let part = |(slot, (offsets, newest)): (&Held, (Vec<u64>, Option<&LogRecord>))| {
        let newest = newest?;
        Some(Part { place: slot.place.clone(), offsets, last: (newest.offset, record_hash(newest)) })
    };
    held.iter().zip(open).filter_map(part).collect()
}

/// The moves that settling these comes to, with those of partitions where only
/// duplicates, dead letters or markers went by. Nothing changes yet.
pub(super) fn trials<'a>(held: &[Held], parts: impl Iterator<Item = &'a Part>) -> Vec<Trial> {
    let mut open: Vec<Option<(Ledger, (u64, u64))>> = held.iter().map(|_| None).collect();
    for part in parts {
        let Some(slot) = held.iter().position(|slot| slot.place == part.place) else { continue };
        let (ledger, last) = open[slot].get_or_insert_with(|| (held[slot].ledger.clone(), part.last));
        for offset in &part.offsets {
            ledger.settle(*offset);
        }
        *last = part.last;
    }
    let moved = held.iter().zip(open).enumerate();
    moved
        .filter_map(|(index, (slot, open))| match open {
            Some((ledger, last)) => Some((index, slot, ledger, Some(last))),
            None if slot.passed() => Some((index, slot, slot.ledger.clone(), slot.last)),
            None => None,
        })
        .map(|(index, slot, ledger, last)| {
            let (next, ahead) = (ledger.next(), ledger.ahead().collect());
            // A dead letter is a record that was read: the log is known by it too.
            let last = last.max(slot.set_aside.filter(|(offset, _)| *offset < next));
            let step = Move { partition: slot.place.clone(), expected: slot.visible, next, ahead, last };
            Trial { index, ledger, step }
        })
        .collect()
}
