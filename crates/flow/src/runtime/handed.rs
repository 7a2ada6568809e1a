//! Batches that a step has handed over and that are not durable yet: what they
//! say is on its way, and their state and positions wait for it while the next
//! ones are handled.
//!
//! Not here: handing over, which the step does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tapedeck_log::{Member, TopicPartition};

use super::{
    HandedOver, Handler, Move, Resume, Step,
    held::{Part, trials},
    serve::Runtime,
};
use crate::{Boundary, Failure, Gauges, backoff::Backoff, emitter::Ticket};

/// Records that may wait here, handled or emitted, whichever are more: half of
/// what readers of the emitted know duplicates by, so that after an end none of
/// what comes again is taken twice, the batch that passes the bound included.
const MOST: usize = 32_768;
/// Bytes of state and records that may wait here: some seconds of a busy role.
const MOST_BYTES: usize = 64 << 20;

/// While batches wait, it is asked so often whether they are durable.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// Batches handed over, oldest first.
pub(super) struct Handed<E> {
    waiting: VecDeque<Batch<E>>,
    records: usize,
    /// Of the effects that wait.
    bytes: usize,
    /// The last ticket whose batch is settled.
    settled: Ticket,
    /// The last step failed, of so many of them: it may have been taken.
    tried: Option<(usize, Vec<Move>)>,
    backoff: Backoff,
    /// Not to be tried again before.
    due: Option<Instant>,
}

/// A batch that was handed over.
pub(super) struct Batch<E> {
    pub(super) ticket: Ticket,
    pub(super) effect: E,
    /// What the effect holds in memory.
    pub(super) bytes: usize,
    pub(super) parts: Vec<Part>,
    pub(super) since: Instant,
}

impl<'a, E> HandedOver<'a, E> {
    /// None where all of it is somebody else's now.
    fn of(batch: &'a Batch<E>) -> Option<Self> {
        let partitions: Vec<_> = batch.parts.iter().map(|part| part.place.partition).collect();
        (!partitions.is_empty()).then_some(Self { effect: &batch.effect, partitions })
    }
}

impl<E> Default for Handed<E> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            records: 0,
            bytes: 0,
            settled: Ticket::default(),
            tried: None,
            backoff: Backoff::default(),
            due: None,
        }
    }
}

impl<E> Handed<E> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no more may be handed over before something is durable.
    pub(super) fn is_full(&self, window: usize) -> bool {
        self.records.max(self.emitted()) >= MOST.min((window / 2).max(1)) || self.bytes >= MOST_BYTES
    }

    /// Bytes that the effects hold which wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events that were emitted and whose batch is not settled: one record may
    /// cause several.
    fn emitted(&self) -> usize {
        let newest = self.waiting.back().map_or(self.settled, |batch| batch.ticket);
        usize::try_from(newest.0.saturating_sub(self.settled.0)).unwrap_or(usize::MAX)
    }

    pub(super) fn push(&mut self, batch: Batch<E>) {
        self.records += batch.parts.iter().map(|part| part.offsets.len()).sum::<usize>();
        self.bytes += batch.bytes;
        self.waiting.push_back(batch);
    }

    /// Keeps only parts that match: the others are read again by who holds them next.
    pub(super) fn retain(&mut self, keep: impl Fn(&Part) -> bool) {
        self.waiting.iter_mut().for_each(|batch| batch.parts.retain(&keep));
        self.records = self.waiting.iter().flat_map(|batch| &batch.parts).map(|part| part.offsets.len()).sum();
    }

    pub(super) fn forget_moves(&mut self, keep: impl Fn(&Move) -> bool) {
        if let Some((_, moves)) = &mut self.tried {
            moves.retain(keep);
        }
    }

    fn drop_first(&mut self, count: usize) -> usize {
        let mut gone = 0;
        for batch in self.waiting.drain(..count) {
            gone += batch.parts.iter().map(|part| part.offsets.len()).sum::<usize>();
            self.bytes -= batch.bytes;
            self.settled = self.settled.max(batch.ticket);
        }
        self.records -= gone;
        (self.tried, self.due) = (None, None);
        self.backoff.reset();
        gone
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// Takes one step for all batches at the front that are durable, once the
    /// oldest waited as long as a record waits for company. A failure that passes
    /// is tried again later; handling goes on until too many wait.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn settle_handed(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let Some(oldest) = self.handed.waiting.front() else { return Ok(()) };
        let age = self.setup.config.batch_max_age();
        let early = oldest.since.elapsed() < age && !self.handed.is_full(self.setup.config.dedupe_window);
        if early || self.handed.due.is_some_and(|due| Instant::now() < due) {
            return Ok(());
        }
        self.settle_now(member)
    }

    /// The same at once, for who can do nothing else before.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn settle_now(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        match self.settle_durable(member) {
            Err(Failure::Transient(detail)) => {
                Gauges::add(&self.setup.gauges.retries, 1);
                let wait = self.handed.backoff.next_wait();
                tracing::warn!(role = self.setup.role, detail, "the positions of what was emitted wait; tried again");
                self.handed.due = Some(Instant::now() + wait);
                Ok(())
            }
            settled => settled,
        }
    }

    fn settle_durable(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if self.was_taken()? {
            return Ok(());
        }
        let durable = self.step.durable();
        let ready = self.handed.waiting.iter().take_while(|batch| batch.ticket <= durable).count();
        let count = self.handed.tried.as_ref().map_or(ready, |(count, _)| *count);
        if count == 0 {
            return Ok(());
        }
        let batches: Vec<&Batch<S::Effect>> = self.handed.waiting.iter().take(count).collect();
        let (trials, moves): (Vec<_>, Vec<_>) = trials(&self.held, batches.iter().flat_map(|batch| &batch.parts))
            .into_iter()
            .map(|trial| ((trial.index, trial.ledger), trial.step))
            .unzip();
        let effects: Vec<_> = batches.iter().filter_map(|batch| HandedOver::of(batch)).collect();
        if !moves.is_empty() {
            self.setup.boundaries.pass(Boundary::Commit);
            let taken = self.step.perform_handed(member, &effects, &moves);
            if let Err(failure) = taken {
                self.handed.tried = Some((count, moves));
                return Err(match failure {
                    Failure::Transient(_) | Failure::Fenced(_) | Failure::Fatal(_) => failure,
                    other => Failure::Fatal(format!("what was emitted already is refused: {other}")),
                });
            }
            for ((index, ledger), step) in trials.into_iter().zip(moves) {
                self.held[index].accept(ledger, step);
            }
        }
        self.settled(count);
        Ok(())
    }

    /// Whether the step that failed was taken all the same; believed then.
    fn was_taken(&mut self) -> Result<bool, Failure> {
        let Some((count, moves)) = &self.handed.tried else { return Ok(false) };
        let places: Vec<_> = moves.iter().map(|step| step.partition.clone()).collect();
        let found = self.step.resume(&places)?;
        // A step may settle offsets beyond one that is not, and move no position.
        let stands = |resume: &Resume, step: &Move| resume.next == Some(step.next) && resume.held == step.ahead;
        if found.iter().zip(moves).all(|(resume, step)| stands(resume, step)) {
            let (count, moves) = (*count, moves.clone());
            for part in self.handed.waiting.iter().take(count).flat_map(|batch| &batch.parts) {
                if let Some(held) = self.held.iter_mut().find(|held| held.place == part.place) {
                    for offset in &part.offsets {
                        held.ledger.settle(*offset);
                    }
                }
            }
            for step in moves {
                if let Some(held) = self.held.iter_mut().find(|held| held.place == step.partition) {
                    (held.visible, held.last) = (Some(step.next), step.last);
                }
            }
            self.settled(count);
            return Ok(true);
        }
        let visible =
            |place: &TopicPartition| self.held.iter().find(|held| held.place == *place).and_then(|held| held.visible);
        let gone_on = |resume: &Resume, step: &Move| resume.next.is_some() && resume.next != visible(&step.partition);
        match found.iter().zip(moves).find(|(resume, step)| gone_on(resume, step)) {
            Some((resume, step)) => Err(Failure::Fenced(format!(
                "{} stands at {:?}, not at {:?}: another process has gone on",
                step.partition, resume.next, step.expected
            ))),
            None => Ok(false),
        }
    }

    fn settled(&mut self, count: usize) {
        let records = self.handed.drop_first(count);
        Gauges::add(&self.setup.gauges.records, records);
        Gauges::add(&self.setup.gauges.batches, 1);
    }

    /// Waits until all that was handed over is durable and its positions have
    /// moved, or the time to drain is over; the rest comes again at the next start.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn finish_handed(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        while !self.handed.is_empty() && !self.overdue() {
            if self.handed.due.is_none_or(|due| Instant::now() >= due) {
                self.settle_now(member)?;
            }
            self.keep_seat(member)?;
            if !self.handed.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(ticket: u64, records: u64, bytes: usize) -> Batch<()> {
        let place = TopicPartition::new("market-data-updates", 0);
        let parts = vec![Part { place, offsets: (0..records).collect(), last: (0, 0) }];
        Batch { ticket: Ticket(ticket), effect: (), bytes, parts, since: Instant::now() }
    }

    #[test]
    fn what_waits_is_bounded_by_records_by_events_and_by_bytes() {
        let full = |batches: Vec<Batch<()>>| {
            let mut handed = Handed::default();
            batches.into_iter().for_each(|batch| handed.push(batch));
            handed.is_full(200)
        };
        assert!(!full(vec![batch(50, 50, 0), batch(99, 49, 0)]));
        assert!(full(vec![batch(0, 50, 0), batch(0, 50, 0)]), "many records that cause nothing");
        assert!(full(vec![batch(40, 10, 0), batch(100, 10, 0)]), "few records that cause much");
        assert!(full(vec![batch(1, 1, MOST_BYTES)]), "few events with a large state");
    }

    #[test]
    fn what_is_settled_makes_room() {
        let mut handed = Handed::default();
        handed.push(batch(100, 10, 7));
        handed.push(batch(150, 10, 5));
        assert!(handed.is_full(200));
        assert_eq!(handed.drop_first(1), 10);
        assert!(!handed.is_full(200));
        assert_eq!((handed.emitted(), handed.bytes()), (50, 5));
    }
}
