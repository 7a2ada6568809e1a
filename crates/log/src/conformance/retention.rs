//! Cases of retention and compaction.
//!
//! Not here: when they run.

use std::collections::BTreeMap;

use super::*;
use crate::LogError;

const DAY_MS: i64 = 24 * 3600 * 1000;
const NOW_MS: i64 = 1_700_000_000_000;

fn at(record: Record, timestamp_ms: i64) -> Record {
    Record { timestamp_ms: Some(timestamp_ms), ..record }
}

pub(super) fn old_records_go_and_reading_them_says_so(subject: &Subject) {
    let log = (subject.open)();
    let kept = Duration::from_secs(24 * 3600);
    log.create_topics(&[TopicConfig { retention: Some(kept), ..topic("aged", 1) }, topic("ageless", 1)]).unwrap();
    // A broker's retention goes by its own clock.
    let now_ms = now_ms();
    let mut offsets = Vec::new();
    for n in 0..10 {
        let ms = now_ms - (9 - n) * DAY_MS / 2;
        let records = vec![at(record("aged", "k", n.to_string()), ms), at(record("ageless", "k", n.to_string()), ms)];
        offsets.push(log.append(records).unwrap()[0].offset);
    }
    // Where it was written: a broker may have begun to delete before the last was.
    let first = offsets[0];
    (subject.sweep)(now_ms + 1000);
    let (start, end) = log.bounds(&place("aged", 0)).unwrap();
    assert!(start > first);
    let left: Vec<_> = read_all(&*log, "aged").iter().map(value).collect();
    assert_eq!(left, ["8", "9"]);
    assert_eq!(read_all(&*log, "ageless").len(), 10);
    let mut reader = log.reader().unwrap();
    for wanted in [first, end + 1] {
        reader.assign(&[(place("aged", 0), wanted)]).unwrap();
        let error = (0..TRIES).find_map(|_| reader.poll(LIMITS).err());
        assert!(matches!(error, Some(LogError::OutOfRange { wanted: is, .. }) if is == wanted), "{error:?}");
    }
    drop((reader, log));
    let log = (subject.open)();
    assert_eq!(log.bounds(&place("aged", 0)).unwrap(), (start, end));
}

pub(super) fn a_partition_keeps_about_its_bytes(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[TopicConfig { retention_bytes: Some(100_000), ..topic("sized", 1) }]).unwrap();
    for n in 0..100_u8 {
        // Noise, so that a log that compresses keeps as many records.
        let mut state = 0x2545_f491_u32;
        let mut noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .take(5000)
        .collect();
        noise[0] = n;
        log.append(vec![record("sized", "k", noise)]).unwrap();
    }
    (subject.sweep)(now_ms());
    let info = log.topics().unwrap().into_iter().find(|info| &*info.config.name == "sized").unwrap();
    let left = read_all(&*log, "sized");
    assert!((20..40).contains(&left.len()), "{} records of 5 KB are left", left.len());
    // 0 where a log does not know: brokers tell it in a way that librdkafka cannot ask.
    let bytes = info.partitions[0].bytes;
    assert!(bytes == 0 || (100_000..200_000).contains(&bytes), "{bytes}");
    assert_eq!(left.last().map(|record| record.value.as_deref().unwrap()[0]), Some(99));
}

fn compacted(subject: &Subject, name: &str) -> Arc<dyn Log> {
    let log = (subject.open)();
    log.create_topics(&[TopicConfig { compact: true, delete: false, ..topic(name, 1) }]).unwrap();
    for round in 0..20 {
        let records = (0..10).map(|key| at(record(name, &format!("k{key}"), format!("{key}.{round}")), NOW_MS));
        log.append(records.collect()).unwrap();
    }
    let tombstone = |key| at(Record { value: None, ..record(name, key, "") }, NOW_MS);
    log.append(vec![tombstone("k3")]).unwrap();
    log.append(vec![at(record(name, "last", "end"), NOW_MS)]).unwrap();
    log
}

pub(super) fn compaction_keeps_the_newest_of_each_key(subject: &Subject) {
    let log = compacted(subject, "compact");
    let before = log.bounds(&place("compact", 0)).unwrap();
    let newest = |records: &[LogRecord]| -> BTreeMap<_, _> {
        records.iter().map(|record| (record.key.clone(), (record.offset, record.value.clone()))).collect()
    };
    let expected = newest(&read_all(&*log, "compact"));
    (subject.sweep)(NOW_MS + 1000);
    let after = read_all(&*log, "compact");
    assert_eq!(newest(&after), expected, "the newest of each key stays where it was, tombstones too");
    assert_eq!(after.len(), expected.len(), "the others are gone");
    // More where records that nobody sees had to be written to let a broker compact.
    assert!(log.bounds(&place("compact", 0)).unwrap().1 >= before.1);
    (subject.sweep)(NOW_MS + 3 * DAY_MS);
    let later = read_all(&*log, "compact");
    assert_eq!(later.len(), expected.len() - 1, "the old tombstone is gone");
    assert!(later.iter().all(|record| record.value.is_some()));
    drop(log);
    let log = (subject.open)();
    assert_eq!(read_all(&*log, "compact"), later);
}

pub(super) fn a_position_moves_over_compacted_offsets(subject: &Subject) {
    let log = compacted(subject, "gaps");
    let all = read_all(&*log, "gaps");
    let mut reader = log.reader().unwrap();
    // In the middle of what goes.
    reader.assign(&[(place("gaps", 0), all[55].offset)]).unwrap();
    (subject.sweep)(NOW_MS + 1000);
    let left = read_all(&*log, "gaps");
    assert!(left[0].offset > all[0].offset && left.len() < all.len());
    let mut read = Vec::new();
    let end = log.bounds(&place("gaps", 0)).unwrap().1;
    for _ in 0..TRIES {
        if reader.position(&place("gaps", 0)) == Some(end) {
            break;
        }
        read.extend(reader.poll(LIMITS).unwrap());
    }
    assert_eq!(reader.position(&place("gaps", 0)), Some(end));
    assert_eq!(read.last(), left.last());
    // It joins after the sweep: what a member fetched ahead before it is there
    // still, and a broker's sweep may take longer than a session.
    let mut member = log.join("gaps", "a", &["gaps".into()]).unwrap();
    own(&mut *member, 1);
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        if member.position(&place("gaps", 0)) == Some(end) {
            break;
        }
        if let Polled::Records(records) = member.poll(LIMITS).unwrap() {
            taken.extend(records);
        }
    }
    // A broker goes on sweeping: tombstones may go between two looks.
    let with_values =
        |records: Vec<LogRecord>| -> Vec<_> { records.into_iter().filter(|record| record.value.is_some()).collect() };
    assert_eq!(with_values(taken), with_values(left));
    assert_eq!(member.position(&place("gaps", 0)), Some(end));
}
