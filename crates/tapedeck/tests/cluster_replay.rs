//! A replay on a cluster is the replay of a laptop: the same digest, and the same
//! answers to every question, with Kafka for the log and PostgreSQL for the store.
//!
//! Not here: failures of brokers, and what each log and store must do.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::Path;

use common::{Deck, bars, cluster, json, recording, text};
use serde_json::Value;

mod common;

fn replay(file: &Path, data: &Path, config: Option<&Path>, more: &[&str]) -> Value {
    let mut args = vec!["replay", text(file), "--currency", "USD", "--json", "--data", text(data)];
    args.extend(more);
    if let Some(config) = config {
        args.extend(["--config", text(config)]);
    }
    json(&args)
}

/// What the api answers about a replayed folder.
fn answers(data: &Path, config: Option<&Path>) -> Vec<(String, Value)> {
    let mut args = vec!["up", "--roles", "api", "--data", text(data)];
    if let Some(config) = config {
        args.extend(["--config", text(config)]);
    }
    cluster::answers(&Deck::start(&args).unheard())
}

fn alike(file: &Path, dir: &Path, (own, config): (Option<&Path>, &Path), more: &[&str]) {
    let (here, there) = (dir.join("here"), dir.join("there"));
    let embedded = replay(file, &here, own, more);
    let cluster = replay(file, &there, Some(config), more);
    assert!(embedded["fills"].as_u64().unwrap() > 20, "{embedded}");
    for key in ["digest", "fills", "events", "pnl", "open_orders"] {
        assert_eq!(embedded[key], cluster[key], "{key}");
    }
    for ((path, ours), (_, theirs)) in answers(&here, None).into_iter().zip(answers(&there, Some(config))) {
        assert_eq!(ours, theirs, "{path}");
    }
}

#[test]
fn a_replay_on_a_cluster_gives_the_same_digest_and_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = cluster::config(dir.path(), "replay", "") else { return };
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 1_500, 41);
    alike(&file, dir.path(), (None, &config), &[]);
}

#[test]
fn a_replay_of_decisions_on_a_cluster_gives_the_same_digest_and_the_same_answers() {
    // A replay reads the file instead of the source.
    const DECIDED: &str = "[[sources]]\nid = \"replay\"\nkind = \"generator\"\nvenue = \"SIM\"\nsymbols = [\"AAA\"]\n\
        [[sessions]]\nid = \"d\"\naccount = \"DECIDED\"\nmarket_source = \"replay\"\n\
        source = \"decisions\"\n[inference]\nband = 0.01\nlot = \"0.001\"\n";
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = cluster::config(dir.path(), "decided", DECIDED) else { return };
    let (own, file) = (dir.path().join("own.toml"), dir.path().join("bars.csv"));
    std::fs::write(&own, DECIDED).unwrap();
    bars(&file, &["AAA", "BBB", "CCC"], 600, 42);
    alike(&file, dir.path(), (Some(&own), &config), &[]);
}

#[test]
fn a_real_market_on_a_cluster_gives_the_same_digest_and_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = recording("btc-perp-1m-2022-01.csv.gz") else { return };
    let Some(config) = cluster::config(dir.path(), "replay", "") else { return };
    // The recording names no symbol; the answers that are asked by symbol want one.
    alike(&file, dir.path(), (None, &config), &["--symbol", "AAA", "--volume-unit", "quote"]);
}
