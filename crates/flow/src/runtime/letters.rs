//! Records that can never be handled: each becomes a dead letter, and its
//! partition goes on once that is durable; or, where a hole is worse than an end,
//! its partition stops.
//!
//! Not here: how a dead letter looks (`crate::dead_letter`), and which record is
//! one (`batch`, `alone`).

use std::time::{Duration, Instant};

use tapedeck_contracts::Timestamp;
use tapedeck_log::{LogError, LogRecord, Member, Record, TopicPartition};

use super::{Handler, Step, batch::Trouble, held::slot_of, serve::Runtime};
use crate::{
    Aside, Boundary, Failure, Gauges,
    backoff::Backoff,
    budget::bytes_of,
    dead_letter::{Account, ErrorClass, dead_letter},
    inbound::place_of,
    opener::now,
    record_hash::record_hash,
};

/// Dead letters on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: Vec<Letter>,
    /// The same, as they are written.
    records: Vec<Record>,
    backoff: Backoff,
    /// Not to be tried again before.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Letter {
    place: TopicPartition,
    offset: u64,
    hash: u64,
    bytes: usize,
}

/// What failed on a record.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) detail: String,
    pub(super) path: Option<String>,
    pub(super) tries: u32,
    pub(super) first_failure: Timestamp,
}

impl Fault {
    /// A failure that is the first, now.
    pub(super) fn first(class: ErrorClass, detail: String, path: Option<String>) -> Self {
        Self { class, detail, path, tries: 1, first_failure: now() }
    }
}

impl Letters {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.waiting.iter().map(|letter| letter.bytes).sum()
    }

    /// How long until they may be tried; none where there are none.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
        (!self.is_empty()).then_some(wait)
    }

    pub(super) fn are_due(&self) -> bool {
        self.wait() == Some(Duration::ZERO)
    }

    /// Drops those of a partition: who holds it next reads their records again.
    pub(super) fn forget(&mut self, place: &TopicPartition) {
        let mut kept = self.waiting.iter().map(|letter| letter.place != *place).collect::<Vec<_>>().into_iter();
        self.records.retain(|_| kept.next().unwrap_or(true));
        self.waiting.retain(|letter| letter.place != *place);
    }

    fn push(&mut self, record: &LogRecord, letter: Record) {
        let place = TopicPartition { topic: record.topic.clone(), partition: record.partition };
        let (offset, hash, bytes) = (record.offset, record_hash(record), bytes_of(record));
        self.waiting.push(Letter { place, offset, hash, bytes });
        self.records.push(letter);
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// The one place where it is decided what becomes of a record that can never
    /// be handled; it is in no queue any more.
    pub(super) fn set_aside(&mut self, member: &mut dyn Member, slot: usize, record: &LogRecord, fault: Fault) {
        Gauges::add(&self.setup.gauges.poison, 1);
        match self.setup.aside {
            Aside::Stop => self.block(member, slot, record.offset, &fault),
            Aside::DeadLetter => {
                let Fault { class, detail, path, tries, first_failure } = fault;
                let place = place_of(record);
                tracing::warn!(role = self.setup.role, %place, class = class.name(), tries, detail, "becomes a dead letter");
                let account = Account {
                    role: self.setup.role.clone(),
                    group: self.setup.group(),
                    class,
                    error: detail,
                    path,
                    attempts: tries,
                    first_failure,
                    last_failure: now(),
                };
                let letter = dead_letter(record, &account, self.setup.log.max_record_bytes());
                self.letters.push(record, letter);
                if self.letters.backoff.failures() > 0 {
                    // It waits with those that could not be written.
                    self.held[slot].letters_wait = true;
                    self.give_back(slot, 0);
                }
            }
        }
    }

    /// Stops a partition at a record: everything from it on stays in the log,
    /// unsettled.
    fn block(&mut self, member: &mut dyn Member, slot: usize, offset: u64, fault: &Fault) {
        let held = &mut self.held[slot];
        let path = fault.path.as_ref().map(|path| format!(" (at {path})")).unwrap_or_default();
        let message = format!(
            "{place}/{offset}: {}{path}. {place} stops at offset {offset}; nothing is lost, the other partitions go on. \
             Correct the cause and start again; or, where this record can never be handled, stop the process and give it \
             up: `tapedeck groups skip {} {place}/{offset} --reason \"...\"`",
            fault.detail,
            self.setup.group(),
            place = held.place
        );
        tracing::error!(role = self.setup.role, partition = %held.place, offset, "{message}");
        held.blocked = Some(message);
        held.paused = true;
        held.ordeal = None;
        held.later = None;
        member.pause(std::slice::from_ref(&held.place));
        held.queue.take(|delivery| delivery.record.offset >= offset);
        let held = &self.held[slot];
        self.work.queue.take(|delivery| delivery.record.offset >= offset && held.owns(&delivery.record));
        self.show_phase();
    }

    /// Writes the dead letters that wait, all in one call; then their records are
    /// settled. Where they cannot be written, their partitions wait, and no other.
    ///
    /// # Errors
    /// [`Trouble::Letters`] where it is tried again later; fatal where the log
    /// refuses one for good.
    pub(super) fn write_letters(&mut self) -> Result<(), Trouble> {
        if !self.letters.are_due() {
            return Ok(());
        }
        match self.setup.log.append_kept(&self.letters.records) {
            Ok(_) => {
                self.setup.boundaries.pass(Boundary::DeadLetter);
                self.letters_written();
                Ok(())
            }
            Err(LogError::Transient(detail)) => {
                self.letters_wait(&detail);
                Err(Trouble::Letters)
            }
            Err(LogError::Poison { index, detail }) => {
                let named = self.letters.waiting.get(index).map(|letter| format!("{}/{}", letter.place, letter.offset));
                Err(Trouble::Failure(Failure::Fatal(format!(
                    "the dead letter of {} cannot be written: {detail}. Nothing is lost and nothing was skipped. Make \
                     sure that its dead letter topic exists (`tapedeck topics apply`) and takes records of this size, \
                     then start again",
                    named.unwrap_or_default()
                ))))
            }
            Err(error) => Err(Trouble::Failure(error.into())),
        }
    }

    fn letters_written(&mut self) {
        Gauges::add(&self.setup.gauges.dead_letters, self.letters.len());
        for letter in std::mem::take(&mut self.letters.waiting) {
            if let Some(held) = self.held.iter_mut().find(|held| held.place == letter.place) {
                held.settle_aside(letter.offset, letter.hash);
            }
        }
        self.letters.records.clear();
        self.letters.due = None;
        if self.letters.backoff.failures() > 0 {
            self.letters.backoff.reset();
            self.held.iter_mut().for_each(|held| held.letters_wait = false);
            self.show_phase();
        }
    }

    fn letters_wait(&mut self, detail: &str) {
        Gauges::add(&self.setup.gauges.retries, 1);
        let wait = self.letters.backoff.next_wait();
        self.letters.due = Some(Instant::now() + wait);
        let letters = self.letters.len();
        tracing::warn!(role = self.setup.role, letters, detail, "dead letters cannot be written; tried again");
        for slot in 0..self.held.len() {
            let place = &self.held[slot].place;
            if self.letters.waiting.iter().any(|letter| letter.place == *place) {
                self.held[slot].letters_wait = true;
                self.held[slot].stale = true;
                self.give_back(slot, 0);
            }
        }
        self.show_phase();
    }

    /// What of the batch is of a partition, from an index on, waits again.
    pub(super) fn give_back(&mut self, slot: usize, from: usize) {
        let held = &self.held[slot];
        let first = self.work.queue.get(from).map(|delivery| delivery.record.offset);
        let later = |delivery: &crate::Delivery| {
            held.owns(&delivery.record) && (from == 0 || first.is_none_or(|first| delivery.record.offset >= first))
        };
        let back = self.work.queue.take(later);
        for delivery in back.into_iter().rev() {
            self.held[slot].queue.push_front(delivery);
        }
        self.work.queue.join();
    }
}

/// Which of those held a record of the batch belongs to.
pub(super) fn named<H: Handler, S: Step<Effect = H::Effect>>(
    runtime: &Runtime<H, S>,
    index: usize,
) -> Option<(usize, &LogRecord)> {
    let record = &runtime.work.queue.get(index)?.record;
    Some((slot_of(&runtime.held, record, 0)?, record))
}
