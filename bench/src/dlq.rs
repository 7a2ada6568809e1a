//! Bad records among good ones, through the runtime into a real store: how many a
//! second, and how long a good one takes from the log to visible beside them.
//!
//! Not here: which of them becomes which dead letter, which tests hold.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_bench_pace::{Laps, decision::number, laps::show};
use tapedeck_contracts::{Event, headers};
use tapedeck_flow::{
    Budget, Delivery, DeliveryConfig, Failure, Gauges, Outbound, Stop,
    runtime::{self, Handler, Move, Resume, Setup, Step},
    topics,
};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Headers, Log, Member, Record, TopicPartition};
use tapedeck_roles::recorder::StoreStep;
use tapedeck_store::{
    Origin, Row,
    sqlite::{SqliteConfig, SqliteStore},
};

use crate::{decisions::as_log, fill::report};

const TOPIC: &str = "exec.reports.v1";
/// The account whose reports the handler fails on, and the one it panics on.
const FAILS: &str = "ACC-FAILS";
const PANICS: &str = "ACC-PANICS";
/// How often a record bad in one way is as large as the log takes: such bodies are
/// rare, and a minute of nothing else would measure the disk.
const LARGE_EVERY: u64 = 10;
/// The steady rate of good and bad records together, and how often they are written.
const PER_S: u64 = 2_000;
const EVERY: Duration = Duration::from_millis(5);
/// Far longer than any of these runs takes.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(dir: &Path, seconds: u64) -> anyhow::Result<()> {
    // Panics are what is measured here; each would print a page.
    std::panic::set_hook(Box::new(|_| {}));
    let mut whole = None;
    for (percent, count) in [(0, 200_000), (1, 200_000), (50, 40_000), (100, 20_000)] {
        let rate = throughput(dir, percent, count)?;
        let beside = *whole.get_or_insert(rate);
        println!("{percent:>3} % bad: {rate:>9.0} records/s  {:.2} of that without", rate / beside);
    }
    let mut usual: Option<[Duration; 2]> = None;
    for percent in [0, 1] {
        let laps = latency(dir, percent, seconds)?;
        laps.print(&format!("log -> visible at {PER_S}/s, {percent} % bad"), "");
        let [p50, p99] = laps.percentiles([0.5, 0.99]);
        let [usual50, usual99] = *usual.get_or_insert([p50, p99]);
        let times = |time: Duration, usual: Duration| time.as_secs_f64() / usual.as_secs_f64();
        println!(
            "    p50 {:.2} and p99 {:.2} of the usual {}",
            times(p50, usual50),
            times(p99, usual99),
            show(usual99)
        );
    }
    Ok(())
}

/// A log, a store behind the runtime, and what was seen of it.
struct Bench {
    log: Arc<EmbeddedLog>,
    visible: Arc<Visible>,
    gauges: Arc<Gauges>,
    stop: Stop,
    role: Option<thread::JoinHandle<Result<(), Failure>>>,
    _dir: tempfile::TempDir,
}

/// When each good record became visible.
#[derive(Default)]
struct Visible(Mutex<Vec<(u64, Instant)>>);

impl Visible {
    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Bench {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in(dir)?;
        let log = EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default())?;
        log.create_topics(&topics::of_catalogue(None))?;
        Ok(Self { log, visible: Arc::default(), gauges: Arc::default(), stop: Stop::new(), role: None, _dir: dir })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let store = SqliteStore::open(&self._dir.path().join("store.db"), SqliteConfig::default())?;
        let setup = Setup {
            log: as_log(&self.log),
            role: "recorder".into(),
            member: "bench".into(),
            topics: vec![TOPIC.into()],
            config: DeliveryConfig::default(),
            stop: self.stop.clone(),
            gauges: Arc::clone(&self.gauges),
            boundaries: Default::default(),
            aside: Default::default(),
            budget: Arc::new(Budget::default()),
        };
        let step = Watched { step: StoreStep::new(store, setup.group()), visible: Arc::clone(&self.visible) };
        self.role = Some(thread::spawn(move || runtime::run(setup, Keeper, step)));
        Ok(())
    }

    /// Waits until all of them are visible or dead letters.
    fn settled(&mut self, good: u64, bad: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        let settled =
            |bench: &Self| bench.visible.count() as u64 >= good && bench.gauges.dead_letters.load(Relaxed) >= bad;
        while !settled(self) {
            let ended = self.role.as_ref().is_none_or(thread::JoinHandle::is_finished);
            let (seen, letters) = (self.visible.count(), self.gauges.dead_letters.load(Relaxed));
            anyhow::ensure!(
                !ended && began.elapsed() < PATIENCE,
                "{seen} of {good} visible, {letters} of {bad} dead letters, {} duplicates, {:?}",
                self.gauges.duplicates.load(Relaxed),
                self.gauges.phase()
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends the role, and counts: each good record visible once, each bad one a dead
    /// letter.
    fn close(mut self, good: u64, bad: u64) -> anyhow::Result<Arc<Visible>> {
        self.stop.request();
        if let Some(role) = self.role.take() {
            role.join().map_err(|_| anyhow::anyhow!("the role panicked"))??;
        }
        let letters = self.gauges.dead_letters.load(Relaxed);
        anyhow::ensure!(self.visible.count() as u64 == good, "{} visible of {good} good", self.visible.count());
        anyhow::ensure!(letters == bad, "{letters} dead letters of {bad} bad records");
        Ok(self.visible)
    }
}

fn throughput(dir: &Path, percent: u64, count: u64) -> anyhow::Result<f64> {
    let mut bench = Bench::open(dir)?;
    let bad = (0..count).filter(|n| is_bad(*n, percent)).count() as u64;
    for first in (0..count).step_by(1_000) {
        let records = (first..count.min(first + 1_000)).map(|n| record(n, percent));
        bench.log.append(records.collect::<Result<_, _>>()?)?;
    }
    let began = Instant::now();
    bench.start()?;
    bench.settled(count - bad, bad)?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    bench.close(count - bad, bad)?;
    Ok(rate)
}

/// From acknowledged by the log to visible, of each good record.
fn latency(dir: &Path, percent: u64, seconds: u64) -> anyhow::Result<Laps> {
    let mut bench = Bench::open(dir)?;
    bench.start()?;
    let count = PER_S * seconds;
    let mut acknowledged = Vec::with_capacity(count as usize);
    let began = Instant::now();
    while acknowledged.len() < count as usize {
        let first = acknowledged.len() as u64;
        let due = ((began.elapsed().as_secs_f64() * PER_S as f64) as u64).min(count);
        let records = (first..due).map(|n| record(n, percent)).collect::<Result<Vec<_>, _>>()?;
        if !records.is_empty() {
            bench.log.append(records)?;
        }
        acknowledged.resize(due as usize, Instant::now());
        thread::sleep(EVERY);
    }
    let bad = (0..count).filter(|n| is_bad(*n, percent)).count() as u64;
    bench.settled(count - bad, bad)?;
    let visible = bench.close(count - bad, bad)?;
    let mut laps = Laps::with_room(count);
    for (n, at) in visible.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        laps.push(at.saturating_duration_since(acknowledged[*n as usize]));
    }
    Ok(laps)
}

/// Whether the n-th record is bad: in step with nothing.
fn is_bad(n: u64, percent: u64) -> bool {
    mixed(n) % 100 < percent
}

fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// The n-th record: a report, or one that is bad in one of seven ways in turn.
fn record(n: u64, percent: u64) -> Result<Record, Failure> {
    let mut report = report(n);
    if !is_bad(n, percent) {
        let id = report.event_id.clone();
        return Outbound::first(TOPIC, id, Event::ExecutionReport(Box::new(report))).into_record("bench");
    }
    let way = mixed(n) / 100 % 7;
    match way {
        0 => report.account = FAILS.into(),
        1 => report.account = PANICS.into(),
        2 => report.schema_version = "9.0".into(),
        _ => {}
    }
    let id = report.event_id.clone();
    let key = report.account.clone();
    let mut record =
        Outbound::first(TOPIC, id.clone(), Event::ExecutionReport(Box::new(report))).into_record("bench")?;
    record.key = Some(Bytes::from(key));
    let body = record.value.take().unwrap_or_default();
    record.value = Some(match way {
        3 => Bytes::from([b"\xff\xfe", body.as_ref()].concat()),
        4 => body.slice(..body.len() / 2),
        5 => Bytes::from(String::from_utf8_lossy(&body).replace("\"side\":\"", "\"side\":\"NO-").into_bytes()),
        6 if (mixed(n) / 700).is_multiple_of(LARGE_EVERY) => large(&record),
        6 => Bytes::from_static(b"[]"),
        _ => body,
    });
    if way == 2 {
        let schema = (headers::CE_DATASCHEMA, "tapedeck:execution_report/9.0".to_owned());
        record.headers = Headers::build([(headers::CE_ID, id.0), schema]);
    }
    Ok(record)
}

/// A body such that the record is as large as a log takes: one string of it.
fn large(record: &Record) -> Bytes {
    let room = EmbeddedConfig::default().max_record_bytes - record.bytes();
    Bytes::from([b"\"", vec![b'x'; room - 2].as_slice(), b"\""].concat())
}

/// Keeps reports, as the recorder does, but for two accounts.
struct Keeper;

impl Handler for Keeper {
    type Effect = Vec<Row>;

    fn assigned(&mut self, _: &TopicPartition, _: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<Vec<Row>, Failure> {
        for (index, delivery) in batch.iter().enumerate() {
            match delivery.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default() {
                FAILS => {
                    let (place, detail) = (delivery.place().to_string(), "no such account".to_owned());
                    return Err(Failure::Unready { index, place, path: None, detail });
                }
                PANICS => panic!("the handler panics on {PANICS}"),
                _ => {}
            }
        }
        let origin = |delivery: &Delivery| Origin {
            topic: Arc::clone(&delivery.record.topic),
            partition: delivery.record.partition,
            offset: delivery.record.offset,
        };
        let row = |delivery: &Delivery| Row {
            origin: origin(delivery),
            event_id: delivery.id.clone(),
            event: delivery.event.clone(),
        };
        Ok(batch.iter().map(row).collect())
    }

    fn revoked(&mut self, _: &TopicPartition) {}
}

/// The recorder's own step, and when it was done.
struct Watched {
    step: StoreStep,
    visible: Arc<Visible>,
}

impl Step for Watched {
    type Effect = Vec<Row>;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.step.resume(partitions)
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        self.step.restate(partitions)
    }

    fn perform(&mut self, member: &mut dyn Member, rows: Vec<Row>, moves: &[Move]) -> Result<(), Failure> {
        let numbers: Vec<u64> = rows.iter().filter_map(|row| number(row.event_id.as_str())).collect();
        self.step.perform(member, rows, moves)?;
        let now = Instant::now();
        let mut visible = self.visible.0.lock().unwrap_or_else(PoisonError::into_inner);
        visible.extend(numbers.into_iter().map(|n| (n, now)));
        Ok(())
    }
}
