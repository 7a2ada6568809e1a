//! A batch: drawn from what waits, handled, made visible, and what is done where
//! either fails.
//!
//! Not here: what becomes of a record that fails (`alone`, `letters`), and where
//! records come from (`serve`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tapedeck_log::Member;

use super::{
    Handler, Step,
    handed::Batch,
    held::{Held, parts, slot_of, trials},
    letters::{Fault, named},
    queue::Queue,
    serve::Runtime,
};
use crate::{Boundary, Delivery, Failure, Gauges, bisect::Bisect, dead_letter::ErrorClass};

/// A try that takes longer is halved: handling stays below the 30 s that a
/// session allows. It is above the 10 s of a store's deadline: a store that
/// answers late answers as late for a part, and halves would only be more calls.
const SLOW: Duration = Duration::from_secs(12);

/// The batch at work.
#[derive(Default)]
pub(super) struct Work {
    /// Deliveries of partitions that are free; or one that is tried alone.
    pub(super) queue: Queue,
    /// It is one that is tried alone.
    pub(super) alone: bool,
    /// Which part of it is tried next.
    pub(super) search: Bisect,
}

/// How an attempt at a batch ended.
pub(super) enum Trouble {
    Failure(Failure),
    /// The last step failed, and not the handler.
    Step(Failure),
    Panic(String),
    /// Dead letters cannot be written, which holds their partitions already.
    Letters,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Work {
    /// How many to try next.
    fn size(&self) -> usize {
        if self.alone { self.queue.len() } else { self.queue.first(self.search.size(self.queue.len())).len() }
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// Makes all visible that may go on; tried again until it works, or, once
    /// somebody asked to stop, until the drain time is over. What is tried alone
    /// and not due is left waiting.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn flush(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        while self.has_work() {
            match self.attempt(member) {
                Ok(()) if self.backoff.failures() > 0 => {
                    self.backoff.reset();
                    self.show_phase();
                }
                Ok(()) => {}
                Err(trouble) => self.answer(member, trouble)?,
            }
            self.keep_seat(member)?;
            self.settle_handed(member)?;
            if self.overdue() && self.has_work() {
                let left = self.waiting().0;
                tracing::warn!(
                    role = self.setup.role,
                    left,
                    "the drain time is over; the rest is read again at the next start"
                );
                return Ok(());
            }
        }
        if self.ready().0 == 0 {
            self.since = None;
        }
        self.gate(member);
        Ok(())
    }

    /// Makes what waits visible before partitions go; a failure leaves the rest to
    /// who holds them next.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn flush_once(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        while self.has_work() {
            match self.attempt(member) {
                Ok(()) => {}
                Err(Trouble::Failure(failure @ (Failure::Fenced(_) | Failure::Fatal(_)))) => return Err(failure),
                Err(Trouble::Step(failure @ (Failure::Fenced(_) | Failure::Fatal(_)))) => return Err(failure),
                Err(_) => break,
            }
        }
        match self.land(member) {
            Err(Trouble::Step(failure @ (Failure::Fenced(_) | Failure::Fatal(_)))) => Err(failure),
            Err(_) => Ok(()),
            Ok(()) => self.come_down(member),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        let now = Instant::now();
        let waits = |held: &Held| {
            held.passed()
                || (held.is_free() && !held.queue.is_empty())
                || held.trial_due().is_some_and(|due| due <= now)
        };
        let stuck = self.handed.is_full(self.setup.config.dedupe_window);
        !stuck && (!self.work.queue.is_empty() || self.letters.are_due() || self.held.iter().any(waits))
    }

    /// Handles a part of the batch and takes the step, once.
    fn attempt(&mut self, member: &mut dyn Member) -> Result<(), Trouble> {
        if self.held.iter().any(|held| held.stale || held.unsure) {
            self.land(member)?;
        }
        self.bring_to_end(member)?;
        self.reload()?;
        if self.work.queue.is_empty() {
            self.draw();
        }
        let (size, began) = (self.work.size(), Instant::now());
        let result = self.attempt_part(member, size);
        if let Err(trouble) = &result {
            let taken = matches!(trouble, Trouble::Step(Failure::Transient(_)));
            self.doubt(size, taken);
        }
        // What is under way is not halved: it is tried whole, or in order.
        if began.elapsed() > SLOW && size > 0 && self.air.is_empty() {
            self.work.search.slow(size);
        }
        result
    }

    /// Before state is given again, all that was handed over must be in it.
    fn bring_to_end(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if self.handed.is_empty() || !self.held.iter().any(|held| held.stale || held.unsure) {
            return Ok(());
        }
        self.settle_now(member)?;
        match self.handed.is_empty() {
            true => Ok(()),
            false => Err(Failure::Transient("what was emitted is not durable yet".into())),
        }
    }

    fn attempt_part(&mut self, member: &mut dyn Member, size: usize) -> Result<(), Trouble> {
        let effect = match self.handled(size) {
            Ok(effect) => effect,
            Err(trouble) => {
                // Of two failures that of the earlier batch counts: this one comes again.
                self.land(member)?;
                return Err(trouble);
            }
        };
        self.write_letters()?;
        let parts = parts(&self.held, self.work.queue.first(size));
        if self.may_fly(size) {
            return self.take_off(member, effect, parts);
        }
        self.land(member)?;
        if size > 0 && self.step.hands_over() {
            let mut effect = effect;
            let ticket = self.step.hand_over(&mut effect).map_err(Trouble::Step)?;
            let bytes = self.step.bytes_of(&effect);
            self.handed.push(Batch { ticket, effect, bytes, parts, since: Instant::now() });
            self.through(size);
            return Ok(());
        }
        let (trials, moves): (Vec<_>, Vec<_>) =
            trials(&self.held, parts.iter()).into_iter().map(|trial| ((trial.index, trial.ledger), trial.step)).unzip();
        if moves.is_empty() {
            return Ok(());
        }
        self.setup.boundaries.pass(Boundary::Commit);
        self.step.perform(member, effect, &moves).map_err(Trouble::Step)?;
        self.air.note_taken(&moves);
        for ((index, ledger), step) in trials.into_iter().zip(moves) {
            self.held[index].accept(ledger, step);
        }
        Gauges::add(&self.setup.gauges.records, size);
        Gauges::add(&self.setup.gauges.batches, 1);
        self.through(size);
        Ok(())
    }

    /// What the first `size` come to.
    fn handled(&mut self, size: usize) -> Result<H::Effect, Trouble> {
        if size == 0 {
            return Ok(H::Effect::default());
        }
        let (handler, batch) = (&mut self.handler, self.work.queue.first(size));
        match catch_unwind(AssertUnwindSafe(|| handler.handle(batch))) {
            Ok(effect) => Ok(effect?),
            Err(payload) => Err(Trouble::Panic(text_of(payload.as_ref()))),
        }
    }

    /// A new batch: a record whose time has come to be tried alone, else of each
    /// partition that is free its share.
    fn draw(&mut self) {
        let now = Instant::now();
        self.work.alone = false;
        if let Some(held) = self.held.iter_mut().find(|held| held.trial_due().is_some_and(|due| due <= now)) {
            self.work.queue = Queue::default();
            self.work.alone = true;
            held.queue.pop_front().into_iter().for_each(|delivery| self.work.queue.push_back(delivery));
            return;
        }
        self.work.search.forget();
        let config = &self.setup.config;
        let mut left = self.work.search.limit().min(config.batch_max_records).max(1);
        let full = |work: &Queue, left: usize| left == 0 || work.bytes() >= config.batch_max_bytes;
        let ready = self.held.iter().filter(|held| held.is_free() && !held.queue.is_empty()).count();
        let share = left.div_ceil(ready.max(1));
        // First each its share, then whoever has more.
        for most in [share, usize::MAX] {
            for held in self.held.iter_mut().filter(|held| held.is_free()) {
                let mut taken = 0;
                while taken < most && !full(&self.work.queue, left) {
                    let Some(delivery) = held.queue.pop_front() else { break };
                    self.work.queue.push_back(delivery);
                    (taken, left) = (taken + 1, left - 1);
                }
            }
        }
        self.work.queue.join();
    }

    /// What is done where an attempt failed.
    pub(super) fn answer(&mut self, member: &mut dyn Member, trouble: Trouble) -> Result<(), Failure> {
        let (failure, class) = match trouble {
            Trouble::Letters => return Ok(()),
            Trouble::Panic(message) => return self.panicked(member, &message),
            Trouble::Failure(failure) => (failure, ErrorClass::Handler),
            Trouble::Step(failure) => (failure, ErrorClass::Store),
        };
        match failure {
            Failure::Transient(detail) => self.pause(member, &detail),
            Failure::Poison { index, path, detail, .. } => {
                self.refuse(member, index, Fault::first(class, detail, path))
            }
            Failure::Unready { index, path, detail, .. } => {
                self.try_later(member, index, Fault::first(class, detail, path))
            }
            Failure::Refused(detail) => {
                let size = self.work.size();
                if self.work.alone || self.work.search.failed(size) {
                    return self.refuse(member, 0, Fault::first(class, detail, None));
                }
                Ok(())
            }
            failure @ (Failure::Fenced(_) | Failure::Fatal(_)) => Err(failure),
        }
    }

    /// A panic names no record: it is sought, and then tried alone.
    fn panicked(&mut self, member: &mut dyn Member, message: &str) -> Result<(), Failure> {
        let size = self.work.size();
        tracing::error!(role = self.setup.role, size, message, "the handler panicked; its state is given again");
        if !self.work.alone && !self.work.search.failed(size) {
            return Ok(());
        }
        let detail = format!("the handler panicked: {message}");
        self.try_later(member, 0, Fault::first(ErrorClass::Panic, detail, None))
    }

    /// A failure named a delivery of the batch that can never be handled.
    pub(super) fn refuse(&mut self, member: &mut dyn Member, index: usize, mut fault: Fault) -> Result<(), Failure> {
        let size = self.work.size();
        let Some((slot, _)) = named(self, index) else { return Err(not_there(index, &fault)) };
        let Some(delivery) = self.work.queue.remove(index) else { return Err(not_there(index, &fault)) };
        if let Some(ordeal) = self.held[slot].ordeal.take() {
            (fault.tries, fault.first_failure) = (ordeal.tries + fault.tries, ordeal.first_failure);
        } else {
            self.work.search.named(index, size);
        }
        self.set_aside(member, slot, &delivery.record, fault);
        Ok(())
    }

    /// The first `size` went through; makes room.
    fn through(&mut self, size: usize) {
        self.note_passed(self.work.queue.first(size), self.since);
        if self.work.alone {
            self.passed_alone();
        } else if size > 0 {
            self.work.search.passed(size);
        }
        self.work.queue.drop_first(size);
    }

    /// Says of deliveries that they are visible, of which the oldest waited since then.
    pub(super) fn note_passed(&self, batch: &[Delivery], since: Option<Instant>) {
        let gauges = &self.setup.gauges;
        if let Some(seq) = batch.iter().rev().find_map(|delivery| delivery.meta.seq.as_ref()) {
            gauges.last_seq.fetch_max(seq.n, Relaxed);
        }
        if let Some(since) = since {
            gauges.batch_us.store(since.elapsed().as_micros() as u64, Relaxed);
        }
    }

    /// What an attempt at the first `size` touched is not known any more; where
    /// the step may have been taken, nor is where anything stands.
    pub(super) fn doubt(&mut self, size: usize, taken: bool) {
        let mut hint = 0;
        for delivery in self.work.queue.first(size) {
            if let Some(slot) = slot_of(&self.held, &delivery.record, hint) {
                hint = slot;
                self.held[slot].stale = true;
            }
        }
        if taken {
            self.held.iter_mut().for_each(|held| held.unsure = true);
        }
    }

    /// Drops the handler's state where it may differ and gives it again as it is
    /// visible; what is visible of the batch already, is taken out of it.
    fn reload(&mut self) -> Result<(), Failure> {
        if self.held.iter().any(|held| held.unsure) {
            return self.reconcile();
        }
        let stale = |held: &&mut Held| held.stale;
        let places: Vec<_> = self.held.iter_mut().filter(stale).map(|held| held.place.clone()).collect();
        if places.is_empty() {
            return Ok(());
        }
        let states = self.step.restate(&places)?;
        for (held, state) in self.held.iter_mut().filter(stale).zip(&states) {
            self.handler.revoked(&held.place);
            self.handler.assigned(&held.place, state)?;
            held.stale = false;
        }
        Ok(())
    }

    fn reconcile(&mut self) -> Result<(), Failure> {
        let places: Vec<_> = self.held.iter().map(|held| held.place.clone()).collect();
        let resumes = self.step.resume(&places)?;
        for (held, resume) in self.held.iter_mut().zip(&resumes) {
            let waiting = self.work.queue.len();
            if !held.reconcile(resume, &mut self.work.queue) {
                let (visible, next) = (held.visible, resume.next);
                return Err(Failure::Fenced(format!(
                    "{} stands at {next:?}, not at {visible:?}: another process has gone on",
                    held.place
                )));
            }
            if self.work.queue.len() != waiting {
                self.work.search.forget();
            }
            self.air.note_found(held, resume);
            self.handler.revoked(&held.place);
            self.handler.assigned(&held.place, &resume.state)?;
            (held.stale, held.unsure) = (false, false);
        }
        self.work.queue.join();
        Ok(())
    }
}

fn not_there(index: usize, fault: &Fault) -> Failure {
    Failure::Fatal(format!("a failure names delivery {index}, which is not in the batch: {}", fault.detail))
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
