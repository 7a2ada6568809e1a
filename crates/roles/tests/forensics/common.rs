//! A log, a store, models, and the role on them.
//!
//! Not here: what is asked of them.

use std::{collections::BTreeMap, path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use bytes::Bytes;
use tapedeck_contracts::{
    Event, EventId, Timestamp,
    catalogue::dlq_of,
    events::{AuditEntry, Envelope, TradingDecision},
    headers,
};
use tapedeck_flow::{Boundaries, DeliveryConfig, Failure, Gauges, Stop};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, Headers, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition,
};
use tapedeck_roles::{
    Context,
    forensics::{self, Anchor, AnchorRule, Head, shell, verify_store},
    inference::{
        InferenceConfig, Models,
        posted::{Question, answer},
    },
};
use tapedeck_store::{Explained, Explanations, SqliteConfig, SqliteStore, Store};

pub(crate) const PARTITIONS: u32 = 3;
pub(crate) const SYMBOLS: [&str; 4] = ["BTCUSDT", "ETHUSDT", "EURUSD", "SOLUSDT"];
pub(crate) const GROUP: &str = "tapedeck.forensics";

/// No anchor but the one at the end.
pub(crate) const AT_THE_END: AnchorRule = AnchorRule { every_records: u64::MAX, max_age_us: i64::MAX };

/// What the role works between.
pub(crate) struct Tape {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) models: Arc<Models>,
    _dir: tempfile::TempDir,
}

impl Tape {
    pub(crate) fn new() -> Self {
        Self::with_models(Arc::new(Models::open(&InferenceConfig::default()).unwrap()))
    }

    pub(crate) fn with_models(models: Arc<Models>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default()).unwrap();
        let store = open_store(dir.path());
        let topics = [forensics::DECISIONS.to_owned(), dlq_of(forensics::DECISIONS), forensics::AUDIT.to_owned()];
        let topics = topics.map(|name| TopicConfig {
            name: name.into(),
            partitions: PARTITIONS,
            retention: None,
            retention_bytes: None,
            delete: true,
            compact: false,
        });
        log.create_topics(&topics).unwrap();
        Self { log, store, models, _dir: dir }
    }

    /// Appends decisions, each to the partition of its symbol.
    pub(crate) fn emit(&self, decisions: &[TradingDecision]) {
        self.log.append(decisions.iter().map(record).collect()).unwrap();
    }

    /// Runs the role until it is through with all that is in the log.
    pub(crate) fn settle(&self) {
        self.settle_with(Options::default());
    }

    pub(crate) fn settle_with(&self, options: Options) {
        let running = Running::start(self, options);
        running.until(|| self.is_settled());
        running.end().unwrap();
    }

    pub(crate) fn is_settled(&self) -> bool {
        let committed = self.log.committed(GROUP).unwrap();
        (0..PARTITIONS).all(|partition| {
            let place = TopicPartition::new(forensics::DECISIONS, partition);
            let end = self.log.bounds(&place).unwrap().1;
            end == 0 || committed.iter().any(|at| at.partition == place && at.next >= end)
        })
    }

    /// All anchors of the audit log, with the ids of their entries.
    pub(crate) fn anchors(&self) -> Vec<(String, Anchor)> {
        anchors_of(&self.log)
    }

    /// The records of dead letters: the error's class, its path, and its text.
    pub(crate) fn dead_letters(&self) -> Vec<(String, Option<String>, String)> {
        let text = |record: &LogRecord, name| record.headers.text(name).map(str::to_owned);
        let letter = |record: LogRecord| {
            let class = text(&record, headers::DLQ_ERROR_CLASS).unwrap();
            (class, text(&record, headers::DLQ_ERROR_PATH), text(&record, headers::DLQ_ERROR).unwrap())
        };
        read(&self.log, &dlq_of(forensics::DECISIONS)).into_iter().map(letter).collect()
    }

    /// Every decision has one row, and every chain holds, vouched for to its end.
    pub(crate) fn assert_whole(&self, decisions: &[TradingDecision]) {
        let mut wanted: Vec<_> = decisions.iter().map(|decision| decision.decision_id.to_string()).collect();
        let mut found: Vec<_> = self.rows().into_iter().map(|row| row.decision_id).collect();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted);
        let anchors: Vec<Anchor> = self.anchors().into_iter().map(|(_, anchor)| anchor).collect();
        for chain in 0..PARTITIONS {
            let verified = verify_store(&*self.store, Head::start(chain), anchors.iter().copied(), |_| {}).unwrap();
            assert_eq!(verified.anchored, verified.head.records, "the role anchored what it kept before it ended");
        }
    }

    /// All rows of all chains.
    pub(crate) fn rows(&self) -> Vec<Explained> {
        (0..PARTITIONS).flat_map(|chain| self.store.chain(chain, 0, 1 << 20).unwrap()).collect()
    }
}

pub(crate) fn read(log: &EmbeddedLog, topic: &str) -> Vec<LogRecord> {
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let place = TopicPartition::new(topic, partition);
        let (start, end) = log.bounds(&place).unwrap();
        let mut reader = log.reader().unwrap();
        reader.assign(&[(place.clone(), start)]).unwrap();
        let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
        while reader.position(&place).unwrap() < end {
            all.extend(reader.poll(limits).unwrap());
        }
    }
    all
}

pub(crate) fn anchors_of(log: &EmbeddedLog) -> Vec<(String, Anchor)> {
    let anchor = |record: LogRecord| {
        let id = record.headers.text("ce_id").unwrap().to_owned();
        let entry: Envelope<AuditEntry> = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        (id, Anchor::from_entry(&entry.data).unwrap().unwrap())
    };
    read(log, forensics::AUDIT).into_iter().map(anchor).collect()
}

pub(crate) fn open_store(dir: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(&dir.join("store"), SqliteConfig::default()).unwrap()
}

/// How the role runs.
pub(crate) struct Options {
    /// Instead of the tape's own.
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) anchors: AnchorRule,
    pub(crate) boundaries: Boundaries,
    pub(crate) delivery: DeliveryConfig,
}

impl Default for Options {
    fn default() -> Self {
        let delivery = DeliveryConfig { batch_max_age_ms: 1, batch_max_records: 50, ..DeliveryConfig::default() };
        Self { store: None, anchors: AT_THE_END, boundaries: Boundaries::default(), delivery }
    }
}

pub(crate) struct Running {
    pub(crate) stop: Stop,
    pub(crate) gauges: Arc<Gauges>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Running {
    pub(crate) fn start(tape: &Tape, options: Options) -> Self {
        let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
        let ctx = Context {
            log: Arc::clone(&tape.log) as Arc<dyn Log>,
            stop: stop.clone(),
            member: "test".into(),
            gauges: Arc::clone(&gauges),
            boundaries: options.boundaries,
            emitter: None,
            aside: Default::default(),
            budget: Default::default(),
        };
        let store = options.store.unwrap_or_else(|| Arc::clone(&tape.store) as Arc<dyn Store>);
        let models = Arc::clone(&tape.models);
        let run = move || shell::run_with(ctx, store, models, options.delivery, options.anchors);
        Self { stop, gauges, thread: std::thread::spawn(run) }
    }

    pub(crate) fn until(&self, done: impl Fn() -> bool) {
        while !done() {
            assert!(!self.thread.is_finished(), "the role ended: {:?}", self.gauges.phase());
            self.stop.wait(Duration::from_millis(1));
        }
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        self.stop.request();
        self.thread.join().expect("the role did not panic")
    }

    /// Waits for the panic that it was given.
    pub(crate) fn until_crashed(self, tape: &Tape) {
        while !self.thread.is_finished() {
            assert!(!tape.is_settled(), "it was to end before");
            self.stop.wait(Duration::from_millis(1));
        }
        assert!(self.thread.join().is_err(), "it was to end by a panic");
    }
}

pub(crate) fn partition_of(symbol: &str) -> u32 {
    SYMBOLS.iter().position(|known| *known == symbol).unwrap() as u32 % PARTITIONS
}

pub(crate) fn record(decision: &TradingDecision) -> Record {
    let body = Event::TradingDecision(Box::new(decision.clone())).to_json().unwrap();
    Record {
        topic: forensics::DECISIONS.into(),
        partition: Some(partition_of(&decision.symbol)),
        key: Some(Bytes::from(decision.symbol.clone())),
        value: Some(Bytes::from(body)),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// Decisions of the models that decide now, on features drawn from a seed.
pub(crate) fn decisions(models: &Models, count: u32) -> Vec<TradingDecision> {
    (0..count).map(|n| decision(models, n)).collect()
}

pub(crate) fn decision(models: &Models, n: u32) -> TradingDecision {
    let config = InferenceConfig { account: Some("ACC-1".into()), ..InferenceConfig::default() };
    let set = models.current();
    // A linear congruential generator is random enough to go both ways at every split.
    let mut seed = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let names: Vec<String> = set.models().iter().flat_map(|model| model.ensemble().features.clone()).collect();
    let value = |name: &str, draw: f64| match name {
        "rsi" => Some(draw * 100.0),
        _ if draw < 0.05 => None,
        _ if name.ends_with("place") || name.contains("share") || name.contains("since") => Some(draw),
        _ => Some((draw - 0.5) * 0.02),
    };
    let features: BTreeMap<_, _> = names.into_iter().map(|name| (name.clone(), value(&name, draw()))).collect();
    let (bull, bear) = (draw(), draw());
    let sum = bull + bear + 0.5;
    let probs = [("bull", bull / sum), ("bear", bear / sum), ("sideways", 0.5 / sum)];
    let question = Question {
        symbol: SYMBOLS[n as usize % SYMBOLS.len()].into(),
        features,
        regime_probs: Some(probs.map(|(name, p)| (name.to_owned(), p)).into()),
        position_before: None,
        account: None,
        correlation_id: Some(format!("c-{n}")),
    };
    let id = EventId::from_file("forensics", u64::from(n));
    let time = Timestamp::from_micros(1_761_057_000_000_000 + i64::from(n) * 1_000_000);
    answer(&config, &set, &question, id, time).unwrap().decision
}

/// A folder of models with the demo's three, and the config that reads it.
pub(crate) fn folder() -> (tempfile::TempDir, InferenceConfig) {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    for (specialist, file) in
        [("bull_specialist", "v1.json"), ("bear_specialist", "v1.ubj"), ("sideways_specialist", "v1.txt")]
    {
        std::fs::create_dir(dir.path().join(specialist)).unwrap();
        std::fs::copy(shipped.join(specialist).join(file), dir.path().join(specialist).join(file)).unwrap();
    }
    let mut config = InferenceConfig::default();
    config.models.dir = Some(dir.path().to_owned());
    (dir, config)
}
