//! A real log with an input, an output and a state topic, and a role that copies
//! its input to its output and counts it.
//!
//! Not here: what is tested.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::{EventId, headers::CE_ID};
use tapedeck_flow::{
    DeadLetter, Delivery, DeliveryConfig, Failure, Gauges, Stop,
    runtime::{self, Handler, LogEffect, LogStep, Setup, StateChange, Step},
    state::{self, AT, At},
};
use tapedeck_log::{
    Headers, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition,
    embedded::{EmbeddedConfig, EmbeddedLog},
};

pub(crate) mod faulty;

pub(crate) const ROLE: &str = "counter";
pub(crate) const INPUT: &str = "alerts.v1";
pub(crate) const DLQ: &str = "alerts.v1.dlq";
pub(crate) const OUTPUT: &str = "realtime-updates";
pub(crate) const PARTITIONS: u32 = 2;

/// A log in a folder of its own.
pub(crate) struct Tape {
    pub(crate) log: Arc<EmbeddedLog>,
    _dir: tempfile::TempDir,
}

impl Tape {
    pub(crate) fn new() -> Self {
        Self::with(EmbeddedConfig::default())
    }

    pub(crate) fn with(config: EmbeddedConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), config).unwrap();
        let topic = |name: &str, compact: bool| TopicConfig {
            name: name.into(),
            partitions: PARTITIONS,
            retention: (name == INPUT).then_some(Duration::from_secs(3_600)),
            retention_bytes: None,
            delete: !compact,
            compact,
        };
        let state = topic("tapedeck.counter.state", true);
        log.create_topics(&[topic(INPUT, false), topic(DLQ, false), topic(OUTPUT, false), state]).unwrap();
        Self { log, _dir: dir }
    }

    /// Writes alerts with these ids to a partition.
    pub(crate) fn produce<'a>(&self, partition: u32, ids: impl IntoIterator<Item = &'a str>) {
        self.log.append(ids.into_iter().map(|id| alert(partition, id)).collect()).unwrap();
    }

    /// The first `count` records of the output, by partition; waits until they are there.
    pub(crate) fn outputs(&self, count: usize) -> Vec<LogRecord> {
        self.records(OUTPUT, count)
    }

    /// The first `count` dead letters; waits until they are there.
    pub(crate) fn letters(&self, count: usize) -> Vec<DeadLetter> {
        self.records(DLQ, count).iter().map(|record| DeadLetter::read(record).unwrap()).collect()
    }

    fn records(&self, topic: &str, count: usize) -> Vec<LogRecord> {
        let mut reader = self.log.reader().unwrap();
        reader.assign(&(0..PARTITIONS).map(|p| (TopicPartition::new(topic, p), 0)).collect::<Vec<_>>()).unwrap();
        let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_secs(1) };
        let mut records = Vec::new();
        while records.len() < count {
            records.extend(reader.poll(limits).unwrap());
        }
        records
    }

    /// How many records the output holds.
    pub(crate) fn output_len(&self) -> u64 {
        self.len(OUTPUT)
    }

    /// How many dead letters there are.
    pub(crate) fn letters_len(&self) -> u64 {
        self.len(DLQ)
    }

    fn len(&self, topic: &str) -> u64 {
        (0..PARTITIONS).map(|p| self.log.bounds(&TopicPartition::new(topic, p)).unwrap().1).sum()
    }

    /// What the role keeps of a partition: its count, and where it stands.
    pub(crate) fn kept(&self, partition: u32) -> (u64, Option<u64>) {
        let mut kept = state::load(self.log.as_ref(), &"tapedeck.counter.state".into(), partition).unwrap();
        let at: At = kept.remove(AT).map_or_else(At::default, |at| serde_json::from_slice(&at).unwrap());
        (count_of(&kept), at.next.get(&format!("{INPUT}/{partition}")).copied())
    }

    pub(crate) fn setup(&self, member: &str) -> Setup {
        Setup {
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            role: ROLE.into(),
            member: member.into(),
            topics: vec![INPUT.into()],
            config: DeliveryConfig { batch_max_age_ms: 5, dedupe_window: 64, ..DeliveryConfig::default() },
            stop: Stop::new(),
            gauges: Arc::new(Gauges::default()),
            boundaries: Default::default(),
            aside: Default::default(),
            budget: Default::default(),
        }
    }

    pub(crate) fn step(&self) -> LogStep {
        LogStep::new(Arc::clone(&self.log) as Arc<dyn Log>, ROLE)
    }
}

/// A role at work on a thread.
pub(crate) struct Running {
    pub(crate) stop: Stop,
    pub(crate) gauges: Arc<Gauges>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Running {
    pub(crate) fn start<S>(setup: Setup, handler: Counter, step: S) -> Self
    where
        S: Step<Effect = LogEffect> + Send + 'static,
    {
        let (stop, gauges) = (setup.stop.clone(), Arc::clone(&setup.gauges));
        Self { stop, gauges, thread: std::thread::spawn(move || runtime::run(setup, handler, step)) }
    }

    /// Asks to stop, and waits for the end.
    pub(crate) fn end(self) -> Result<(), Failure> {
        self.stop.request();
        self.join()
    }

    /// Waits for an end of its own.
    pub(crate) fn join(self) -> Result<(), Failure> {
        self.thread.join().unwrap()
    }
}

/// What may happen before a delivery is handled.
pub(crate) type Mishap = Arc<Mutex<dyn FnMut(&Delivery) -> Result<(), Bad> + Send>>;

/// How a delivery is bad.
pub(crate) enum Bad {
    /// It can never be handled.
    Poison(String),
    /// It cannot be handled now.
    Unready(String),
}

impl From<String> for Bad {
    fn from(detail: String) -> Self {
        Self::Poison(detail)
    }
}

impl Bad {
    fn at(self, index: usize, delivery: &Delivery) -> Failure {
        let (place, path) = (delivery.place().to_string(), None);
        match self {
            Self::Poison(detail) => Failure::Poison { index, place, path, detail },
            Self::Unready(detail) => Failure::Unready { index, place, path, detail },
        }
    }
}

/// Copies each event to the output and counts it.
#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) counts: BTreeMap<u32, u64>,
    /// Whether copies are appended before the step.
    pub(crate) first: bool,
    pub(crate) mishap: Option<Mishap>,
}

impl Counter {
    pub(crate) fn with(mishap: impl FnMut(&Delivery) -> Result<(), Bad> + Send + 'static) -> Self {
        Self { mishap: Some(Arc::new(Mutex::new(mishap))), ..Self::default() }
    }
}

impl Handler for Counter {
    type Effect = LogEffect;

    fn assigned(&mut self, partition: &TopicPartition, state: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        self.counts.insert(partition.partition, count_of(state));
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        let mut effect = LogEffect::default();
        for (index, delivery) in batch.iter().enumerate() {
            if let Some(mishap) = &self.mishap {
                // A panic in there must not spoil the next try.
                let mut mishap = mishap.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                mishap(delivery).map_err(|bad| bad.at(index, delivery))?;
            }
            let partition = delivery.record.partition;
            *self.counts.entry(partition).or_default() += 1;
            let id = EventId::derived(&delivery.id, ROLE, OUTPUT, "", 0);
            let copy = Record {
                topic: OUTPUT.into(),
                partition: Some(partition),
                key: None,
                value: Some(Bytes::from(delivery.id.to_string())),
                headers: Headers::new().with(CE_ID, id.as_str()),
                timestamp_ms: None,
            };
            if self.first { effect.first.push(copy) } else { effect.records.push(copy) }
        }
        for (partition, count) in &self.counts {
            let value = Some(count.to_string().into_bytes());
            effect.state.push(StateChange { partition: *partition, key: "count".into(), value });
        }
        Ok(effect)
    }

    fn revoked(&mut self, partition: &TopicPartition) {
        self.counts.remove(&partition.partition);
    }
}

/// An alert with an id.
pub(crate) fn alert(partition: u32, id: &str) -> Record {
    let body = format!(
        r#"{{"event_id":"{id}","timestamp":"2024-01-01T00:00:00Z","severity":"INFO","code":"C","message":"m","source":"test"}}"#
    );
    raw(partition, &body)
}

/// A record with any body.
pub(crate) fn raw(partition: u32, body: &str) -> Record {
    Record {
        topic: INPUT.into(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"test")),
        value: Some(Bytes::copy_from_slice(body.as_bytes())),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// The ids of the events that were copied, in order.
pub(crate) fn values(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.value.clone().unwrap().to_vec()).unwrap()).collect()
}

fn count_of(state: &BTreeMap<String, Bytes>) -> u64 {
    state.get("count").map_or(0, |count| std::str::from_utf8(count).unwrap().parse().unwrap())
}
