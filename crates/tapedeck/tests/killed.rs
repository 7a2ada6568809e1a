//! A live deck that is killed again and again: what is served afterwards is one
//! unbroken account, each execution once.
//!
//! Not here: replays that are killed (`replay`), and posted events (`posted`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::time::Duration;

use common::{Deck, Dice, eventually, text};
use rust_decimal::Decimal;
use serde_json::Value;

mod common;

fn numbers(fills: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<u64> = fills.iter().map(|fill| fill["execution_number"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_live_deck_killed_ten_times_serves_each_execution_once_and_money_that_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let mut dice = Dice::new(11);
    let mut before: Vec<Value> = Vec::new();
    for _ in 0..10 {
        let deck = Deck::start(&["demo", "--speed", "200x", "--data", data]);
        let seen = eventually("more fills than before", || {
            let fills = deck.all("/api/fills");
            (fills.len() > before.len()).then_some(fills)
        });
        assert_eq!(seen[seen.len() - before.len()..], before[..], "what was served before the kill is served after it");
        before = seen;
        // Any moment of the work will do: each run meets another one.
        std::thread::sleep(Duration::from_millis(dice.below(300)));
        deck.kill();
    }
    let deck = Deck::start(&["demo", "--speed", "200x", "--data", data]);
    assert_eq!(deck.terminate(), 0);
    let deck = Deck::start(&["up", "--roles", "recorder,api", "--data", data]);
    eventually("the recorder to be through", || {
        let groups = deck.get("/api/admin/groups");
        let recorder = groups["items"].as_array().unwrap().iter().find(|g| g["group"] == "tapedeck.recorder").cloned();
        (recorder?["lag_records"] == 0).then_some(())
    });
    let fills = deck.all("/api/fills");
    let all: Vec<u64> = (1..=fills.len() as u64).collect();
    assert_eq!(numbers(&fills), all);
    let decimal = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
    let stats = deck.get("/api/metrics/symbols?account=DEMO");
    let total: Decimal = stats["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| decimal(&s["realized"]) + decimal(&s["unrealized"]) - decimal(&s["fees"]))
        .sum();
    let account = &deck.get("/api/accounts")["items"][0];
    assert_eq!(decimal(&account["equity"]) - decimal(&account["starting_equity"]), total);
}
