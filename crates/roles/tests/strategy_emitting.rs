//! The strategy role on the trading path: it emits, and its positions follow. The
//! paper broker closes market events by these positions, so none may move before
//! the signals of what it passes are in the log.
//!
//! Not here: the rules of strategies, and how an emitter sends.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::headers::{CAUSE, CE_ID, Place, SEQ};
use tapedeck_flow::{
    Boundaries, DeliveryConfig, Failure, Gauges, Stop,
    emitter::{Emitter, EmitterConfig},
};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, Headers, Log, LogAround, LogError, LogRecord, Placement, PollLimits, Record, Result,
    TopicConfig, TopicPartition,
};
use tapedeck_roles::{
    Context,
    strategy::{StrategyConfig, shell},
};

const GROUP: &str = "tapedeck.strategy";
const PARTITIONS: u32 = 2;
const BARS: u64 = 600;

/// A log that takes no signals while it is shut.
struct Gated {
    log: Arc<EmbeddedLog>,
    shut: AtomicBool,
}

impl Gated {
    fn new(dir: &Path) -> Arc<Self> {
        let log = EmbeddedLog::open(&dir.join("log"), EmbeddedConfig::default()).unwrap();
        let topics = [shell::MARKET, shell::SIGNALS, shell::COMPILATIONS, "tapedeck.strategy.state"];
        let topics = topics.map(|name| TopicConfig {
            name: name.into(),
            partitions: PARTITIONS,
            retention: None,
            retention_bytes: None,
            delete: !name.ends_with("state"),
            compact: name.ends_with("state"),
        });
        log.create_topics(&topics).unwrap();
        Arc::new(Self { log, shut: AtomicBool::new(false) })
    }

    fn read(&self, topic: &str) -> Vec<LogRecord> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let place = TopicPartition::new(topic, partition);
            let (start, end) = self.log.bounds(&place).unwrap();
            let mut reader = self.log.reader().unwrap();
            reader.assign(&[(place.clone(), start)]).unwrap();
            let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
            while reader.position(&place).unwrap() < end {
                all.extend(reader.poll(limits).unwrap());
            }
        }
        all
    }

    /// Whether the group is behind all of the market.
    fn is_settled(&self) -> bool {
        let committed = self.log.committed(GROUP).unwrap();
        (0..PARTITIONS).all(|partition| {
            let place = TopicPartition::new(shell::MARKET, partition);
            let end = self.log.bounds(&place).unwrap().1;
            committed.iter().any(|at| at.partition == place && at.next >= end)
        })
    }
}

impl LogAround for Gated {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        if self.shut.load(SeqCst) && records.iter().any(|record| &*record.topic == shell::SIGNALS) {
            return Err(LogError::Transient("shut".into()));
        }
        self.log.append(records)
    }
}

fn bar(n: u64) -> Record {
    let price = 100 + (n % 7) * (n % 3);
    let time = format!("2024-01-01T{:02}:{:02}:00Z", n / 60, n % 60);
    let symbol = n % u64::from(PARTITIONS);
    let body = format!(
        r#"{{"timestamp":"{time}","producer_service":"market","data":{{"symbol":"S{symbol}","price":"{price}",
        "volume":"1","timestamp":"{time}","source":"s","kind":"bar","open":"{price}","high":"{price}",
        "low":"{price}","close":"{price}","interval":"1m"}}}}"#
    );
    Record {
        topic: shell::MARKET.into(),
        partition: Some(symbol as u32),
        key: Some(Bytes::from(format!("S{symbol}"))),
        value: Some(Bytes::from(body)),
        headers: Headers::build([(CE_ID, format!("market-{n}")), (SEQ, format!("s/{n}"))]),
        timestamp_ms: None,
    }
}

fn strategies() -> Vec<StrategyConfig> {
    let config = |text: &str| serde_json::from_str(text).unwrap();
    vec![
        config(r#"{"id":"sma","kind":"sma_crossover","session_id":"paper","fast":1,"slow":3}"#),
        config(r#"{"id":"break","kind":"breakout","session_id":"paper","entry_bars":2,"exit_bars":2}"#),
    ]
}

/// The role and its emitter.
struct Running {
    stop: Stop,
    gauges: Arc<Gauges>,
    emitter: Option<Arc<Emitter>>,
    role: Option<JoinHandle<std::result::Result<(), Failure>>>,
}

impl Running {
    fn start(log: &Arc<Gated>, dir: &Path, emits: bool) -> Self {
        let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
        // No breaker: it would wait for longer than the gate is ever shut.
        let config = EmitterConfig {
            ring_dir: dir.join("ring").display().to_string(),
            ring_bytes: 1 << 20,
            breaker_failures: u32::MAX,
            ..EmitterConfig::default()
        };
        let open = || {
            let log = Arc::clone(log) as Arc<dyn Log>;
            Arc::new(Emitter::open(log, &dir.join("emitter"), "strategy", &config, Boundaries::default()).unwrap())
        };
        let emitter = emits.then(open);
        let ctx = Context {
            log: Arc::clone(log) as Arc<dyn Log>,
            stop: stop.clone(),
            member: "test".into(),
            gauges: Arc::clone(&gauges),
            boundaries: Default::default(),
            aside: Default::default(),
            emitter: emitter.clone(),
            budget: Default::default(),
        };
        // Small steps, so that many are on their way at once.
        let delivery = DeliveryConfig {
            batch_max_age_ms: 1,
            batch_max_records: 8,
            drain_timeout_ms: 100,
            ..DeliveryConfig::default()
        };
        let role = Some(thread::spawn(move || shell::run(ctx, strategies(), delivery)));
        Self { stop, gauges, emitter, role }
    }

    fn until(&self, mut done: impl FnMut() -> bool) {
        while !done() {
            let running = self.role.as_ref().is_some_and(|role| !role.is_finished());
            assert!(running, "the role ended: {:?}", self.gauges.phase());
            self.stop.wait(Duration::from_millis(1));
        }
    }

    fn emitted(&self) -> u64 {
        self.emitter.as_ref().unwrap().stats().emitted.load(SeqCst)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.request();
        if let Some(role) = self.role.take() {
            let ended = role.join();
            assert!(thread::panicking() || ended.unwrap().is_ok());
        }
    }
}

/// Ids and causes of the signals.
fn signals(log: &Gated) -> HashSet<(String, Place)> {
    let signals = log.read(shell::SIGNALS).into_iter();
    let named = signals.map(|record| {
        let cause = Place::parse(record.headers.text(CAUSE).unwrap()).unwrap();
        (record.headers.text(CE_ID).unwrap().to_owned(), cause)
    });
    named.collect()
}

/// What a role that appends each batch's signals before its step says.
fn expected() -> HashSet<(String, Place)> {
    let dir = tempfile::tempdir().unwrap();
    let log = Gated::new(dir.path());
    log.log.append((0..BARS).map(bar).collect()).unwrap();
    let role = Running::start(&log, dir.path(), false);
    role.until(|| log.is_settled());
    drop(role);
    signals(&log)
}

/// Fails where the group is past a market event whose signal is not in the log.
fn check_positions(log: &Gated, expected: &HashSet<(String, Place)>) {
    // In the order of a closing: the positions, and then what is in the log.
    let committed = log.log.committed(GROUP).unwrap();
    let there = signals(log);
    for (id, cause) in expected {
        let at = committed.iter().find(|at| at.partition.partition == cause.partition);
        let passed = at.is_some_and(|at| at.next > cause.offset);
        assert!(!passed || there.contains(&(id.clone(), cause.clone())), "{cause} was passed without its signal");
    }
}

#[test]
fn positions_never_pass_an_event_whose_signals_are_not_in_the_log_however_often_it_is_away() {
    let expected = expected();
    assert!(expected.len() > 50, "{} signals", expected.len());
    let dir = tempfile::tempdir().unwrap();
    let log = Gated::new(dir.path());
    let role = Running::start(&log, dir.path(), true);
    for (turn, from) in (0..BARS).step_by(30).enumerate() {
        log.shut.store(turn % 2 == 0, SeqCst);
        log.log.append((from..from + 30).map(bar).collect()).unwrap();
        for _ in 0..20 {
            check_positions(&log, &expected);
        }
    }
    log.shut.store(false, SeqCst);
    role.until(|| {
        check_positions(&log, &expected);
        log.is_settled()
    });
    assert_eq!(signals(&log), expected);
}

#[test]
fn while_the_log_takes_no_signals_all_are_decided_and_none_is_settled() {
    let expected = expected();
    let dir = tempfile::tempdir().unwrap();
    let log = Gated::new(dir.path());
    log.shut.store(true, SeqCst);
    log.log.append((0..BARS).map(bar).collect()).unwrap();
    let role = Running::start(&log, dir.path(), true);
    role.until(|| role.emitted() == expected.len() as u64);
    assert!(signals(&log).is_empty());
    check_positions(&log, &expected);
    assert!(!log.is_settled());
    log.shut.store(false, SeqCst);
    role.until(|| log.is_settled());
    assert_eq!(signals(&log), expected);
}

#[test]
fn what_a_process_left_in_its_ring_is_in_the_log_before_the_next_one_decides() {
    let expected = expected();
    let dir = tempfile::tempdir().unwrap();
    let log = Gated::new(dir.path());
    log.shut.store(true, SeqCst);
    log.log.append((0..BARS / 2).map(bar).collect()).unwrap();
    let first = Running::start(&log, dir.path(), true);
    first.until(|| first.emitted() > 20);
    drop(first);
    assert!(signals(&log).is_empty());
    log.shut.store(false, SeqCst);
    log.log.append((BARS / 2..BARS).map(bar).collect()).unwrap();
    let second = Running::start(&log, dir.path(), true);
    second.until(|| {
        check_positions(&log, &expected);
        log.is_settled()
    });
    assert_eq!(signals(&log), expected);
}
