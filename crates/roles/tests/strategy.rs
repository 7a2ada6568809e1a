//! The strategy role on a real log: restarts, and what comes again after a crash.
//!
//! Not here: the rules of strategies.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::headers::{CAUSE, CE_ID, ROOT_SEQ, SEQ};
use tapedeck_flow::{DeliveryConfig, Gauges, Stop, state};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition,
};
use tapedeck_roles::{
    Context,
    strategy::{StrategyConfig, shell},
};

const STATE: &str = "tapedeck.strategy.state";

struct Tape {
    log: Arc<EmbeddedLog>,
    _dir: tempfile::TempDir,
}

impl Tape {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
        let topic = |name: &str, compact: bool| TopicConfig {
            name: name.into(),
            partitions: if name == shell::SIGNALS { 1 } else { 2 },
            retention: None,
            retention_bytes: None,
            delete: !compact,
            compact,
        };
        let names = [(shell::MARKET, false), (shell::SIGNALS, false), (shell::COMPILATIONS, false), (STATE, true)];
        log.create_topics(&names.map(|(name, compact)| topic(name, compact))).unwrap();
        Self { log, _dir: dir }
    }

    /// Writes bars number `from` to `to` of a price that goes up and down.
    fn bars(&self, from: u64, to: u64) {
        let bar = |n: u64| {
            let price = 100 + (n % 7) * (n % 3);
            let body = format!(
                r#"{{"timestamp":"2024-01-01T00:{:02}:00Z","producer_service":"market","data":{{"symbol":"S{}",
                "price":"{price}","volume":"1","timestamp":"2024-01-01T00:{:02}:00Z","source":"s","kind":"bar",
                "open":"{price}","high":"{price}","low":"{price}","close":"{price}","interval":"1m"}}}}"#,
                n,
                n % 2,
                n
            );
            Record {
                topic: shell::MARKET.into(),
                partition: Some((n % 2) as u32),
                key: Some(Bytes::from(format!("S{}", n % 2))),
                value: Some(Bytes::from(body)),
                headers: Headers::build([(CE_ID, format!("market-{n}")), (SEQ, format!("s/{n}"))]),
                timestamp_ms: None,
            }
        };
        self.log.append((from..to).map(bar).collect()).unwrap();
    }

    /// Runs the role until it has handled so many events, then stops it.
    fn run(&self, events: u64) {
        let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
        let ctx = Context {
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            stop: stop.clone(),
            member: "test".into(),
            gauges: Arc::clone(&gauges),
            boundaries: Default::default(),
            aside: Default::default(),
            emitter: None,
            budget: Default::default(),
        };
        let config = DeliveryConfig { batch_max_age_ms: 2, ..DeliveryConfig::default() };
        let role = thread::spawn(move || shell::run(ctx, strategies(), config));
        while gauges.records.load(Relaxed) < events {
            assert!(!role.is_finished(), "the role ended: {:?}", gauges.phase());
            stop.wait(Duration::from_millis(1));
        }
        stop.request();
        role.join().unwrap().unwrap();
        assert_eq!(gauges.records.load(Relaxed), events);
    }

    fn read(&self, topic: &str, partition: u32) -> Vec<LogRecord> {
        let place = TopicPartition::new(topic, partition);
        let (start, end) = self.log.bounds(&place).unwrap();
        let mut reader = self.log.reader().unwrap();
        reader.assign(&[(place.clone(), start)]).unwrap();
        let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
        let mut records = Vec::new();
        while reader.position(&place).unwrap() < end {
            records.extend(reader.poll(limits).unwrap());
        }
        records
    }

    /// Ids and bodies of the signals, sorted: partitions of the market take turns
    /// as they come.
    fn signals(&self) -> Vec<(String, Bytes)> {
        let signals = self.read(shell::SIGNALS, 0);
        let mut signals: Vec<_> =
            signals.into_iter().map(|r| (r.headers.text(CE_ID).unwrap().to_owned(), r.value.unwrap())).collect();
        signals.sort();
        signals
    }
}

fn strategies() -> Vec<StrategyConfig> {
    let config = |text: &str| serde_json::from_str(text).unwrap();
    vec![
        config(r#"{"id":"sma","kind":"sma_crossover","session_id":"paper","fast":1,"slow":3}"#),
        config(r#"{"id":"break","kind":"breakout","session_id":"paper","entry_bars":2,"exit_bars":2}"#),
        config(r#"{"id":"wrong","kind":"sma_crossover","session_id":"paper","fast":9,"slow":3}"#),
    ]
}

#[test]
fn a_restart_in_the_middle_changes_no_signal() {
    let (whole, parts) = (Tape::new(), Tape::new());
    whole.bars(0, 50);
    whole.run(50);
    for (from, to) in [(0, 7), (7, 8), (8, 31), (31, 50)] {
        parts.bars(from, to);
        parts.run(to - from);
    }
    assert!(whole.signals().len() > 4, "too few signals to show anything: {}", whole.signals().len());
    assert_eq!(whole.signals(), parts.signals());
}

#[test]
fn after_a_crash_before_the_step_the_same_signals_come_with_the_same_ids() {
    let tape = Tape::new();
    tape.bars(0, 50);
    tape.run(50);
    let once = tape.signals();

    // As if the process had died after its append: neither state nor offsets.
    for partition in 0..2 {
        let topic = STATE.into();
        let kept = state::load(tape.log.as_ref(), &topic, partition).unwrap();
        assert!(kept.contains_key(state::AT));
        let gone = kept.keys().map(|key| state::record(&topic, partition, key, None)).collect();
        tape.log.append(gone).unwrap();
        let partition = TopicPartition::new(shell::MARKET, partition);
        tape.log.reset_offsets("tapedeck.strategy", &[GroupOffset { partition, next: 0 }]).unwrap();
    }
    tape.run(50);
    let mut twice: Vec<_> = once.iter().flat_map(|signal| [signal.clone(), signal.clone()]).collect();
    twice.sort();
    assert_eq!(tape.signals(), twice);
}

#[test]
fn a_signal_names_its_cause_and_the_number_of_its_root() {
    let tape = Tape::new();
    tape.bars(0, 50);
    tape.run(50);
    for signal in tape.read(shell::SIGNALS, 0) {
        let cause = signal.headers.text(CAUSE).unwrap().to_owned();
        let (partition, offset) = cause.strip_prefix("market-data-updates/").unwrap().split_once('/').unwrap();
        let market = tape.read(shell::MARKET, partition.parse().unwrap());
        let offset: u64 = offset.parse().unwrap();
        let event = market.iter().find(|record| record.offset == offset).unwrap();
        assert_eq!(signal.headers.text(ROOT_SEQ), event.headers.text(SEQ));
    }
}

#[test]
fn each_strategy_says_at_the_start_whether_it_runs() {
    let tape = Tape::new();
    tape.run(0);
    let compilations = || (0..2).flat_map(|partition| tape.read(shell::COMPILATIONS, partition)).collect::<Vec<_>>();
    let first = compilations();
    let bodies: Vec<_> = first.iter().map(|r| String::from_utf8(r.value.clone().unwrap().to_vec()).unwrap()).collect();
    assert_eq!(bodies.len(), 3);
    let failed: Vec<_> = bodies.iter().filter(|body| body.contains(r#""status":"failed""#)).collect();
    assert!(failed.len() == 1 && failed[0].contains("wrong"), "{bodies:?}");
    tape.run(0);
    let ids = |records: &[LogRecord]| {
        let mut ids: Vec<_> = records.iter().map(|r| r.headers.text(CE_ID).unwrap().to_owned()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(ids(&compilations()), ids(&first), "the same settings are the same event");
}
