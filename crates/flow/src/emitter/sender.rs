//! The thread that brings what was emitted to the log: straight from the rings
//! while the log is well, by way of the spool while it is not.
//!
//! Not here: the call itself, which may take long, and the rules of order, which
//! the core keeps.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tapedeck_log::LogError;

use super::{
    alerts::Seldom,
    appender::{Answer, Appender},
    batch::Batch,
    core::{Slot, Source},
    leftovers::Judge,
    refused::Refused,
    shared::Shared,
    spool::Position,
    stats::add,
    topics::Topics,
};
use crate::{Boundary, Breaker, backoff::Backoff};

/// While the log is away rings are moved to the spool so often: what lies in
/// memory that looks like a disk does not outlive the machine.
const MOVE_EVERY: Duration = Duration::from_millis(100);
/// So long nothing more is offered to a spool that refused: a disk that is full
/// is not asked at every event.
const SPOOL_PAUSE: Duration = Duration::from_millis(100);
/// Without work for so many looks, the sender sleeps until it is woken.
const IDLE_LOOKS: u32 = 20;
/// The longest sleep: after it the housekeeping is done.
const IDLE_SLEEP: Duration = Duration::from_secs(1);
/// The log is asked for its topics so often at most.
const TOPICS_EVERY: Duration = Duration::from_secs(1);

/// The sender's own state.
pub(super) struct Sender {
    shared: Arc<Shared>,
    appender: Appender,
    refused: Refused,
    breaker: Breaker,
    backoff: Backoff,
    /// When the call that is out counts as failed (again).
    timeout_at: Option<Instant>,
    /// The batch that the log did not take and is given again.
    again: Option<Batch>,
    /// What comes after the batch that is out, read from the spool meanwhile.
    ahead: Option<(Batch, Position)>,
    not_before: Instant,
    last_send: Instant,
    last_move: Instant,
    no_spool_before: Instant,
    no_read_before: Instant,
    topics_asked: Option<Instant>,
    looks_without_work: u32,
    failure_log: Seldom,
    spool_log: Seldom,
    refused_log: Seldom,
    read_log: Seldom,
    /// The thread that calls the log is gone.
    is_cut_off: bool,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, appender: Appender, refused: Refused) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::new(shared.config.breaker_failures, shared.config.breaker_open()),
            shared,
            appender,
            refused,
            backoff: Backoff::default(),
            timeout_at: None,
            again: None,
            ahead: None,
            not_before: now,
            last_send: now,
            last_move: now,
            no_spool_before: now,
            no_read_before: now,
            topics_asked: None,
            looks_without_work: 0,
            failure_log: Seldom::default(),
            spool_log: Seldom::default(),
            refused_log: Seldom::default(),
            read_log: Seldom::default(),
            is_cut_off: false,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            let now = Instant::now();
            let answered = self.take_answer(now);
            if self.is_cut_off {
                // Rings and spool stay as they are, as after a kill: a producer may be in the middle of an `emit()`.
                tracing::error!(emitter = self.shared.name, "the log cannot be called any more: start again");
                return self.shared.refuse_all();
            }
            self.look_at_the_time(now);
            self.keep_rings_low(now);
            let sent = self.send(now);
            self.tidy();
            if let Some(by) = self.shared.close_by()
                && (now >= by || self.may_end(by))
            {
                break;
            }
            if !answered && !sent {
                self.sleep(now);
            }
        }
        self.end();
    }

    /// Takes the log's answer, where it came.
    fn take_answer(&mut self, now: Instant) -> bool {
        match self.appender.answer() {
            None => return false,
            Some(Answer::Ended) => self.is_cut_off = true,
            Some(Answer::Topics(Ok(topics))) => {
                self.timeout_at = None;
                self.shared.core().spool.set_topics(Arc::clone(&topics.set));
                self.shared.topics.set(Arc::new(topics));
            }
            Some(Answer::Topics(Err(error))) => {
                self.timeout_at = None;
                tracing::warn!(%error, "the log's topics cannot be read");
            }
            Some(Answer::Append(batch, result)) => {
                self.timeout_at = None;
                match result {
                    Ok(_) => self.acknowledged(&batch),
                    Err(LogError::Poison { index, detail }) => self.poisoned(batch, index, &detail, now),
                    Err(error) => {
                        if !error.is_transient() {
                            tracing::error!(%error, "the log needs a person; what is emitted is kept meanwhile");
                        }
                        self.again = Some(batch);
                        self.failed(&error.to_string(), now);
                    }
                }
            }
        }
        true
    }

    fn acknowledged(&mut self, batch: &Batch) {
        self.succeeded();
        self.settle(batch);
    }

    /// All of a batch is in the log, left out, or set aside.
    fn settle(&self, batch: &Batch) {
        let mut core = self.shared.core();
        let boundary = match &core.out {
            Some(Source::Spool(_)) => Boundary::CatchUp,
            _ => Boundary::Append,
        };
        if self.shared.boundaries.are_watched() {
            // Whoever is told may end the process, but must not hold up `emit()`.
            drop(core);
            self.shared.boundaries.pass(boundary);
            core = self.shared.core();
        }
        core.acknowledge(batch);
        drop(core);
        let stats = &self.shared.stats;
        add(&stats.sent, batch.own_records());
        add(&stats.left_out, batch.left_out);
        add(&stats.torn, batch.torn);
        self.shared.tell_durable();
        if batch.is_leftover {
            self.shared.leftovers_moved.notify_all();
        }
    }

    /// One record can never be written: it is set aside, the others go on.
    fn poisoned(&mut self, mut batch: Batch, index: usize, detail: &str, now: Instant) {
        if index >= batch.ids.len() {
            tracing::error!(detail, "the log refuses an alert of the emitter");
            batch.records.truncate(batch.ids.len());
        } else if let Err(error) = self.refused.put(&batch.records[index], batch.ids[index]) {
            self.again = Some(batch);
            return self.failed(&format!("a record that is refused ({detail}) cannot be set aside: {error}"), now);
        } else {
            batch.ids.remove(index);
            let record = batch.records.remove(index);
            add(&self.shared.stats.refused, 1);
            if let Some(count) = self.refused_log.due() {
                tracing::error!(topic = %record.topic, detail, count, "the log refuses records: set aside in `refused/`");
            }
            self.shared.alerts.refused(detail.to_owned());
        }
        self.succeeded();
        self.again = Some(batch);
    }

    fn succeeded(&mut self) {
        if self.breaker.failures() > 0 {
            tracing::info!(failures = self.breaker.failures(), "the log answers again");
        }
        self.breaker.success();
        self.backoff.reset();
        self.not_before = Instant::now();
        self.tell_breaker();
    }

    fn failed(&mut self, why: &str, now: Instant) {
        add(&self.shared.stats.send_failures, 1);
        self.breaker.failure(now);
        self.not_before = now + self.backoff.next_wait();
        self.tell_breaker();
        if let Some(count) = self.failure_log.due() {
            let breaker = self.breaker.state();
            tracing::warn!(why, count, ?breaker, "the log does not take what is emitted: it goes to the spool");
        }
        self.move_to_spool(&|_| true, now);
    }

    fn tell_breaker(&self) {
        self.shared.stats.send_failures_in_row.store(u64::from(self.breaker.failures()), Relaxed);
        self.shared.stats.set_breaker(self.breaker.state());
    }

    /// A call that is not answered in time counts as a failure each time.
    fn look_at_the_time(&mut self, now: Instant) {
        if self.timeout_at.is_some_and(|at| now >= at) {
            let timeout = self.shared.config.send_timeout();
            self.timeout_at = Some(now + timeout);
            self.failed(&format!("no answer within {} ms", timeout.as_millis()), now);
        }
    }

    /// Moves rings to the spool before they are full, and soon while the log is away.
    fn keep_rings_low(&mut self, now: Instant) {
        if now < self.no_spool_before {
            return;
        }
        let is_failing = self.breaker.failures() > 0;
        if is_failing && now >= self.last_move + MOVE_EVERY {
            self.move_to_spool(&|_| true, now);
        } else if is_failing || self.appender.is_out() || !self.shared.core().spool.is_drained() {
            // Late, because a detour by the disk costs three times what the log's own call does: while
            // the spool holds anything all goes that way, and a log that was late for a moment stays late.
            self.move_to_spool(&|slot| slot.reader.used() > slot.reader.capacity() / 4 * 3, now);
        }
    }

    fn move_to_spool(&mut self, chosen: &dyn Fn(&Slot) -> bool, now: Instant) {
        self.last_move = now;
        let moved = self.shared.core().move_to_spool(chosen);
        if let Err(refused) = moved {
            self.no_spool_before = now + SPOOL_PAUSE;
            if let Some(count) = self.spool_log.due() {
                tracing::error!(%refused, count, "rings cannot be moved to the spool");
            }
        }
    }

    /// Gives the log the next batch, where there is one and it may be given.
    fn send(&mut self, now: Instant) -> bool {
        self.read_ahead(now);
        if self.appender.is_out() {
            return false;
        }
        if self.shared.take_topics_wanted() && self.topics_asked.is_none_or(|asked| now >= asked + TOPICS_EVERY) {
            self.topics_asked = Some(now);
            self.timeout_at = Some(now + self.shared.config.send_timeout());
            self.appender.ask_topics();
            return true;
        }
        if now < self.not_before || !self.has_batch() || !self.is_due(now) || self.breaker.refuse(now).is_some() {
            return false;
        }
        self.tell_breaker();
        let topics = self.shared.topics.get();
        let Some(mut batch) = self.next_batch(&topics) else { return false };
        if batch.records.len() == batch.ids.len() && self.alerts_are_due() {
            batch.records.extend(self.shared.alerts.take(&self.shared.name));
        }
        if batch.records.is_empty() {
            // All of it was left out, set aside, or damaged.
            self.settle(&batch);
            return true;
        }
        self.last_send = now;
        self.timeout_at = Some(now + self.shared.config.send_timeout());
        add(&self.shared.stats.sends, 1);
        self.appender.append(batch);
        true
    }

    /// Whether there is something to give the log at once.
    fn has_batch(&self) -> bool {
        if self.again.is_some() || self.ahead.is_some() || self.alerts_are_due() {
            return true;
        }
        let core = self.shared.core();
        core.spool.is_drained() && core.ring_bytes() > 0
    }

    /// Whether there are alerts that the log would probably take: one that fails
    /// tells of nothing that happens after it.
    fn alerts_are_due(&self) -> bool {
        let is_closing = self.shared.close_by().is_some();
        self.breaker.failures() == 0 && self.shared.alerts.are_due(&self.shared.topics.get(), is_closing)
    }

    /// Whether anything waits that may be sent.
    fn has_work(&self) -> bool {
        self.has_batch() || self.shared.core().spool_has_next()
    }

    /// Whether what waits has waited long enough for company.
    fn is_due(&self, now: Instant) -> bool {
        let config = &self.shared.config;
        self.again.is_some()
            || self.ahead.is_some()
            || now >= self.last_send + config.linger()
            || self.shared.take_hurry()
            || self.shared.core().ring_bytes() >= config.batch_max_bytes as u64
    }

    fn next_batch(&mut self, topics: &Topics) -> Option<Batch> {
        if let Some(batch) = self.again.take() {
            return Some(batch);
        }
        let mut core = self.shared.core();
        if let Some((batch, end)) = self.ahead.take() {
            core.out = Some(Source::Spool(end));
            return Some(batch);
        }
        // With nothing in the rings there is an alert to send, alone.
        Some(core.next_of_rings(&self.shared.config, topics).unwrap_or_default())
    }

    /// Reads the next batch of the spool, also while one is out. Leftovers are
    /// shown to who judges them first.
    fn read_ahead(&mut self, now: Instant) {
        if self.ahead.is_some() || now < self.no_read_before {
            return;
        }
        let topics = self.shared.topics.get();
        let mut core = self.shared.core();
        match core.next_of_spool(&self.shared.config, &topics) {
            Ok(Some((batch, end))) if batch.is_leftover && core.leftover.judge == Judge::Role && !batch.is_judged => {
                core.leftover.offer(batch, end);
                drop(core);
                self.shared.leftovers_moved.notify_all();
            }
            Ok(next) => self.ahead = next,
            Err(error) => {
                self.no_read_before = now + IDLE_SLEEP;
                if let Some(count) = self.read_log.due() {
                    tracing::error!(%error, count, "the spool cannot be read: what it holds waits");
                }
            }
        }
    }

    fn tidy(&mut self) {
        let mut core = self.shared.core();
        core.remove_abandoned();
        core.report(&self.shared.stats);
    }

    /// Whether nothing more will happen before a time.
    fn may_end(&self, by: Instant) -> bool {
        if self.appender.is_out() {
            return false;
        }
        !self.has_work() || self.not_before > by || self.breaker.shut_until().is_some_and(|until| until > by)
    }

    fn sleep(&mut self, now: Instant) {
        let linger = self.shared.config.linger();
        let has_work = self.appender.is_out() || self.has_work();
        self.looks_without_work = if has_work { 0 } else { self.looks_without_work + 1 };
        if self.looks_without_work > IDLE_LOOKS {
            self.shared.sleep_idle(IDLE_SLEEP, || self.has_work());
            return;
        }
        let next_send = self.last_send + linger;
        let wait = if next_send > now { next_send - now } else { linger };
        std::thread::park_timeout(wait);
    }

    /// What is left goes to the spool, where the next start looks for it first;
    /// rings that are empty then are deleted.
    fn end(mut self) {
        self.appender.end();
        let mut core = self.shared.core();
        while core.ring_bytes() > 0 {
            if let Err(error) = core.move_to_spool(&|_| true) {
                tracing::warn!(%error, "what is left stays in the rings for the next start");
                break;
            }
        }
        for slot in &core.slots {
            slot.line.gone.store(true, Relaxed);
        }
        core.remove_abandoned();
        core.report(&self.shared.stats);
    }
}
