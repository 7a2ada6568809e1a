//! The rehearsal itself is put to the test: it must find what is lost, visible
//! twice, out of order or never sent, and say what it was asked wrongly.
//!
//! Not here: what it finds when all is well (`kills`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{io::Write, path::Path};

use common::{Deck, run, stderr, stdout, text};
use serde_json::Value;

mod common;

/// A short rehearsal on a folder, and its report.
fn rehearsed(data: &str) -> Value {
    let output = run(&[
        "chaos",
        "--kills",
        "1",
        "--seed",
        "3",
        "--faults",
        "kill",
        "--no-trading",
        "--poison",
        "0%",
        "--json",
        "--data",
        data,
    ]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The report of a ledger against its folder, which must not be a good one.
fn verified(report: &Value, data: &str) -> Value {
    let ledger = report["ledger"].as_str().unwrap();
    let output = run(&["chaos", "--verify", ledger, "--no-trading", "--json", "--data", data]);
    assert_eq!(output.status.code(), Some(1), "{}{}", stdout(&output), stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    report
}

fn note(report: &Value, lines: &str) {
    let ledger = Path::new(report["ledger"].as_str().unwrap());
    std::fs::File::options().append(true).open(ledger).unwrap().write_all(lines.as_bytes()).unwrap();
}

/// A report of a whole fill, as the load's are, under these names.
fn fill(run: &str, key: &str, order: &str, id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05Z","account":"CHAOS-{run}","venue":"CHAOS","symbol":"{key}","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"{order}","client_order_id":"{order}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"1"}},"fill":{{"fill_id":"{id}","last_qty":"1","last_px":"1","liquidity":"TAKER"}},"costs":{{"commission":"0","currency":"USD","slippage_bps":null}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#
    )
}

fn post(data: &str, events: &[String]) {
    let deck = Deck::start(&["up", "--roles", "recorder,api", "--data", data]);
    let (status, answer) = deck.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", &events.join("\n"));
    assert_eq!((status, answer["accepted"].as_u64()), (202, Some(events.len() as u64)), "{answer}");
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn an_event_that_was_promised_and_is_not_there_is_reported_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let report = rehearsed(data);
    assert_eq!((&report["lost"], &report["kills"]["all"]), (&0.into(), &1.into()));
    note(&report, "sent GONE 1\nlog GONE 1\nsent GONE 2\nspool GONE 2\nsent GONE 3\n");
    let again = verified(&report, data);
    assert_eq!((&again["lost"], &again["twice"], &again["out_of_order"]), (&2.into(), &0.into(), &0.into()));
    assert_eq!(again["examples"]["lost"], serde_json::json!(["GONE-1", "GONE-2"]));
}

#[test]
fn an_event_that_is_stored_twice_or_out_of_order_or_was_never_sent_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let report = rehearsed(data);
    let name = report["run"].as_str().unwrap();
    let events = [("T-1", "a"), ("T-1", "b"), ("T-3", "c"), ("T-2", "d"), ("T-9", "e")];
    post(data, &events.map(|(order, id)| fill(name, "T", order, id)));
    note(&report, "sent T 1\nlog T 1\nsent T 2\nlog T 2\nsent T 3\n");
    let again = verified(&report, data);
    assert_eq!(again["lost"], 0, "{again}");
    assert_eq!(again["examples"]["twice"], serde_json::json!(["T-1"]));
    assert_eq!(again["examples"]["out_of_order"], serde_json::json!(["T-2 behind 3"]));
    assert_eq!(again["examples"]["never_sent"], serde_json::json!(["T-9"]));
    assert_eq!((&again["twice"], &again["out_of_order"], &again["never_sent"]), (&1.into(), &1.into(), &1.into()));
}

#[test]
fn a_rehearsal_that_cannot_be_says_why() {
    for (args, said) in [
        (&["chaos", "--faults", "pause"][..], "--duration"),
        (&["chaos", "--rate", "1"], "--rate"),
        (&["chaos", "--poison", "much"], "--poison"),
        (&["chaos", "--duration", "long"], "10m"),
        (&["chaos", "--verify", "ledger.txt"], "--data"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_process_told_to_end_at_no_boundary_names_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        common::tapedeck(&["up", "--data", text(dir.path())]).env("TAPEDECK_KILL_AT", "somewhere:1").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    for boundary in ["ring", "spool-write", "catch-up", "append", "apply", "commit", "dead-letter", "redrive"] {
        assert!(said.contains(boundary), "{said}");
    }
}
