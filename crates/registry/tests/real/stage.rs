//! A registry whose subjects are this test's own, a log, and a role that notes what
//! it was given.
//!
//! Not here: what is tested.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tapedeck_contracts::{Event, EventKind};
use tapedeck_flow::{
    DeadLetter, Delivery, DeliveryConfig, Failure, Gauges, Stop,
    runtime::{self, Handler, LogEffect, LogStep, Setup},
};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, Headers, Log, LogRecord, PollLimits, Record, TopicConfig, TopicPartition,
};
use tapedeck_registry::{Format, FramedLog, Registry, RegistryConfig};

pub(crate) const TOPIC: &str = "alerts.v1";
pub(crate) const SUBSCRIPTIONS: &str = "symbol-subscriptions";
const ROLE: &str = "reader";

/// A registry and how it is reached.
pub(crate) struct Stage {
    pub(crate) url: String,
    pub(crate) prefix: String,
    _alone: MutexGuard<'static, ()>,
}

/// Apicurio answers 500 to one of two registrations that meet.
static ALONE: Mutex<()> = Mutex::new(());

impl Stage {
    /// None where no registry can be had, which is said.
    pub(crate) fn new() -> Option<Self> {
        let url = tapedeck_testbed::registry()?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { url, prefix: format!("{}.", tapedeck_testbed::name("deck")), _alone: alone })
    }

    pub(crate) fn config(&self, format: Format) -> RegistryConfig {
        RegistryConfig {
            url: self.url.clone(),
            format,
            write: true,
            topics: vec![TOPIC.into(), SUBSCRIPTIONS.into()],
            auto_register: true,
            retry_ms: 10,
            start_wait_ms: 0,
            // A busy machine's registry takes its time with its first schemas.
            request_timeout_ms: 10_000,
            ..RegistryConfig::default()
        }
    }

    pub(crate) fn registry(&self, config: RegistryConfig) -> Registry {
        Registry::open(config, &self.prefix).unwrap()
    }

    /// The name of the subject of a topic.
    pub(crate) fn subject(&self, topic: &str) -> String {
        format!("{}{topic}-value", self.prefix)
    }

    /// Registers a schema as any client would.
    pub(crate) fn register(&self, topic: &str, schema_type: &str, schema: &Value) -> u32 {
        let body = json!({ "schema": schema.to_string(), "schemaType": schema_type });
        let answer = self.post("POST", &format!("/subjects/{}/versions", self.subject(topic)), &body);
        u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
    }

    /// Asks the registry as any client would.
    pub(crate) fn post(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.url);
        let request = match method {
            "PUT" => ureq::put(url),
            _ => ureq::post(url),
        };
        let mut answer = request.content_type("application/json").send(body.to_string()).unwrap();
        answer.body_mut().read_json().unwrap()
    }

    /// The text of a schema by its id.
    pub(crate) fn schema(&self, id: u32) -> String {
        let mut answer = ureq::get(format!("{}/schemas/ids/{id}", self.url)).call().unwrap();
        answer.body_mut().read_json::<Value>().unwrap()["schema"].as_str().unwrap().to_owned()
    }
}

/// A log with the topics that the tests use.
pub(crate) struct Tape {
    pub(crate) log: Arc<dyn Log>,
    _dir: tempfile::TempDir,
}

impl Tape {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
        let topic = |name: &str| TopicConfig {
            name: name.into(),
            partitions: 2,
            retention: None,
            retention_bytes: None,
            delete: !name.ends_with(".state"),
            compact: name.ends_with(".state"),
        };
        let names = [TOPIC, "alerts.v1.dlq", SUBSCRIPTIONS, "tapedeck.reader.state"];
        log.create_topics(&names.map(topic)).unwrap();
        Self { log, _dir: dir }
    }

    pub(crate) fn framed(&self, registry: Registry) -> Arc<FramedLog> {
        Arc::new(FramedLog::new(Arc::clone(&self.log), registry))
    }

    /// The first `count` records of a topic, as they lie.
    pub(crate) fn records(&self, topic: &str, count: usize) -> Vec<LogRecord> {
        let mut reader = self.log.reader().unwrap();
        reader.assign(&[0, 1].map(|partition| (TopicPartition::new(topic, partition), 0))).unwrap();
        let limits =
            PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: std::time::Duration::from_millis(100) };
        let mut records = Vec::new();
        tapedeck_testbed::until(&format!("{count} records in {topic}"), || {
            records.extend(reader.poll(limits).unwrap());
            (records.len() >= count).then_some(())
        });
        records
    }

    pub(crate) fn letters(&self, count: usize) -> Vec<DeadLetter> {
        self.records("alerts.v1.dlq", count).iter().map(|record| DeadLetter::read(record).unwrap()).collect()
    }

    pub(crate) fn len(&self, topic: &str) -> u64 {
        [0, 1].map(|partition| self.log.bounds(&TopicPartition::new(topic, partition)).unwrap().1).iter().sum()
    }
}

/// A role at work that notes what it was given.
pub(crate) struct Reading {
    stop: Stop,
    pub(crate) gauges: Arc<Gauges>,
    seen: Arc<Mutex<Vec<Event>>>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Reading {
    pub(crate) fn start(log: Arc<dyn Log>) -> Self {
        let (stop, gauges, seen) = (Stop::new(), Arc::new(Gauges::default()), Arc::default());
        let setup = Setup {
            log: Arc::clone(&log),
            role: ROLE.into(),
            member: "one".into(),
            topics: vec![TOPIC.into()],
            config: DeliveryConfig::default(),
            stop: stop.clone(),
            gauges: Arc::clone(&gauges),
            boundaries: Default::default(),
            aside: Default::default(),
            budget: Default::default(),
        };
        let (step, handler) = (LogStep::new(log, ROLE), Notes(Arc::clone(&seen)));
        Self { stop, gauges, seen, thread: std::thread::spawn(move || runtime::run(setup, handler, step)) }
    }

    /// The events seen, once there are so many.
    pub(crate) fn events(&self, count: usize) -> Vec<Event> {
        tapedeck_testbed::until(&format!("{count} events"), || {
            let seen = self.seen.lock().unwrap();
            (seen.len() >= count).then(|| seen.clone())
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn end(self) {
        self.stop.request();
        self.thread.join().unwrap().unwrap();
    }
}

struct Notes(Arc<Mutex<Vec<Event>>>);

impl Handler for Notes {
    type Effect = LogEffect;

    fn assigned(&mut self, _: &TopicPartition, _: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        self.0.lock().unwrap().extend(batch.iter().map(|delivery| delivery.event.clone()));
        Ok(LogEffect::default())
    }

    fn revoked(&mut self, _: &TopicPartition) {}
}

/// The JSON of an alert.
pub(crate) fn alert(id: &str) -> Value {
    json!({ "event_id": id, "timestamp": "2025-10-21T14:30:00.123456Z", "severity": "CRITICAL", "code": "RISK_DRAWDOWN",
        "message": "daily drawdown of 5.1 %", "context": { "limit": "5.00", "deep": [1, null] }, "source": "risk",
        "account": "ACC-1", "decision_id": null })
}

pub(crate) fn event(id: &str) -> Event {
    Event::decode(EventKind::Alert, alert(id).to_string().as_bytes()).unwrap()
}

pub(crate) fn record(topic: &str, partition: u32, value: impl Into<Bytes>) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"ACC-1")),
        value: Some(value.into()),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// A frame as Confluent's clients make it: a zero, the id with its most significant
/// byte first, the body.
pub(crate) fn by_hand(id: u32, body: &[u8]) -> Vec<u8> {
    let mut value = vec![0, (id >> 24) as u8, (id >> 16) as u8, (id >> 8) as u8, id as u8];
    value.extend_from_slice(body);
    value
}
