//! A batch that the last step makes visible beside this thread, while the next one is
//! read and handled. One at a time: it is waited for before the next is begun, so what
//! becomes visible does so in order, and a step that failed leaves nothing begun behind
//! it. What was handled ahead is then dropped, and handled again.
//!
//! Not here: working beside, which the step does, and steps that wait for company
//! (`handed`).

use std::time::{Duration, Instant};

use tapedeck_log::Member;

use super::{
    Handler, Move, Resume, Step,
    batch::Trouble,
    held::{Held, Part, slot_of, trials},
    queue::Queue,
    serve::Runtime,
};
use crate::{Boundary, Failure, Gauges};

/// The group is told so often where it stands while there is work: telling it waits
/// for the log's disk.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// A batch whose step is under way.
pub(super) struct Flight {
    /// What it was made of, for where the step fails.
    queue: Queue,
    parts: Vec<Part>,
    moves: Vec<Move>,
    since: Option<Instant>,
}

/// What was begun, and what the group is not told yet.
#[derive(Default)]
pub(super) struct Air {
    flight: Option<Flight>,
    untold: Vec<Move>,
    told: Option<Instant>,
    /// The last step that was begun failed: the next is waited for at once, so that tries
    /// are counted and slowed as they are where nothing works beside.
    is_grounded: bool,
}

impl Air {
    pub(super) fn is_empty(&self) -> bool {
        self.flight.is_none()
    }

    /// What it was made of.
    pub(super) fn queue(&self) -> Option<&Queue> {
        self.flight.as_ref().map(|flight| &flight.queue)
    }

    /// A step whose answer was lost was taken: the group has not heard of it.
    pub(super) fn note_found(&mut self, held: &Held, resume: &Resume) {
        let Some(next) = resume.next else { return };
        self.untold.retain(|told| told.partition != held.place);
        self.untold.push(Move {
            partition: held.place.clone(),
            expected: held.visible,
            next,
            ahead: resume.held.clone(),
            last: held.last,
        });
    }

    /// A step was taken while nothing was under way: what the group was to hear of these
    /// partitions before is behind them now.
    pub(super) fn note_taken(&mut self, moves: &[Move]) {
        self.is_grounded = false;
        self.untold.retain(|told| moves.iter().all(|step| step.partition != told.partition));
    }

    /// What is not told of partitions that are somebody else's now, never is.
    pub(super) fn forget_moves(&mut self, keep: impl Fn(&Move) -> bool) {
        self.untold.retain(keep);
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// Whether the batch may become visible beside this thread: not where a failure is
    /// being looked into, nor at the end.
    pub(super) fn may_fly(&self, size: usize) -> bool {
        self.step.works_beside()
            && !self.air.is_grounded
            && size == self.work.queue.len()
            && self.is_calm()
            && !self.setup.stop.requested()
    }

    /// Whether nothing stands in the way of handling ahead.
    pub(super) fn is_calm(&self) -> bool {
        !self.work.alone
            && !self.work.queue.is_empty()
            && self.work.search.is_idle()
            && self.letters.is_empty()
            && !self.held.iter().any(|held| held.stale || held.unsure)
    }

    /// Begins the step for the whole batch at work, once the one before has ended.
    pub(super) fn take_off(
        &mut self,
        member: &mut dyn Member,
        effect: S::Effect,
        parts: Vec<Part>,
    ) -> Result<(), Trouble> {
        self.land(member)?;
        let moves: Vec<Move> = trials(&self.held, parts.iter()).into_iter().map(|trial| trial.step).collect();
        self.setup.boundaries.pass(Boundary::Commit);
        self.step.begin(effect, &moves).map_err(Trouble::Step)?;
        let queue = std::mem::take(&mut self.work.queue);
        self.air.flight = Some(Flight { queue, parts, moves, since: self.since });
        self.tell(member, TELL_EVERY).map_err(Trouble::Step)
    }

    /// Waits for the step that was begun. Where it failed, all is as if it had not been
    /// begun beside: its batch is the one at work.
    ///
    /// # Errors
    /// That of the step.
    pub(super) fn land(&mut self, member: &mut dyn Member) -> Result<(), Trouble> {
        let Some(Flight { queue, parts, moves, since }) = self.air.flight.take() else { return Ok(()) };
        if let Err(failure) = self.step.end(member) {
            self.give_all_back();
            self.work.queue = queue;
            // Of partitions that went meanwhile nothing is ours any more.
            let held = &self.held;
            self.work.queue.take(|delivery| !held.iter().any(|held| held.owns(&delivery.record)));
            self.work.queue.join();
            self.air.is_grounded = true;
            self.since = Some(since.unwrap_or_else(Instant::now));
            self.doubt(self.work.queue.len(), matches!(failure, Failure::Transient(_)));
            return Err(Trouble::Step(failure));
        }
        for part in &parts {
            if let Some(held) = self.held.iter_mut().find(|held| held.place == part.place) {
                for offset in &part.offsets {
                    held.ledger.settle(*offset);
                }
            }
        }
        for step in &moves {
            if let Some(held) = self.held.iter_mut().find(|held| held.place == step.partition) {
                (held.visible, held.last) = (Some(step.next), step.last);
            }
        }
        Gauges::add(&self.setup.gauges.records, queue.len());
        Gauges::add(&self.setup.gauges.batches, 1);
        self.note_passed(queue.first(queue.len()), since);
        self.work.search.passed(queue.len());
        self.air.note_taken(&moves);
        let held = &self.held;
        self.air.untold.extend(moves.into_iter().filter(|step| held.iter().any(|held| held.place == step.partition)));
        Ok(())
    }

    /// [`Runtime::land`], and what is to be done where the step failed; then the group is told.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn come_down(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if let Err(trouble) = self.land(member) {
            self.answer(member, trouble)?;
        }
        self.tell(member, Duration::ZERO)
    }

    /// Where nothing waits to be handled, nothing is gained by being ahead.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn come_down_if_idle(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if self.since.is_none() { self.come_down(member) } else { self.tell(member, TELL_EVERY) }
    }

    /// Waits for what was begun, however it ends: all is read again.
    pub(super) fn give_up_flight(&mut self, member: &mut dyn Member) {
        if self.air.flight.take().is_some()
            && let Err(failure) = self.step.end(member)
        {
            tracing::debug!(role = self.setup.role, %failure, "what was begun is read again");
        }
        self.air = Air::default();
    }

    /// Tells the group where it stands, unless it was told a moment ago.
    fn tell(&mut self, member: &mut dyn Member, every: Duration) -> Result<(), Failure> {
        if self.air.untold.is_empty() || self.air.told.is_some_and(|told| told.elapsed() < every) {
            return Ok(());
        }
        self.air.told = Some(Instant::now());
        self.step.publish(member, &std::mem::take(&mut self.air.untold))
    }

    /// What was drawn waits again, and the handler's state of it is given again.
    fn give_all_back(&mut self) {
        let drawn = std::mem::take(&mut self.work.queue);
        self.work.alone = false;
        for delivery in drawn.into_all().rev() {
            if let Some(slot) = slot_of(&self.held, &delivery.record, 0) {
                self.held[slot].stale = true;
                self.held[slot].queue.push_front(delivery);
            }
        }
    }
}
