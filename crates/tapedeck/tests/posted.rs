//! Events that other programs post: a result per line, durable before the
//! answer, in `/api/fills` once, whatever comes twice or is killed.
//!
//! Not here: each endpoint's shape, which the api's own tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{collections::BTreeSet, fmt::Write as _};

use common::{Deck, eventually, json, run, stderr, stdout, text};
use serde_json::Value;

mod common;

const TOPIC: &str = "/api/v1/events/exec.reports.v1";

/// An execution report of a whole fill; `bad` ones lie about their quantities.
fn report(n: u64, bad: bool) -> String {
    let cum = if bad { "2" } else { "1" };
    format!(
        r#"{{"event_id":"00000000-0000-4000-8000-{n:012}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.{:06}Z","account":"ACC-1","venue":"X","symbol":"S{}","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"O{n}","client_order_id":"C{n}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"{cum}","leaves_qty":"0","avg_px":"100.5"}},"fill":{{"fill_id":"F{n}","last_qty":"1","last_px":100.5,"liquidity":"TAKER"}},"costs":{{"commission":"0.1","currency":"USD","slippage_bps":0.4}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#,
        n % 1_000_000,
        n % 5
    )
}

fn thousand() -> String {
    (1..=1_000).fold(String::new(), |mut body, n| {
        if n % 100 == 0 {
            body.push_str("{ not json\n");
        } else {
            writeln!(body, "{}", report(n, n % 100 == 50)).unwrap();
        }
        body
    })
}

fn ids(fills: &[Value]) -> BTreeSet<&str> {
    fills.iter().map(|fill| fill["event_id"].as_str().unwrap()).collect()
}

#[test]
fn a_thousand_posted_lines_get_a_result_each_and_the_good_ones_are_fills_once() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start(&["up", "--data", text(dir.path())]);
    let (status, answer) = deck.post(TOPIC, "application/x-ndjson", &thousand());
    assert_eq!(status, 202);
    assert_eq!((answer["accepted"].as_u64(), answer["rejected"].as_u64()), (Some(980), Some(20)));
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1_000);
    assert_eq!(results[49]["error"]["path"], "$.order.leaves_qty", "{}", results[49]);
    assert_eq!(results[99]["status"], "rejected");
    let fills = eventually("980 fills", || {
        let fills = deck.all("/api/fills");
        (fills.len() >= 980).then_some(fills)
    });
    assert_eq!((fills.len(), ids(&fills).len()), (980, 980));
    // The same file again, and one more event behind it to see when it is through.
    assert_eq!(deck.post(TOPIC, "application/x-ndjson", &thousand()).0, 202);
    assert_eq!(deck.post(TOPIC, "application/json", &report(5_000, false)).0, 202);
    let symbol = "/api/fills?symbol=S0";
    eventually("the last fill", || deck.all(symbol).iter().any(|fill| fill["fill_id"] == "F5000").then_some(()));
    for other in ["S1", "S2", "S3", "S4"] {
        let (n, marker) =
            (other[1..].parse::<u64>().unwrap(), format!("F{}", 5_000 + other[1..].parse::<u64>().unwrap()));
        assert_eq!(deck.post(TOPIC, "application/json", &report(5_000 + n, false)).0, 202);
        let path = format!("/api/fills?symbol={other}");
        eventually("the last fill", || {
            deck.all(&path).iter().any(|fill| fill["fill_id"] == marker.as_str()).then_some(())
        });
    }
    assert_eq!(deck.all("/api/fills").len(), 985);
}

#[test]
fn what_was_accepted_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start(&["up", "--data", text(dir.path())]);
    let (status, _) = deck.post(TOPIC, "application/x-ndjson", &thousand());
    deck.kill();
    assert_eq!(status, 202);
    let deck = Deck::start(&["up", "--data", text(dir.path())]);
    let fills = eventually("980 fills", || {
        let fills = deck.all("/api/fills");
        (fills.len() >= 980).then_some(fills)
    });
    assert_eq!(ids(&fills).len(), 980);
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn what_was_taken_while_the_log_was_away_is_there_once_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (data, faults) = (dir.path().join("data"), dir.path().join("faults"));
    let away = [("TAPEDECK_CHAOS_FAULTS", text(&faults))];
    std::fs::write(&faults, "log=full").unwrap();
    let deck = Deck::start_with(&["up", "--data", text(&data)], &away);
    assert_eq!(deck.post(TOPIC, "application/x-ndjson", &thousand()).0, 503);
    let (status, answer) = deck.post(&format!("{TOPIC}?ack=spool"), "application/x-ndjson", &thousand());
    deck.kill();
    assert_eq!((status, answer["accepted"].as_u64(), answer["rejected"].as_u64()), (202, Some(980), Some(20)));

    // The log is still away at the next start, and killed again.
    let deck = Deck::start_with(&["up", "--data", text(&data)], &away);
    let more = format!("{}\n", report(7_000, false));
    assert_eq!(deck.post(&format!("{TOPIC}?ack=spool"), "application/x-ndjson", &more).0, 202);
    deck.kill();

    std::fs::write(&faults, "log=ok").unwrap();
    let deck = Deck::start_with(&["up", "--data", text(&data)], &away);
    let fills = eventually("981 fills", || {
        let fills = deck.all("/api/fills");
        (fills.len() >= 981).then_some(fills)
    });
    assert_eq!((fills.len(), ids(&fills).len()), (981, 981));
    let emitter = eventually("nothing to wait", || {
        let emitters = deck.get("/api/admin/emitter");
        let api = emitters["items"].as_array().unwrap().iter().find(|e| e["emitter"] == "api").cloned()?;
        (api["spooled_records"] == 0 && api["ring_bytes"] == 0).then_some(api)
    });
    assert_eq!((&emitter["dropped"], &emitter["torn"]), (&0.into(), &0.into()));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn an_operator_trips_the_emergency_stop_and_the_audit_log_says_who() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start(&["demo", "--data", text(dir.path())]);
    eventually("a fill", || (!deck.all("/api/fills").is_empty()).then_some(()));
    let body = r#"{"account":"DEMO","reason":"a drill"}"#;
    assert_eq!(deck.post("/api/risk/ess/trip", "application/json", body).0, 202);
    eventually("the stop to trip", || {
        let risk = deck.get("/api/metrics/risk");
        (risk["accounts"][0]["ess"]["state"] == "TRIPPED").then_some(())
    });
    let output = run(&["consume", "audit-logs", "--json", "--limit", "1", "--data", text(dir.path())]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    assert!(said.contains("a drill") && said.contains("local"), "{said}");
}

#[test]
fn the_command_line_works_on_a_folder_that_is_held_and_on_one_that_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let file = dir.path().join("reports.ndjson");
    std::fs::write(&file, thousand()).unwrap();
    let deck = Deck::start(&["up", "--data", data]);
    let held = run(&["produce", "exec.reports.v1", text(&file), "--json", "--data", data]);
    let sent: Value = serde_json::from_slice(&held.stdout).unwrap();
    assert_eq!((sent["accepted"].as_u64(), sent["rejected"].as_u64()), (Some(980), Some(20)));
    assert_eq!(held.status.code(), Some(3));
    assert!(sent["errors"][0].as_str().unwrap().starts_with("line 50: order.leaves_qty"), "{}", sent["errors"][0]);
    eventually("980 fills", || (deck.all("/api/fills").len() == 980).then_some(()));
    let listed = json(&["topics", "list", "--json", "--data", data]);
    assert_eq!(deck.terminate(), 0);
    assert_eq!(listed, json(&["topics", "list", "--json", "--data", data]));
    let lag = json(&["groups", "lag", "tapedeck.recorder", "--json", "--data", data]);
    assert_eq!(lag["lag_records"], 0, "{lag}");
    let all = json(&["groups", "lag", "--json", "--data", data]);
    assert!(all.as_array().unwrap().iter().any(|group| group["group"] == "tapedeck.forward-test"), "{all}");
    for what in [["groups", "list"], ["groups", "lag"], ["topics", "list"]] {
        let table = run(&[what[0], what[1], "--data", data]);
        assert!(table.status.success() && stdout(&table).lines().count() > 2, "{what:?}: {}", stderr(&table));
    }
    let alone = run(&["produce", "exec.reports.v1", text(&file), "--json", "--data", data]);
    assert_eq!(serde_json::from_slice::<Value>(&alone.stdout).unwrap()["accepted"], 980);
}
