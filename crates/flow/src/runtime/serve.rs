//! The loop of the runtime: joins the group, opens what is assigned, polls and
//! decodes until a batch is due, gives up what is revoked, drains at the end.
//!
//! Not here: handling a batch and taking the step (`batch`), and records that
//! fail (`alone`, `letters`).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_log::{GroupOffset, LogError, LogRecord, Member, PollLimits, Polled, TopicPartition};

use super::{
    Handler, Move, Resume, Setup, Step,
    ahead::Ahead,
    batch::Work,
    flight::Air,
    handed::{Handed, LOOK},
    held::{Held, slot_of},
    letters::{Fault, Letters},
    open,
};
use crate::{
    Delivery, Failure, Gauges, Phase,
    backoff::Backoff,
    budget::{BYTES_FACTOR, RECORD_BYTES, Share},
    inbound::{Unread, is_for_others},
};

/// How long one wait for records lasts where none are there: how late the wish
/// to stop may be noticed.
const IDLE: Duration = Duration::from_millis(100);

/// Work that goes on for longer than this without a poll is interrupted by one
/// that brings nothing, to keep the seat.
const KEEP: Duration = Duration::from_secs(1);

/// A role at work.
pub(super) struct Runtime<H, S: Step> {
    pub(super) setup: Setup,
    pub(super) handler: H,
    pub(super) step: S,
    pub(super) held: Vec<Held>,
    /// Assigned, and not open yet.
    newcomers: Vec<TopicPartition>,
    /// The batch that is handled.
    pub(super) work: Work,
    /// Dead letters that are not durable yet.
    pub(super) letters: Letters,
    /// Batches that are handed over and not durable yet.
    pub(super) handed: Handed<S::Effect>,
    /// The batch that becomes visible beside this thread.
    pub(super) air: Air,
    /// Since when the oldest waits of what may go on.
    pub(super) since: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Reads beside this thread.
    ahead: Ahead,
    /// Of the memory of the process.
    pub(super) share: Share,
    /// When the log was last polled.
    polled: Instant,
    /// When draining ends, once somebody asked to stop.
    deadline: Option<Instant>,
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    pub(super) fn new(setup: Setup, handler: H, step: S) -> Self {
        Self {
            share: setup.budget.share(),
            setup,
            handler,
            step,
            held: Vec::new(),
            newcomers: Vec::new(),
            work: Work::default(),
            letters: Letters::default(),
            handed: Handed::default(),
            air: Air::default(),
            since: None,
            backoff: Backoff::default(),
            ahead: Ahead::default(),
            polled: Instant::now(),
            deadline: None,
        }
    }

    pub(super) fn run(mut self) -> Result<(), Failure> {
        let result = self.work();
        self.setup.gauges.set_phase(match &result {
            Ok(()) => Phase::Stopped,
            Err(failure) => Phase::Failed(failure.to_string()),
        });
        result
    }

    /// Joins again for as long as the seat is only lost.
    fn work(&mut self) -> Result<(), Failure> {
        while !self.setup.stop.requested() {
            let Setup { log, member, topics, .. } = &self.setup;
            let served = match log.join(&self.setup.group(), member, topics) {
                Ok(mut member) => {
                    let served = self.serve(member.as_mut());
                    self.give_up_flight(member.as_mut());
                    served
                }
                Err(error) => Err(error.into()),
            };
            match served {
                Ok(()) => return Ok(()),
                Err(Failure::Fenced(detail) | Failure::Transient(detail)) => {
                    tracing::warn!(role = self.setup.role, detail, "the group is joined again");
                    self.setup.gauges.set_phase(Phase::Retrying(detail));
                    self.forget_all();
                    Gauges::add(&self.setup.gauges.retries, 1);
                    self.setup.stop.wait(self.backoff.next_wait());
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn serve(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        self.show_phase();
        while !self.setup.stop.requested() {
            self.admit(member)?;
            self.gate(member);
            self.fill(member)?;
            if self.due() {
                self.flush(member)?;
            } else {
                self.come_down_if_idle(member)?;
            }
            self.settle_handed(member)?;
        }
        self.come_down(member)?;
        self.flush(member)?;
        self.finish_handed(member)
    }

    /// Opens what was assigned; tried again without end where that may pass.
    fn admit(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if !self.newcomers.is_empty() {
            self.come_down(member)?;
        }
        while !self.newcomers.is_empty() && !self.setup.stop.requested() {
            match self.open_newcomers(member) {
                Ok(()) => {
                    self.backoff.reset();
                    self.show_phase();
                }
                Err(Failure::Transient(detail)) => self.pause(member, &detail)?,
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    fn open_newcomers(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let resumes = self.step.resume(&self.newcomers)?;
        self.publish(member, &resumes)?;
        let opened = open::open(&self.setup, &self.newcomers, &resumes)?;
        for (held, resume) in opened.into_iter().zip(resumes) {
            let place = &held.place;
            member.seek(place, held.opened_at)?;
            self.handler.assigned(place, &resume.state)?;
            tracing::debug!(role = self.setup.role, partition = %place, next = held.opened_at, "partition opened");
            self.newcomers.remove(0);
            self.held.push(held);
        }
        Ok(())
    }

    /// Commits positions that a process made visible and did not live to publish:
    /// with nothing more to read, the group would seem to lag for ever.
    fn publish(&self, member: &mut dyn Member, resumes: &[Resume]) -> Result<(), Failure> {
        let committed = self.setup.log.committed(&self.setup.group())?;
        let behind: Vec<GroupOffset> = self
            .newcomers
            .iter()
            .zip(resumes)
            .filter_map(|(place, resume)| Some(GroupOffset { partition: place.clone(), next: resume.next? }))
            .filter(|offset| !committed.contains(offset))
            .collect();
        if behind.is_empty() { Ok(()) } else { Ok(member.commit(&behind)?) }
    }

    /// Polls once, for what a batch and the memory have room for, and takes what
    /// it brings.
    fn fill(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let (config, room, (records, bytes)) = (&self.setup.config, self.share.room_bytes(), self.ready());
        let limits = PollLimits {
            // Half of the room for what each record holds, half for its bytes.
            max_records: config.batch_max_records.saturating_sub(records).min(room / 2 / RECORD_BYTES).max(1),
            max_bytes: config.batch_max_bytes.saturating_sub(bytes).min(room / 2 / BYTES_FACTOR).max(1),
            timeout: self.patience(),
        };
        self.polled = Instant::now();
        match member.poll(limits) {
            Ok(polled) => {
                if self.backoff.failures() > 0 {
                    self.backoff.reset();
                    self.show_phase();
                }
                self.take(member, polled, true)
            }
            Err(LogError::Transient(detail)) => self.pause(member, &detail),
            Err(LogError::OutOfRange { partition, wanted, start, end }) => {
                if wanted > end {
                    return Err(open::truncated(&self.setup, &partition, wanted, end));
                }
                // Retention overtook this reader.
                open::missed(&self.setup, &partition, wanted, start)?;
                Ok(member.seek(&partition, start)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what a poll brought. `may_flush` is false while a failure lasts.
    fn take(&mut self, member: &mut dyn Member, polled: Polled, may_flush: bool) -> Result<(), Failure> {
        match polled {
            Polled::Records(records) => {
                self.accept(member, records)?;
                for held in &mut self.held {
                    if let Some(position) = member.position(&held.place) {
                        held.ledger.pass(position);
                    }
                }
            }
            Polled::Assigned(partitions) => {
                // Nothing is read before the effect has said from where.
                member.pause(&partitions);
                self.newcomers.extend(partitions);
            }
            Polled::Revoked(partitions) => {
                if may_flush {
                    self.flush_once(member)?;
                    self.settle_now(member)?;
                }
                self.forget(&partitions);
                self.show_phase();
            }
        }
        Ok(())
    }

    /// How long the next poll may wait: until something is due.
    fn patience(&self) -> Duration {
        let age = self.since.map(|since| self.setup.config.batch_max_age().saturating_sub(since.elapsed()));
        let trial = self.held.iter().filter_map(Held::trial_due).min();
        let trial = trial.map(|due| due.saturating_duration_since(Instant::now()));
        let poll = self.held.iter().filter_map(Held::poll_wait).min();
        let handed = (!self.handed.is_empty() || !self.air.is_empty()).then_some(LOOK);
        if !self.handed.is_empty() && self.handed.is_full(self.setup.config.dedupe_window) {
            return LOOK;
        }
        [age, trial, poll, self.letters.wait(), handed].into_iter().flatten().fold(IDLE, Duration::min)
    }

    /// Decodes records, leaves out those of known events, keeps the rest waiting.
    fn accept(&mut self, member: &mut dyn Member, records: Vec<LogRecord>) -> Result<(), Failure> {
        let (log, group) = (Arc::clone(&self.setup.log), self.setup.group());
        let unframe = log.unframe();
        self.held.iter_mut().for_each(|held| held.sought = false);
        let kind =
            self.held.first().map(|held| held.kind).filter(|kind| self.held.iter().all(|held| held.kind == *kind));
        let mut entries = self.ahead.split(&self.setup.role, kind, records);
        let mut hint = 0;
        while let Some(entry) = entries.next()? {
            let record = entry.record();
            let Some(slot) = slot_of(&self.held, record, hint) else { continue };
            hint = slot;
            let held = &mut self.held[slot];
            let offset = record.offset;
            if held.blocked.is_some() || held.sought || !held.ledger.is_new(offset) {
                continue;
            }
            if record.value.is_none() && held.compacted {
                let _new = held.ledger.deliver(offset);
                held.ledger.settle(offset);
                continue;
            }
            let read = entry.read(unframe, held.kind);
            if let Err(unread) = &read
                && self.read_later(member, slot, unread)?
            {
                continue;
            }
            let fault = match self.held[slot].later {
                None => None,
                Some(_) => self.read_at_last(slot, read.as_ref().err().map(|unread| &**unread)),
            };
            self.take_in(member, slot, read, fault, &group);
        }
        Ok(())
    }

    /// What becomes of a record that was read, or never is.
    fn take_in(
        &mut self,
        member: &mut dyn Member,
        slot: usize,
        read: Result<Delivery, Box<Unread>>,
        fault: Option<Fault>,
        group: &str,
    ) {
        let held = &mut self.held[slot];
        let offset = read.as_ref().map_or_else(|unread| unread.record.offset, |delivery| delivery.record.offset);
        if !held.ledger.deliver(offset) {
            return;
        }
        match read {
            Ok(delivery) if delivery.meta.redrive.as_ref().is_some_and(|redrive| redrive.group != group) => {
                held.ledger.settle(offset);
                Gauges::add(&self.setup.gauges.redriven_skipped, 1);
            }
            Ok(delivery) => {
                if held.window.insert(delivery.fingerprint()) && !held.ahead.remove(&offset) {
                    held.queue.push_back(delivery);
                    self.since.get_or_insert_with(Instant::now);
                } else {
                    held.ledger.settle(offset);
                    Gauges::add(&self.setup.gauges.duplicates, 1);
                }
            }
            Err(unread) if is_for_others(&unread.record, group) => {
                held.ledger.settle(offset);
                Gauges::add(&self.setup.gauges.redriven_skipped, 1);
            }
            Err(_) if held.ahead.remove(&offset) => {
                held.ledger.settle(offset);
            }
            Err(unread) => {
                let Unread { record, class, path, detail, .. } = *unread;
                self.set_aside(member, slot, &record, fault.unwrap_or_else(|| Fault::first(class, detail, path)));
            }
        }
    }

    /// Whether there is something to do: a batch is complete by count, by bytes or
    /// by age, a record is to be tried alone, a dead letter to be written.
    fn due(&self) -> bool {
        let (config, (records, bytes), now) = (&self.setup.config, self.ready(), Instant::now());
        let trial = self.held.iter().filter_map(Held::trial_due).any(|due| due <= now);
        trial
            || self.letters.are_due()
            || match self.since {
                None => self.held.iter().any(Held::passed),
                Some(_) if self.step.hands_over() => true,
                Some(since) => {
                    records >= config.batch_max_records
                        || bytes >= config.batch_max_bytes
                        || since.elapsed() >= config.batch_max_age()
                }
            }
    }

    /// Deliveries that may be handled now, and their bytes.
    pub(super) fn ready(&self) -> (usize, usize) {
        let free = self.held.iter().filter(|held| held.is_free()).map(|held| &held.queue);
        free.chain([&self.work.queue]).fold((0, 0), |sum, queue| (sum.0 + queue.len(), sum.1 + queue.bytes()))
    }

    /// Waits before the next try; what is held stays held, for the seat is kept by
    /// polling paused partitions.
    ///
    /// # Errors
    /// Fenced and fatal ones of the log.
    pub(super) fn pause(&mut self, member: &mut dyn Member, detail: &str) -> Result<(), Failure> {
        Gauges::add(&self.setup.gauges.retries, 1);
        let wait = self.backoff.next_wait();
        tracing::warn!(role = self.setup.role, detail, wait_ms = wait.as_millis() as u64, "failed; tried again");
        // A partition that cannot go on is the worse news, and stays.
        if self.held.iter().all(|held| held.blocked.is_none()) {
            self.setup.gauges.set_phase(Phase::Retrying(format!("{detail}; tried again until it works")));
        }
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.overdue() {
            self.poll_paused(member)?;
            let rest = until.saturating_duration_since(Instant::now()).min(IDLE);
            match self.setup.stop.requested() {
                true => std::thread::sleep(rest), // The wish is known; the time is still needed.
                false => drop(self.setup.stop.wait(rest)),
            }
        }
        self.gate(member);
        Ok(())
    }

    /// Polls without taking records where the last poll is long ago.
    ///
    /// # Errors
    /// Fenced and fatal ones of the log.
    pub(super) fn keep_seat(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        if self.polled.elapsed() < KEEP {
            return Ok(());
        }
        self.poll_paused(member)?;
        self.gate(member);
        Ok(())
    }

    fn poll_paused(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        self.come_down(member)?;
        member.pause(&self.places(|held| !held.paused));
        self.held.iter_mut().for_each(|held| held.paused = true);
        self.polled = Instant::now();
        match member.poll(PollLimits { max_records: 1, max_bytes: 1, timeout: Duration::ZERO }) {
            Ok(polled) => self.take(member, polled, false),
            Err(LogError::Transient(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the time to drain is over.
    pub(super) fn overdue(&mut self) -> bool {
        if self.deadline.is_none() && self.setup.stop.requested() {
            self.deadline = Some(Instant::now() + self.setup.config.drain_timeout());
        }
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Says how the role stands.
    pub(super) fn show_phase(&self) {
        let reasons: BTreeMap<_, _> =
            self.held.iter().filter_map(|held| Some((&held.place, held.blocked.as_deref()?))).collect();
        let waiting = self.held.iter().any(|held| held.letters_wait);
        self.setup.gauges.set_phase(match (reasons.is_empty(), self.held.is_empty()) {
            (false, _) => Phase::Blocked(reasons.into_values().collect::<Vec<_>>().join("; ")),
            (true, true) => Phase::Standby,
            (true, false) if waiting => {
                Phase::Retrying("dead letters cannot be written; tried again until it works".to_owned())
            }
            (true, false) => match self.held.iter().find_map(Held::reading_trouble) {
                Some(trouble) => Phase::Retrying(format!("{trouble}; tried again until it works")),
                None => Phase::Running,
            },
        });
    }

    /// Drops what is known of partitions; what was not visible is read again by
    /// who holds them next.
    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.newcomers.retain(|place| !partitions.contains(place));
        let (gone, kept) =
            std::mem::take(&mut self.held).into_iter().partition(|held| partitions.contains(&held.place));
        self.held = kept;
        let gone: Vec<Held> = gone;
        self.work.queue.take(|delivery| gone.iter().any(|held| held.owns(&delivery.record)));
        self.work.queue.join();
        self.work.search.forget();
        self.handed.retain(|part| !gone.iter().any(|held| held.place == part.place));
        let keep = |step: &Move| !gone.iter().any(|held| held.place == step.partition);
        self.handed.forget_moves(keep);
        self.air.forget_moves(keep);
        for held in &gone {
            self.letters.forget(&held.place);
            self.handler.revoked(&held.place);
        }
        if self.ready().0 == 0 {
            self.since = None;
        }
    }

    fn forget_all(&mut self) {
        let all = self.places(|_| true);
        self.forget(&all);
        self.newcomers.clear();
    }

    fn places(&self, which: impl Fn(&Held) -> bool) -> Vec<TopicPartition> {
        self.held.iter().filter(|held| which(held)).map(|held| held.place.clone()).collect()
    }
}
