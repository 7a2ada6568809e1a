//! The loop of the runtime: joins the group, opens what is assigned, polls and
//! decodes until a batch is due, gives up what is revoked, drains at the end.
//!
//! Not here: handling a batch and taking the step (`batch`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tapedeck_log::{GroupOffset, LogError, LogRecord, Member, PollLimits, Polled, TopicPartition};

use super::{
    Handler, Resume, Setup, Step,
    held::{Held, slot_of},
    open,
};
use crate::{Delivery, Failure, Gauges, Phase, backoff::Backoff};

/// How long one wait for records lasts where none are there: how late the wish
/// to stop may be noticed.
const IDLE: Duration = Duration::from_millis(100);

/// A role at work.
pub(super) struct Runtime<H, S> {
    pub(super) setup: Setup,
    pub(super) handler: H,
    pub(super) step: S,
    pub(super) held: Vec<Held>,
    /// Assigned, and not open yet.
    newcomers: Vec<TopicPartition>,
    /// Decoded and not visible, in the order of each partition.
    pub(super) pending: Vec<Delivery>,
    /// Size of what is pending.
    pub(super) pending_bytes: usize,
    /// Since when the oldest of it waits.
    pub(super) since: Option<Instant>,
    /// How many deliveries a batch takes; fewer while one that panics is sought.
    pub(super) batch_limit: usize,
    /// The handler's state may differ from what is visible.
    pub(super) stale: bool,
    pub(super) backoff: Backoff,
    /// When draining ends, once somebody asked to stop.
    deadline: Option<Instant>,
}

impl<H: Handler, S: Step<Effect = H::Effect>> Runtime<H, S> {
    pub(super) fn new(setup: Setup, handler: H, step: S) -> Self {
        Self {
            setup,
            handler,
            step,
            held: Vec::new(),
            newcomers: Vec::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            since: None,
            batch_limit: usize::MAX,
            stale: false,
            backoff: Backoff::default(),
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
                Ok(mut member) => self.serve(member.as_mut()),
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
            self.fill(member)?;
            if self.due() {
                self.flush(member)?;
            }
        }
        self.flush(member)
    }

    /// Opens what was assigned; tried again without end where that may pass.
    fn admit(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
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
        for resume in resumes {
            let Some(place) = self.newcomers.first().cloned() else { break };
            let held = open::open(&self.setup, &place, &resume)?;
            member.seek(&place, held.opened_at)?;
            self.handler.assigned(&place, &resume.state)?;
            tracing::debug!(role = self.setup.role, partition = %place, next = held.opened_at, "partition opened");
            self.newcomers.remove(0);
            self.held.push(held);
            member.resume(&[place]);
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

    /// Polls once and takes what it brings.
    fn fill(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let config = &self.setup.config;
        let left = |since: Instant| config.batch_max_age().saturating_sub(since.elapsed());
        let timeout = self.since.map_or(IDLE, left).min(IDLE);
        let limits = PollLimits {
            max_records: config.batch_max_records.saturating_sub(self.pending.len()).max(1),
            max_bytes: config.batch_max_bytes.saturating_sub(self.pending_bytes).max(1),
            timeout,
        };
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
                self.accept(member, records);
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
                }
                self.forget(&partitions);
                self.show_phase();
            }
        }
        Ok(())
    }

    /// Decodes records, leaves out those of known events, keeps the rest pending.
    fn accept(&mut self, member: &mut dyn Member, records: Vec<LogRecord>) {
        let mut hint = 0;
        for record in records {
            let Some(slot) = slot_of(&self.held, &record, hint) else { continue };
            hint = slot;
            let held = &mut self.held[slot];
            let offset = record.offset;
            if held.blocked.is_some() || !held.ledger.deliver(offset) {
                continue;
            }
            if record.value.is_none() && held.compacted {
                held.ledger.settle(offset);
                continue;
            }
            let bytes = record.value.as_ref().map_or(0, |value| value.len()) + record.headers.as_bytes().len();
            match Delivery::decode_as(held.kind, record, self.pending.len()) {
                Ok(delivery) => {
                    if held.window.insert(delivery.id.fingerprint()) && !held.ahead.remove(&offset) {
                        self.pending.push(delivery);
                        self.pending_bytes += bytes;
                    } else {
                        held.ledger.settle(offset);
                        Gauges::add(&self.setup.gauges.duplicates, 1);
                    }
                }
                Err(failure) => self.set_aside(member, slot, offset, &failure),
            }
        }
        if self.since.is_none() && !self.pending.is_empty() {
            self.since = Some(Instant::now());
        }
    }

    /// Whether a batch is complete: by count, by bytes, by age.
    fn due(&self) -> bool {
        let config = &self.setup.config;
        match self.since {
            None => self.held.iter().any(Held::passed),
            Some(since) => {
                self.pending.len() >= config.batch_max_records
                    || self.pending_bytes >= config.batch_max_bytes
                    || since.elapsed() >= config.batch_max_age()
            }
        }
    }

    /// The one place where it is decided what becomes of a record that can never
    /// be handled: its partition stops there, and everything from it on stays in
    /// the log, unsettled.
    pub(super) fn set_aside(&mut self, member: &mut dyn Member, slot: usize, offset: u64, failure: &Failure) {
        let held = &mut self.held[slot];
        let path = match failure {
            Failure::Poison { path: Some(path), .. } => format!(" (at {path})"),
            _ => String::new(),
        };
        let message = format!(
            "{failure}{path}. {} stops at offset {offset}; nothing is lost, the other partitions go on. Correct the \
             cause and start again; or, where this record can never be handled, stop the process and give it up: \
             `tapedeck groups skip {} {}/{offset} --reason \"...\"`",
            held.place,
            self.setup.group(),
            held.place
        );
        tracing::error!(role = self.setup.role, partition = %held.place, offset, "{message}");
        held.blocked = Some(message);
        member.pause(std::slice::from_ref(&held.place));
        Gauges::add(&self.setup.gauges.poison, 1);
        let held = &self.held[slot];
        self.pending.retain(|delivery| delivery.record.offset < offset || !held.owns(&delivery.record));
        if self.pending.is_empty() {
            self.begin_batch();
        }
        self.show_phase();
    }

    /// Waits before the next try; what is held stays held, for the seat is kept by
    /// polling paused partitions.
    ///
    /// # Errors
    /// Fenced and fatal ones of the log.
    pub(super) fn pause(&mut self, member: &mut dyn Member, detail: &str) -> Result<(), Failure> {
        self.stale = true;
        Gauges::add(&self.setup.gauges.retries, 1);
        let wait = self.backoff.next_wait();
        tracing::warn!(role = self.setup.role, detail, wait_ms = wait.as_millis() as u64, "failed; tried again");
        // A partition that cannot go on is the worse news, and stays.
        if self.held.iter().all(|held| held.blocked.is_none()) {
            self.setup.gauges.set_phase(Phase::Retrying(format!("{detail}; tried again until it works")));
        }
        member.pause(&self.places(|_| true));
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.overdue() {
            match member.poll(PollLimits { max_records: 1, max_bytes: 1, timeout: Duration::ZERO }) {
                Ok(polled) => self.take(member, polled, false)?,
                Err(LogError::Transient(_)) => {}
                Err(error) => return Err(error.into()),
            }
            let rest = until.saturating_duration_since(Instant::now()).min(IDLE);
            match self.setup.stop.requested() {
                true => std::thread::sleep(rest), // The wish is known; the time is still needed.
                false => drop(self.setup.stop.wait(rest)),
            }
        }
        member.resume(&self.places(|held| held.blocked.is_none()));
        Ok(())
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
        self.setup.gauges.set_phase(match (reasons.is_empty(), self.held.is_empty()) {
            (false, _) => Phase::Blocked(reasons.into_values().collect::<Vec<_>>().join("; ")),
            (true, true) => Phase::Standby,
            (true, false) => Phase::Running,
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
        self.pending.retain(|delivery| !gone.iter().any(|held| held.owns(&delivery.record)));
        for held in &gone {
            self.handler.revoked(&held.place);
        }
        if self.pending.is_empty() {
            self.begin_batch();
        }
    }

    fn forget_all(&mut self) {
        let all = self.places(|_| true);
        self.forget(&all);
        self.newcomers.clear();
        self.stale = false;
    }

    fn places(&self, which: impl Fn(&Held) -> bool) -> Vec<TopicPartition> {
        self.held.iter().filter(|held| which(held)).map(|held| held.place.clone()).collect()
    }
}
