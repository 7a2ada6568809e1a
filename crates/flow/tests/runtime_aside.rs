//! What becomes of records that can never be handled, on a real log: a dead letter
//! each, and everybody else goes on; or, where that is asked for, an end of their
//! partition.
//!
//! Not here: how a dead letter looks, which is tested beside its code.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{collections::BTreeSet, sync::Arc, sync::atomic::Ordering::SeqCst};

use common::{Bad, Counter, Running, Tape, alert, raw, values};
use tapedeck_contracts::headers::Place;
use tapedeck_flow::{Aside, Delivery, Phase, dead_letter::ErrorClass};
use tapedeck_log::{Headers, Log, Record};

const LOUD: &str = r#"{"event_id":"x","timestamp":"2024-01-01T00:00:00Z","severity":"LOUD"}"#;

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

fn at(partition: u32, offset: u64) -> Place {
    Place { topic: common::INPUT.into(), partition, offset }
}

#[test]
fn a_record_that_cannot_be_read_becomes_a_dead_letter_and_costs_nobody_else() {
    let tape = Tape::new();
    let strange = Record {
        key: None,
        value: Some(vec![0xff, 0x00].into()),
        headers: Headers::new().with("own", "header"),
        ..alert(1, "never")
    };
    let nothing = Record { value: None, ..alert(1, "never") };
    tape.log.append(vec![alert(0, "a"), raw(0, LOUD), alert(0, "b"), strange.clone(), alert(1, "c"), nothing]).unwrap();
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let copied = values(&tape.outputs(3));
    let letters = tape.letters(3);
    running.end().unwrap();
    assert_eq!(copied.into_iter().collect::<BTreeSet<_>>(), set(&["a", "b", "c"]));
    assert_eq!((tape.kept(0), tape.kept(1)), ((2, Some(3)), (1, Some(3))), "the positions are past them");
    let letter = |place: Place| letters.iter().find(|letter| letter.origin == place).unwrap();
    let invalid = letter(at(0, 1));
    assert_eq!((invalid.account.class, invalid.account.path.as_deref()), (ErrorClass::Invalid, Some("$.severity")));
    assert_eq!((invalid.account.group.as_str(), invalid.account.attempts), ("tapedeck.counter", 1));
    assert_eq!(invalid.value.as_deref(), Some(LOUD.as_bytes()));
    let undecodable = letter(at(1, 0));
    assert_eq!(undecodable.account.class, ErrorClass::Undecodable);
    assert_eq!(
        (&undecodable.key, &undecodable.value, &undecodable.headers),
        (&None, &strange.value, &strange.headers),
        "key, value and headers are untouched"
    );
    assert_eq!((letter(at(1, 2)).value.clone(), letter(at(1, 2)).account.class), (None, ErrorClass::Undecodable));
    assert_eq!((gauges.poison.load(SeqCst), gauges.dead_letters.load(SeqCst)), (3, 3));
    assert_eq!(gauges.phase(), Phase::Stopped);
}

#[test]
fn a_topic_of_bad_records_alone_is_gone_through_and_not_again_after_a_restart() {
    let tape = Tape::new();
    let bad = |n: usize| Record { headers: Headers::new().with("n", n.to_string()), ..raw((n % 2) as u32, "{") };
    tape.log.append((0..3_000).map(bad).collect()).unwrap();
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    let letters = tape.letters(3_000);
    running.end().unwrap();
    assert_eq!(
        letters.iter().map(|letter| letter.origin.clone()).collect::<std::collections::HashSet<_>>().len(),
        3_000
    );
    let running = Running::start(tape.setup("two"), Counter::default(), tape.step());
    tape.produce(0, ["a"]);
    tape.outputs(1);
    running.end().unwrap();
    assert_eq!(tape.letters_len(), 3_000);
}

#[test]
fn a_record_that_the_handler_refuses_costs_neither_its_batch_nor_the_state() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "bad", "c"]);
    tape.produce(1, ["d", "e"]);
    let refuse = |delivery: &Delivery| match delivery.id.as_str() {
        "bad" => Err(Bad::Poison("no such account".to_owned())),
        _ => Ok(()),
    };
    let running = Running::start(tape.setup("one"), Counter::with(refuse), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let records = tape.outputs(5);
    let letter = tape.letters(1).remove(0);
    running.end().unwrap();
    assert_eq!(values(&records).into_iter().collect::<BTreeSet<_>>(), set(&["a", "b", "c", "d", "e"]));
    assert_eq!((tape.kept(0), tape.kept(1)), ((3, Some(4)), (2, Some(2))));
    assert_eq!((letter.origin, letter.account.class), (at(0, 2), ErrorClass::Handler));
    assert_eq!((letter.account.error.as_str(), letter.account.attempts), ("no such account", 1));
    assert_eq!(gauges.dead_letters.load(SeqCst), 1);
}

#[test]
fn a_record_on_which_the_handler_always_panics_is_found_and_tried_five_times() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c", "d", "e"]);
    tape.produce(1, ["f"]);
    let panics = |delivery: &Delivery| {
        assert!(delivery.id.as_str() != "d", "stumbled");
        Ok(())
    };
    let running = Running::start(tape.setup("one"), Counter::with(panics), tape.step());
    let mut copied = values(&tape.outputs(5));
    let letter = tape.letters(1).remove(0);
    running.end().unwrap();
    copied.sort();
    assert_eq!(copied, ["a", "b", "c", "e", "f"]);
    assert_eq!((tape.kept(0), tape.kept(1)), ((4, Some(5)), (1, Some(1))));
    assert_eq!((letter.origin, letter.account.class, letter.account.attempts), (at(0, 3), ErrorClass::Panic, 5));
    assert!(letter.account.error.contains("stumbled"), "{}", letter.account.error);
    assert!(letter.account.first_failure < letter.account.last_failure);
}

#[test]
fn where_a_hole_is_worse_than_an_end_a_bad_record_stops_its_partition_and_no_other() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), raw(0, LOUD), alert(0, "b"), alert(1, "c")]).unwrap();
    let setup = tapedeck_flow::runtime::Setup { aside: Aside::Stop, ..tape.setup("one") };
    let running = Running::start(setup, Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    tape.outputs(2);
    tape.produce(1, ["d"]);
    let records = tape.outputs(3);
    let Phase::Blocked(message) = gauges.phase() else { panic!("not blocked: {:?}", gauges.phase()) };
    running.end().unwrap();
    assert_eq!(values(&records).into_iter().collect::<BTreeSet<_>>(), set(&["a", "c", "d"]));
    for part in ["alerts.v1/0/1", "$.severity", "stops at offset 1", "groups skip tapedeck.counter alerts.v1/0/1"] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    assert_eq!(tape.kept(0), (1, Some(1)), "what lies before the record is visible, the rest is in the log");
    assert_eq!(tape.kept(1), (2, Some(2)));
    assert_eq!((gauges.poison.load(SeqCst), tape.letters_len()), (1, 0));
}

#[test]
fn where_a_hole_is_worse_than_an_end_a_panic_on_a_record_stops_its_partition_and_no_other() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c", "d", "e"]);
    tape.produce(1, ["f"]);
    let panics = |delivery: &Delivery| match delivery.id.as_str() {
        "d" => panic!("stumbled"),
        "b" => Err(Bad::Unready("its model has not come".to_owned())).or(Ok(())),
        _ => Ok(()),
    };
    let setup = tapedeck_flow::runtime::Setup { aside: Aside::Stop, ..tape.setup("one") };
    let running = Running::start(setup, Counter::with(panics), tape.step());
    let gauges = Arc::clone(&running.gauges);
    let mut copied = values(&tape.outputs(4));
    tape.produce(1, ["g"]);
    tape.outputs(5);
    while !matches!(gauges.phase(), Phase::Blocked(_)) {
        std::thread::yield_now();
    }
    let Phase::Blocked(message) = gauges.phase() else { panic!("not blocked: {:?}", gauges.phase()) };
    running.end().unwrap();
    copied.sort();
    assert_eq!(copied, ["a", "b", "c", "f"]);
    assert_eq!((tape.kept(0), tape.kept(1)), ((3, Some(3)), (2, Some(2))));
    assert!(message.contains("alerts.v1/0/3") && message.contains("stumbled"), "{message}");
}
