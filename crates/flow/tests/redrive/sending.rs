//! What is sent, to whom, and how often.
//!
//! Not here: what is refused.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use tapedeck_contracts::headers::{CE_ID, Place, REDRIVE};
use tapedeck_flow::{
    Boundaries, Boundary, Failure, Seat,
    redrive::{Action, Ended, Filter, Forward, Newest, Order, SEAT, Scanned, Status, parts},
};
use tapedeck_log::{Headers, Log};

use crate::tape::{GROUP, TOPIC, Tape, account, purge, replay};

#[test]
fn a_redriven_record_is_the_record_as_it_was_and_names_its_group() {
    let tape = Tape::new();
    let headers = Headers::build([("traceparent", "00-a"), (CE_ID, "event-1"), ("strange", "1"), ("strange", "2")]);
    let record = tape.write(3, "ACC-1", "{\"a\":1}", headers.clone());
    let (_, id) = tape.bury(&record, &account("no"));
    let (ended, report) = tape.run(&replay(Filter::default()));
    assert_eq!((ended.unwrap(), report.done, report.refused), (Ended::Done, 1, 0));
    let again = &tape.read(TOPIC, 3, 0)[1];
    assert_eq!((&again.key, &again.value), (&record.key, &record.value));
    assert_eq!(again.headers, headers.with(REDRIVE, "tapedeck.recorder/1"));
    let register = tape.register.lock().unwrap();
    assert_eq!(register.get(id).map(|closed| (closed.status, closed.n)), Some((Status::Redriven, 1)));
    let entry = register.entry(tape.log.as_ref(), id).unwrap().unwrap();
    assert_eq!((entry.actor.as_str(), entry.reason.as_str()), ("local", "the schema was corrected"));
    assert_eq!((entry.topic.as_str(), entry.group.as_str()), (TOPIC, GROUP));
}

#[test]
fn a_record_without_an_id_keeps_the_one_of_its_first_place_however_often_it_is_sent() {
    let tape = Tape::new();
    let record = tape.write(1, "k", "not json", Headers::new());
    let id = tapedeck_contracts::EventId::from_place(TOPIC, 1, 0).0;
    tape.bury(&record, &account("no"));
    tape.run(&replay(Filter::default())).0.unwrap();
    let first = tape.read(TOPIC, 1, 1).remove(0);
    assert_eq!(first.headers.text(CE_ID), Some(id.as_str()));
    tape.bury(&first, &account("no"));
    tape.run(&replay(Filter::default())).0.unwrap();
    let second = tape.read(TOPIC, 1, 2).remove(0);
    assert_eq!(second.headers, Headers::build([(CE_ID, id.as_str()), (REDRIVE, "tapedeck.recorder/2")]));
}

#[test]
fn each_is_sent_once_and_in_order_however_often_it_is_run() {
    let tape = Tape::new();
    tape.buried(1_203);
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.matched, report.done, report.examined, report.total), (1_203, 1_203, 1_203, 1_203));
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.matched, report.done, report.examined), (0, 0, 1_203));
    let sent = tape.sent();
    let wanted = |parity: usize| (0..1_203).filter(move |n| n % 2 == parity);
    let wanted: Vec<_> = wanted(0).chain(wanted(1)).map(|n| (format!("k{n}"), format!("{GROUP}/1"))).collect();
    assert_eq!(sent, wanted, "in the order of each partition");
    assert_eq!(tape.open(), 0);
}

#[test]
fn an_end_between_any_two_steps_loses_none_and_sends_none_twice() {
    for at in 1..=3 {
        let mut tape = Tape::new();
        tape.buried(1_600);
        let passed = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&passed);
        tape.boundaries = Boundaries::calling(move |boundary| {
            assert_eq!(boundary, Boundary::Redrive);
            if count.fetch_add(1, Relaxed) + 1 == at {
                panic!("the process ends here");
            }
        });
        let order = replay(Filter::default());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tape.run(&order)));
        assert!(ended.is_err());
        let sent = tape.sent().len();
        assert!(sent > 0 && sent < 1_600, "{sent} were sent when it ended");
        // Another process knows nothing of what this one remembered.
        tape.register = Default::default();
        assert_eq!(tape.run(&order).1.done, 1_600 - sent as u64);
        let mut keys: Vec<_> = tape.sent().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 1_600);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 1_600);
    }
}

#[test]
fn a_redrive_that_is_cancelled_stops_between_two_steps_and_goes_on_later() {
    let mut tape = Tape::new();
    tape.buried(1_600);
    let stop = tape.stop.clone();
    tape.boundaries = Boundaries::calling(move |_| stop.request());
    let (ended, report) = tape.run(&replay(Filter::default()));
    assert_eq!(ended.unwrap(), Ended::Cancelled);
    assert!(report.done >= 500 && report.done < 1_600, "{}", report.done);
    (tape.stop, tape.boundaries) = Default::default();
    assert_eq!(tape.run(&replay(Filter::default())).1.done, 1_600 - report.done);
    assert_eq!(tape.sent().len(), 1_600);
}

#[test]
fn a_dead_letter_that_was_written_twice_is_sent_once_and_both_are_done_with() {
    let tape = Tape::new();
    let record = tape.write(0, "k", "v", Headers::new());
    let (_, first) = tape.bury(&record, &account("no"));
    let (_, second) = tape.bury(&record, &account("no"));
    assert_eq!(first, second);
    assert_eq!(tape.run(&replay(Filter::default())).1.done, 1);
    assert_eq!((tape.sent().len(), tape.open()), (1, 0));
    // A group that was moved back fails on it again, days later.
    tape.bury(&record, &account("no"));
    assert_eq!(tape.open(), 1);
    assert_eq!(tape.run(&replay(Filter::default())).1.done, 0);
    assert_eq!((tape.sent().len(), tape.open()), (1, 0));
}

#[test]
fn the_dead_letter_of_another_group_is_sent_to_that_group() {
    let tape = Tape::new();
    let record = tape.write(0, "k", "v", Headers::new());
    tape.bury(&record, &account("no"));
    tape.bury(&record, &tapedeck_flow::dead_letter::Account { group: "tapedeck.notifier".into(), ..account("no") });
    let only = Filter { group: Some("tapedeck.notifier".into()), ..Filter::default() };
    assert_eq!(tape.run(&replay(only)).1.done, 1);
    assert_eq!(tape.sent(), [("k".to_owned(), "tapedeck.notifier/1".to_owned())]);
    assert_eq!(tape.open(), 1);
}

#[test]
fn what_was_purged_is_neither_sent_nor_open_and_lies_where_it_was() {
    let tape = Tape::new();
    let ids = tape.buried(3);
    let one = Filter { ids: [ids[1]].into(), ..Filter::default() };
    assert_eq!(tape.run(&purge(one)).1.done, 1);
    assert_eq!(tape.open(), 2);
    assert_eq!(tape.run(&replay(Filter::default())).1.done, 2);
    assert_eq!(tape.sent().iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["k0", "k2"]);
    assert_eq!(tape.read("alerts.v1.dlq", 1, 0).len(), 1);
    assert_eq!(tape.register.lock().unwrap().get(ids[1]).unwrap().status, Status::Purged);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_be_sent() {
    let tape = Tape::new();
    let ids = tape.buried(120);
    let (ended, report) = tape.run(&Order { dry_run: true, ..replay(Filter::default()) });
    assert_eq!((ended.unwrap(), report.done, report.samples.len()), (Ended::Done, 120, 100));
    assert_eq!(report.by[&(TOPIC.to_owned(), GROUP.to_owned())], 120);
    assert_eq!((report.samples[0].id, report.samples[0].n), (ids[0], 1));
    assert_eq!((tape.sent().len(), tape.open()), (0, 120));
}

#[test]
fn a_limit_and_a_rate_hold() {
    let tape = Tape::new();
    tape.buried(40);
    let action = Action::Replay { max_redrives: 3, force: false, rate_per_s: 100 };
    let began = std::time::Instant::now();
    let (_, report) = tape.run(&Order { limit: Some(30), action, ..replay(Filter::default()) });
    assert_eq!((report.done, tape.sent().len(), tape.open()), (30, 30, 10));
    assert!(began.elapsed().as_millis() >= 249, "the second chunk of 25 goes a quarter of a second after the first");
}

#[test]
fn only_one_redrives_at_a_time() {
    let tape = Tape::new();
    tape.buried(1);
    let mut seat = Seat::join(tape.log.as_ref(), SEAT, "another").unwrap();
    assert!(seat.wait(&tape.stop).unwrap());
    let (refused, _) = tape.run(&replay(Filter::default()));
    assert!(matches!(refused, Err(Failure::Refused(why)) if why.contains("another redrive")));
    drop(seat);
    assert_eq!(tape.run(&replay(Filter::default())).1.done, 1);
}

#[test]
fn people_see_the_newest_first_and_all_of_them_once() {
    let tape = Tape::new();
    tape.buried(300);
    let topics = tape.log.topics().unwrap();
    let all = parts(&topics, None);
    let mut newest = Newest::new(tape.log.as_ref(), all.clone());
    let mut seen: Vec<Place> = Vec::new();
    let mut ends = newest.ends();
    while let Some(scanned) = newest.next_record().unwrap() {
        seen.push(scanned.place().clone());
        ends = newest.ends();
        if seen.len() == 150 {
            // Another page begins where this one ends.
            let rest =
                all.iter().zip(&ends).map(|(part, end)| tapedeck_flow::redrive::Part { end: *end, ..part.clone() });
            newest = Newest::new(tape.log.as_ref(), rest.collect());
        }
    }
    assert_eq!(seen.len(), 300);
    assert!(ends.iter().all(|end| *end == 0));
    for partition in 0..2 {
        let offsets: Vec<u64> =
            seen.iter().filter(|place| place.partition == partition).map(|place| place.offset).collect();
        assert_eq!(offsets, (0..150).rev().collect::<Vec<_>>());
    }
    let mut forward = Vec::new();
    for part in &all {
        let _ = Forward::new(tape.log.as_ref())
            .each(part, &mut |scanned| {
                assert!(matches!(scanned, Scanned::Letter(_)));
                forward.push(scanned.place().offset);
                Ok(std::ops::ControlFlow::Continue(()))
            })
            .unwrap();
    }
    assert_eq!(forward, (0..150).chain(0..150).collect::<Vec<_>>());
}
