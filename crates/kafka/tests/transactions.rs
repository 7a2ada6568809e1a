//! Transactions behind a connection that breaks: each step is seen once or not at
//! all, whatever the member was told.
//!
//! Not here: sharing and fencing, which the suite and `members` test.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{GroupOffset, Headers, Log, LogError, Member, PollLimits, Record, TopicConfig, TopicPartition};
use tapedeck_testbed::{self as testbed, Cluster, Fault};

const STEPS: u64 = 24;
const PARTITIONS: u32 = 3;
const LIMITS: PollLimits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_millis(50) };

fn topic(name: &str, partitions: u32) -> TopicConfig {
    TopicConfig { name: name.into(), partitions, retention: None, retention_bytes: None, delete: true, compact: false }
}

fn seated(log: &KafkaLog) -> Box<dyn Member> {
    testbed::until("the member has its seat", || {
        let mut member = log.join("steps", "a", &["in".into()]).ok()?;
        for _ in 0..200 {
            if !member.assignment().is_empty() {
                return Some(member);
            }
            member.poll(LIMITS).ok()?;
        }
        None
    })
}

/// The last step that the group's offsets tell of.
fn last_step(log: &KafkaLog) -> u64 {
    let offsets = testbed::until("the offsets are read", || log.committed("steps").ok());
    offsets.first().map_or(0, |offset| offset.next)
}

fn records(step: u64) -> Vec<Record> {
    let one = |partition| Record {
        topic: "out".into(),
        partition: Some(partition),
        key: None,
        value: Some(Bytes::from(step.to_string())),
        headers: Headers::new(),
        timestamp_ms: None,
    };
    (0..PARTITIONS).flat_map(|partition| vec![one(partition); 2]).collect()
}

fn seen(log: &dyn Log, partition: u32) -> Vec<u64> {
    let place = TopicPartition::new("out", partition);
    let end = log.bounds(&place).unwrap().1;
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), 0)]).unwrap();
    let mut steps = Vec::new();
    testbed::until("the partition is read", || {
        let read = reader.poll(LIMITS).unwrap();
        steps.extend(
            read.iter().map(|it| std::str::from_utf8(it.value.as_deref().unwrap()).unwrap().parse::<u64>().unwrap()),
        );
        (reader.position(&place)? >= end).then_some(())
    });
    steps
}

#[test]
fn a_step_behind_a_broken_connection_is_seen_once_or_not_at_all() {
    let Some(cluster) = Cluster::start_behind_proxies(1) else { return };
    let config = KafkaConfig {
        bootstrap_servers: cluster.bootstrap().into(),
        prefix: format!("{}.", testbed::name("steps")),
        delivery_timeout_ms: 2_000,
        request_timeout_ms: 2_000,
        transaction_timeout_ms: 4_000,
        session_timeout_ms: 6_000,
        ..KafkaConfig::default()
    };
    let log: Arc<KafkaLog> = KafkaLog::connect(&config).unwrap();
    testbed::until("topics are made", || log.create_topics(&[topic("in", 1), topic("out", PARTITIONS)]).ok());
    // Something to have a position in.
    let input = |n: u64| Record { topic: "in".into(), partition: Some(0), ..records(n).remove(0) };
    testbed::until("the input is there", || log.append((0..=STEPS).map(input).collect()).ok());
    let mut member = seated(&log);
    let (mut step, mut tries, mut broken, mut given_up) = (1, 0, 0, 0);
    while step <= STEPS {
        tries += 1;
        // Into each part of a transaction in turn: it takes some tens of ms.
        let fault = if tries % 3 == 0 { Fault::HalfOpen } else { Fault::Cut };
        let at = Duration::from_millis(4 * (broken % 12));
        let result = std::thread::scope(|scope| {
            if tries % 2 == 0 {
                broken += 1;
                let proxy = cluster.proxy(1);
                scope.spawn(move || {
                    std::thread::sleep(at);
                    proxy.set(fault);
                    std::thread::sleep(Duration::from_millis(if fault == Fault::Cut { 300 } else { 2_000 }));
                    proxy.set(Fault::None);
                });
            }
            let to = [GroupOffset { partition: TopicPartition::new("in", 0), next: step }];
            member.transact(records(step), &to)
        });
        match result {
            Ok(placed) => {
                assert_eq!(placed.len(), 2 * PARTITIONS as usize);
                step += 1;
            }
            Err(LogError::Fenced { .. }) => {
                given_up += 1;
                drop(member);
                member = seated(&log);
                step = last_step(&log) + 1;
            }
            Err(LogError::Transient(_)) => {
                // Nothing of it is to be seen, so it is made again; polling keeps the seat.
                if member.poll(LIMITS).is_err() {
                    drop(member);
                    member = seated(&log);
                    assert_eq!(last_step(&log) + 1, step);
                }
            }
            Err(other) => panic!("{other}"),
        }
        assert!(tries < 200, "no step gets through");
    }
    assert!(broken >= STEPS / 3);
    assert_eq!(last_step(&log), STEPS);
    for partition in 0..PARTITIONS {
        let expected: Vec<_> = (1..=STEPS).flat_map(|step| [step; 2]).collect();
        assert_eq!(seen(&*log, partition), expected, "{broken} breaks, {given_up} seats given up");
    }
}
