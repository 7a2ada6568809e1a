//! The emitter while the log is away.
//!
//! Not here: the end of the process.

use tapedeck_flow::{BreakerState, EmitError};

use crate::{
    faulty::Mood,
    stage::{LONG, Stage, emit, get, numbers, record, wait_for, without_repeats},
};

#[test]
fn what_is_emitted_while_the_log_is_down_is_sent_in_order_when_it_is_back() {
    let stage = Stage::new(Mood::Down);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..3_000);
    let stats = emitter.stats();
    wait_for("all is in the spool", &stats, |stats| get(&stats.spooled_records) == 3_000);
    assert_eq!(get(&stats.sent), 0);
    stage.log.set(Mood::Well);
    let last = emit(&mut producer, 3_000..4_000);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..4_000));
    wait_for("the spool is empty", &stats, |stats| get(&stats.spooled_bytes) == 0);
    // Now straight from the ring again.
    let last = emit(&mut producer, 4_000..4_100);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..4_100));
}

#[test]
fn the_breaker_opens_probes_and_closes() {
    let mut stage = Stage::new(Mood::Down);
    stage.config.breaker_open_ms = 200;
    let emitter = stage.emitter();
    let stats = emitter.stats();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 0..10);
    wait_for("it opens", &stats, |stats| stats.breaker_state() == BreakerState::Open);
    assert_eq!(get(&stats.send_failures), 3);
    stage.log.wait_calls(4);
    wait_for("the probe failed", &stats, |stats| get(&stats.send_failures) == 4);
    stage.log.set(Mood::Well);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stats.breaker_state(), BreakerState::Closed);
    assert_eq!(stage.values(), numbers(0..10));
}

#[test]
fn a_call_that_is_answered_late_keeps_the_order_and_doubles_nothing() {
    let stage = Stage::new(Mood::Late);
    let emitter = stage.emitter();
    let stats = emitter.stats();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..20);
    stage.log.wait_calls(1);
    emit(&mut producer, 20..500);
    wait_for("the time ran out more than once", &stats, |stats| get(&stats.send_failures) >= 2);
    assert_eq!(stage.log.calls(), 1, "no other call is made while one is out");
    stage.log.set(Mood::Well);
    let last = emit(&mut producer, 500..600);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..600));
}

#[test]
fn a_call_that_hung_and_failed_is_made_again_from_its_first_record() {
    let stage = Stage::new(Mood::Hanging);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 0..5_000);
    wait_for("the time ran out", &emitter.stats(), |stats| get(&stats.send_failures) >= 2);
    stage.log.set(Mood::Well);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..5_000));
}

#[test]
fn a_failure_that_wrote_all_the_same_gives_repeats_and_no_other_order() {
    let stage = Stage::new(Mood::Lying);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 0..200);
    stage.log.wait_calls(2);
    stage.log.set(Mood::Well);
    assert!(producer.wait_durable(last, LONG));
    let values = stage.values();
    assert!(values.len() > 200, "what was written twice is there twice");
    assert_eq!(without_repeats(&values), numbers(0..200));
}

#[test]
fn a_record_that_the_log_can_never_take_costs_itself_alone() {
    let stage = Stage::new(Mood::Picky);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    for n in 0..100 {
        let value = if n % 10 == 3 { format!("bad{n}") } else { n.to_string() };
        producer.emit_record(&record(&value)).unwrap();
    }
    let last = producer.emit_record(&record("100")).unwrap();
    assert!(producer.wait_durable(last, LONG));
    let good: Vec<String> = (0..=100).filter(|n| n % 10 != 3).map(|n| n.to_string()).collect();
    assert_eq!(stage.values(), good);
    assert_eq!(get(&emitter.stats().refused), 10);
    emitter.close(LONG);
    let aside = std::fs::read(stage.dir().join("refused/00000001.seg")).unwrap();
    let aside = String::from_utf8_lossy(&aside);
    assert!((0..10).all(|n| aside.contains(&format!("bad{}", n * 10 + 3))));
    let told: u64 = stage.alerts().iter().filter(|(code, _)| code == "EMITTER_REFUSED").map(|(_, count)| count).sum();
    assert!((1..=10).contains(&told));
}

#[test]
fn a_full_spool_refuses_and_every_drop_is_counted_and_alerted() {
    let mut stage = Stage::new(Mood::Down);
    stage.config.spool_max_bytes = 256 << 10;
    let emitter = stage.emitter();
    let stats = emitter.stats();
    let mut producer = emitter.producer().unwrap();
    let mut accepted = Vec::new();
    let mut dropped = 0;
    for n in 0_u64.. {
        match producer.emit_record(&record(&n.to_string())) {
            Ok(_) => accepted.push(n.to_string()),
            Err(EmitError::Full) => {
                producer.drop_counted();
                dropped += 1;
            }
            Err(other) => panic!("{other}"),
        }
        if dropped == 500 {
            break;
        }
    }
    assert!(get(&stats.spooled_bytes) <= 256 << 10);
    assert_eq!((get(&stats.dropped), get(&stats.full)), (500, 500));
    stage.log.set(Mood::Well);
    wait_for("all is sent", &stats, |stats| get(&stats.sent) == accepted.len() as u64);
    assert_eq!(stage.values(), accepted);
    assert_eq!(emitter.close(LONG).remaining, 0);
    assert_eq!(stage.alerts(), [("EMITTER_DROPPED".to_owned(), 500)]);
}

#[test]
fn what_is_left_at_the_close_is_sent_by_the_next_start_before_anything_newer() {
    let stage = Stage::new(Mood::Down);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..1_000);
    assert_eq!(emitter.close(std::time::Duration::ZERO).remaining, 1_000);
    stage.log.set(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 1_000..1_500);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..1_500));
}

#[test]
fn a_slow_log_is_caught_up_by_way_of_the_spool() {
    let stage = Stage::new(Mood::Slow(30));
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    emit(&mut producer, 0..4_000);
    stage.log.set(Mood::Well);
    let last = emit(&mut producer, 4_000..4_001);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..4_001));
}

#[test]
fn a_log_that_panics_over_its_topics_is_written_to_all_the_same() {
    let stage = Stage::new(Mood::Well);
    let emitter = stage.emitter();
    let mut producer = emitter.producer().unwrap();
    let calls = stage.log.calls();
    stage.log.set(Mood::Panicking);
    let elsewhere = tapedeck_log::Record { topic: "unknown".into(), ..record("x") };
    assert!(matches!(producer.emit_record(&elsewhere), Err(EmitError::UnknownTopic(_))));
    stage.log.wait_calls(calls + 1);
    let last = emit(&mut producer, 0..10);
    assert!(producer.wait_durable(last, LONG));
    assert_eq!(stage.values(), numbers(0..10));
}
