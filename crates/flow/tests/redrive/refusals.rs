//! What is not sent, and what is said of it.
//!
//! Not here: what is sent.

use tapedeck_contracts::headers::REDRIVE;
use tapedeck_flow::redrive::{Action, Filter, Order};
use tapedeck_log::{Headers, Log, Record};

use crate::tape::{GROUP, TOPIC, Tape, account, replay, time};

#[test]
fn a_record_that_failed_too_often_is_sent_again_only_where_it_is_forced() {
    let tape = Tape::new();
    let record = tape.write(0, "k", "v", Headers::build([(REDRIVE, format!("{GROUP}/3"))]));
    let (place, id) = tape.bury(&record, &account("no"));
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.done, report.refused, tape.open()), (0, 1, 1));
    let refusal = &report.refusals[0];
    assert_eq!((&refusal.place, refusal.id), (&place, id));
    assert!(refusal.reason.contains("sent again 3 times") && refusal.reason.contains("--force"), "{}", refusal.reason);
    let action = Action::Replay { max_redrives: 3, force: true, rate_per_s: 1_000 };
    assert_eq!(tape.run(&Order { action, ..replay(Filter::default()) }).1.done, 1);
    let sent = tape.read(TOPIC, 0, 1).remove(0);
    assert_eq!(
        sent.headers,
        Headers::build([("ce_id", sent.headers.text("ce_id").unwrap()), (REDRIVE, "tapedeck.recorder/4")])
    );
}

#[test]
fn a_value_that_did_not_fit_comes_from_where_the_record_lies_or_is_refused() {
    let tape = Tape::new();
    let big = "x".repeat(5_000);
    let record = tape.write(0, "k", &big, Headers::build([("h", "1")]));
    tape.bury_within(&record, &account("no"), 3_000);
    let mut elsewhere = record.clone();
    elsewhere.offset = 77;
    let (gone, _) = tape.bury_within(&elsewhere, &account("no"), 3_000);
    tape.write(0, "k", "another one", Headers::new());
    let mut changed = record.clone();
    changed.offset = 1;
    let (other, _) = tape.bury_within(&changed, &account("no"), 3_000);
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.done, report.refused), (1, 2));
    let sent = tape.read(TOPIC, 0, 2).remove(0);
    assert_eq!((&sent.value, &sent.key), (&record.value, &record.key));
    assert_eq!(sent.headers.text("h"), Some("1"));
    for (place, words) in [(gone, "holds no record any more"), (other, "holds another record now")] {
        let refusal = report.refusals.iter().find(|refusal| refusal.place == place).unwrap();
        assert!(refusal.reason.contains(words) && refusal.reason.contains("value (5000 bytes)"), "{}", refusal.reason);
    }
}

#[test]
fn a_record_at_the_size_limit_is_refused_with_the_sizes() {
    let tape = Tape::new();
    let largest = tape.log.max_record_bytes();
    let bare = tape.write(0, "k", "", Headers::new());
    let head = Record {
        topic: TOPIC.into(),
        partition: None,
        key: bare.key,
        value: None,
        headers: Headers::new(),
        timestamp_ms: None,
    };
    let record = tape.write(0, "k", &"x".repeat(largest - head.bytes()), Headers::new());
    tape.bury(&record, &account("no"));
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.done, report.refused), (0, 1));
    assert!(report.refusals[0].reason.contains(&format!("the log takes {largest}")), "{:?}", report.refusals);
}

#[test]
fn what_somebody_else_wrote_there_is_counted_and_left_alone() {
    let tape = Tape::new();
    tape.buried(2);
    let stranger = tape.write(0, "k", "v", Headers::new());
    let stranger = Record {
        topic: "alerts.v1.dlq".into(),
        partition: Some(0),
        key: stranger.key,
        value: None,
        headers: stranger.headers,
        timestamp_ms: None,
    };
    tape.log.append(vec![stranger]).unwrap();
    let (_, report) = tape.run(&replay(Filter::default()));
    assert_eq!((report.done, report.unreadable), (2, 1));
}

#[test]
fn who_is_asked_for_by_name_and_is_not_open_is_told() {
    let tape = Tape::new();
    let ids = tape.buried(2);
    let named = |ids: &[tapedeck_flow::redrive::LetterId], places: &[&str]| Filter {
        ids: ids.iter().copied().collect(),
        places: places.iter().map(|place| (*place).to_owned()).collect(),
        ..Filter::default()
    };
    let (_, report) = tape.run(&replay(named(&[ids[0]], &["alerts.v1.dlq/1/0", "alerts.v1.dlq/1/9"])));
    assert_eq!(report.done, 2);
    assert!(
        report.missing.len() == 1 && report.missing[0].starts_with("alerts.v1.dlq/1/9: there is no"),
        "{:?}",
        report.missing
    );
    let (_, report) = tape.run(&replay(named(&[ids[0]], &[])));
    assert_eq!(report.done, 0);
    assert!(report.missing[0].contains("was redriven at 2026-01-02"), "{:?}", report.missing);
    let (_, report) = tape.run(&replay(named(&[], &["alerts.v1.dlq/1/0"])));
    assert_eq!(report.examined, 1, "only the place is read");
    assert!(report.missing[0].contains("was redriven"), "{:?}", report.missing);
}

#[test]
fn every_part_of_a_filter_counts() {
    let tape = Tape::new();
    tape.buried(4);
    let later = tapedeck_flow::dead_letter::Account {
        last_failure: time("2026-02-01T00:00:00Z"),
        class: tapedeck_flow::dead_letter::ErrorClass::Handler,
        ..account("model 7 is unknown")
    };
    let record = tape.write(1, "ACC-9", "v", Headers::new());
    let (_, id) = tape.bury(&record, &later);
    let filters = [
        Filter { topic: Some(TOPIC.into()), error: Some("model 7".into()), ..Filter::default() },
        Filter { class: Some(tapedeck_flow::dead_letter::ErrorClass::Handler), ..Filter::default() },
        Filter { key: Some("ACC-9".into()), ..Filter::default() },
        Filter { from: Some(time("2026-01-15T00:00:00Z")), ..Filter::default() },
        Filter { ids: [id].into(), group: Some(GROUP.into()), ..Filter::default() },
    ];
    for filter in filters {
        let (_, report) = tape.run(&Order { dry_run: true, ..replay(filter.clone()) });
        assert_eq!(report.samples.iter().map(|sample| sample.id).collect::<Vec<_>>(), [id], "{filter:?}");
    }
    let before = Filter { to: Some(time("2026-01-15T00:00:00Z")), ..Filter::default() };
    assert_eq!(tape.run(&Order { dry_run: true, ..replay(before) }).1.done, 4);
    let elsewhere = Filter { topic: Some("exec.reports.v1".into()), ..Filter::default() };
    assert_eq!(tape.run(&Order { dry_run: true, ..replay(elsewhere) }).1.examined, 0);
}
