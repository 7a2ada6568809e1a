//! The emitter and a member of a group over a network that breaks: every broker is
//! reached through a proxy that delays, cuts, swallows and garbles.
//!
//! Not here: brokers that die.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tapedeck_flow::{
    Boundaries, Stop,
    emitter::{Emitter, EmitterConfig, Ticket},
};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    GroupOffset, Headers, Log, LogError, LogRecord, Member, PollLimits, Polled, Record, TopicConfig, TopicPartition,
};
use tapedeck_testbed::{Cluster, Fault};

const PARTITIONS: u32 = 4;
const KEYS: u64 = 16;
/// Each fault lasts as long as it takes to emit so many records.
const EACH: u64 = 400;
/// What goes wrong, in this order, each between times in which nothing does.
const FAULTS: [Fault; 4] = [Fault::Delay(Duration::from_millis(30)), Fault::Cut, Fault::HalfOpen, Fault::Garbage];
const LIMITS: PollLimits = PollLimits { max_records: 200, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
/// All is well again long before, or never.
const PATIENCE: Duration = Duration::from_secs(90);

/// Short times, so that a fault outlasts them.
fn connect(cluster: &Cluster) -> Arc<KafkaLog> {
    let config = KafkaConfig {
        bootstrap_servers: cluster.bootstrap().to_owned(),
        delivery_timeout_ms: 1_000,
        request_timeout_ms: 2_000,
        transaction_timeout_ms: 5_000,
        session_timeout_ms: 3_000,
        max_poll_interval_ms: 6_000,
        ..KafkaConfig::default()
    };
    tapedeck_testbed::until("the cluster", || KafkaLog::connect(&config).ok())
}

fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    }
}

/// Makes topics; with times as short as these a busy machine may need some tries.
fn make(log: &KafkaLog, names: &[&str]) {
    let topics: Vec<_> = names.iter().map(|name| topic(name)).collect();
    tapedeck_testbed::until("topics", || log.create_topics(&topics).ok());
}

fn record(topic: &str, n: u64) -> Record {
    Record {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::from(format!("k{}", n % KEYS))),
        value: Some(Bytes::from(n.to_string())),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn number(record: &LogRecord) -> u64 {
    std::str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap()
}

/// All that a topic holds, in the order of each partition.
fn read(log: &dyn Log, topic: &str) -> Vec<LogRecord> {
    let mut reader = log.reader().unwrap();
    let bounds = |partition| {
        let place = TopicPartition::new(topic, partition);
        tapedeck_testbed::until("bounds", || log.bounds(&place).ok().map(|bounds| (place.clone(), bounds)))
    };
    let ends: Vec<_> = (0..PARTITIONS).map(bounds).collect();
    let from: Vec<_> = ends.iter().map(|(place, (start, _))| (place.clone(), *start)).collect();
    reader.assign(&from).unwrap();
    let mut records = Vec::new();
    tapedeck_testbed::until("the end of a topic", || {
        records.extend(reader.poll(LIMITS).unwrap());
        ends.iter().all(|(place, (_, end))| reader.position(place).unwrap() >= *end).then_some(())
    });
    records
}

/// Goes through all faults; each holds while `work` does its part.
fn through_all_faults(cluster: &Cluster, mut work: impl FnMut()) {
    for fault in FAULTS {
        for now in [fault, Fault::None] {
            cluster.proxy(1).set(now);
            work();
        }
    }
}

fn emitter(log: &Arc<KafkaLog>, dir: &Path) -> Emitter {
    let config = EmitterConfig {
        ring_dir: dir.join("rings").to_str().unwrap().into(),
        ring_bytes: 4 << 20,
        send_timeout_ms: 1_500,
        breaker_open_ms: 500,
        ..EmitterConfig::default()
    };
    let log: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    Emitter::open(log, &dir.join("emitter"), "proxied", &config, Boundaries::default()).unwrap()
}

#[test]
fn what_is_emitted_into_a_broken_network_arrives_and_readers_see_it_once_in_order() {
    let Some(cluster) = Cluster::start_behind_proxies(1) else { return };
    let log = connect(&cluster);
    make(&log, &["emitted"]);
    let dir = tempfile::tempdir().unwrap();
    let emitter = emitter(&log, dir.path());
    let mut producer = emitter.producer().unwrap();
    let (mut n, mut last) = (0, Ticket(0));
    through_all_faults(&cluster, || {
        for _ in 0..EACH {
            last = producer.emit_record(&record("emitted", n)).unwrap();
            n += 1;
            // A steady pace, so that each fault meets sends under way.
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(producer.wait_durable(last, PATIENCE), "{:?} of {last:?}", producer.durable());
    assert!(emitter.stats().send_failures.load(Relaxed) > 0, "no fault was noticed");
    drop(producer);
    assert_eq!(emitter.close(PATIENCE).remaining, 0);
    // Readers drop what they have seen.
    let (mut seen, mut newest) = (BTreeSet::new(), BTreeMap::new());
    for record in read(&*log, "emitted") {
        let n = number(&record);
        if seen.insert(n) {
            let before = newest.insert(record.key.clone(), n);
            assert!(before < Some(n), "{n} came after {before:?}");
        }
    }
    assert_eq!(seen.len() as u64, n);
}

/// Moves records from one topic to the other, a step for each poll, until somebody
/// asks to stop; whatever fails is done again.
fn move_all(log: &KafkaLog, stop: &Stop) {
    while !stop.requested() {
        match log.join("movers", "one", &["moved-from".into()]) {
            Ok(mut member) => match work(&mut *member, stop) {
                Ok(()) | Err(LogError::Fenced { .. } | LogError::Transient(_)) => {}
                Err(error) => panic!("{error}"),
            },
            Err(LogError::Transient(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn work(member: &mut dyn Member, stop: &Stop) -> tapedeck_log::Result<()> {
    while !stop.requested() {
        let records = match member.poll(LIMITS) {
            Ok(Polled::Records(records)) if !records.is_empty() => records,
            Ok(_) | Err(LogError::Transient(_)) => continue,
            Err(error) => return Err(error),
        };
        let places: BTreeSet<_> =
            records.iter().map(|record| TopicPartition::new(Arc::clone(&record.topic), record.partition)).collect();
        let offsets: Vec<_> = places
            .into_iter()
            .map(|partition| GroupOffset { next: member.position(&partition).unwrap(), partition })
            .collect();
        let out = records.iter().map(|record| self::record("moved-to", number(record))).collect();
        // What a failed step left open, the next member finds in the committed offsets.
        member.transact(out, &offsets)?;
    }
    Ok(())
}

/// Asks to stop also when the test fails, so that it ends.
struct End<'a>(&'a Stop);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

#[test]
fn steps_over_a_broken_network_are_seen_once() {
    let Some(cluster) = Cluster::start_behind_proxies(1) else { return };
    let log = connect(&cluster);
    make(&log, &["moved-from", "moved-to"]);
    let stop = Stop::new();
    let all_moved = || {
        let places = (0..PARTITIONS).map(|partition| TopicPartition::new("moved-from", partition));
        let ends =
            places.map(|place| log.bounds(&place).map(|(_, end)| end)).sum::<tapedeck_log::Result<u64>>().ok()?;
        let committed: u64 = log.committed("movers").ok()?.iter().map(|offset| offset.next).sum();
        (committed == ends).then_some(())
    };
    std::thread::scope(|scope| {
        let _end = End(&stop);
        scope.spawn(|| move_all(&log, &stop));
        for (round, fault) in (0..).zip(FAULTS) {
            // Where it is not known whether it was written it is written again, and
            // then to be moved twice.
            tapedeck_testbed::until("records to move", || {
                let records = (round * EACH..(round + 1) * EACH).map(|n| record("moved-from", n)).collect();
                log.append(records).ok()
            });
            cluster.proxy(1).set(fault);
            // As long as the longest of the times above, so that each of them runs out.
            std::thread::sleep(Duration::from_secs(4));
            cluster.proxy(1).set(Fault::None);
            tapedeck_testbed::until("all that was written to be moved", all_moved);
        }
    });
    let numbers = |topic: &str| {
        let mut numbers: Vec<_> = read(&*log, topic).iter().map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    let moved = numbers("moved-to");
    assert!(moved.len() as u64 >= EACH * FAULTS.len() as u64, "{}", moved.len());
    assert_eq!(moved, numbers("moved-from"));
}
