//! The recorder between a real log and a real store: each row once, whatever
//! comes twice, is refused, or does not fit together any more.
//!
//! Not here: what the store answers, and the runtime's own promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::catalogue::dlq_of;
use tapedeck_flow::{Aside, DeliveryConfig, Failure, Gauges, Phase, Stop};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, Record, TopicConfig, TopicPartition};
use tapedeck_roles::{Context, recorder};
use tapedeck_store::{AlertsQuery, FillsQuery, SqliteConfig, SqliteStore, Store};

const ALERTS: &str = "alerts.v1";
const REPORTS: &str = "exec.reports.v1";

fn open_log(dir: &Path) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(dir, EmbeddedConfig::default()).unwrap();
    let topic = |name: &&str| TopicConfig {
        name: (*name).into(),
        partitions: 2,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };
    let dead: Vec<_> = recorder::TOPICS.iter().map(|name| dlq_of(name)).collect();
    let names = recorder::TOPICS.into_iter().chain(dead.iter().map(String::as_str));
    log.create_topics(&names.map(|name| topic(&name)).collect::<Vec<_>>()).unwrap();
    log
}

fn open_store(dir: &Path) -> Arc<dyn Store> {
    SqliteStore::open(dir, SqliteConfig::default()).unwrap()
}

struct Running {
    stop: Stop,
    gauges: Arc<Gauges>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Running {
    fn start(log: &Arc<EmbeddedLog>, store: &Arc<dyn Store>) -> Self {
        Self::start_with(log, store, Aside::DeadLetter)
    }

    fn start_with(log: &Arc<EmbeddedLog>, store: &Arc<dyn Store>, aside: Aside) -> Self {
        let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
        let ctx = Context {
            log: Arc::clone(log) as Arc<dyn Log>,
            stop: stop.clone(),
            member: "test".into(),
            gauges: Arc::clone(&gauges),
            boundaries: Default::default(),
            emitter: None,
            aside,
            budget: Default::default(),
        };
        let store = Arc::clone(store);
        let config = DeliveryConfig { batch_max_age_ms: 5, ..DeliveryConfig::default() };
        Self { stop, gauges, thread: std::thread::spawn(move || recorder::run(ctx, store, config)) }
    }

    /// Waits until so many records were handled, left out or refused.
    fn until(&self, records: u64) {
        let done = |gauges: &Gauges| {
            gauges.records.load(Relaxed) + gauges.duplicates.load(Relaxed) + gauges.poison.load(Relaxed)
        };
        while done(&self.gauges) < records {
            assert!(!self.thread.is_finished(), "the recorder ended: {:?}", self.gauges.phase());
            self.stop.wait(Duration::from_millis(1));
        }
    }

    fn end(self) -> Result<(), Failure> {
        self.stop.request();
        self.join()
    }

    fn join(self) -> Result<(), Failure> {
        self.thread.join().unwrap()
    }
}

fn record(topic: &str, partition: u32, body: String) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from(body)),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn alert(id: &str) -> Record {
    let rest = r#""timestamp":"2024-01-01T00:00:00Z","severity":"INFO","code":"C","message":"m","source":"test""#;
    record(ALERTS, 0, format!(r#"{{"event_id":"{id}",{rest}}}"#))
}

/// A market order for 1 that filled at once.
fn report(partition: u32, id: &str, fill: &str, price: &str) -> Record {
    let body = format!(
        r#"{{"event_id":"{id}","schema_version":"1.0","timestamp":"2024-01-01T00:00:00Z","account":"A","venue":"V",
        "symbol":"BTC{partition}","exec_type":"TRADE","order":{{"order_id":"{fill}","client_order_id":"{fill}","side":"BUY",
        "type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1",
        "leaves_qty":"0","avg_px":"{price}"}},"fill":{{"fill_id":"{fill}","last_qty":"1","last_px":"{price}",
        "liquidity":"TAKER"}},"costs":{{"commission":"0","currency":"USD","slippage_bps":0}},
        "pnl":{{"realized":"0","unrealized":"0"}}}}"#
    );
    record(REPORTS, partition, body)
}

fn alerts(store: &Arc<dyn Store>) -> Vec<String> {
    let found = store.alerts(&AlertsQuery { limit: 100, ..AlertsQuery::default() }).unwrap();
    let mut ids: Vec<_> = found.into_iter().map(|(_, alert)| alert.event_id.to_string()).collect();
    ids.sort();
    ids
}

fn fills(store: &Arc<dyn Store>) -> Vec<String> {
    let found = store.fills(&FillsQuery { limit: 100, ..FillsQuery::default() }).unwrap();
    let mut ids: Vec<_> = found.into_iter().map(|fill| fill.fill_id).collect();
    ids.sort();
    ids
}

#[test]
fn what_was_posted_twice_is_kept_once_and_the_group_follows_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (open_log(dir.path()), open_store(dir.path()));
    log.append(vec![report(0, "r1", "f1", "5"), report(1, "r2", "f2", "6"), report(0, "r1", "f1", "5")]).unwrap();
    log.append(vec![alert("a1"), alert("a1"), alert("a2")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(6);
    running.end().unwrap();
    assert_eq!(fills(&store), ["f1", "f2"]);
    assert_eq!(alerts(&store), ["a1", "a2"]);
    let resume = store.resume("tapedeck.recorder", &[(REPORTS.into(), 0)]).unwrap().remove(0);
    assert_eq!(resume.next, Some(2));
    let committed = log.committed("tapedeck.recorder").unwrap();
    let partition = TopicPartition::new(REPORTS, 0);
    assert!(committed.contains(&GroupOffset { partition, next: 2 }), "{committed:?}");
}

#[test]
fn the_position_in_the_store_is_believed_and_not_the_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (open_log(dir.path()), open_store(dir.path()));
    log.append(vec![alert("a1"), alert("a2")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(2);
    running.end().unwrap();
    let partition = TopicPartition::new(ALERTS, 0);
    log.reset_offsets("tapedeck.recorder", &[GroupOffset { partition, next: 0 }]).unwrap();
    log.append(vec![alert("a3")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(1);
    let gauges = Arc::clone(&running.gauges);
    running.end().unwrap();
    assert_eq!(alerts(&store), ["a1", "a2", "a3"]);
    assert_eq!((gauges.records.load(SeqCst), gauges.duplicates.load(SeqCst)), (1, 0));
}

#[test]
fn a_position_that_was_stored_and_not_published_is_published_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (open_log(dir.path()), open_store(dir.path()));
    log.append(vec![alert("a1"), alert("a2")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(2);
    running.end().unwrap();
    // As a kill between the store's step and the commit leaves it.
    let partition = TopicPartition::new(ALERTS, 0);
    log.reset_offsets("tapedeck.recorder", &[GroupOffset { partition: partition.clone(), next: 0 }]).unwrap();
    log.append(vec![report(0, "r1", "f1", "5")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(1);
    running.end().unwrap();
    let published = log.committed("tapedeck.recorder").unwrap();
    assert!(published.contains(&GroupOffset { partition, next: 2 }), "{published:?}");
}

#[test]
fn where_a_hole_is_worse_than_an_end_a_refused_fill_stops_its_partition_and_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (open_log(dir.path()), open_store(dir.path()));
    log.append(vec![
        report(0, "r1", "f1", "5"),
        report(0, "r2", "f1", "7"),
        report(0, "r3", "f3", "8"),
        report(1, "r4", "f4", "9"),
        alert("a1"),
    ])
    .unwrap();
    let running = Running::start_with(&log, &store, Aside::Stop);
    running.until(4);
    let gauges = Arc::clone(&running.gauges);
    let Phase::Blocked(message) = gauges.phase() else { panic!("not blocked: {:?}", gauges.phase()) };
    running.end().unwrap();
    assert!(message.contains("exec.reports.v1/0/1") && message.contains("f1"), "{message}");
    assert_eq!(fills(&store), ["f1", "f4"]);
    assert_eq!(alerts(&store), ["a1"]);
    let resume = store.resume("tapedeck.recorder", &[(REPORTS.into(), 0)]).unwrap().remove(0);
    assert_eq!(resume.next, Some(1), "it stands at the record that was refused");
}

#[test]
fn a_log_that_holds_other_records_than_the_store_has_read_is_refused_with_the_choices() {
    let (dir, other, shorter) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_store(dir.path());
    let log = open_log(dir.path());
    log.append(vec![alert("a1"), alert("a2")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(2);
    running.end().unwrap();

    let recreated = open_log(other.path());
    recreated.append(vec![alert("b1"), alert("b2"), alert("b3")]).unwrap();
    let Err(Failure::Fatal(message)) = Running::start(&recreated, &store).join() else { panic!("it went on") };
    for part in ["alerts.v1/0", "another record at offset 1", "recreated", "Choose"] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    assert_eq!(alerts(&store), ["a1", "a2"]);

    let truncated = open_log(shorter.path());
    truncated.append(vec![alert("a1")]).unwrap();
    let Err(Failure::Fatal(message)) = Running::start(&truncated, &store).join() else { panic!("it went on") };
    assert!(message.contains("is at offset 2, but the log ends at 1"), "{message}");
}
