//! The recorder between a real log and a real store: each row once, whatever
//! comes twice, is refused, or does not fit together any more.
//!
//! Not here: what the store answers, and the runtime's own promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

use std::{
    collections::BTreeSet,
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
use tapedeck_flow::{Aside, DeadLetter, DeliveryConfig, Failure, Gauges, Phase, Stop};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, PollLimits, Record, TopicConfig, TopicPartition,
};
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
    let found = store.fills(&FillsQuery { limit: 2_000, ..FillsQuery::default() }).unwrap();
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

/// The six ways in which a record is bad, none of which the recorder can keep:
/// not UTF-8, not JSON, a wrong field, an unknown version, a body at the limit
/// that is no report, and a fill that says something else than one before it.
fn bad(n: usize, id: &str) -> Record {
    let good = report(0, id, "f-first", "5");
    let with = |value: Vec<u8>| Record { value: Some(Bytes::from(value)), ..good.clone() };
    let text = String::from_utf8(good.value.clone().unwrap().to_vec()).unwrap();
    match n % 6 {
        0 => with(vec![0xc3, 0x28, 0xff]),
        1 => with(text[..text.len() / 2].into()),
        2 => with(text.replace("\"TRADE\"", "\"TRAID\"").into()),
        3 => with(text.replace("\"schema_version\":\"1.0\"", "\"schema_version\":\"9.0\"").into()),
        4 => {
            let mut large = with(vec![b'x'; 1 << 20]);
            let over = large.bytes() - (1 << 20);
            large.value = large.value.map(|value| value.slice(over..));
            large
        }
        _ => report(0, id, "f-first", "7"),
    }
}

/// Writes reports of which one in so many is bad, and expects each good one in the
/// store and each bad one among the dead letters, whole or accounted for.
fn reports_of_which_one_is_bad_in(every: usize, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (open_log(dir.path()), open_store(dir.path()));
    let mut records = vec![report(0, "first", "f-first", "5")];
    let mut wanted = vec!["f-first".to_owned()];
    let mut bads = 0;
    for n in 0..count {
        if n % every == every - 1 {
            records.push(bad(bads, &format!("bad-{n}")));
            bads += 1;
        } else {
            records.push(report(0, &format!("r{n}"), &format!("f{n:04}"), "5"));
            wanted.push(format!("f{n:04}"));
        }
    }
    log.append(records.clone()).unwrap();
    let running = Running::start(&log, &store);
    running.until(records.len() as u64);
    let gauges = Arc::clone(&running.gauges);
    running.end().unwrap();
    wanted.sort();
    assert_eq!(fills(&store), wanted);
    let letters = letters(&log, bads);
    assert_eq!(gauges.dead_letters.load(SeqCst) as usize, bads);
    for letter in &letters {
        let record = &records[letter.origin.offset as usize];
        assert_eq!((&letter.key, &letter.headers), (&record.key, &record.headers));
        match letter.omitted.first() {
            None => assert_eq!(letter.value, record.value),
            Some(omitted) => assert_eq!(omitted.bytes, record.value.as_ref().unwrap().len()),
        }
    }
    let classes: BTreeSet<&str> = letters.iter().map(|letter| letter.account.class.name()).collect();
    assert_eq!(classes, ["invalid", "store", "undecodable"].into());
    let places: BTreeSet<u64> = letters.iter().map(|letter| letter.origin.offset).collect();
    assert_eq!(places.len(), bads, "each once");
    let resume = store.resume("tapedeck.recorder", &[(REPORTS.into(), 0)]).unwrap().remove(0);
    assert_eq!(resume.next, Some(records.len() as u64), "the store is past all of them");

    // They are not read again.
    log.append(vec![alert("a1")]).unwrap();
    let running = Running::start(&log, &store);
    running.until(1);
    running.end().unwrap();
    assert_eq!(log.bounds(&TopicPartition::new(dlq_of(REPORTS), 0)).unwrap().1 as usize, bads);
}

fn letters(log: &Arc<EmbeddedLog>, count: usize) -> Vec<DeadLetter> {
    let mut reader = log.reader().unwrap();
    reader.assign(&[(TopicPartition::new(dlq_of(REPORTS), 0), 0)]).unwrap();
    let limits = PollLimits { max_records: 1_000, max_bytes: 8 << 20, timeout: Duration::from_secs(1) };
    let mut letters = Vec::new();
    while letters.len() < count {
        letters.extend(reader.poll(limits).unwrap().iter().map(|record| DeadLetter::read(record).unwrap()));
    }
    letters
}

#[test]
fn of_reports_of_which_one_in_a_hundred_is_bad_all_others_are_stored() {
    reports_of_which_one_is_bad_in(100, 1_200);
}

#[test]
fn of_reports_of_which_every_second_is_bad_all_others_are_stored() {
    reports_of_which_one_is_bad_in(2, 60);
}

#[test]
fn reports_that_are_all_bad_are_all_dead_letters() {
    reports_of_which_one_is_bad_in(1, 36);
}
