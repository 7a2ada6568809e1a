//! Sixty kills under load, at random moments and at each boundary: nothing that
//! was promised is lost, nothing is visible twice, each key keeps its order.
//!
//! Not here: whether the count can be trusted (`chaos`), and a thousand kills
//! (`make soak`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use common::{run, stderr, stdout};
use serde_json::Value;

mod common;

/// A rehearsal that must end well.
fn rehearsed(args: &[&str]) -> Value {
    let mut all = vec!["chaos", "--json"];
    all.extend(args);
    let output = run(&all);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for figure in ["lost", "twice", "out_of_order", "never_sent"] {
        assert_eq!(report[figure], 0, "{figure}: {report}");
    }
    // A rehearsal without load would find nothing wrong either.
    let count = |figure: &str| report[figure].as_u64().unwrap();
    assert!(count("acknowledged") > 100, "{report}");
    assert!(
        count("stored") >= count("acknowledged") - report["dead_letters"]["expected"].as_u64().unwrap(),
        "{report}"
    );
    report
}

#[test]
fn twenty_kills_at_random_moments_lose_nothing() {
    let report = rehearsed(&["--kills", "20", "--seed", "11", "--faults", "kill", "--poison", "0"]);
    assert_eq!(report["kills"]["at_random"], 20);
    assert!(report["trading"]["executions"].as_u64().unwrap() > 0);
}
