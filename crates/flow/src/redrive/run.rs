//! The one redriver at a time: reads the dead letters that are meant, oldest
//! first, and sends them again (or marks them as purged) in chunks, each one step
//! with what became of them.
//!
//! Not here: who asked, and the audit log.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tapedeck_contracts::{Timestamp, headers::Place};
use tapedeck_log::{Log, Record, TopicInfo};

use super::{
    Filter, Forward, Found, LetterId, Part, Recent, Refusal, Register, Report, Sample, Scanned, again,
    pace::Pace,
    parts,
    register::{Entry, Status, record},
    restore,
};
use crate::{Boundaries, Boundary, Failure, Seat, Stop, backoff::Backoff};

/// The role whose seat the redriver takes.
pub const SEAT: &str = "dlq";
/// How many refusals and samples are told one by one: as many as a person reads;
/// the others are counted.
pub const MAX_REFUSALS: usize = 100;

/// Dead letters of one step: far below what a transaction may take, so that an
/// end in the middle costs little, and readers of the topics wait for little.
const CHUNK: usize = 500;
/// Bytes of one step, about: the bodies are in memory until it is done.
const CHUNK_BYTES: usize = 4 << 20;
/// How long it waits for the seat: at once, unless somebody else redrives.
const SEAT_WAIT: Duration = Duration::from_secs(2);
/// How often it looks whether it should end, where it waits.
const LOOK: Duration = Duration::from_millis(50);
/// Tries of one step before the redrive ends; what is open then stays open.
const TRIES: u32 = 8;
/// Records read between two signs of life to the group, where none is meant.
const KEEP_EVERY: u64 = 1_000;
/// What is forgotten at the beginning of one run, at most; the next goes on.
const MAX_FORGOTTEN: usize = 10_000;

/// What is done with the dead letters that are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Their records are sent again.
    Replay {
        /// A record that was sent so often is not sent again.
        max_redrives: u32,
        /// Unless it is forced.
        force: bool,
        /// At most so many a second.
        rate_per_s: u32,
    },
    /// They are marked as needing nothing.
    Purge,
}

/// What to do, for whom, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which dead letters.
    pub filter: Filter,
    /// At most so many.
    pub limit: Option<u64>,
    /// What is done with them.
    pub action: Action,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// How a run ended; what it did is in its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was meant is done.
    Done,
    /// Somebody asked to end it; what is open can be done later.
    Cancelled,
}

/// What a run works with.
pub struct Redriver<'a> {
    /// The log.
    pub log: &'a dyn Log,
    /// What became of dead letters so far.
    pub register: &'a Mutex<Register>,
    /// Told between the steps.
    pub boundaries: &'a Boundaries,
    /// Ends it between two steps: any of them.
    pub stops: &'a [Stop],
    /// What it did, as it does it.
    pub report: &'a Mutex<Report>,
}

/// A dead letter of the step in the making.
struct Pending {
    entry: Entry,
    /// None for a purge, and where only a further place is written down.
    record: Option<Record>,
    /// Not where only a further place is written down.
    counts: bool,
}

/// One run.
struct Run<'a> {
    on: &'a Redriver<'a>,
    order: &'a Order,
    seat: Option<Seat>,
    topics: Vec<TopicInfo>,
    now: &'a dyn Fn() -> Timestamp,
    began: Instant,
    pace: Pace,
    /// Of the step in the making, in the order in which they lie.
    ids: Vec<LetterId>,
    pending: HashMap<LetterId, Pending>,
    bytes: usize,
    counted: u64,
    /// Those met already and not sent: refused, or only looked at.
    recent: Recent,
    /// Asked for by name and not met open yet, with what is known of it.
    missing: BTreeMap<String, String>,
}

impl Redriver<'_> {
    /// Does what is ordered. Safe to end at any moment and to run again: what was
    /// sent or purged is not open any more.
    ///
    /// # Errors
    /// [`Failure::Refused`] where another one is at work; else those of the log.
    pub fn run(&self, order: &Order, now: &dyn Fn() -> Timestamp) -> Result<Ended, Failure> {
        let seat = if order.dry_run { None } else { Some(self.take_seat()?) };
        lock(self.register).refresh(self.log)?;
        // Asked for after the seat: what fails again meanwhile is for the next run.
        let topics = self.log.topics()?;
        let rate = match order.action {
            Action::Replay { rate_per_s, .. } => rate_per_s,
            Action::Purge => u32::MAX,
        };
        let filter = &order.filter;
        let mut run = Run {
            on: self,
            order,
            seat,
            topics,
            now,
            began: Instant::now(),
            pace: Pace::new(rate),
            ids: Vec::new(),
            pending: HashMap::new(),
            bytes: 0,
            counted: 0,
            recent: Recent::default(),
            missing: filter
                .ids
                .iter()
                .map(ToString::to_string)
                .chain(filter.places.iter().cloned())
                .map(|name| (name, "there is no such dead letter, or it does not pass the other filters".to_owned()))
                .collect(),
        };
        let ended = run.all();
        lock(self.report).missing = run.missing.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        ended
    }

    fn take_seat(&self) -> Result<Seat, Failure> {
        let mut seat = Seat::join(self.log, SEAT, &format!("{SEAT}-{}", std::process::id()))?;
        let began = Instant::now();
        while !seat.keep()? {
            if began.elapsed() > SEAT_WAIT || self.stopped() {
                return Err(Failure::Refused(
                    "another redrive or purge is at work: wait for its end, or cancel it; then give the command again"
                        .into(),
                ));
            }
            std::thread::sleep(LOOK.min(Duration::from_millis(10)));
        }
        Ok(seat)
    }

    fn stopped(&self) -> bool {
        self.stops.iter().any(Stop::requested)
    }
}

impl Run<'_> {
    fn all(&mut self) -> Result<Ended, Failure> {
        self.forget()?;
        let parts = self.parts();
        lock(self.on.report).total = parts.iter().map(|part| part.end - part.start).sum();
        let log = self.on.log;
        let forward = Forward::new(log);
        for part in &parts {
            if forward.each(part, &mut |scanned| self.take(scanned))?.is_break() {
                break;
            }
        }
        if self.on.stopped() {
            return Ok(Ended::Cancelled);
        }
        if self.flush()?.is_break() { Ok(Ended::Cancelled) } else { Ok(Ended::Done) }
    }

    /// What must be read: of partitions whose records are named, only those.
    fn parts(&self) -> Vec<Part> {
        let filter = &self.order.filter;
        let all = parts(&self.topics, filter.topic.as_deref());
        if !filter.only_places() {
            return all;
        }
        let mut wanted: BTreeMap<(String, u32), (u64, u64)> = BTreeMap::new();
        for place in filter.places.iter().filter_map(|text| Place::parse(text)) {
            let span = wanted.entry((place.topic, place.partition)).or_insert((place.offset, place.offset));
            *span = (span.0.min(place.offset), span.1.max(place.offset));
        }
        let narrow = |part: Part| {
            let (first, last) = wanted.get(&(part.place.topic.to_string(), part.place.partition))?;
            let (start, end) = (part.start.max(*first), part.end.min(last.saturating_add(1)));
            (start < end).then_some(Part { start, end, ..part })
        };
        all.into_iter().filter_map(narrow).collect()
    }

    /// One record of a dead letter topic.
    fn take(&mut self, scanned: Scanned) -> Result<ControlFlow<()>, Failure> {
        if self.on.stopped() {
            return Ok(ControlFlow::Break(()));
        }
        let examined = {
            let mut report = lock(self.on.report);
            report.examined += 1;
            report.examined
        };
        if examined.is_multiple_of(KEEP_EVERY) {
            self.keep_seat()?;
        }
        let found = match scanned {
            Scanned::Letter(found) => found,
            Scanned::Unreadable(..) => {
                lock(self.on.report).unreadable += 1;
                return Ok(ControlFlow::Continue(()));
            }
        };
        if self.order.filter.matches(found.id, &found.place, &found.letter) && !self.is_known(&found)? {
            self.missing.remove(&found.id.to_string());
            self.missing.remove(&found.place.to_string());
            self.open(*found)?;
        }
        let done = lock(self.on.report).done + self.counted;
        if self.order.limit.is_some_and(|limit| done >= limit) {
            return Ok(ControlFlow::Break(()));
        }
        if self.ids.len() >= self.pace.chunk(CHUNK) || self.bytes >= CHUNK_BYTES {
            return self.flush();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether it was dealt with, or lies elsewhere too. The new place of one that
    /// is not open is written down, so that it counts no more.
    fn is_known(&mut self, found: &Found) -> Result<bool, Failure> {
        if let Some(pending) = self.pending.get_mut(&found.id) {
            pending.entry.places.push(found.place.to_string());
            return Ok(true);
        }
        let register = lock(self.on.register);
        if let Some(closed) = register.get(found.id) {
            if !self.missing.is_empty() {
                let became = format!("it is not open: it was {} at {}", closed.status.name(), closed.at);
                for name in [found.id.to_string(), found.place.to_string()] {
                    self.missing.entry(name).and_modify(|why| why.clone_from(&became));
                }
            }
            if self.seat.is_some()
                && !register.knows(closed, &found.place)
                && let Some(mut entry) = register.entry(self.on.log, found.id)?
            {
                drop(register);
                entry.places.push(found.place.to_string());
                self.ids.push(found.id);
                self.pending.insert(found.id, Pending { entry, record: None, counts: false });
            }
            return Ok(true);
        }
        drop(register);
        Ok(!self.recent.insert(found.id))
    }

    /// An open dead letter that is meant.
    fn open(&mut self, mut found: Found) -> Result<(), Failure> {
        lock(self.on.report).matched += 1;
        let before = found.letter.redrive.as_ref().map_or(0, |redrive| redrive.n);
        let (status, n, record) = match &self.order.action {
            Action::Purge => (Status::Purged, before, None),
            Action::Replay { max_redrives, force, .. } => {
                match self.to_send(&mut found, before, *max_redrives, *force)? {
                    Ok((n, record)) => (Status::Redriven, n, Some(record)),
                    Err(reason) => {
                        self.refuse(&found, reason);
                        return Ok(());
                    }
                }
            }
        };
        if self.order.dry_run {
            let mut report = lock(self.on.report);
            if report.samples.len() < MAX_REFUSALS {
                report.samples.push(Sample::of(&found, n));
            }
            count(&mut report, &found.letter.origin.topic, &found.letter.account.group);
            return Ok(());
        }
        let entry = Entry {
            status,
            n,
            at: (self.now)(),
            actor: self.order.actor.clone(),
            reason: self.order.reason.clone(),
            topic: found.letter.origin.topic.clone(),
            group: found.letter.account.group.clone(),
            places: vec![found.place.to_string()],
        };
        self.bytes += record.as_ref().map_or(0, Record::bytes);
        self.counted += 1;
        self.ids.push(found.id);
        self.pending.insert(found.id, Pending { entry, record, counts: true });
        Ok(())
    }

    /// The record to send; inside, why there is none.
    fn to_send(
        &self,
        found: &mut Found,
        before: u32,
        most: u32,
        force: bool,
    ) -> Result<Result<(u32, Record), String>, Failure> {
        let n = before.saturating_add(1);
        if n > most && !force {
            return Ok(Err(format!(
                "it was sent again {before} times and failed each time: find out why, then --force or a higher --max-redrives sends it once more"
            )));
        }
        let origin = &found.letter.origin;
        let info = self.topics.iter().find(|info| *info.config.name == *origin.topic);
        if info.is_none_or(|info| info.config.partitions <= origin.partition) {
            return Ok(Err(format!("there is no partition {}/{} any more", origin.topic, origin.partition)));
        }
        if let Err(missing) = restore(self.on.log, &mut found.letter)? {
            return Ok(Err(missing.to_string()));
        }
        let record = again(&found.letter, n);
        let (bytes, largest) = (record.bytes(), self.on.log.max_record_bytes());
        if bytes > largest {
            return Ok(Err(format!(
                "with the header that names its group it has {bytes} bytes, and the log takes {largest}: raise log.max_record_bytes"
            )));
        }
        Ok(Ok((n, record)))
    }

    fn refuse(&self, found: &Found, reason: String) {
        let mut report = lock(self.on.report);
        report.refused += 1;
        if report.refusals.len() < MAX_REFUSALS {
            report.refusals.push(Refusal { id: found.id, place: found.place.to_string(), reason });
        }
    }

    /// One step: the records and what became of their dead letters. Breaks where
    /// somebody asked to end it.
    fn flush(&mut self) -> Result<ControlFlow<()>, Failure> {
        if self.ids.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if self.wait(self.pace.wait(self.began.elapsed()))? {
            return Ok(ControlFlow::Break(()));
        }
        let mut backoff = Backoff::default();
        loop {
            match self.transact() {
                Ok(()) => break,
                Err(Failure::Transient(why)) if backoff.failures() + 1 < TRIES => {
                    tracing::warn!("dead letters are not sent yet: {why}");
                    if self.wait(backoff.next_wait())? {
                        return Ok(ControlFlow::Break(()));
                    }
                    // It may have been written before it failed.
                    lock(self.on.register).refresh(self.on.log)?;
                    self.leave_out_done();
                }
                Err(failure) => return Err(failure),
            }
        }
        lock(self.on.register).refresh(self.on.log)?;
        self.pace.sent(self.ids.len());
        let pending = std::mem::take(&mut self.pending);
        (self.ids, self.bytes, self.counted) = (Vec::new(), 0, 0);
        for Pending { entry, .. } in pending.values().filter(|pending| pending.counts) {
            count(&mut lock(self.on.report), &entry.topic, &entry.group);
        }
        self.on.boundaries.pass(Boundary::Redrive);
        Ok(ControlFlow::Continue(()))
    }

    fn transact(&mut self) -> Result<(), Failure> {
        let mut records = Vec::with_capacity(2 * self.ids.len());
        for id in &self.ids {
            let Some(pending) = self.pending.get(id) else { continue };
            records.extend(pending.record.clone());
            records.push(record(*id, Some(&pending.entry)));
        }
        self.write(records)
    }

    fn write(&mut self, records: Vec<Record>) -> Result<(), Failure> {
        self.keep_seat()?;
        let seat = self.seat.as_mut().expect("who only looks writes nothing");
        seat.transact(records, &[]).map(drop)
    }

    fn keep_seat(&mut self) -> Result<(), Failure> {
        let held = self.seat.as_mut().map_or(Ok(true), Seat::keep)?;
        held.then_some(()).ok_or_else(|| {
            Failure::Fenced("another process redrives now: what it leaves open can be redriven later".into())
        })
    }

    /// Takes out of the step what an earlier try of it has written.
    fn leave_out_done(&mut self) {
        let register = lock(self.on.register);
        for (id, pending) in &mut self.pending {
            if register.get(*id).is_some() {
                pending.record = None;
            }
        }
    }

    /// Forgets dead letters that retention has taken.
    fn forget(&mut self) -> Result<(), Failure> {
        if self.seat.is_none() {
            return Ok(());
        }
        let gone = lock(self.on.register).outlived(&self.topics, MAX_FORGOTTEN);
        for ids in gone.chunks(CHUNK) {
            self.write(ids.iter().map(|id| record(*id, None)).collect())?;
        }
        lock(self.on.register).refresh(self.on.log)
    }

    /// Waits, keeping the seat; says whether somebody asked to end it.
    fn wait(&mut self, time: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + time;
        loop {
            if self.on.stopped() {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match self.on.stops.first() {
                Some(stop) => drop(stop.wait(left.min(LOOK))),
                None => std::thread::sleep(left.min(LOOK)),
            }
            self.keep_seat()?;
        }
    }
}

fn count(report: &mut Report, topic: &str, group: &str) {
    report.done += 1;
    *report.by.entry((topic.to_owned(), group.to_owned())).or_default() += 1;
}

/// A lock whose data stays whole when a thread panics while it holds it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
