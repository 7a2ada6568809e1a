//! Writing: what cannot be written is named, order holds within a partition also
//! where calls fail, and a cluster that is away is told within the time.
//!
//! Not here: transactions, which members make.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{Headers, Log, LogError, LogRecord, PollLimits, Record, TopicConfig, TopicPartition};
use tapedeck_testbed::{self as testbed, Cluster, Fault};

fn config(bootstrap: String) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("producing")),
        // Brokers of a busy machine take their time.
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        ..KafkaConfig::default()
    }
}

fn topic(name: &str, partitions: u32) -> TopicConfig {
    TopicConfig { name: name.into(), partitions, retention: None, retention_bytes: None, delete: true, compact: false }
}

fn record(topic: &str, partition: u32, value: String) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: None,
        value: Some(Bytes::from(value)),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn read(log: &dyn Log, topic: &str, partition: u32) -> Vec<LogRecord> {
    let place = TopicPartition::new(topic, partition);
    let (start, end) = log.bounds(&place).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), start)]).unwrap();
    let mut records = Vec::new();
    testbed::until("the partition is read", || {
        let limits = PollLimits { max_records: 10_000, max_bytes: 64 << 20, timeout: Duration::from_millis(100) };
        records.extend(reader.poll(limits).unwrap());
        (reader.position(&place)? >= end).then_some(())
    });
    records
}

fn text(record: &LogRecord) -> String {
    String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()
}

#[test]
fn a_record_of_the_largest_size_is_written_and_a_larger_one_named() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("large", 1)]).unwrap();
    let empty = record("large", 0, String::new());
    let room = log.max_record_bytes() - empty.bytes();
    // Digits of a number that does not repeat: no codec makes it much smaller.
    let noise = |len: usize| {
        let mut state = 1_u64;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'0' + (state >> 60) as u8)
            })
            .collect::<String>()
    };
    log.append(vec![record("large", 0, noise(room))]).unwrap();
    let error = log.append(vec![empty.clone(), record("large", 0, noise(room + 1))]);
    assert!(matches!(error, Err(LogError::Poison { index: 1, .. })), "{error:?}");
    assert_eq!(read(&*log, "large", 0).len(), 1, "of a call with such a record nothing is sent");
}

#[test]
fn records_without_a_key_are_spread() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("spread", 4)]).unwrap();
    let keyless = |n: usize| Record { partition: None, ..record("spread", 0, n.to_string()) };
    let placed = log.append((0..4_000).map(keyless).collect()).unwrap();
    let mut counts = [0_usize; 4];
    placed.iter().for_each(|it| counts[it.partition as usize] += 1);
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
}

#[test]
fn threads_write_at_once_and_each_keeps_its_order() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("threads", 3)]).unwrap();
    const ROUNDS: u32 = 50;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let one = |n: u32| record("threads", n % 3, format!("{thread}.{}", 30 * round + n));
                    let placed = log.append((0..30).map(one).collect()).unwrap();
                    assert_eq!(
                        placed.iter().map(|it| it.partition).collect::<Vec<_>>(),
                        (0..30).map(|n| n % 3).collect::<Vec<_>>()
                    );
                }
            });
        }
    });
    for partition in 0..3 {
        let mut last: BTreeMap<String, u32> = BTreeMap::new();
        let records = read(&*log, "threads", partition);
        assert_eq!(records.len(), 4 * 10 * ROUNDS as usize);
        for record in &records {
            let value = text(record);
            let (thread, n) = value.split_once('.').unwrap();
            let n: u32 = n.parse().unwrap();
            let before = last.insert(thread.to_owned(), n);
            assert!(before.is_none_or(|before| before < n), "{before:?} before {n} of thread {thread}");
        }
    }
}

#[test]
fn a_call_that_the_broker_refuses_fails_alone() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    let compacted = TopicConfig { delete: false, compact: true, ..topic("compacted", 1) };
    log.create_topics(&[topic("beside", 1), compacted]).unwrap();
    const ROUNDS: u32 = 100;
    let is_over = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        let refusing = scope.spawn(|| {
            let mut refused = 0;
            while !is_over.load(Ordering::Relaxed) {
                // A compacted topic takes nothing without a key.
                let result = log.append(vec![record("compacted", 0, "x".into())]);
                assert!(matches!(result, Err(LogError::Poison { index: 0, .. })), "{result:?}");
                refused += 1;
            }
            refused
        });
        for round in 0..ROUNDS {
            let records = (0..10).map(|n| record("beside", 0, (10 * round + n).to_string())).collect();
            let placed = log.append(records).unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(placed.len(), 10);
        }
        is_over.store(true, Ordering::Relaxed);
        refusing.join().unwrap()
    });
    assert!(refused > 1, "the refused call was made {refused} times beside the others");
    // Each is there, first in order; what was written again comes after its first.
    let mut next = 0;
    for record in read(&*log, "beside", 0) {
        let n: u32 = text(&record).parse().unwrap();
        assert!(n <= next, "{n} before {next}");
        next = next.max(n + 1);
    }
    assert_eq!(next, 10 * ROUNDS);
}

#[test]
fn a_call_that_fails_is_not_overtaken_and_may_be_made_again() {
    let Some(cluster) = Cluster::start_behind_proxies(1) else { return };
    // Less than the call waits, and a queue smaller than the call is large.
    let quick =
        KafkaConfig { delivery_timeout_ms: 1_500, queue_bytes: 256 << 10, ..config(cluster.bootstrap().into()) };
    let log = KafkaLog::connect(&quick).unwrap();
    log.create_topics(&[topic("order", 2)]).unwrap();
    let mut failed = 0;
    for round in 0..6_u32 {
        let one = |n: u32| record("order", n % 2, format!("{:06}{}", 2_000 * round + n, "x".repeat(500)));
        let records: Vec<_> = (0..2_000).map(one).collect();
        let fault = [Fault::None, Fault::HalfOpen, Fault::Cut][round as usize % 3];
        cluster.proxy(1).set(fault);
        loop {
            let begin = Instant::now();
            match log.append_kept(&records) {
                Ok(placed) => {
                    assert_eq!(placed.len(), records.len());
                    break;
                }
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    assert!(begin.elapsed() >= Duration::from_millis(1_400), "it gave up early: {error}");
                    failed += 1;
                    cluster.proxy(1).set(Fault::None);
                }
            }
        }
    }
    assert!(failed >= 4, "half-open and cut connections fail: {failed}");
    for partition in 0..2 {
        let mut seen = std::collections::BTreeSet::new();
        let records = read(&*log, "order", partition);
        // What comes again was there before; what is new comes in order.
        let new: Vec<_> = records.iter().map(text).filter(|value| seen.insert(value.clone())).collect();
        assert!(new.is_sorted(), "partition {partition}");
        assert_eq!(new.len(), 6_000);
    }
}
