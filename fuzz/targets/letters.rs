//! Records as roles and redrives meet them: a record of any topic is read as a
//! delivery, and as a dead letter; and the dead letter that any record becomes
//! gives it back.
//!
//! Not here: the bodies themselves (`events`).
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::{EventKind, Timestamp, catalogue::Catalogue};
use tapedeck_flow::{
    DeadLetter, Delivery,
    dead_letter::{Account, ErrorClass, dead_letter},
    inbound::{kind_of, place_of},
};
use tapedeck_fuzz::{Input, fixtures, parts, seed};
use tapedeck_log::{Headers, LogRecord, Record};

fuzz_target!(
    init: seed(samples()),
    |input: &[u8]| {
        let mut input = Input(input);
        let record = record(&mut input);
        let _ = DeadLetter::read(&record);
        let kind = kind_of(&record.topic);
        match (Delivery::decode(record.clone(), 0), kind) {
            (Ok(delivery), kind) => {
                assert_eq!(Some(delivery.event.kind()), kind);
                let _ = (delivery.place(), delivery.event_time(), delivery.correlation_id());
            }
            (Err(error), _) => assert!(!error.to_string().is_empty()),
        }
        let account = account(&mut input);
        let max = (input.number() % (2 << 20)) as usize;
        let letter = dead_letter(&record, &account, max);
        let read = DeadLetter::read(&lying(letter.clone())).expect("our own dead letters can be read");
        assert_eq!(read.origin, place_of(&record));
        assert_eq!(read.timestamp_ms, record.timestamp_ms);
        for (part, given_back) in [
            ("key", read.key == record.key),
            ("value", read.value == record.value),
            ("headers", read.headers == record.headers),
        ] {
            let left_out = read.omitted.iter().any(|omitted| omitted.part == part);
            assert!(given_back || left_out, "{part} is neither here nor accounted for");
        }
        assert_eq!((&read.account.group, &read.account.role), (&account.group, &account.role));
        assert_eq!(dead_letter(&record, &account, max), letter, "written again it is the same");
    }
);

/// A record: the topic by its place in the catalogue, then where it lies, then
/// its parts.
fn record(input: &mut Input<'_>) -> LogRecord {
    let topics: Vec<&str> = Catalogue::get().topics().map(|topic| &*topic.name).collect();
    let topic = topics[usize::from(input.byte()) % topics.len()].into();
    let there = input.byte();
    let (partition, offset, timestamp_ms) = (u32::from(input.byte()), input.number(), input.number() as i64);
    let mut part = |bit: u8| Some(Bytes::copy_from_slice(input.part())).filter(|_| there & bit == 0);
    let (key, value, headers) = (part(1), part(2), part(0).unwrap_or_default());
    let headers = Headers::from_bytes(headers).unwrap_or_default();
    LogRecord { topic, partition, offset, timestamp_ms, key, value, headers }
}

fn account(input: &mut Input<'_>) -> Account {
    let class = ErrorClass::ALL[usize::from(input.byte()) % ErrorClass::ALL.len()];
    let time = |micros: u64| Timestamp::from_micros((micros % (1 << 52)) as i64);
    Account {
        role: input.text(),
        group: input.text(),
        class,
        error: input.text(),
        path: Some(input.text()).filter(|path| !path.is_empty()),
        attempts: input.byte().into(),
        first_failure: time(input.number()),
        last_failure: time(input.number()),
    }
}

fn lying(letter: Record) -> LogRecord {
    LogRecord {
        topic: letter.topic,
        partition: letter.partition.unwrap_or_default(),
        offset: 7,
        timestamp_ms: 0,
        key: letter.key,
        value: letter.value,
        headers: letter.headers,
    }
}

/// A good record of every topic, and the dead letter of one.
fn samples() -> Vec<Vec<u8>> {
    let topics = Catalogue::get().topics().zip(0_u8..);
    let mut samples: Vec<Vec<u8>> = topics
        .filter_map(|(topic, nth)| {
            let body = fixtures(topic.event?.name()).swap_remove(0);
            let headers = Headers::build([("ce_id", "7"), ("tapedeck-root", "market.v1/3/41"), ("x", "y")]);
            Some(sample(nth, &[b"key", body.as_slice(), headers.as_bytes()]))
        })
        .collect();
    let mut input = Input(&samples[0]);
    let letter = dead_letter(&record(&mut input), &account(&mut Input(b"\x01")), 1 << 20);
    let body = letter.value.unwrap_or_default();
    samples.push(sample(0, &[b"key", &body, letter.headers.as_bytes()]));
    assert!(samples.len() > EventKind::ALL.len() / 2, "most events have a topic");
    samples
}

fn sample(topic: u8, of: &[&[u8]]) -> Vec<u8> {
    let account = [b"role".as_slice(), b"group", b"it failed", b"$.price"];
    [&[topic, 0, 1], [9; 16].as_slice(), &parts(of), &[1], &parts(account), &[3], &[8; 24]].concat()
}
