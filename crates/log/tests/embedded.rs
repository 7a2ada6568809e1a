//! The embedded log on a real folder.
//!
//! Not here: what every log must do, which the conformance suite says.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, PollLimits, Polled, Record, TopicConfig, TopicPartition,
};

const LIMITS: PollLimits = PollLimits { max_records: 1000, max_bytes: 1 << 20, timeout: Duration::ZERO };

fn topic(name: &str, partitions: u32) -> TopicConfig {
    TopicConfig { name: name.into(), partitions, retention: None, retention_bytes: None, delete: true, compact: false }
}

fn record(topic: &str, key: &str, value: &str) -> Record {
    Record {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::build([("n", value)]),
        timestamp_ms: None,
    }
}

#[test]
fn records_and_offsets_of_one_step_are_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    log.create_topics(&[topic("in", 2), topic("out", 1)]).unwrap();
    log.append((0..10).map(|n| record("in", &format!("k{n}"), &n.to_string())).collect()).unwrap();
    let mut member = log.join("g", "a", &[Arc::from("in")]).unwrap();
    let Polled::Assigned(owned) = member.poll(LIMITS).unwrap() else { panic!("the only member gets all") };
    assert_eq!(owned.len(), 2);
    let Polled::Records(records) = member.poll(LIMITS).unwrap() else { panic!("records") };
    assert_eq!(records.len(), 10);
    let offsets: Vec<_> = owned
        .iter()
        .map(|partition| GroupOffset { partition: partition.clone(), next: member.position(partition).unwrap() })
        .collect();
    member.transact(vec![record("out", "a", "1")], &offsets).unwrap();
    drop(member);
    log.close();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    assert_eq!(log.committed("g").unwrap(), offsets);
    let out = TopicPartition::new("out", 0);
    assert_eq!(log.bounds(&out).unwrap(), (0, 1));
    let mut reader = log.reader().unwrap();
    reader.assign(&[(out.clone(), 0)]).unwrap();
    let records = reader.poll(LIMITS).unwrap();
    assert_eq!(records[0].headers.text("n"), Some("1"));
    assert_eq!(reader.position(&out), Some(1));
}
