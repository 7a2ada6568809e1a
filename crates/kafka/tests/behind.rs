//! Who has far to go, reads another way than who is at the end: what it does on the
//! way there, and after it, loses nothing and brings nothing twice.
//!
//! Not here: how fast that is, which `bench/run.sh kafka` measures.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    GroupOffset, Headers, Log, LogRecord, Member, PollLimits, Polled, Record, TopicConfig, TopicPartition,
};
use tapedeck_testbed::{self as testbed, until};

const LIMITS: PollLimits = PollLimits { max_records: 500, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
/// Records in each of two partitions; the third is empty, so that a broker holds the
/// question about it. Many times what is fetched ahead.
const EACH: u64 = 20_000;
/// Polls of a caller that finds nothing, until it reads as one that is at the end.
const SETTLED: usize = 30;

fn topic_with_backlog(bootstrap: String, topic: &str) -> Arc<KafkaLog> {
    let log = KafkaLog::connect(&KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("behind")),
        session_timeout_ms: 6_000,
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        fetch_bytes: 1 << 20,
        ..KafkaConfig::default()
    })
    .unwrap();
    let config = TopicConfig {
        name: topic.into(),
        partitions: 3,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };
    log.create_topics(&[config]).unwrap();
    for partition in 0..2 {
        for _ in 0..10 {
            log.append((0..EACH / 10).map(|n| record(topic, partition, n)).collect()).unwrap();
        }
    }
    log
}

fn record(topic: &str, partition: u32, n: u64) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: None,
        value: Some(format!("{n:0>200}").into()),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// The offset that is due next, of each partition.
#[derive(Default)]
struct Due(BTreeMap<u32, u64>);

impl Due {
    fn take(&mut self, records: &[LogRecord]) {
        for record in records {
            let due = self.0.entry(record.partition).or_default();
            assert_eq!(record.offset, *due, "of partition {}", record.partition);
            *due += 1;
        }
    }

    fn of(&self, partition: u32) -> u64 {
        self.0.get(&partition).copied().unwrap_or(0)
    }

    fn sum(&self) -> u64 {
        self.0.values().sum()
    }
}

/// One poll; what is taken away is committed, so that the next one goes on there.
fn poll(member: &mut dyn Member, due: &mut Due) -> Vec<LogRecord> {
    match member.poll(LIMITS).unwrap() {
        Polled::Records(records) => {
            due.take(&records);
            records
        }
        Polled::Revoked(places) => {
            let next = |place: &TopicPartition| GroupOffset { partition: place.clone(), next: due.of(place.partition) };
            member.commit(&places.iter().map(next).collect::<Vec<_>>()).unwrap();
            Vec::new()
        }
        Polled::Assigned(_) => Vec::new(),
    }
}

fn append_one_each(log: &dyn Log, topic: &str) {
    log.append((0..3).map(|partition| record(topic, partition, 0)).collect()).unwrap();
}

#[test]
fn a_member_with_far_to_go_may_seek_pause_and_share_on_the_way() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = topic_with_backlog(bootstrap, "far");
    let place = |partition| TopicPartition::new("far", partition);
    let mut due = Due::default();
    let mut first = log.join("far", "a", &["far".into()]).unwrap();
    until("some of it comes", || {
        poll(&mut *first, &mut due);
        (due.sum() > 6_000).then_some(())
    });

    first.seek(&place(0), 10).unwrap();
    due.0.insert(0, 10);
    until("it comes from where was sought", || {
        poll(&mut *first, &mut due);
        (due.of(0) > 3_000).then_some(())
    });

    first.pause(&[place(0)]);
    let (paused_at, other) = (due.of(0), due.of(1));
    until("the other partition goes on", || {
        poll(&mut *first, &mut due);
        (due.of(1) > other + 3_000).then_some(())
    });
    assert_eq!(due.of(0), paused_at);
    first.resume(&[place(0)]);

    let mut second = log.join("far", "b", &["far".into()]).unwrap();
    until("both come to the end", || {
        poll(&mut *first, &mut due);
        poll(&mut *second, &mut due);
        (due.sum() == 2 * EACH && !second.assignment().is_empty()).then_some(())
    });
    for _ in 0..SETTLED {
        assert!(poll(&mut *first, &mut due).is_empty());
        assert!(poll(&mut *second, &mut due).is_empty());
    }
    append_one_each(&*log, "far");
    until("what is new comes", || {
        poll(&mut *first, &mut due);
        poll(&mut *second, &mut due);
        (due.sum() == 2 * EACH + 3).then_some(())
    });
}

#[test]
fn a_reader_that_came_from_far_goes_on_at_the_end_and_falls_behind_again() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = topic_with_backlog(bootstrap, "read");
    let mut due = Due::default();
    let mut reader = log.reader().unwrap();
    reader.assign(&[0, 1, 2].map(|partition| (TopicPartition::new("read", partition), 0))).unwrap();
    let mut more = || {
        due.take(&reader.poll(LIMITS).unwrap());
        due.sum()
    };
    until("all of it comes", || (more() == 2 * EACH).then_some(()));
    for _ in 0..SETTLED {
        assert_eq!(more(), 2 * EACH);
    }
    append_one_each(&*log, "read");
    until("what is new comes", || (more() == 2 * EACH + 3).then_some(()));
    for _ in 0..10 {
        log.append((0..EACH / 10).map(|n| record("read", 1, n)).collect()).unwrap();
    }
    until("much that is new comes", || (more() == 3 * EACH + 3).then_some(()));
}
