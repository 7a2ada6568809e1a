//! A batch: handled, made visible, and what is done where either fails.
//!
//! Not here: where batches come from (`serve`).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering::Relaxed,
};

use tapedeck_log::Member;

use super::{
    Handler, Step,
    held::{Held, slot_of, trials},
    serve::Runtime,
};
use crate::{Failure, Gauges, inbound::place_of};

/// How often a record that makes the handler panic is tried alone before it is
/// set aside: what it stumbles over may pass.
const PANIC_TRIES: u32 = 5;

/// How an attempt at a batch ended.
enum Trouble {
    Failure(Failure),
    Panic(String),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// Makes all that is pending visible; tried again until it works, or, once
    /// somebody asked to stop, until the drain time is over.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn flush(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let mut alone = 0;
        while self.has_work() {
            match self.attempt(member) {
                Ok(()) => {
                    alone = 0;
                    if self.backoff.failures() > 0 {
                        self.backoff.reset();
                        self.show_phase();
                    }
                }
                Err(Trouble::Failure(Failure::Transient(detail))) => self.pause(member, &detail)?,
                Err(Trouble::Failure(Failure::Poison { index, place, path, detail })) => {
                    self.name_poison(member, Failure::Poison { index, place, path, detail }, index)?;
                }
                Err(Trouble::Failure(failure)) => return Err(failure),
                Err(Trouble::Panic(message)) => self.narrow(member, &message, &mut alone)?,
            }
            if self.overdue() && self.has_work() {
                let left = self.pending.len();
                tracing::warn!(
                    role = self.setup.role,
                    left,
                    "the drain time is over; the rest is read again at the next start"
                );
                return Ok(());
            }
        }
        self.begin_batch();
        Ok(())
    }

    /// Makes what is pending visible before partitions go; a failure leaves the
    /// rest to who holds them next.
    ///
    /// # Errors
    /// Fenced and fatal ones.
    pub(super) fn flush_once(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        while self.has_work() {
            match self.attempt(member) {
                Ok(()) => {}
                Err(Trouble::Failure(failure @ (Failure::Fenced(_) | Failure::Fatal(_)))) => return Err(failure),
                Err(_) => {
                    self.stale = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A batch is empty from now on.
    pub(super) fn begin_batch(&mut self) {
        self.pending_bytes = 0;
        self.since = None;
        self.batch_limit = usize::MAX;
    }

    fn has_work(&self) -> bool {
        !self.pending.is_empty() || self.held.iter().any(Held::passed)
    }

    /// Handles a batch and takes the step, once.
    fn attempt(&mut self, member: &mut dyn Member) -> Result<(), Trouble> {
        if self.stale {
            self.reload()?;
        }
        let size = self.pending.len().min(self.batch_limit);
        let batch = &self.pending[..size];
        let effect = if batch.is_empty() {
            H::Effect::default()
        } else {
            let handler = &mut self.handler;
            match catch_unwind(AssertUnwindSafe(|| handler.handle(batch))) {
                Ok(effect) => effect?,
                Err(payload) => return Err(Trouble::Panic(text_of(payload.as_ref()))),
            }
        };
        let (trials, moves): (Vec<_>, Vec<_>) =
            trials(&self.held, batch).into_iter().map(|trial| ((trial.index, trial.ledger), trial.step)).unzip();
        if moves.is_empty() {
            return Ok(());
        }
        self.step.perform(member, effect, &moves)?;
        for ((index, ledger), step) in trials.into_iter().zip(moves) {
            self.held[index].accept(ledger, step);
        }
        self.visible(size);
        Ok(())
    }

    /// Counts what is visible now, and makes room.
    fn visible(&mut self, size: usize) {
        let gauges = &self.setup.gauges;
        Gauges::add(&gauges.records, size);
        Gauges::add(&gauges.batches, 1);
        if let Some(seq) = self.pending[..size].iter().rev().find_map(|delivery| delivery.meta.seq.as_ref()) {
            gauges.last_seq.fetch_max(seq.n, Relaxed);
        }
        if let Some(since) = self.since {
            gauges.batch_us.store(since.elapsed().as_micros() as u64, Relaxed);
        }
        self.pending.drain(..size);
        if self.pending.is_empty() {
            self.begin_batch();
        }
    }

    /// Drops the handler's state and gives it again as it is visible; what is
    /// visible of the batch already, is taken out of it.
    fn reload(&mut self) -> Result<(), Failure> {
        let places: Vec<_> = self.held.iter().map(|held| held.place.clone()).collect();
        let resumes = self.step.resume(&places)?;
        for (held, resume) in self.held.iter_mut().zip(&resumes) {
            if !held.reconcile(resume, &mut self.pending) {
                let (visible, next) = (held.visible, resume.next);
                return Err(Failure::Fenced(format!(
                    "{} stands at {next:?}, not at {visible:?}: another process has gone on",
                    held.place
                )));
            }
            self.handler.revoked(&held.place);
            self.handler.assigned(&held.place, &resume.state)?;
        }
        self.stale = false;
        Ok(())
    }

    /// A failure named a delivery of the batch.
    fn name_poison(&mut self, member: &mut dyn Member, failure: Failure, index: usize) -> Result<(), Failure> {
        self.stale = true;
        let named = self.pending.get(index).map(|delivery| &delivery.record);
        let found = named.and_then(|record| Some((slot_of(&self.held, record, 0)?, record.offset)));
        let Some((slot, offset)) = found else {
            return Err(Failure::Fatal(format!(
                "a failure names delivery {index}, which is not in the batch: {failure}"
            )));
        };
        self.set_aside(member, slot, offset, &failure);
        Ok(())
    }

    /// A panic names no record: the batch is halved until it is alone, and what
    /// comes before it is made visible on the way. `alone` counts its tries then.
    fn narrow(&mut self, member: &mut dyn Member, message: &str, alone: &mut u32) -> Result<(), Failure> {
        self.stale = true;
        let size = self.pending.len().min(self.batch_limit);
        tracing::error!(role = self.setup.role, size, message, "the handler panicked; its state is read again");
        if size > 1 {
            self.batch_limit = size / 2;
            return Ok(());
        }
        *alone += 1;
        if *alone < PANIC_TRIES {
            return self.pause(member, &format!("the handler panicked: {message}"));
        }
        *alone = 0;
        self.batch_limit = usize::MAX;
        let place = self.pending.first().map(|delivery| place_of(&delivery.record).to_string()).unwrap_or_default();
        let detail = format!("the handler panicked {PANIC_TRIES} times on this record: {message}");
        self.name_poison(member, Failure::Poison { index: 0, place, path: None, detail }, 0)
    }
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
