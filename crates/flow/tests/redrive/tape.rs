//! A log with two topics, their dead letters, and a redriver on it.
//!
//! Not here: what is tested.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::{
    Timestamp,
    headers::{CE_ID, DLQ_ID, Place, REDRIVE},
};
use tapedeck_flow::{
    Boundaries, Failure, Stop,
    dead_letter::{Account, ErrorClass, dead_letter},
    redrive::{Action, Ended, Filter, LetterId, Order, Redriver, Register, Report, Scanned, letter_at},
    topics,
};
use tapedeck_log::{
    Headers, Log, LogRecord, PollLimits, Record, TopicPartition,
    embedded::{EmbeddedConfig, EmbeddedLog},
};

pub(crate) const TOPIC: &str = "alerts.v1";
pub(crate) const GROUP: &str = "tapedeck.recorder";

pub(crate) struct Tape {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) register: Mutex<Register>,
    pub(crate) boundaries: Boundaries,
    pub(crate) stop: Stop,
    _dir: tempfile::TempDir,
}

impl Tape {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
        log.create_topics(&topics::of_catalogue(None)).unwrap();
        Self { log, register: Mutex::default(), boundaries: Boundaries::default(), stop: Stop::new(), _dir: dir }
    }

    /// A record of the alerts with this key, in this partition.
    pub(crate) fn write(&self, partition: u32, key: &str, value: &str, headers: Headers) -> LogRecord {
        let record = Record {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers,
            timestamp_ms: None,
        };
        let placed = self.log.append(vec![record]).unwrap()[0];
        self.read(TOPIC, placed.partition, placed.offset).remove(0)
    }

    /// Its dead letter; gives where it lies and its id.
    pub(crate) fn bury(&self, record: &LogRecord, account: &Account) -> (String, LetterId) {
        self.bury_within(record, account, self.log.max_record_bytes())
    }

    pub(crate) fn bury_within(&self, record: &LogRecord, account: &Account, most: usize) -> (String, LetterId) {
        let letter = dead_letter(record, account, most);
        let topic = letter.topic.to_string();
        let placed = self.log.append(vec![letter]).unwrap()[0];
        let place = Place { topic, partition: placed.partition, offset: placed.offset };
        let Some(Scanned::Letter(found)) = letter_at(self.log.as_ref(), &place).unwrap() else {
            panic!("{place} is no dead letter")
        };
        (place.to_string(), found.id)
    }

    /// Records with keys k0, k1, … over two partitions, all of them dead letters.
    pub(crate) fn buried(&self, count: usize) -> Vec<LetterId> {
        let most = self.log.max_record_bytes();
        let record = |n: usize| Record {
            topic: TOPIC.into(),
            partition: Some(n as u32 % 2),
            key: Some(Bytes::from(format!("k{n}"))),
            value: Some(Bytes::from(format!("value {n}"))),
            headers: Headers::build([(CE_ID, format!("event-{n}"))]),
            timestamp_ms: None,
        };
        let records: Vec<Record> = (0..count).map(record).collect();
        let placed = self.log.append_kept(&records).unwrap();
        let letters: Vec<Record> = records
            .into_iter()
            .zip(placed)
            .map(|(record, placed)| LogRecord {
                topic: record.topic,
                partition: placed.partition,
                offset: placed.offset,
                timestamp_ms: 1,
                key: record.key,
                value: record.value,
                headers: record.headers,
            })
            .map(|record| dead_letter(&record, &account("`severity` is missing"), most))
            .collect();
        self.log.append_kept(&letters).unwrap();
        letters.iter().map(|letter| letter.headers.text(DLQ_ID).unwrap().parse().unwrap()).collect()
    }

    /// All of a partition from an offset on.
    pub(crate) fn read(&self, topic: &str, partition: u32, from: u64) -> Vec<LogRecord> {
        let place = TopicPartition::new(topic, partition);
        let end = self.log.bounds(&place).unwrap().1;
        let mut reader = self.log.reader().unwrap();
        reader.assign(&[(place.clone(), from)]).unwrap();
        let mut records = Vec::new();
        while reader.position(&place).unwrap() < end {
            let limits = PollLimits { max_records: 1_000, max_bytes: 8 << 20, timeout: Duration::from_secs(1) };
            records.extend(reader.poll(limits).unwrap());
        }
        records
    }

    /// All that was sent again, as (key, `tapedeck-redrive`), by partition and offset.
    pub(crate) fn sent(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let records = (0..4).flat_map(|partition| self.read(TOPIC, partition, 0));
        records
            .filter_map(|record| Some((text(record.key.as_deref().unwrap()), record.headers.text(REDRIVE)?.to_owned())))
            .collect()
    }

    pub(crate) fn run(&self, order: &Order) -> (Result<Ended, Failure>, Report) {
        let report = Mutex::new(Report::default());
        let redriver = Redriver {
            log: self.log.as_ref(),
            register: &self.register,
            boundaries: &self.boundaries,
            stops: std::slice::from_ref(&self.stop),
            report: &report,
        };
        let ended = redriver.run(order, &|| time("2026-01-02T03:04:05Z"));
        (ended, report.into_inner().unwrap())
    }

    /// Open dead letters of the alerts.
    pub(crate) fn open(&self) -> u64 {
        let mut register = self.register.lock().unwrap();
        register.refresh(self.log.as_ref()).unwrap();
        register.depth(&self.log.topics().unwrap())[TOPIC]
    }
}

pub(crate) fn account(error: &str) -> Account {
    let at = time("2026-01-01T00:00:00Z");
    Account {
        role: "recorder".into(),
        group: GROUP.into(),
        class: ErrorClass::Invalid,
        error: error.into(),
        path: None,
        attempts: 1,
        first_failure: at,
        last_failure: at,
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(crate) fn replay(filter: Filter) -> Order {
    Order {
        filter,
        limit: None,
        action: Action::Replay { max_redrives: 3, force: false, rate_per_s: 1_000_000 },
        dry_run: false,
        actor: "local".into(),
        reason: "the schema was corrected".into(),
    }
}

pub(crate) fn purge(filter: Filter) -> Order {
    Order { action: Action::Purge, ..replay(filter) }
}
