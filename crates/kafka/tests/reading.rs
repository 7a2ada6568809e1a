//! A reader on a real broker, where Kafka does what the embedded log cannot:
//! transactions that abort or stay open, topics that go, records larger than
//! what is fetched ahead.
//!
//! Not here: what every log does, which the conformance suite asks.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]
#![expect(clippy::print_stdout, reason = "one of them measures")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    GroupOffset, Headers, Log, LogError, LogRecord, PollLimits, Polled, Reader, Record, TopicConfig, TopicPartition,
};
use tapedeck_testbed::{self as testbed, until};

const LIMITS: PollLimits = PollLimits { max_records: 500, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
const PATIENCE: Duration = Duration::from_secs(30);

fn config(bootstrap: String) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("reading")),
        session_timeout_ms: 6_000,
        // Brokers of a busy machine take their time.
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        ..KafkaConfig::default()
    }
}

fn topic(log: &dyn Log, name: &str, partitions: u32) {
    let name = name.into();
    let config = TopicConfig { name, partitions, retention: None, retention_bytes: None, delete: true, compact: false };
    log.create_topics(&[config]).unwrap();
}

fn record(topic: &str, partition: u32, value: impl Into<Bytes>) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: None,
        value: Some(value.into()),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn values(records: &[LogRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap()).collect()
}

/// A producer of somebody else's, with a transaction begun.
fn transaction(config: &KafkaConfig, id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &config.bootstrap_servers)
        .set("transactional.id", format!("{}{id}", config.prefix))
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

fn send(producer: &BaseProducer, config: &KafkaConfig, topic: &str, value: &str) {
    let name = format!("{}{topic}", config.prefix);
    producer.send(BaseRecord::<str, str>::to(&name).partition(0).payload(value)).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

fn read_to(reader: &mut dyn Reader, place: &TopicPartition, end: u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    until("the reader comes to the end", || {
        records.extend(reader.poll(LIMITS).unwrap());
        (reader.position(place) == Some(end)).then_some(())
    });
    records
}

/// The end, once no transaction is under way: markers come after who ended it was
/// answered.
fn settled_end(log: &dyn Log, place: &TopicPartition) -> u64 {
    until("transactions have ended", || {
        let (written, stable) = (log.written_end(place).unwrap(), log.bounds(place).unwrap().1);
        (written == stable).then_some(stable)
    })
}

#[test]
fn a_position_moves_over_markers_and_aborted_records() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let config = config(bootstrap);
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "aborted", 1);
    let place = TopicPartition::new("aborted", 0);
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), 0)]).unwrap();

    let producer = transaction(&config, "writer");
    send(&producer, &config, "aborted", "never");
    producer.abort_transaction(PATIENCE).unwrap();
    let end = settled_end(&*log, &place);
    assert_eq!(end, 2, "a record and a marker");
    assert!(read_to(&mut *reader, &place, end).is_empty());

    producer.begin_transaction().unwrap();
    send(&producer, &config, "aborted", "seen");
    producer.commit_transaction(PATIENCE).unwrap();
    let end = settled_end(&*log, &place);
    assert_eq!(values(&read_to(&mut *reader, &place, end)), ["seen"]);

    producer.begin_transaction().unwrap();
    send(&producer, &config, "aborted", "never");
    producer.abort_transaction(PATIENCE).unwrap();
    let end = settled_end(&*log, &place);
    let mut member = log.join("aborted", "a", &["aborted".into()]).unwrap();
    let mut taken = Vec::new();
    until("the member comes to the end", || {
        if let Polled::Records(records) = member.poll(LIMITS).unwrap() {
            taken.extend(records);
        }
        (member.position(&place) == Some(end)).then_some(())
    });
    assert_eq!(values(&taken), ["seen"]);
    let next = GroupOffset { partition: place, next: end };
    member.commit(std::slice::from_ref(&next)).unwrap();
    assert_eq!(log.committed("aborted").unwrap(), [next]);
}

#[test]
fn a_position_waits_before_an_open_transaction() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let config = config(bootstrap);
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "open", 1);
    let place = TopicPartition::new("open", 0);
    log.append(vec![record("open", 0, "before")]).unwrap();
    let producer = transaction(&config, "writer");
    send(&producer, &config, "open", "later");
    let (stable, written) = (log.bounds(&place).unwrap().1, log.written_end(&place).unwrap());
    assert!(stable < written);

    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), 0)]).unwrap();
    assert_eq!(values(&read_to(&mut *reader, &place, stable)), ["before"]);
    assert!(reader.poll(LIMITS).unwrap().is_empty());
    assert_eq!(reader.position(&place), Some(stable), "what may still be aborted is not passed");

    producer.commit_transaction(PATIENCE).unwrap();
    let end = settled_end(&*log, &place);
    assert!(end > written, "a marker");
    assert_eq!(values(&read_to(&mut *reader, &place, end)), ["later"]);
}

#[test]
fn a_place_that_is_not_there_is_named_to_readers_and_members() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "short", 1);
    let place = TopicPartition::new("short", 0);
    log.append((0..5).map(|n| record("short", 0, n.to_string())).collect()).unwrap();
    let is_named = |error: LogError| match error {
        LogError::OutOfRange { partition, wanted: 77, start: 0, end: 5 } => assert_eq!(partition, place),
        other => panic!("{other:?}"),
    };

    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), 77)]).unwrap();
    is_named(until("the reader is told", || reader.poll(LIMITS).err()));
    is_named(until("and told again", || reader.poll(LIMITS).err()));
    reader.assign(&[(place.clone(), 3)]).unwrap();
    assert_eq!(values(&read_to(&mut *reader, &place, 5)), ["3", "4"]);

    log.reset_offsets("short", &[GroupOffset { partition: place.clone(), next: 77 }]).unwrap();
    let mut member = log.join("short", "a", &["short".into()]).unwrap();
    is_named(until("the member is told", || member.poll(LIMITS).err()));
    member.seek(&place, 4).unwrap();
    let taken = until("the member reads from where it may", || match member.poll(LIMITS).unwrap() {
        Polled::Records(records) if !records.is_empty() => Some(records),
        _ => None,
    });
    assert_eq!(values(&taken), ["4"]);
}

#[test]
fn a_topic_deleted_under_a_reader_is_an_error_that_says_so() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "going", 1);
    let place = TopicPartition::new("going", 0);
    log.append(vec![record("going", 0, "last")]).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place.clone(), 0)]).unwrap();
    assert_eq!(values(&read_to(&mut *reader, &place, 1)), ["last"]);
    log.delete_topics(&["going".into()]).unwrap();
    let error = until("the reader is told", || reader.poll(LIMITS).err());
    assert!(matches!(&error, LogError::Fatal(text) if text.contains("going/0 is gone")), "{error:?}");
    assert_eq!(reader.position(&place), Some(1));
}

#[test]
fn a_record_larger_than_what_is_fetched_ahead_still_comes() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&KafkaConfig { fetch_bytes: 1, ..config(bootstrap) }).unwrap();
    topic(&*log, "large", 2);
    let noise = |n: usize| (0..900_000).map(|at| ((at * at + n) >> 3) as u8).collect::<Vec<_>>();
    for n in 0..6 {
        log.append(vec![record("large", n as u32 % 2, noise(n))]).unwrap();
    }
    let mut reader = log.reader().unwrap();
    reader.assign(&[(TopicPartition::new("large", 0), 0), (TopicPartition::new("large", 1), 0)]).unwrap();
    let mut records = Vec::new();
    until("all records came", || {
        let polled = reader.poll(PollLimits { max_bytes: 1, ..LIMITS }).unwrap();
        assert!(polled.len() <= 1);
        records.extend(polled);
        (records.len() == 6).then_some(())
    });
    for n in 0..6 {
        assert!(records.iter().any(|record| record.value.as_deref() == Some(&noise(n)[..])), "record {n}");
    }
}

#[test]
fn headers_of_other_clients_are_read() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let config = config(bootstrap);
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "headers", 1);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &config.bootstrap_servers).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "twice", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> })
        .insert(Header { key: "twice", value: Some("2") });
    let name = format!("{}headers", config.prefix);
    let sent = producer.send(BaseRecord::<str, str>::to(&name).partition(0).headers(headers));
    sent.map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    let mut reader = log.reader().unwrap();
    let place = TopicPartition::new("headers", 0);
    reader.assign(&[(place.clone(), 0)]).unwrap();
    let read = read_to(&mut *reader, &place, 1);
    assert_eq!((&read[0].key, &read[0].value), (&None, &None));
    let expected: [(&str, &[u8]); 3] = [("twice", b"1"), ("none", b""), ("twice", b"2")];
    assert_eq!(read[0].headers.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_reader_that_turns_to_other_places_brings_nothing_of_before() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    topic(&*log, "turns", 2);
    log.append((0..2_000).map(|n| record("turns", n % 2, n.to_string())).collect()).unwrap();
    let mut reader = log.reader().unwrap();
    for round in 0..20_u64 {
        let (place, from) = (TopicPartition::new("turns", (round % 2) as u32), 1_000 - 50 * round);
        reader.assign(&[(place.clone(), from)]).unwrap();
        assert_eq!(reader.position(&place), Some(from));
        if round % 3 == 0 {
            continue; // What was asked for there is on its way, and comes late.
        }
        let read = read_to(&mut *reader, &place, 1_000);
        let expected: Vec<_> = (from..1_000).map(|n| (2 * n + round % 2).to_string()).collect();
        assert_eq!(values(&read), expected);
    }
}

/// What reading costs beside rdkafka's own consumer, in the same run.
#[test]
#[ignore = "measures; run it alone"]
fn rates_of_reading() {
    use rdkafka::{
        Message as _, Offset, TopicPartitionList,
        consumer::{BaseConsumer, Consumer as _},
    };
    let Some(bootstrap) = testbed::kafka() else { return };
    let config = config(bootstrap);
    let log = KafkaLog::connect(&config).unwrap();
    topic(&*log, "rates", 4);
    const COUNT: usize = 400_000;
    let headers = Headers::build((0..8).map(|n| (["ce_id", "ce_type", "ce_source", "ce_time"][n % 4], [b'h'; 24])));
    for chunk in 0..COUNT / 10_000 {
        let one = |n| Record {
            headers: headers.clone(),
            ..record("rates", (chunk * 10_000 + n) as u32 % 4, vec![b'v'; 200])
        };
        log.append((0..10_000).map(one).collect()).unwrap();
    }
    let places: Vec<_> = (0..4).map(|n| (TopicPartition::new("rates", n), 0)).collect();
    for round in 0..3 {
        let begin = std::time::Instant::now();
        let mut reader = log.reader().unwrap();
        reader.assign(&places).unwrap();
        let mut count = 0;
        while count < COUNT {
            count += reader.poll(PollLimits { max_records: 5_000, max_bytes: 8 << 20, ..LIMITS }).unwrap().len();
        }
        let ours = begin.elapsed();
        let begin = std::time::Instant::now();
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &config.bootstrap_servers)
            .set("group.id", format!("{}plain", config.prefix))
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for n in 0..4 {
            list.add_partition_offset(&format!("{}rates", config.prefix), n, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut count, mut bytes) = (0, 0);
        while count < COUNT {
            if let Some(Ok(message)) = consumer.poll(LIMITS.timeout) {
                let owned = message.detach();
                bytes += owned.payload().unwrap().len();
                count += 1;
            }
        }
        assert_eq!(bytes, 200 * COUNT);
        let plain = begin.elapsed();
        let rate = |took: Duration| COUNT as f64 / took.as_secs_f64();
        println!(
            "round {round}: {:.0} records/s, plain rdkafka with owned messages {:.0}, ratio {:.2}",
            rate(ours),
            rate(plain),
            ours.as_secs_f64() / plain.as_secs_f64()
        );
    }
    let begin = std::time::Instant::now();
    const READERS: u32 = 20;
    for n in 0..READERS {
        let mut reader = log.reader().unwrap();
        reader.assign(&[(TopicPartition::new("rates", n % 4), 1000)]).unwrap();
        until("a record", || (!reader.poll(PollLimits { max_records: 1, ..LIMITS }).unwrap().is_empty()).then_some(()));
    }
    println!("a reader made, one record read, and dropped: {:?}", begin.elapsed() / READERS);
    let _: Arc<KafkaLog> = log;
}
