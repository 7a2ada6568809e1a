//! Dead letters of the real program: seen, sent again once each, given up, and what
//! a kill in the middle leaves behind.
//!
//! Not here: what makes a record a dead letter.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::Path;

use bytes::Bytes;
use common::{Deck, Dice, eventually, json, run, stderr, stdout, text};
use serde_json::Value;
use tapedeck_contracts::{Timestamp, headers::REDRIVE};
use tapedeck_flow::{
    dead_letter::{Account, ErrorClass, dead_letter},
    topics,
};
use tapedeck_log::{
    Headers, Log, LogRecord, Record,
    embedded::{EmbeddedConfig, EmbeddedLog},
};

mod common;

const TOPIC: &str = "exec.reports.v1";
const POST: &str = "/api/v1/events/exec.reports.v1";
const GROUP: &str = "tapedeck.recorder";

/// A report of a whole fill at a price.
fn report(n: u64, fill: &str, price: &str) -> String {
    format!(
        r#"{{"event_id":"00000000-0000-4000-8000-{n:012}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.{n:06}Z","account":"ACC-1","venue":"X","symbol":"S","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"O{n}","client_order_id":"C{n}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"{price}"}},"fill":{{"fill_id":"{fill}","last_qty":"1","last_px":"{price}","liquidity":"TAKER"}},"costs":{{"commission":"0.1","currency":"USD","slippage_bps":0.4}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#
    )
}

/// The folder's log, while no process holds it.
fn open(dir: &Path) -> std::sync::Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(dir, EmbeddedConfig::default()).unwrap();
    log.create_topics(&topics::of_catalogue(None)).unwrap();
    log
}

/// Good reports that an earlier recorder could not take: it skips them where they
/// lie, since they were sent to another group, and their dead letters are its own.
fn bury_good(dir: &Path, numbers: std::ops::Range<u64>) {
    let log = open(dir);
    let record = |n: u64| Record {
        topic: TOPIC.into(),
        partition: Some((n % 8) as u32),
        key: Some(Bytes::from_static(b"S")),
        value: Some(Bytes::from(report(n, &format!("F{n}"), "100.5"))),
        headers: Headers::build([(REDRIVE, "nobody/1")]),
        timestamp_ms: None,
    };
    let records: Vec<Record> = numbers.map(record).collect();
    let placed = log.append_kept(&records).unwrap();
    let lies = |(record, placed): (Record, tapedeck_log::Placement)| LogRecord {
        topic: record.topic,
        partition: placed.partition,
        offset: placed.offset,
        timestamp_ms: 1,
        key: record.key,
        value: record.value,
        headers: record.headers,
    };
    let letters = records.into_iter().zip(placed).map(lies).map(|record| letter(&record)).collect();
    log.append(letters).unwrap();
}

fn letter(record: &LogRecord) -> Record {
    let at = Timestamp::parse("2026-01-03T00:00:00Z").unwrap();
    let account = Account {
        role: "recorder".into(),
        group: GROUP.into(),
        class: ErrorClass::Invalid,
        error: "`fill` is not known yet".into(),
        path: Some("$.fill.last_px".into()),
        attempts: 1,
        first_failure: at,
        last_failure: at,
    };
    dead_letter(record, &account, 1 << 20)
}

/// Waits until the recorder has taken all that was written.
fn caught_up(deck: &Deck) {
    eventually("the recorder to have caught up", || {
        let groups = deck.get("/api/admin/groups");
        let group = groups["items"].as_array()?.iter().find(|group| group["group"] == GROUP)?.clone();
        (group["lag_records"] == 0).then_some(())
    });
}

fn fills(deck: &Deck) -> Vec<String> {
    let mut fills: Vec<String> =
        deck.all("/api/fills").iter().map(|fill| fill["fill_id"].as_str().unwrap().to_owned()).collect();
    fills.sort();
    fills
}

fn names(numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut names: Vec<String> = numbers.map(|n| format!("F{n}")).collect();
    names.sort();
    names
}

fn replayed(data: &str, more: &[&str]) -> Value {
    let mut args = vec!["dlq", "replay", "--all", "--rate", "1000000", "--json", "--data", data];
    args.extend(more);
    json(&args)
}

#[test]
fn a_record_that_cannot_be_stored_is_seen_sent_again_and_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let deck = Deck::start(&["up", "--data", data]);
    for (n, fill, price) in [(1, "F1", "100.5"), (2, "F1", "99.5"), (3, "F3", "101.5")] {
        assert_eq!(deck.post(POST, "application/json", &report(n, fill, price)).0, 202);
    }
    let list = || json(&["dlq", "list", "--json", "--data", data]).as_array().unwrap().clone();
    let found = eventually("the dead letter", || list().first().cloned());
    assert_eq!((&found["topic"], &found["group"], &found["class"]), (&TOPIC.into(), &GROUP.into(), &"store".into()));
    let (place, id) = (found["place"].as_str().unwrap(), found["id"].as_str().unwrap());
    let shown = stdout(&run(&["dlq", "show", id, "--data", data]));
    for words in [id, place, "class      store", "\"last_px\": \"99.5\"", &format!("tapedeck dlq replay {place}")] {
        assert!(shown.contains(words), "no `{words}` in {shown}");
    }
    let groups = json(&["dlq", "groups", "--json", "--data", data]);
    assert_eq!((&groups[0]["count"], &groups[0]["example"]), (&1.into(), &id.into()));

    // Its cause is not gone: it fails again each time, until the guard says no.
    for n in 1..=3_u64 {
        assert_eq!(replayed(data, &[])["done"], 1);
        let again = eventually("it to fail again", || list().first().cloned());
        assert_eq!(again["redrives"], n, "{again}");
    }
    let refused = run(&["dlq", "replay", "--all", "--data", data]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stdout(&refused).contains("1 refused") && stdout(&refused).contains("--force"), "{}", stdout(&refused));
    let last = list()[0]["place"].as_str().unwrap().to_owned();
    let purged = run(&["dlq", "purge", &last, "--reason", "sent twice with two prices", "--data", data]);
    assert!(purged.status.success(), "{}", stderr(&purged));
    assert_eq!(stdout(&purged).trim(), format!("1 of {TOPIC} purged for {GROUP}"));
    assert!(list().is_empty());
    let all = json(&["dlq", "list", "--all", "--json", "--data", data]);
    let states: Vec<&Value> = all.as_array().unwrap().iter().map(|item| &item["status"]).collect();
    assert_eq!(states, ["purged", "redriven", "redriven", "redriven"]);
    assert_eq!(fills(&deck), ["F1", "F3"]);

    let audit = deck.get("/api/admin/records?topic=audit-logs");
    let actions: Vec<&str> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["value"]["data"]["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions.iter().filter(|action| **action == "dlq.replay").count(), 4);
    assert_eq!(actions[actions.len() - 2..], ["dlq.purge", "dlq.purge.ended"]);
    let entry = &audit["items"].as_array().unwrap()[actions.len() - 2]["value"]["data"];
    assert_eq!(entry["reason"], "sent twice with two prices");
    assert_eq!(entry["after"]["request"]["which"][0], last);
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn once_the_cause_is_gone_each_is_stored_once_and_no_other_group_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    bury_good(dir.path(), 100..1_300);
    // No process holds the folder: the command opens it itself.
    let dry = replayed(data, &["--dry-run"]);
    assert_eq!((&dry["done"], &dry["state"]), (&1_200.into(), &"done".into()));
    let deck = Deck::start(&["up", "--data", data]);
    caught_up(&deck);
    assert_eq!(fills(&deck), Vec::<String>::new());
    let first = json(&["dlq", "replay", "--topic", TOPIC, "--limit", "200", "--json", "--data", data]);
    assert_eq!(first["done"], 200);
    assert_eq!(replayed(data, &[])["done"], 1_000);
    assert_eq!(replayed(data, &[])["done"], 0);
    eventually("all of them", || (deck.all("/api/fills").len() == 1_200).then_some(()));
    caught_up(&deck);
    assert_eq!(fills(&deck), names(100..1_300));
    assert_eq!(json(&["dlq", "list", "--json", "--data", data]), Value::Array(Vec::new()));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn an_event_that_is_stored_already_is_not_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let deck = Deck::start(&["up", "--data", data]);
    assert_eq!(deck.post(POST, "application/json", &report(1, "F1", "100.5")).0, 202);
    eventually("the fill", || (deck.all("/api/fills").len() == 1).then_some(()));
    assert_eq!(deck.terminate(), 0);
    let log = open(dir.path());
    let place = (0..8)
        .map(|partition| tapedeck_log::TopicPartition::new(TOPIC, partition))
        .find(|place| log.bounds(place).unwrap().1 == 1)
        .unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(place, 0)]).unwrap();
    let limits =
        tapedeck_log::PollLimits { max_records: 1, max_bytes: 1 << 20, timeout: std::time::Duration::from_secs(5) };
    let stored = reader.poll(limits).unwrap().remove(0);
    log.append(vec![letter(&stored)]).unwrap();
    drop((reader, log));
    assert_eq!(replayed(data, &[])["done"], 1);
    let deck = Deck::start(&["up", "--data", data]);
    caught_up(&deck);
    assert_eq!(fills(&deck), ["F1"]);
    assert_eq!(json(&["dlq", "list", "--json", "--data", data]), Value::Array(Vec::new()), "nor is it a failure");
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_kill_in_the_middle_of_a_redrive_loses_none_and_stores_none_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    bury_good(dir.path(), 0..2_000);
    let mut dice = Dice::new(11);
    let replay = ["dlq", "replay", "--all", "--rate", "1000000", "--data", data];
    // At the boundary, and at moments that nobody chose.
    let killed = Deck::start_with(&["up", "--data", data], &[("TAPEDECK_KILL_AT", "redrive:2")]);
    let cut = run(&replay);
    assert!(!cut.status.success() && stderr(&cut).contains("goes on with what is still open"), "{}", stderr(&cut));
    killed.kill();
    for _ in 0..2 {
        let deck = Deck::start(&["up", "--data", data]);
        let body = r#"{"all":true,"rate":5000}"#;
        assert_eq!(deck.post("/api/admin/dlq/replay", "application/json", body).0, 202);
        let wanted = dice.below(500);
        eventually("a part to be sent again", || {
            let job = deck.get("/api/admin/dlq/jobs")["items"][0].clone();
            (job["done"].as_u64()? >= wanted || job["state"] != "running").then_some(())
        });
        deck.kill();
    }
    let deck = Deck::start(&["up", "--data", data]);
    let last = replayed(data, &[]);
    assert_eq!((&last["state"], &last["refused"]), (&"done".into(), &0.into()));
    eventually("all of them", || (deck.all("/api/fills").len() >= 2_000).then_some(()));
    caught_up(&deck);
    assert_eq!(fills(&deck), names(0..2_000));
    assert_eq!(deck.terminate(), 0);
    // In the log too each lies once behind the 2,000 that failed.
    let log = open(dir.path());
    let held: u64 = (0..8).map(|p| log.bounds(&tapedeck_log::TopicPartition::new(TOPIC, p)).unwrap().1).sum();
    assert_eq!(held, 4_000);
}

#[test]
fn ctrl_c_ends_a_redrive_between_two_steps_and_the_same_command_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    bury_good(dir.path(), 0..100);
    let deck = Deck::start(&["up", "--data", data]);
    let args = ["dlq", "replay", "--all", "--rate", "20", "--data", data];
    let mut child = common::tapedeck(&args).stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("a part to be sent again", || {
        (deck.get("/api/admin/dlq/jobs")["items"][0]["done"].as_u64()? > 0).then_some(())
    });
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(5));
    let job = deck.get("/api/admin/dlq/jobs")["items"][0].clone();
    assert_eq!(job["state"], "cancelled");
    let sent = job["done"].as_u64().unwrap();
    assert!(sent < 100, "it was ended in the middle");
    assert_eq!(replayed(data, &[])["done"], 100 - sent);
    eventually("all of them", || (deck.all("/api/fills").len() == 100).then_some(()));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_command_that_means_nothing_is_refused_with_words_and_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    bury_good(dir.path(), 0..1);
    let unknown = "00000000-0000-4000-8000-000000000001";
    let cases: [(&[&str], i32, &str); 12] = [
        (&["replay"], 3, "--all"),
        (&["replay", unknown], 3, "there is no such dead letter"),
        (&["replay", "7"], 3, "no id of a dead letter"),
        (&["replay", "exec.reports.v1/0/0"], 3, "no place of a dead letter"),
        (&["replay", "--class", "bad"], 3, "undecodable, invalid, schema, handler, panic, store"),
        (&["replay", "--topic", "exec.report.v1"], 3, "did you mean `exec.reports.v1`"),
        (&["replay", "--from", "soon"], 3, "--from: expected an RFC 3339 time with a zone, found \"soon\""),
        (&["purge", "--all"], 3, "--reason"),
        (&["purge", "--reason", "r"], 3, "--all"),
        (&["show", unknown], 3, "no dead letter has the id"),
        (&["show", "exec.reports.v1.dlq/0/99"], 3, "holds no record"),
        (&["list", "--from", "soon"], 3, "from: expected a time"),
    ];
    for (args, code, words) in cases {
        let mut all = vec!["dlq"];
        all.extend(args);
        all.extend(["--data", data]);
        let output = run(&all);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stderr(&output).contains(words), "{args:?} does not say `{words}`: {}", stderr(&output));
    }
    assert_eq!(run(&["dlq", "purge", "--rate", "1"]).status.code(), Some(2));
    assert_eq!(json(&["dlq", "list", "--json", "--data", data]).as_array().unwrap().len(), 1, "nothing was done");
}
