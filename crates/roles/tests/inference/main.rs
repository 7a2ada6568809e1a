//! The inference role on a real log: a generated market in, decisions out; restarts,
//! new models while it runs, and partitions read in any order.
//!
//! Not here: what a decision is; `signals` has those that signals ask for.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Envelope, MarketData, Severity, TradingDecision},
    headers::{CAUSE, CE_ID, ROOT_SEQ, Seq},
};
use tapedeck_flow::{
    Boundaries, Delivery, DeliveryConfig, Failure, Gauges, Outbound, Stop,
    emitter::{Emitter, EmitterConfig},
};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition};
use tapedeck_roles::{
    Context,
    inference::{
        InferenceConfig, Models,
        shell::{self, Joining, Order},
    },
    market::{
        Generator,
        config::{SourceConfig, SourceKind, Speed},
    },
};

mod signals;

const GROUP: &str = "tapedeck.inference";
const PARTITIONS: u32 = 3;
const SYMBOLS: [&str; 4] = ["BTCUSDT", "ETHUSDT", "EURUSD", "SOLUSDT"];

/// A log, and the role on it.
struct Tape {
    log: Arc<EmbeddedLog>,
    dir: tempfile::TempDir,
    config: InferenceConfig,
}

impl Tape {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default()).unwrap();
        let names = [
            shell::MARKET,
            shell::DECISIONS,
            shell::REGIMES,
            shell::RISK,
            shell::MODEL_UPDATES,
            shell::SIGNALS,
            "alerts.v1",
            "strategy-compilations",
            "tapedeck.inference.state",
            "tapedeck.strategy.state",
        ];
        let topics = names.map(|name| TopicConfig {
            name: name.into(),
            // Not as many as the market's, which they need not be.
            partitions: if name == shell::SIGNALS { PARTITIONS - 1 } else { PARTITIONS },
            retention: None,
            retention_bytes: None,
            delete: !name.ends_with("state"),
            compact: name.ends_with("state"),
        });
        log.create_topics(&topics).unwrap();
        Self { log, dir, config: InferenceConfig { account: Some("ACC-1".into()), ..InferenceConfig::default() } }
    }

    fn read(&self, topic: &str) -> Vec<LogRecord> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS - u32::from(topic == shell::SIGNALS) {
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

    /// The decisions by their ids: where they were caused, and the body.
    fn decisions(&self) -> BTreeMap<String, (String, TradingDecision)> {
        let decisions = self.read(shell::DECISIONS).into_iter().map(|record| {
            let cause = record.headers.text(CAUSE).unwrap().to_owned();
            let Event::TradingDecision(decision) = Delivery::decode(record, 0).unwrap().event else { unreachable!() };
            (decision.decision_id.to_string(), (cause, *decision))
        });
        decisions.collect()
    }

    /// Whether the group is behind all of the market.
    fn is_settled(&self) -> bool {
        self.is_past_market(GROUP)
    }

    fn is_past_market(&self, group: &str) -> bool {
        let committed = self.log.committed(group).unwrap();
        (0..PARTITIONS).all(|partition| {
            let place = TopicPartition::new(shell::MARKET, partition);
            let end = self.log.bounds(&place).unwrap().1;
            end == 0 || committed.iter().any(|at| at.partition == place && at.next >= end)
        })
    }

    /// Decides until the market is done.
    fn settle(&self, how: How) {
        let role = Running::start(self, how);
        role.until(|| self.is_settled());
    }
}

#[derive(Clone, Copy)]
struct How {
    emits: bool,
    order: Order,
    /// Records of a poll at most.
    batch: usize,
    /// What decides on signals waits for strategies, for so long where it is live.
    joining: Joining,
}

const LIVE: How =
    How { emits: true, order: Order::AtHand, batch: 50, joining: Joining { strategies: false, wait_ms: Some(0) } };

struct Running {
    stop: Stop,
    gauges: Arc<Gauges>,
    role: Option<JoinHandle<Result<(), Failure>>>,
}

impl Running {
    fn start(tape: &Tape, how: How) -> Self {
        let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
        let ctx = Context {
            log: Arc::clone(&tape.log) as Arc<dyn Log>,
            stop: stop.clone(),
            member: "test".into(),
            gauges: Arc::clone(&gauges),
            boundaries: Default::default(),
            aside: Default::default(),
            emitter: how.emits.then(|| emitter(tape)),
            budget: Default::default(),
        };
        let delivery =
            DeliveryConfig { batch_max_age_ms: 1, batch_max_records: how.batch, ..DeliveryConfig::default() };
        let models = Arc::new(Models::open(&tape.config).unwrap());
        let config = tape.config.clone();
        let role = Some(thread::spawn(move || shell::run(ctx, config, models, how.order, how.joining, delivery)));
        Self { stop, gauges, role }
    }

    fn until(&self, mut done: impl FnMut() -> bool) {
        while !done() {
            let running = self.role.as_ref().is_some_and(|role| !role.is_finished());
            assert!(running, "the role ended: {:?}", self.gauges.phase());
            self.stop.wait(Duration::from_millis(1));
        }
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

fn emitter(tape: &Tape) -> Arc<Emitter> {
    let config = EmitterConfig {
        ring_dir: tape.dir.path().join("ring").display().to_string(),
        ring_bytes: 4 << 20,
        ..EmitterConfig::default()
    };
    let log = Arc::clone(&tape.log) as Arc<dyn Log>;
    Arc::new(Emitter::open(log, &tape.dir.path().join("emitter"), shell::ROLE, &config, Boundaries::default()).unwrap())
}

/// A generated market of four symbols, as the sequencer would write it.
fn market(bars: u64) -> Vec<Record> {
    let config = SourceConfig {
        id: "made".into(),
        kind: SourceKind::Generator,
        venue: "SIM".into(),
        volume_unit: Default::default(),
        speed: Speed::Max,
        paths: Vec::new(),
        path: None,
        symbol: None,
        columns: BTreeMap::new(),
        tz: "UTC".into(),
        time_format: None,
        bar_time: Default::default(),
        interval: Some("1m".into()),
        seed: 7,
        symbols: SYMBOLS.map(str::to_owned).to_vec(),
        start: None,
        events: Some(bars * SYMBOLS.len() as u64),
        step_ms: 1_000,
    };
    let mut generator = Generator::new(&config, Timestamp::from_micros(1_700_000_000_000_000)).unwrap();
    let mut records = Vec::new();
    while let Some(event) = generator.next_event() {
        let n = records.len() as u64 + 1;
        records.push(numbered(event.data, n));
    }
    records
}

fn numbered(data: MarketData, n: u64) -> Record {
    let id = EventId::from_file("made", n);
    let event =
        Event::MarketData(Box::new(Envelope { timestamp: data.timestamp, producer_service: "market".into(), data }));
    let seq = Some(Seq { source: "made".into(), n });
    Outbound { seq, ..Outbound::first(shell::MARKET, id, event) }.into_record("market").unwrap()
}

#[test]
fn every_bar_has_its_decision_with_its_cause_and_every_trade_its_risk_decision() {
    let tape = Tape::new();
    tape.log.append(market(300)).unwrap();
    tape.settle(LIVE);
    let decisions = tape.decisions();
    assert_eq!(decisions.len(), 300 * SYMBOLS.len());
    let causes: BTreeSet<&String> = decisions.values().map(|(cause, _)| cause).collect();
    assert_eq!(causes.len(), decisions.len(), "one for each bar");
    for (_, decision) in decisions.values() {
        assert_eq!((decision.account.as_deref(), decision.features.len()), (Some("ACC-1"), 20));
    }
    let trades = decisions.values().filter(|(_, decision)| decision.quantity.0 > 0.into()).count();
    let risks = tape.read(shell::RISK);
    assert!(trades > 100, "{trades} trades");
    assert_eq!(risks.len(), trades);
    for record in &risks {
        assert!(record.headers.text(ROOT_SEQ).unwrap().starts_with("made/"));
        let Event::RiskDecision(risk) = Delivery::decode(record.clone(), 0).unwrap().event else { unreachable!() };
        let (_, decision) = &decisions[risk.decision_id.as_str()];
        assert_eq!(risk.checks, decision.risk_checks);
    }
    assert!(!tape.read(shell::REGIMES).is_empty());
}

#[test]
fn after_a_restart_in_the_middle_the_decisions_and_their_ids_are_the_same() {
    let straight = Tape::new();
    straight.log.append(market(200)).unwrap();
    straight.settle(How { order: Order::Numbered, ..LIVE });
    let restarted = Tape::new();
    let records = market(200);
    for part in records.chunks(137) {
        restarted.log.append(part.to_vec()).unwrap();
        restarted.settle(How { order: Order::Numbered, ..LIVE });
    }
    assert_eq!(restarted.decisions(), straight.decisions());
    let ids = |tape: &Tape, topic| {
        let records = tape.read(topic).into_iter();
        records.map(|record| record.headers.text(CE_ID).unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    for topic in [shell::RISK, shell::REGIMES] {
        assert_eq!(ids(&restarted, topic), ids(&straight, topic));
    }
}

#[test]
fn a_replay_decides_the_same_however_its_partitions_are_read() {
    let decided = |how: How, parts: usize| {
        let tape = Tape::new();
        let records = market(150);
        let role = Running::start(&tape, how);
        for part in records.chunks(parts) {
            tape.log.append(part.to_vec()).unwrap();
        }
        role.until(|| tape.is_settled());
        drop(role);
        tape.decisions()
    };
    let numbered = How { order: Order::Numbered, ..LIVE };
    let expected = decided(numbered, 600);
    assert_eq!(decided(How { batch: 7, ..numbered }, 11), expected);
    assert_eq!(decided(How { emits: false, batch: 200, ..numbered }, 50), expected);
}

#[test]
fn a_new_model_decides_without_a_pause_and_still_does_after_a_restart() {
    let mut tape = Tape::new();
    let dir = tape.dir.path().join("models");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models"), &dir);
    tape.config.models.dir = Some(dir.clone());
    let records = market(120);
    tape.log.append(records[..200].to_vec()).unwrap();
    tape.settle(LIVE);
    std::fs::copy(dir.join("bull_specialist/v1.json"), dir.join("bull_specialist/v2.json")).unwrap();
    // Later, so that it is not what decides at the next start anyway.
    std::fs::copy(dir.join("bull_specialist/v1.json"), dir.join("bull_specialist/v3.json")).unwrap();
    tape.log.append(vec![announced("bull_specialist_v2")]).unwrap();
    tape.log.append(records[200..300].to_vec()).unwrap();
    tape.settle(LIVE);
    tape.log.append(records[300..].to_vec()).unwrap();
    tape.settle(LIVE);
    let mut versions = BTreeMap::new();
    for (_, decision) in tape.decisions().values() {
        *versions.entry(decision.model_versions["bull_specialist"].clone()).or_insert(0) += 1;
    }
    assert_eq!(versions, BTreeMap::from([("v1".to_owned(), 200), ("v2".to_owned(), records.len() - 200)]));
}

/// The update that announces a model.
fn announced(model_id: &str) -> Record {
    let body = r#"{"event_type":"model_update","timestamp":"2025-01-01T00:00:00Z","model_id":"ID",
        "update_type":"incremental","data_window":{"start":"2025-01-01T00:00:00Z","end":"2025-01-01T00:00:00Z"},
        "performance_metrics":{},"stability_check":"passed"}"#;
    Record {
        topic: shell::MODEL_UPDATES.into(),
        partition: Some(1),
        key: Some("bull_specialist".into()),
        value: Some(body.replace("ID", model_id).into()),
        headers: Default::default(),
        timestamp_ms: None,
    }
}

#[test]
fn a_model_that_is_announced_and_does_not_come_is_told_by_an_alert_and_the_old_one_goes_on() {
    let mut tape = Tape::new();
    tape.config.models.wait_s = 0;
    tape.log.append(vec![announced("bull_specialist_v9")]).unwrap();
    tape.log.append(market(10)).unwrap();
    tape.settle(LIVE);
    let alerts = tape.read("alerts.v1");
    assert_eq!(alerts.len(), 1);
    let Event::Alert(alert) = Delivery::decode(alerts[0].clone(), 0).unwrap().event else { panic!("{alerts:?}") };
    assert_eq!((alert.code.as_str(), &alert.context["version"]), ("MODEL_NOT_LOADED", &"v9".into()));
    assert!(tape.decisions().values().all(|(_, decision)| decision.model_versions["bull_specialist"] == "v1"));
}

#[test]
fn an_update_of_an_unknown_specialist_is_told_by_an_alert_that_names_those_there_are() {
    let tape = Tape::new();
    tape.log.append(vec![announced("bul_specialist_v2")]).unwrap();
    tape.log.append(market(10)).unwrap();
    tape.settle(LIVE);
    let alerts = tape.read("alerts.v1");
    assert_eq!(alerts.len(), 1);
    let Event::Alert(alert) = Delivery::decode(alerts[0].clone(), 0).unwrap().event else { panic!("{alerts:?}") };
    assert_eq!((alert.code.as_str(), alert.severity), ("MODEL_UNKNOWN", Severity::Warning));
    assert!(alert.message.contains("there are bull_specialist, bear_specialist"), "{}", alert.message);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
