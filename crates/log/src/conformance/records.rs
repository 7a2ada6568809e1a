//! Cases of writing and reading.
//!
//! Not here: groups, and what goes with time.

use std::collections::BTreeMap;

use super::*;
use crate::{LogError, partitioner::partition_of};

pub(super) fn records_of_a_key_keep_their_order(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("order", 4)]).unwrap();
    for round in 0..20 {
        let records = (0..50).map(|n| record("order", &format!("k{}", n % 7), format!("{}", round * 50 + n))).collect();
        log.append(records).unwrap();
    }
    let records = read_all(&*log, "order");
    assert_eq!(records.len(), 1000);
    let mut last: BTreeMap<_, i32> = BTreeMap::new();
    let mut place_of = BTreeMap::new();
    for record in &records {
        let n: i32 = value(record).parse().unwrap();
        if let Some(before) = last.insert(record.key.clone(), n) {
            assert!(before < n, "{before} came before {n}");
        }
        assert_eq!(*place_of.entry(record.key.clone()).or_insert(record.partition), record.partition);
    }
    let mut places: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
    places.dedup();
    assert!(places.is_sorted() && places.len() == 1000, "offsets grow within a partition");
}

pub(super) fn a_record_comes_back_as_it_was_written(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("whole", 1)]).unwrap();
    let full = Record {
        headers: Headers::build([("a", &b"1"[..]), ("b", &[0, 255]), ("a", b"")]),
        timestamp_ms: Some(1_700_000_000_123),
        ..record("whole", "clé", [0, 1, 2, 255])
    };
    let tombstone = Record { value: None, ..record("whole", "gone", "") };
    let empty = record("whole", "", "");
    let keyless = Record { key: None, ..record("whole", "", "v") };
    let written = [full, tombstone, empty, keyless];
    let placed = log.append(written.to_vec()).unwrap();
    let read = read_all(&*log, "whole");
    assert_eq!(read.len(), written.len());
    for ((was, is), placement) in written.iter().zip(&read).zip(&placed) {
        assert_eq!((&was.key, &was.value, &was.headers), (&is.key, &is.value, &is.headers));
        assert_eq!((placement.partition, placement.offset), (is.partition, is.offset));
        assert_eq!(is.topic, was.topic);
    }
    assert_eq!(read[0].timestamp_ms, 1_700_000_000_123);
    assert!(read[1].timestamp_ms > 1_700_000_000_123, "a record without a time gets the time of writing");
}

pub(super) fn acknowledged_records_are_there_after_a_reopen(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("kept", 3)]).unwrap();
    let placed = log.append((0..100).map(|n| record("kept", &n.to_string(), n.to_string())).collect()).unwrap();
    drop(log);
    let log = (subject.open)();
    let read = read_all(&*log, "kept");
    for (n, placement) in placed.iter().enumerate() {
        let found = read.iter().find(|it| (it.partition, it.offset) == (placement.partition, placement.offset));
        assert_eq!(found.map(value), Some(n.to_string()));
    }
    assert_eq!(read.len(), 100);
    let next = log.append(vec![record("kept", "0", "later")]).unwrap()[0];
    let before = placed.iter().filter(|it| it.partition == next.partition).map(|it| it.offset).max();
    assert!(Some(next.offset) > before, "offsets go on where they were");
}

pub(super) fn a_key_goes_to_the_partition_that_kafka_gives_it(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("keys", 8)]).unwrap();
    let keys = ["AAPL", "BTCUSDT", "ACC-1", "", "a-little-bit-longer-string"];
    let placed = log.append(keys.iter().map(|key| record("keys", key, "")).collect()).unwrap();
    for (key, placement) in keys.iter().zip(placed) {
        assert_eq!(placement.partition, partition_of(key.as_bytes(), 8), "{key}");
    }
    let chosen = Record { partition: Some(5), ..record("keys", "AAPL", "") };
    assert_eq!(log.append(vec![chosen]).unwrap()[0].partition, 5, "a partition that is given counts");
}

pub(super) fn a_record_for_nowhere_is_named(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("here", 2)]).unwrap();
    let no_partition = Record { partition: Some(2), ..record("here", "k", "") };
    for bad in [record("nowhere", "k", ""), no_partition] {
        match log.append(vec![record("here", "k", ""), bad]) {
            Err(LogError::Poison { index: 1, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(log.bounds(&place("here", 2)).is_err());
    assert!(log.reader().unwrap().assign(&[(place("nowhere", 0), 0)]).is_err());
    assert!(log.join("g", "m", &["nowhere".into()]).is_err());
}

pub(super) fn a_time_finds_its_offset(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("times", 1)]).unwrap();
    let base_ms = 1_700_000_000_000;
    let mut offsets = Vec::new();
    for n in 0..30 {
        let at = |n: i64| Record { timestamp_ms: Some(base_ms + 10 * n), ..record("times", "k", n.to_string()) };
        offsets.extend(log.append((3 * n..3 * n + 3).map(at).collect()).unwrap().iter().map(|it| it.offset));
    }
    let at = |ms| log.offset_at(&place("times", 0), base_ms + ms).unwrap();
    assert_eq!(at(-1_000_000), offsets[0]);
    assert_eq!(at(0), offsets[0]);
    assert_eq!(at(401), offsets[41]);
    assert_eq!(at(410), offsets[41]);
    assert_eq!(at(890), offsets[89]);
    assert_eq!(at(891), log.bounds(&place("times", 0)).unwrap().1);
}

pub(super) fn a_poll_respects_its_limits_and_serves_all(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("fair", 3)]).unwrap();
    let to = |n: u32| Record { partition: Some(n % 3), ..record("fair", "k", [b'x'; 1000]) };
    log.append((0..300).map(to).collect()).unwrap();
    let mut reader = log.reader().unwrap();
    let all: Vec<_> = (0..3).map(|n| (place("fair", n), log.bounds(&place("fair", n)).unwrap().0)).collect();
    reader.assign(&all).unwrap();
    let mut counts = [0; 3];
    let mut most = 0;
    for _ in 0..TRIES {
        let records = reader.poll(PollLimits { max_records: 10, ..LIMITS }).unwrap();
        most = most.max(records.len());
        records.iter().for_each(|record| counts[record.partition as usize] += 1);
        if counts.iter().sum::<i32>() == 300 {
            break;
        }
    }
    assert_eq!((counts, most <= 10), ([100; 3], true));
    reader.assign(&all).unwrap();
    let tiny = PollLimits { max_bytes: 1, ..LIMITS };
    let one = (0..TRIES).map(|_| reader.poll(tiny).unwrap().len()).find(|count| *count > 0);
    assert_eq!(one, Some(1), "one record always fits");
}

pub(super) fn a_waiting_reader_gets_what_is_written(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("tail", 1)]).unwrap();
    let end = log.bounds(&place("tail", 0)).unwrap().1;
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place("tail", 0), end)]).unwrap();
    assert!(reader.poll(PollLimits { timeout: Duration::ZERO, ..LIMITS }).unwrap().is_empty());
    let got = std::thread::scope(|scope| {
        let long = PollLimits { timeout: Duration::from_secs(60), ..LIMITS };
        let waiting = scope.spawn(move || reader.poll(long));
        log.append(vec![record("tail", "k", "now")]).unwrap();
        waiting.join().unwrap().unwrap()
    });
    assert_eq!(got.iter().map(value).collect::<Vec<_>>(), ["now"]);
}

pub(super) fn a_topic_keeps_its_number_of_partitions(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("fixed", 2)]).unwrap();
    log.create_topics(&[topic("fixed", 2)]).unwrap();
    assert!(matches!(log.create_topics(&[topic("fixed", 3)]), Err(LogError::Fatal(_))));
    let info = log.topics().unwrap().into_iter().find(|info| &*info.config.name == "fixed").unwrap();
    assert_eq!(info.partitions.iter().map(|it| it.partition).collect::<Vec<_>>(), [0, 1]);
}
