//! The emitter while all is well.
//!
//! Not here: outages.

use std::time::Duration;

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Alert, Severity},
};
use tapedeck_flow::{EmitError, Outbound, Ticket};
use tapedeck_log::Log;

use crate::{
    faulty::Mood,
    stage::{ALERTS, LONG, Stage, emit, get, numbers, read_all, record, topic},
};

fn alert() -> Outbound {
    let id = EventId::from("a-1");
    let alert = Alert {
        event_id: id.clone(),
        timestamp: Timestamp::from_millis(0),
        severity: Severity::Info,
        code: "C".into(),
        message: "m".into(),
        context: Default::default(),
        source: "test".into(),
        account: None,
        decision_id: None,
    };
    Outbound::first(ALERTS, id, Event::Alert(Box::new(alert)))
}

#[test]
fn what_is_emitted_is_in_the_log_in_order_when_its_ticket_is_durable() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 0..5_000);
    assert_eq!(last, Ticket(5_000));
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(producer.durable(), last);
    assert_eq!(stage.values(), numbers(0..5_000));
    assert_eq!(get(&emitter.stats().sent), 5_000);
    assert_eq!(emitter.close(LONG).remaining, 0);
}

#[test]
fn an_event_becomes_the_record_that_its_role_would_write() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let ticket = producer.emit(&alert(), "pricer").unwrap();
    assert!(producer.wait_durable(ticket, LONG));
    let written = read_all(stage.real.as_ref(), ALERTS).remove(0);
    let expected = alert().into_record("pricer").unwrap();
    assert_eq!((written.key, written.value, written.headers), (expected.key, expected.value, expected.headers));
}

#[test]
fn producers_keep_their_order_each() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let mut producer = emitter.producer().unwrap();
            scope.spawn(move || {
                let last = emit(&mut producer, thread * 10_000..thread * 10_000 + 2_000);
                assert!(producer.wait_durable(last, LONG));
            });
        }
    });
    let values: Vec<u64> = stage.values().iter().map(|value| value.parse().unwrap()).collect();
    for thread in 0..4_u64 {
        let own: Vec<u64> = values.iter().copied().filter(|value| value / 10_000 == thread).collect();
        assert_eq!(own, (thread * 10_000..thread * 10_000 + 2_000).collect::<Vec<_>>());
    }
}

#[test]
fn a_clean_close_leaves_no_ring_and_the_next_start_begins_empty() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..100);
    assert_eq!(emitter.close(LONG).remaining, 0);
    assert_eq!(stage.values(), numbers(0..100));
    assert!(!std::fs::read_to_string(stage.dir().join("rings")).unwrap().contains("ring "));
    assert!(matches!(producer.emit_record(&record("late")), Err(EmitError::Closed)));
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 100..200);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..200));
}

#[test]
fn a_topic_that_is_not_there_is_refused_until_it_is() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let mut wanted = record("1");
    wanted.topic = "new".into();
    assert!(matches!(producer.emit_record(&wanted), Err(EmitError::UnknownTopic(name)) if name == "new"));
    stage.real.create_topics(&[topic("new")]).unwrap();
    let ticket = loop {
        match producer.emit_record(&wanted) {
            Ok(ticket) => break ticket,
            Err(error) => assert!(matches!(error, EmitError::UnknownTopic(_))),
        }
    };
    assert_eq!(ticket, Ticket(1));
    assert!(producer.wait_durable(ticket, LONG));
}

#[test]
fn a_record_that_the_log_would_refuse_for_its_size_is_refused_at_once() {
    let mut stage = Stage::new(Mood::Well);
    stage.config.ring_bytes = 8 << 20;
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let max = stage.real.max_record_bytes();
    let fill = max - record("").bytes();
    let ticket = producer.emit_record(&sized(fill)).unwrap();
    assert!(producer.wait_durable(ticket, LONG));
    match producer.emit_record(&sized(fill + 1)) {
        Err(EmitError::TooLarge { bytes, max: limit }) => assert_eq!((bytes, limit), (max + 1, max)),
        other => panic!("{other:?}"),
    }
}

fn sized(bytes: usize) -> tapedeck_log::Record {
    let mut record = record("");
    record.value = Some(vec![b'x'; bytes].into());
    record
}

#[test]
fn a_second_emitter_on_a_folder_is_refused() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let error = stage.open().err().unwrap().to_string();
    assert!(error.contains("in use"), "{error}");
    emitter.close(Duration::ZERO);
    stage.open().unwrap();
}

#[test]
fn the_ring_of_a_producer_that_is_gone_is_deleted_when_it_is_sent() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..10);
    drop(producer);
    let list = || std::fs::read_to_string(stage.dir().join("rings")).unwrap();
    let begin = std::time::Instant::now();
    while list().contains("ring ") {
        assert!(begin.elapsed() < LONG, "{}", list());
        std::thread::yield_now();
    }
    assert_eq!(stage.values(), numbers(0..10));
}
