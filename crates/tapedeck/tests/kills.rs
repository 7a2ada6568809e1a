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
    assert!(count("acknowledged") > 100 && count("accepted") > 100, "{report}");
    assert!(
        count("stored") >= count("acknowledged") - report["dead_letters"]["expected"].as_u64().unwrap(),
        "{report}"
    );
    report
}

#[test]
fn thirty_kills_at_the_boundaries_lose_nothing_and_each_is_met_three_times() {
    let report = rehearsed(&["--kills", "30", "--seed", "11", "--faults", "boundary"]);
    for boundary in ["ring", "spool-write", "catch-up", "append", "apply", "commit", "dead-letter", "redrive"] {
        let met = report["kills"]["at_boundaries"][boundary].as_u64().unwrap_or_default();
        assert!(met >= 3, "{boundary} was met {met} times: {report}");
    }
    assert!(report["dead_letters"]["expected"].as_u64().unwrap() > 0, "{report}");
    assert!(report["redrives"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn fifteen_kills_at_random_moments_lose_nothing() {
    let report = rehearsed(&["--kills", "15", "--seed", "12", "--faults", "kill"]);
    assert_eq!(report["kills"]["at_random"], 15);
}

#[test]
fn fifteen_kills_among_pauses_stops_and_slow_or_absent_parts_lose_nothing() {
    let report = rehearsed(&["--kills", "15", "--seed", "13", "--faults", "kill,pause,term,store,log"]);
    assert_eq!(report["kills"]["at_random"], 15);
    assert!(report["pauses"].as_u64().unwrap() > 0, "{report}");
    assert!(!report["faults"].as_object().unwrap().is_empty(), "{report}");
    assert!(report["terminations"].as_u64().unwrap() > 0, "{report}");
}
