//! A record that is given up by name, and a program that nobody listens to.
//!
//! Not here: dead letters that are sent again (`redrive`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use common::{Deck, eventually, json, run, stderr, text};

mod common;

const TOPIC: &str = "/api/v1/events/exec.reports.v1";

/// A report of a whole fill at a price.
fn report(n: u64, fill: &str, price: &str) -> String {
    format!(
        r#"{{"event_id":"00000000-0000-4000-8000-{n:012}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.{n:06}Z","account":"ACC-1","venue":"X","symbol":"S","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"O{n}","client_order_id":"C{n}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"{price}"}},"fill":{{"fill_id":"{fill}","last_qty":"1","last_px":"{price}","liquidity":"TAKER"}},"costs":{{"commission":"0.1","currency":"USD","slippage_bps":0.4}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#
    )
}

fn fills(deck: &Deck) -> Vec<String> {
    deck.all("/api/fills").iter().map(|fill| fill["fill_id"].as_str().unwrap().to_owned()).collect()
}

/// Waits for the dead letter of the fill that was changed.
fn changed_fill_is_set_aside(deck: &Deck) {
    eventually("the changed fill among the dead letters", || {
        let letters = deck.get("/api/admin/dlq");
        letters["items"].as_array().unwrap().iter().any(|letter| letter.to_string().contains("F1")).then_some(())
    });
}

#[test]
fn a_record_that_waits_is_given_up_by_name_and_what_lies_behind_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let deck = Deck::start(&["up", "--data", data]);
    assert_eq!(deck.post(TOPIC, "application/json", &report(1, "F1", "100.5")).0, 202);
    eventually("the first fill", || (fills(&deck) == ["F1"]).then_some(()));
    assert_eq!(deck.terminate(), 0);

    let deck = Deck::start(&["up", "--roles", "api", "--data", data]);
    let (_, answer) = deck.post(TOPIC, "application/json", &report(2, "F1", "99.5"));
    assert_eq!(deck.post(TOPIC, "application/json", &report(3, "F3", "101.5")).0, 202);
    assert_eq!(deck.terminate(), 0);
    let changed = &answer["results"][0];
    let place = format!("exec.reports.v1/{}/{}", changed["partition"], changed["offset"]);
    let skip =
        ["groups", "skip", "tapedeck.recorder", &place, "--reason", "sent twice with two prices", "--data", data];
    let done = run(&skip);
    assert!(done.status.success(), "{}", stderr(&done));
    let again = run(&skip);
    assert!(stderr(&again).contains("is past"), "{}", stderr(&again));

    let deck = Deck::start(&["up", "--data", data]);
    eventually("the fill behind it", || (fills(&deck) == ["F3", "F1"]).then_some(()));
    let prices: Vec<_> = deck.all("/api/fills").iter().map(|fill| fill["price"].to_string()).collect();
    assert_eq!(prices, ["\"101.5\"", "\"100.5\""]);
    assert_eq!(deck.get("/api/admin/dlq")["items"], serde_json::json!([]), "it was given up, not set aside");
    let audit = &deck.get("/api/admin/records?topic=audit-logs")["items"][0]["value"]["data"];
    assert_eq!((&audit["action"], &audit["actor"]), (&"groups.skip".into(), &"local".into()));
    assert_eq!(audit["reason"], "sent twice with two prices");
    let refused = run(&skip);
    assert!(!refused.status.success() && stderr(&refused).contains("stop the process"), "{}", stderr(&refused));
    assert_eq!(deck.terminate(), 0);

    // Reading all again changes nothing, and meets the changed fill again.
    let moved = json(&["groups", "reset", "tapedeck.recorder", "--to", "earliest", "--json", "--data", data]);
    assert!(moved["moved"].as_array().unwrap().iter().any(|to| to["topic"] == "exec.reports.v1" && to["after"] == 0));
    let deck = Deck::start(&["up", "--data", data]);
    changed_fill_is_set_aside(&deck);
    assert_eq!(fills(&deck), ["F3", "F1"]);
}

#[test]
fn a_program_whose_stderr_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start_unheard(&["up", "--data", text(dir.path())]);
    for (n, fill, price) in [(1, "F1", "100.5"), (2, "F1", "99.5")] {
        assert_eq!(deck.post(TOPIC, "application/json", &report(n, fill, price)).0, 202);
    }
    changed_fill_is_set_aside(&deck);
    assert_eq!(deck.terminate(), 0);
}
