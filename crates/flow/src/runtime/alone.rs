//! A record that fails now and may not later: its partition is held, what follows
//! it waits in its order, and it is tried alone a few times before it becomes a
//! dead letter. Other partitions go on meanwhile.
//!
//! Not here: how a try is made (`batch`).

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use tapedeck_log::Member;

use super::{
    Handler, Step,
    held::Ordeal,
    letters::{Fault, named},
    serve::Runtime,
};
use crate::{
    Failure, Gauges,
    budget::{RECORD_BYTES, held_bytes},
};

/// With less room than this for what is read, nothing is: a poll would bring a
/// single record each time, and a large one would reach beyond the cap.
const ENOUGH_BYTES: usize = 16 * RECORD_BYTES;

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    /// A delivery of the batch failed as one that may succeed later.
    pub(super) fn try_later(&mut self, member: &mut dyn Member, index: usize, fault: Fault) -> Result<(), Failure> {
        let Some((slot, record)) = named(self, index) else {
            return Err(Failure::Fatal(format!(
                "a failure names delivery {index}, which is not in the batch: {}",
                fault.detail
            )));
        };
        let (offset, size) = (record.offset, self.work.search.size(self.work.queue.len()));
        let held = &mut self.held[slot];
        let tries = held.ordeal.as_ref().map_or(0, |ordeal| ordeal.tries) + 1;
        if tries >= self.setup.config.record_tries {
            held.hopeless = held.hopeless.saturating_add(1);
            return self.refuse(member, index, fault);
        }
        Gauges::add(&self.setup.gauges.record_retries, 1);
        if held.ordeal.is_none() {
            self.work.search.named(index, size);
        }
        let mut ordeal = held.ordeal.take().unwrap_or_else(|| Ordeal {
            offset,
            tries: 0,
            first_failure: fault.first_failure,
            backoff: self.setup.config.record_backoff(),
            due: Instant::now(),
        });
        ordeal.tries = tries;
        ordeal.due = Instant::now() + held.wait(&mut ordeal.backoff);
        tracing::debug!(role = self.setup.role, partition = %held.place, offset, tries, detail = fault.detail, "tried alone");
        held.ordeal = Some(ordeal);
        self.give_back(slot, index);
        Ok(())
    }

    /// A record that was tried alone passed: what follows it goes on, and waiting
    /// was worth it.
    pub(super) fn passed_alone(&mut self) {
        let Some((slot, _)) = named(self, 0) else { return };
        let held = &mut self.held[slot];
        held.ordeal = None;
        held.hopeless = 0;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Says what waits, and pauses or goes on with partitions as it stands.
    pub(super) fn gate(&mut self, member: &mut dyn Member) {
        let (records, bytes) = self.waiting();
        self.share.set(held_bytes(records, bytes) + self.handed.bytes());
        let full = self.share.held_bytes() > 0 && self.share.room_bytes() < ENOUGH_BYTES
            || self.handed.is_full(self.setup.config.dedupe_window);
        let (mut stop, mut go) = (Vec::new(), Vec::new());
        for held in &mut self.held {
            let paused = full || !held.is_open();
            if paused != held.paused {
                held.paused = paused;
                if paused { &mut stop } else { &mut go }.push(held.place.clone());
            }
        }
        if !stop.is_empty() {
            member.pause(&stop);
        }
        if !go.is_empty() {
            member.resume(&go);
        }
        let gauges = &self.setup.gauges;
        gauges.paused.store(self.held.iter().filter(|held| held.paused).count() as u64, Relaxed);
        gauges.in_flight_bytes.store(self.share.held_bytes() as u64, Relaxed);
        gauges.oldest_unsettled_ms.store(self.oldest_ms(), Relaxed);
    }

    /// Deliveries and dead letters that wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let work = (self.work.queue.len() + self.letters.len(), self.work.queue.bytes() + self.letters.bytes());
        let air = self.air.queue().map_or((0, 0), |queue| (queue.len(), queue.bytes()));
        let work = (work.0 + air.0, work.1 + air.1);
        self.held.iter().fold(work, |sum, held| (sum.0 + held.queue.len(), sum.1 + held.queue.bytes()))
    }

    /// When the oldest record was written that waits.
    fn oldest_ms(&self) -> u64 {
        let air = self.air.queue().into_iter().flat_map(|queue| queue.iter());
        let waiting = self.held.iter().filter_map(|held| held.queue.get(0)).chain(self.work.queue.iter()).chain(air);
        let oldest = waiting.map(|delivery| delivery.record.timestamp_ms).min();
        oldest.map_or(0, |oldest| u64::try_from(oldest).unwrap_or(0))
    }
}
