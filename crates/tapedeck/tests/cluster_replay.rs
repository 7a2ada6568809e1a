//! A replay on a cluster is the replay of a laptop: the same digest, and the same
//! answers to every question, with Kafka for the log and PostgreSQL for the store.
//!
//! Not here: failures of brokers, and what each log and store must do.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::{Path, PathBuf};

use common::{Deck, bars, json, recording, text};
use serde_json::Value;

mod common;

/// The config of a cluster, where both servers are there.
fn cluster(dir: &Path) -> Option<PathBuf> {
    let (kafka, postgres) = (tapedeck_testbed::kafka()?, tapedeck_testbed::postgres()?);
    let path = dir.join("cluster.toml");
    let (url, password) = without_password(&postgres);
    let secret = dir.join("password");
    std::fs::write(&secret, password).unwrap();
    let config = format!(
        "[log]\nkind = \"kafka\"\n\n[kafka]\nbootstrap_servers = \"{kafka}\"\nprefix = \"{}.\"\n\n\
         [store]\nkind = \"postgres\"\n\n[postgres]\nurl = \"{url}\"\npassword = \"file:{}\"\ntls = \"disable\"\n",
        tapedeck_testbed::name("replay"),
        text(&secret)
    );
    std::fs::write(&path, config).unwrap();
    Some(path)
}

/// A URL as the config takes it, and the password that it held.
fn without_password(url: &str) -> (String, String) {
    let parts = url.split_once("://").zip(url.split_once('@'));
    let Some(((scheme, _), (before, place))) = parts else { return (url.to_owned(), String::new()) };
    let user = before.strip_prefix(scheme).and_then(|user| user.strip_prefix("://")).unwrap_or_default();
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    (format!("{scheme}://{user}@{place}"), password.to_owned())
}

fn replay(file: &Path, data: &Path, config: Option<&Path>, more: &[&str]) -> Value {
    let mut args = vec!["replay", text(file), "--currency", "USD", "--json", "--data", text(data)];
    args.extend(more);
    if let Some(config) = config {
        args.extend(["--config", text(config)]);
    }
    json(&args)
}

/// What the api answers about a replayed folder. Cursors name offsets, which are a
/// log's own, and are left out.
fn answers(data: &Path, config: Option<&Path>) -> Vec<(String, Value)> {
    let mut args = vec!["up", "--roles", "api", "--data", text(data)];
    if let Some(config) = config {
        args.extend(["--config", text(config)]);
    }
    let deck = Deck::start(&args).unheard();
    let lists = ["/api/fills", "/api/fills?symbol=AAA", "/api/orders", "/api/alerts"];
    let mut answers: Vec<(String, Value)> =
        lists.iter().map(|path| ((*path).to_owned(), Value::from(deck.all(path)))).collect();
    let accounts = deck.get("/api/accounts");
    let account = accounts["items"][0]["account"].as_str().unwrap().to_owned();
    let fills = answers[0].1.as_array().unwrap();
    let time = |fill: Option<&Value>| fill.unwrap()["timestamp"].as_str().unwrap().to_owned();
    let (to, from) = (time(fills.first()), time(fills.last()));
    let others = [
        "/api/accounts".to_owned(),
        format!("/api/positions/latest?account={account}"),
        format!("/api/metrics/risk?account={account}"),
        format!("/api/metrics/symbols?account={account}"),
        format!("/api/pnl?account={account}&from={from}&to={to}&interval=1h"),
        format!("/api/pnl?account={account}&symbol=AAA&from={from}&to={to}&interval=1h"),
    ];
    answers.extend(others.into_iter().map(|path| {
        let answer = deck.get(&path);
        (path, answer)
    }));
    answers
}

fn alike(file: &Path, dir: &Path, config: &Path, more: &[&str]) {
    let (here, there) = (dir.join("here"), dir.join("there"));
    let embedded = replay(file, &here, None, more);
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
    let Some(config) = cluster(dir.path()) else { return };
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 1_500, 41);
    alike(&file, dir.path(), &config, &[]);
}

#[test]
fn a_real_market_on_a_cluster_gives_the_same_digest_and_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = recording("btc-perp-1m-2022-01.csv.gz") else { return };
    let Some(config) = cluster(dir.path()) else { return };
    // The recording names no symbol; the answers that are asked by symbol want one.
    alike(&file, dir.path(), &config, &["--symbol", "AAA", "--volume-unit", "quote"]);
}
