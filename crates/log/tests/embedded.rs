//! The embedded log on a real folder.
//!
//! Not here: what every log must do, which the conformance suite says.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, GroupOffset, Headers, Log, LogError, LogRecord, PollLimits, Polled, Record,
    TopicConfig, TopicPartition,
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

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir, EmbeddedConfig::default()).unwrap()
}

fn read_all(log: &dyn Log, topic: &str, partition: u32) -> Vec<LogRecord> {
    let place = TopicPartition::new(topic, partition);
    let (start, end) = log.bounds(&place).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), start)]).unwrap();
    let mut records = Vec::new();
    while reader.position(&place).unwrap() < end {
        records.extend(reader.poll(LIMITS).unwrap());
    }
    records
}

fn values(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()).collect()
}

/// Runs this test program again, in the folder, as the child below.
fn child(dir: &Path) -> Child {
    std::fs::write(dir.join("child"), "").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_appends_until_it_is_killed", "--ignored", "--nocapture"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the part of a child process, which other tests here start"]
fn the_child_appends_until_it_is_killed() {
    if !Path::new("child").exists() {
        return;
    }
    let log = open(Path::new("data"));
    log.create_topics(&[topic("t", 1)]).unwrap();
    for n in 0.. {
        log.append(vec![record("t", "k", &n.to_string())]).unwrap();
        writeln!(std::io::stdout(), "acked {n}").unwrap();
    }
}

fn acked(line: &str) -> Option<u64> {
    line.split("acked ").nth(1).and_then(|n| n.trim().parse().ok())
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3_u64 {
        let mut child = child(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let before = lines.by_ref().find_map(|line| acked(&line).filter(|n| *n >= 20 * round)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = lines.filter_map(|line| acked(&line)).last().unwrap_or(before);
        let log = open(&dir.path().join("data"));
        let there = values(&read_all(&*log, "t", 0));
        // Each child counts from 0 again; what is there begins with the last one's.
        let from = there.iter().rposition(|value| value == "0").unwrap();
        assert!(there.len() - from > last as usize, "{} of {last}", there.len() - from);
        for (n, value) in there[from..].iter().enumerate() {
            assert_eq!(*value, n.to_string());
        }
    }
}

#[test]
fn a_second_process_is_refused_and_told_which_folder() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child(dir.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| acked(&line).is_some()));
    let data = dir.path().join("data");
    let error = EmbeddedLog::open(&data, EmbeddedConfig::default()).err().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(&error, LogError::Fatal(_)));
    let text = error.to_string();
    assert!(text.contains("another tapedeck holds") && text.contains(data.to_str().unwrap()), "{text}");
    open(&data);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).create_topics(&[topic("t", 1)]).unwrap();
    let file = dir.path().join("log.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..16].fill(0x55);
    std::fs::write(&file, &bytes).unwrap();
    let error = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).err().unwrap().to_string();
    assert!(error.contains("log.db is damaged") && error.contains(".recover"), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[test]
fn a_damaged_batch_is_named_and_never_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[topic("t", 1)]).unwrap();
    for value in ["first", "the marked one", "third"] {
        log.append(vec![record("t", "k", value)]).unwrap();
    }
    drop(log);
    let file = dir.path().join("log.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let marked = bytes.windows(14).position(|window| window == b"the marked one").unwrap();
    bytes[marked] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let log = open(dir.path());
    let mut reader = log.reader().unwrap();
    reader.assign(&[(TopicPartition::new("t", 0), 0)]).unwrap();
    assert_eq!(values(&reader.poll(LIMITS).unwrap()), ["first"]);
    for _ in 0..2 {
        let error = reader.poll(LIMITS).unwrap_err().to_string();
        assert!(error.contains("t/0 at offset 1") && error.contains("checksum"), "{error}");
    }
    reader.assign(&[(TopicPartition::new("t", 0), 2)]).unwrap();
    assert_eq!(values(&reader.poll(LIMITS).unwrap()), ["third"]);
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let file = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let error = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).err().unwrap().to_string();
    assert!(error.contains("written by a newer tapedeck"), "{error}");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { max_disk_bytes: 1 << 20, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    log.create_topics(&[TopicConfig { retention_bytes: Some(100_000), ..topic("t", 1) }]).unwrap();
    let big = "x".repeat(10_000);
    let mut acknowledged = 0;
    let error = loop {
        match log.append(vec![record("t", "k", &big)]) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_transient() && error.to_string().contains("disk full"), "{error}");
    assert!(log.append(vec![record("t", "k", &big)]).unwrap_err().is_transient());
    assert_eq!(read_all(&*log, "t", 0).len(), acknowledged);
    log.run_retention(0).unwrap();
    let placed = log.append(vec![record("t", "k", &big)]).unwrap();
    assert_eq!(placed[0].offset, acknowledged as u64, "offsets that were refused are given again");
}

#[test]
fn calls_that_share_a_commit_keep_their_order_and_fail_alone() {
    const THREADS: usize = 8;
    const CALLS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { session_timeout: Duration::ZERO, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    log.create_topics(&[topic("t", 1)]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let three = (0..3).map(|n| record("t", &thread.to_string(), &(3 * call + n).to_string()));
                    let placed = log.append(three.collect()).unwrap();
                    assert!(placed.windows(2).all(|two| two[0].offset < two[1].offset));
                }
            });
        }
        // Its session is over at once, so each of its steps is refused.
        let mut fenced = log.join("g", "late", &[Arc::from("t")]).unwrap();
        for _ in 0..CALLS {
            let result = fenced.transact(vec![record("t", "late", "never")], &[]);
            assert!(matches!(result, Err(LogError::Fenced { .. })));
        }
    });
    let records = read_all(&*log, "t", 0);
    assert_eq!(records.len(), THREADS * CALLS * 3);
    for thread in 0..THREADS {
        let key = thread.to_string();
        let of: Vec<_> =
            records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())).cloned().collect();
        assert!(values(&of).iter().enumerate().all(|(n, value)| *value == n.to_string()));
    }
}

#[test]
fn each_partition_gets_its_share_of_a_poll() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[topic("t", 3)]).unwrap();
    let to = |n: u32| Record { partition: Some(n % 3), ..record("t", "k", "v") };
    log.append((0..300).map(to).collect()).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[0, 1, 2].map(|n| (TopicPartition::new("t", n), 0))).unwrap();
    let records = reader.poll(PollLimits { max_records: 9, ..LIMITS }).unwrap();
    let of = |n| records.iter().filter(|record| record.partition == n).count();
    assert_eq!([of(0), of(1), of(2)], [3, 3, 3]);
}

#[test]
fn a_topic_takes_a_new_retention_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[topic("t", 1)]).unwrap();
    let changed = TopicConfig { retention: Some(Duration::from_secs(60)), ..topic("t", 1) };
    log.create_topics(std::slice::from_ref(&changed)).unwrap();
    assert_eq!(log.topics().unwrap()[0].config, changed);
    drop(log);
    assert_eq!(open(dir.path()).topics().unwrap()[0].config, changed);
}

#[test]
fn a_record_that_is_too_large_or_has_no_key_to_compact_by_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { max_record_bytes: 1000, ..EmbeddedConfig::default() };
    let log = EmbeddedLog::open(dir.path(), config).unwrap();
    log.create_topics(&[topic("t", 1), TopicConfig { compact: true, ..topic("c", 1) }]).unwrap();
    let large = record("t", "k", &"x".repeat(2000));
    let keyless = Record { key: None, ..record("c", "", "v") };
    for (bad, says) in [(large, "more than a record may have"), (keyless, "has no key")] {
        let error = log.append(vec![record("t", "k", "v"), bad]).unwrap_err();
        assert!(matches!(&error, LogError::Poison { index: 1, detail } if detail.contains(says)), "{error}");
    }
    assert_eq!(log.bounds(&TopicPartition::new("t", 0)).unwrap(), (0, 0), "a refused call wrote nothing");
}

#[test]
fn a_closed_log_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_topics(&[topic("t", 1)]).unwrap();
    let mut member = log.join("g", "a", &[Arc::from("t")]).unwrap();
    log.close();
    assert!(log.append(vec![record("t", "k", "v")]).unwrap_err().to_string().contains("is closed"));
    assert!(member.poll(LIMITS).unwrap_err().to_string().contains("is closed"));
    open(dir.path());
}

fn steps() -> impl Strategy<Value = Vec<Vec<(u8, Option<u16>)>>> {
    let record = (0..12_u8, proptest::option::weighted(0.8, any::<u16>()));
    proptest::collection::vec(proptest::collection::vec(record, 1..20), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn compaction_leaves_what_a_map_would_hold(calls in steps(), sweeps in proptest::collection::vec(any::<bool>(), 12)) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.create_topics(&[TopicConfig { compact: true, delete: false, ..topic("c", 1) }]).unwrap();
        let mut model = BTreeMap::new();
        let mut written = BTreeMap::new();
        for (call, sweep) in calls.iter().zip(&sweeps) {
            let of = |(key, value): &(u8, Option<u16>)| Record {
                value: value.map(|value| Bytes::from(value.to_string())),
                ..record("c", &key.to_string(), "")
            };
            let records: Vec<_> = call.iter().map(of).collect();
            for (record, placed) in records.iter().zip(log.append(records.clone()).unwrap()) {
                model.insert(record.key.clone(), (placed.offset, record.value.clone()));
                written.insert(placed.offset, record.value.clone());
            }
            if *sweep {
                log.run_retention(0).unwrap();
            }
        }
        log.run_retention(0).unwrap();
        let active = calls[calls.len().min(sweeps.len()) - 1].len();
        let left = read_all(&*log, "c", 0);
        let mut newest = BTreeMap::new();
        for record in &left {
            prop_assert_eq!(Some(&record.value), written.get(&record.offset));
            newest.insert(record.key.clone(), (record.offset, record.value.clone()));
        }
        prop_assert!(left.windows(2).all(|two| two[0].offset < two[1].offset));
        let older = left.len() - active;
        prop_assert!(older <= model.len(), "{} records below the newest batch", older);
        prop_assert_eq!(newest, model);
    }
}
