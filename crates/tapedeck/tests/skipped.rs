//! A record that can never be stored: it stops its partition, is given up by
//! name, and what lies behind it is stored.
//!
//! Not here: what else stops a role.

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

#[test]
fn a_fill_that_was_changed_stops_its_partition_until_it_is_skipped_as_the_message_says() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let deck = Deck::start(&["up", "--data", data]);
    for (n, fill, price) in [(1, "F1", "100.5"), (2, "F1", "99.5"), (3, "F3", "101.5")] {
        assert_eq!(deck.post(TOPIC, "application/json", &report(n, fill, price)).0, 202);
    }
    let why = eventually("the recorder to stop at the changed fill", || {
        let (status, body) = deck.ask("/health/ready");
        (status == 503).then(|| body["detail"].as_str().unwrap_or_default().to_owned()).filter(|why| why.contains("F1"))
    });
    let command = why.split('`').find(|part| part.starts_with("tapedeck groups skip ")).unwrap().to_owned();
    let words: Vec<&str> = command.split(' ').collect();
    let skip = ["groups", "skip", words[3], words[4], "--reason", "sent twice with two prices", "--data", data];
    let refused = run(&skip);
    assert!(!refused.status.success() && stderr(&refused).contains("stop the process"), "{}", stderr(&refused));
    assert_eq!(deck.terminate(), 0);

    let done = run(&skip);
    assert!(done.status.success(), "{}", stderr(&done));
    let again = run(&skip);
    assert!(stderr(&again).contains("is past"), "{}", stderr(&again));

    let deck = Deck::start(&["up", "--data", data]);
    eventually("the fill behind it", || {
        deck.all("/api/fills").iter().any(|fill| fill["fill_id"] == "F3").then_some(())
    });
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
    let prices: Vec<_> = deck.all("/api/fills").iter().map(|fill| fill["price"].to_string()).collect();
    assert_eq!(prices, ["\"101.5\"", "\"100.5\""]);
    let audit = &deck.get("/api/admin/records?topic=audit-logs")["items"][0]["value"]["data"];
    assert_eq!((&audit["action"], &audit["actor"]), (&"groups.skip".into(), &"local".into()));
    assert_eq!(audit["reason"], "sent twice with two prices");
    assert_eq!(deck.terminate(), 0);

    // Reading all again changes nothing but stops at the changed fill again.
    let moved = json(&["groups", "reset", "tapedeck.recorder", "--to", "earliest", "--json", "--data", data]);
    assert!(moved["moved"].as_array().unwrap().iter().any(|to| to["topic"] == "exec.reports.v1" && to["after"] == 0));
    let deck = Deck::start(&["up", "--data", data]);
    eventually("the changed fill again", || {
        (deck.ask("/health/ready").1["detail"].as_str()?.contains("F1")).then_some(())
    });
    assert_eq!(deck.all("/api/fills").len(), 2);
}

#[test]
fn a_program_whose_stderr_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start_unheard(&["up", "--data", text(dir.path())]);
    for (n, fill, price) in [(1, "F1", "100.5"), (2, "F1", "99.5")] {
        assert_eq!(deck.post(TOPIC, "application/json", &report(n, fill, price)).0, 202);
    }
    eventually("the recorder to stop at the changed fill", || {
        deck.ask("/health/ready").1["detail"].as_str()?.contains("F1").then_some(())
    });
    assert_eq!(deck.terminate(), 0);
}
