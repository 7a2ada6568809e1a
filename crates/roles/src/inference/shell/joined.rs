//! The signals that market events caused, read beside the market: which of them belong
//! to a market event that is handled now, and how long it waits for them.
//!
//! A process owns partitions of the market and reads the signals whole; it uses those
//! whose root lies in its partitions. A market event is handled once all signals that it
//! caused are here: strategies have gone past it, and what they had written by then is
//! read. So the signals' positions are kept with the market's, in the same state, and who
//! finds inference past a market event finds its signals decided on.
//!
//! Not here: deciding.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Event, EventKind, Timestamp, catalogue::group_of};
use tapedeck_flow::{
    Delivery, Failure, Gauges, Stop,
    dead_letter::{Account, ErrorClass, dead_letter},
    dedupe::Window,
    inbound::{Remedy, is_for_others},
    opener::{Before, Opener},
};
use tapedeck_log::{Log, LogError, LogRecord, PollLimits, Reader, TopicPartition, partitioner::partition_of};

use super::{MARKET, ROLE, SIGNALS};
use crate::strategy;

/// How long one try waits for strategies in a replay: then the runtime looks after its
/// seat, and tries again.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked how far strategies are: what a signal may lose.
const LOOK: Duration = Duration::from_millis(3);
/// Signals held whose market event is still to come; some hundred megabytes at most.
/// Beyond it what is here is decided on, and a signal that is read later is late.
const MOST: usize = 65_536;
/// Ids remembered of each partition: no emitter's ring holds more records.
const DEDUPE_WINDOW: usize = 65_536;
const POLL: PollLimits = PollLimits { max_records: 4_096, max_bytes: 4 << 20, timeout: Duration::from_millis(20) };

/// Who makes signals, and how long a market event waits for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joining {
    /// Strategies run, here or elsewhere; without them nothing is waited for.
    pub strategies: bool,
    /// Live: an event that was written so long ago waits no longer, ms. None waits as
    /// long as it takes: a replay.
    pub wait_ms: Option<u64>,
}

/// How far the signals of a market partition are decided on, as its state keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The market's offset up to which its signals are.
    next: u64,
    /// By partition of the signals: where reading begins again.
    from: BTreeMap<u32, u64>,
    /// By partition of the signals: up to here those are, whose market event was passed,
    /// or that have none.
    to: BTreeMap<u32, u64>,
}

/// A signal that waits.
struct Waiting {
    /// The offset of its market event.
    root: Option<u64>,
    delivery: Delivery,
}

/// A partition of the market that is held.
#[derive(Default)]
struct Lane {
    /// None before anything was handled: what was signalled before is left out then.
    progress: Option<Progress>,
    /// By partition and offset.
    waiting: BTreeMap<(u32, u64), Waiting>,
}

/// The signals, as this process reads them.
pub(super) struct Signals {
    log: Arc<dyn Log>,
    stop: Stop,
    gauges: Arc<Gauges>,
    joining: Joining,
    lanes: BTreeMap<u32, Lane>,
    /// None where it is to be opened (again).
    open: Option<Open>,
    /// How many partitions the market has.
    market: u32,
}

struct Open {
    reader: Box<dyn Reader>,
    places: Vec<TopicPartition>,
    windows: Vec<Window>,
}

impl Signals {
    pub(super) fn new(log: Arc<dyn Log>, stop: Stop, gauges: Arc<Gauges>, joining: Joining) -> Self {
        Self { log, stop, gauges, joining, lanes: BTreeMap::new(), open: None, market: 0 }
    }

    /// Holds a partition of the market, with what was kept of it.
    ///
    /// # Errors
    /// What was kept is none of ours.
    pub(super) fn assign(&mut self, partition: u32, kept: Option<&[u8]>) -> Result<(), String> {
        let progress: Option<Progress> =
            kept.map(serde_json::from_slice).transpose().map_err(|error| error.to_string())?;
        // What waits is whole where nothing was taken of it since: strategies were only waited for.
        if self.lanes.get(&partition).is_some_and(|lane| lane.progress == progress) {
            return Ok(());
        }
        self.lanes.insert(partition, Lane { progress, waiting: BTreeMap::new() });
        self.open = None;
        Ok(())
    }

    pub(super) fn revoke(&mut self, partition: u32) {
        self.lanes.remove(&partition);
    }

    /// Waits until the signals that a batch of the market caused are here, and takes them;
    /// those that cannot be read become dead letters.
    ///
    /// # Errors
    /// Transient where strategies, or the log, are not there yet.
    pub(super) fn gather(&mut self, batch: &[Delivery]) -> Result<(), Failure> {
        self.open()?;
        self.wait_for_strategies(batch)?;
        for (partition, lane) in &mut self.lanes {
            let first = batch.iter().map(|one| &one.record).filter(|record| record.partition == *partition);
            let Some(first) = first.map(|record| record.offset).min() else { continue };
            if lane.progress.is_none() {
                lane.progress = Some(Progress { next: first, ..Progress::default() });
                lane.waiting.retain(|_, waiting| waiting.root.is_some_and(|root| root >= first));
                // What is there already and has no market event to come is left out.
                let open = self.open.as_ref().expect("it was just opened");
                let ends = open.places.iter().map(|place| Ok((place.partition, self.log.bounds(place)?.1)));
                let ends: Result<BTreeMap<u32, u64>, LogError> = ends.collect();
                lane.progress.as_mut().expect("it was just made").to = ends?;
            }
        }
        self.read()
    }

    /// Those to be decided on before a market event is: whose own was passed, or that have
    /// none.
    pub(super) fn before(&mut self, partition: u32) -> Vec<Delivery> {
        let next = self.next(partition);
        self.take(partition, |root| root.is_none_or(|root| root < next))
    }

    /// Those that a market event caused, which is passed with this.
    pub(super) fn of(&mut self, partition: u32, offset: u64) -> Vec<Delivery> {
        let found = self.take(partition, |root| root.is_some_and(|root| root <= offset));
        if let Some(progress) = self.lanes.get_mut(&partition).and_then(|lane| lane.progress.as_mut()) {
            progress.next = progress.next.max(offset + 1);
        }
        found
    }

    /// How far a partition is, once a batch of it is handled.
    pub(super) fn progress(&mut self, partition: u32) -> Option<Vec<u8>> {
        let (open, lane) = (self.open.as_ref()?, self.lanes.get_mut(&partition)?);
        let progress = lane.progress.as_mut()?;
        for place in &open.places {
            let read_to = open.reader.position(place).unwrap_or_default();
            let number = place.partition;
            let first = lane.waiting.range((number, 0)..=(number, u64::MAX)).next().map(|((_, offset), _)| *offset);
            progress.from.insert(number, first.unwrap_or(read_to));
            let to = progress.to.entry(number).or_default();
            *to = read_to.max(*to);
        }
        Some(serde_json::to_vec(progress).expect("numbers"))
    }

    /// Writes the dead letter of a signal that no decision can be made on.
    ///
    /// # Errors
    /// Those of the log.
    pub(super) fn refuse(&self, signal: &Delivery, detail: &str) -> Result<(), Failure> {
        self.letter(&signal.record, ErrorClass::Handler, None, detail)
    }

    /// Before the step that its position moves with; after a crash between the two it
    /// comes again, with the same id.
    fn letter(&self, record: &LogRecord, class: ErrorClass, path: Option<&str>, detail: &str) -> Result<(), Failure> {
        let now = Timestamp::from_micros(now_ms().saturating_mul(1_000));
        let account = Account {
            role: ROLE.to_owned(),
            group: group_of(ROLE),
            class,
            error: detail.to_owned(),
            path: path.map(str::to_owned),
            attempts: 1,
            first_failure: now,
            last_failure: now,
        };
        self.log.append(vec![dead_letter(record, &account, self.log.max_record_bytes())])?;
        Gauges::add(&self.gauges.dead_letters, 1);
        Ok(())
    }

    fn next(&self, partition: u32) -> u64 {
        let progress = self.lanes.get(&partition).and_then(|lane| lane.progress.as_ref());
        progress.map_or(0, |progress| progress.next)
    }

    fn take(&mut self, partition: u32, is_due: impl Fn(Option<u64>) -> bool) -> Vec<Delivery> {
        let Some(lane) = self.lanes.get_mut(&partition) else { return Vec::new() };
        let due = lane.waiting.extract_if(.., |_, waiting| is_due(waiting.root));
        let mut due: Vec<Waiting> = due.map(|(_, waiting)| waiting).collect();
        // Stable: of one root those of a partition stay in their order.
        due.sort_by_key(|waiting| waiting.root);
        due.into_iter().map(|waiting| waiting.delivery).collect()
    }

    /// Opens the reader where the held partitions say: what they wait for is read again.
    fn open(&mut self) -> Result<(), Failure> {
        if self.open.is_some() {
            return Ok(());
        }
        let there = self.log.topics()?;
        let find = |name: &str| {
            there.iter().find(|info| &*info.config.name == name).ok_or_else(|| {
                Failure::Fatal(format!("topic `{name}` is not in the log: make the topics of the catalogue first"))
            })
        };
        self.market = find(MARKET)?.partitions.len() as u32;
        let opener = Opener {
            log: &*self.log,
            role: ROLE,
            begin_anew: format!("`tapedeck groups reset {} --with-state --to earliest`", group_of(ROLE)),
            gauges: &self.gauges,
        };
        // One that was never handled reads all: the market that it begins with may be as old.
        let all = self.lanes.values().any(|lane| lane.progress.is_none());
        let mut before = Vec::new();
        for part in &find(SIGNALS)?.partitions {
            let place = TopicPartition::new(SIGNALS, part.partition);
            let known =
                self.lanes.values().filter_map(|lane| lane.progress.as_ref()?.from.get(&part.partition).copied());
            let next = opener.begin(&place, known.min().filter(|_| !all))?;
            before.push(Before { place, kind: EventKind::Signal, next });
        }
        let windows = opener.refill(&before, DEDUPE_WINDOW, |_| true)?;
        let starts: Vec<_> = before.iter().map(|one| (one.place.clone(), one.next)).collect();
        let places = before.into_iter().map(|one| one.place).collect();
        let mut reader = self.log.reader()?;
        reader.assign(&starts)?;
        self.lanes.values_mut().for_each(|lane| lane.waiting.clear());
        self.open = Some(Open { reader, places, windows });
        Ok(())
    }

    /// Waits until strategies are past the batch, or none of it waits any longer.
    fn wait_for_strategies(&self, batch: &[Delivery]) -> Result<(), Failure> {
        if !self.joining.strategies {
            return Ok(());
        }
        let began = Instant::now();
        loop {
            let committed = self.log.committed(&group_of(strategy::shell::ROLE))?;
            let next = |record: &LogRecord| {
                let of = |place: &TopicPartition| place.partition == record.partition && *place.topic == *record.topic;
                committed.iter().find(|offset| of(&offset.partition)).map_or(0, |offset| offset.next)
            };
            let open = batch.iter().map(|one| &one.record).filter(|record| next(record) <= record.offset);
            let Some(youngest) = open.map(|record| record.timestamp_ms).max() else { return Ok(()) };
            if self.joining.wait_ms.is_some_and(|wait_ms| now_ms().saturating_sub(youngest) >= wait_ms as i64) {
                return Ok(());
            }
            if began.elapsed() >= PATIENCE && self.joining.wait_ms.is_none() {
                return Err(Failure::Transient("strategies have not gone past the market that waits here".into()));
            }
            if self.stop.wait(LOOK) {
                return Err(Failure::Transient("stopped while it waited for strategies".into()));
            }
        }
    }

    /// Reads up to the ends as they are now.
    fn read(&mut self) -> Result<(), Failure> {
        let open = self.open.as_mut().expect("it is opened before");
        let ends: Vec<u64> =
            open.places.iter().map(|place| Ok(self.log.bounds(place)?.1)).collect::<Result<_, LogError>>()?;
        loop {
            let held: usize = self.lanes.values().map(|lane| lane.waiting.len()).sum();
            let open = self.open.as_mut().expect("it is opened before");
            let at = |(place, end): (&TopicPartition, &u64)| open.reader.position(place).is_none_or(|at| at >= *end);
            if held >= MOST || open.places.iter().zip(&ends).all(at) {
                return Ok(());
            }
            for record in open.reader.poll(POLL)? {
                self.take_in(record)?;
            }
        }
    }

    fn take_in(&mut self, record: LogRecord) -> Result<(), Failure> {
        let (number, offset) = (record.partition, record.offset);
        if is_for_others(&record, &group_of(ROLE)) {
            return Ok(());
        }
        let delivery = match Delivery::read(self.log.unframe(), EventKind::Signal, record) {
            Ok(delivery) => delivery,
            Err(unread) if unread.remedy == Remedy::Wait => {
                self.open = None; // It is read again.
                return Err(Failure::Transient(unread.detail));
            }
            Err(unread) => {
                // One of the processes that read it writes its letter.
                if self.lanes.contains_key(&(number % self.market.max(1))) {
                    self.letter(&unread.record, unread.class, unread.path.as_deref(), &unread.detail)?;
                }
                return Ok(());
            }
        };
        let open = self.open.as_mut().expect("it is opened before");
        let window = open.places.iter().position(|place| place.partition == number);
        if window.is_some_and(|at| !open.windows[at].insert(delivery.fingerprint())) {
            return Ok(());
        }
        let Event::Signal(signal) = &delivery.event else { return Ok(()) };
        let root = delivery.meta.root.as_ref().filter(|root| root.topic == MARKET);
        let home = root.map_or_else(
            || partition_of(signal.data.market_data.symbol.as_bytes(), self.market.max(1)),
            |root| root.partition,
        );
        let root = root.map(|root| root.offset);
        if let Some(lane) = self.lanes.get_mut(&home) {
            let is_done = lane.progress.as_ref().is_some_and(|progress| {
                offset < progress.to.get(&number).copied().unwrap_or_default()
                    && root.is_none_or(|root| root < progress.next)
            });
            if !is_done {
                lane.waiting.insert((number, offset), Waiting { root, delivery });
            }
        }
        Ok(())
    }
}

/// The clock, which is asked for the sake of waits and dead letters alone.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
