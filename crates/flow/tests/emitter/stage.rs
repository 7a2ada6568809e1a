//! A real log with two topics, a faulty one before it, and a folder for emitters.
//!
//! Not here: what is tested.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::headers::CE_ID;
use tapedeck_flow::{Boundaries, EmitError, Emitter, EmitterConfig, EmitterStats, Producer, Ticket};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, Headers, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition,
};

use crate::faulty::{Faulty, Mood};

pub(crate) const TOPIC: &str = "t";
pub(crate) const ALERTS: &str = "alerts.v1";
/// Nothing here takes nearly so long; a test that waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) real: Arc<EmbeddedLog>,
    pub(crate) log: Arc<Faulty>,
    pub(crate) config: EmitterConfig,
    dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new(mood: Mood) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let real = EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default()).unwrap();
        real.create_topics(&[topic(TOPIC), topic(ALERTS)]).unwrap();
        let log = Faulty::new(Arc::clone(&real) as Arc<dyn Log>, mood);
        Self { real, log, config: small(), dir }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("emit")
    }

    pub(crate) fn emitter(&self) -> Emitter {
        self.open().unwrap()
    }

    pub(crate) fn open(&self) -> Result<Emitter, EmitError> {
        let log = Arc::clone(&self.log) as Arc<dyn Log>;
        Emitter::open(log, &self.dir(), "stage", &self.config, Boundaries::default())
    }

    /// The values that the log holds, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        values(&read_all(self.real.as_ref(), TOPIC))
    }

    /// The codes of the alerts that the log holds, with their counts.
    pub(crate) fn alerts(&self) -> Vec<(String, u64)> {
        let alerts = read_all(self.real.as_ref(), ALERTS);
        let of = |record: &LogRecord| {
            let alert: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            (alert["code"].as_str().unwrap().to_owned(), alert["context"]["count"].as_u64().unwrap())
        };
        alerts.iter().map(of).collect()
    }
}

/// Small enough that everything fills up, and nothing is waited for long.
pub(crate) fn small() -> EmitterConfig {
    EmitterConfig {
        ring_bytes: 64 << 10,
        segment_bytes: 32 << 10,
        send_timeout_ms: 100,
        batch_max_records: 50,
        linger_ms: 1,
        breaker_failures: 3,
        breaker_open_ms: 20,
        ..EmitterConfig::default()
    }
}

pub(crate) fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    }
}

/// A record whose id is its value.
pub(crate) fn record(value: &str) -> Record {
    Record {
        topic: TOPIC.into(),
        partition: None,
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new().with(CE_ID, value),
        timestamp_ms: None,
    }
}

/// Emits these numbers, each as its value.
pub(crate) fn emit(producer: &mut Producer, numbers: std::ops::Range<u64>) -> Ticket {
    let mut last = Ticket::default();
    for n in numbers {
        last = producer.emit_record(&record(&n.to_string())).unwrap();
    }
    last
}

pub(crate) fn numbers(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

pub(crate) fn read_all(log: &dyn Log, topic: &str) -> Vec<LogRecord> {
    let place = TopicPartition::new(topic, 0);
    let (start, end) = log.bounds(&place).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), start)]).unwrap();
    let mut records = Vec::new();
    let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::ZERO };
    while reader.position(&place).unwrap() < end {
        records.extend(reader.poll(limits).unwrap());
    }
    records
}

pub(crate) fn values(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()).collect()
}

/// The values without those that are there again.
pub(crate) fn without_repeats(values: &[String]) -> Vec<String> {
    let mut seen = BTreeMap::new();
    values.iter().filter(|value| seen.insert((*value).clone(), ()).is_none()).cloned().collect()
}

/// Waits until a counter has reached a number.
pub(crate) fn wait_for(what: &str, stats: &EmitterStats, is_so: impl Fn(&EmitterStats) -> bool) {
    let begin = std::time::Instant::now();
    while !is_so(stats) {
        assert!(begin.elapsed() < LONG, "{what}: {stats:?}");
        std::thread::yield_now();
    }
}

pub(crate) fn get(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(Relaxed)
}
