//! A deck that is started while no broker or no database answers: it serves, keeps what
//! is posted, and goes on by itself; what no waiting mends ends it.
//!
//! Not here: servers that go away under a running deck (`cluster`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use common::{Deck, cluster, eventually, json, run, stderr, text};
use serde_json::Value;
use tapedeck_testbed::{Cluster, Proxy};

mod common;

const SPOOL: &str = "/api/v1/events/exec.reports.v1?ack=spool";

/// Execution reports of whole fills, numbered.
fn reports(numbers: std::ops::Range<u64>) -> String {
    numbers.fold(String::new(), |mut lines, n| {
        writeln!(
            lines,
            r#"{{"event_id":"00000000-0000-4000-8000-{n:012}","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.{n:06}Z","account":"ACC-1","venue":"X","symbol":"S{}","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{{"order_id":"O{n}","client_order_id":"C{n}","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"100.5"}},"fill":{{"fill_id":"F{n}","last_qty":"1","last_px":"100.5","liquidity":"TAKER"}},"costs":{{"commission":"0.1","currency":"USD","slippage_bps":0.4}},"pnl":{{"realized":"0","unrealized":"0"}}}}"#,
            n % 5
        )
        .unwrap();
        lines
    })
}

/// A config on these brokers; a question to them may take a second.
fn config(dir: &Path, kafka: &str) -> String {
    let path = dir.join("deck.toml");
    let text = format!("[log]\nkind = \"kafka\"\n[kafka]\nrequest_timeout_ms = 1000\n{kafka}\n");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ids(fills: &[Value]) -> BTreeSet<&str> {
    fills.iter().map(|fill| fill["event_id"].as_str().unwrap()).collect()
}

#[test]
fn what_is_posted_before_the_first_broker_answers_is_stored_once_when_it_does() {
    let Some(cluster) = Cluster::start(1) else { return };
    let bootstrap = cluster.bootstrap().to_owned();
    cluster.stop_all();
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), &format!("bootstrap_servers = \"{bootstrap}\""));
    let data = dir.path().join("data");
    let up = ["up", "--config", &file, "--data", text(&data)];
    let deck = Deck::start(&up);
    assert_eq!(deck.ask("/health/live").0, 200);
    let (status, why) = eventually("the first try to end", || {
        let (status, why) = deck.ask("/health/ready");
        why["detail"].as_str()?.contains("Check that").then_some((status, why))
    });
    assert!(status == 503 && why["detail"].as_str().unwrap().contains(&bootstrap), "{status} {why}");
    // What waits for the log fails at once, and says why.
    let (status, refused) = deck.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", &reports(0..1));
    assert!(status == 503 && refused["detail"].as_str().unwrap().contains(&bootstrap), "{status} {refused}");
    let (status, answer) = deck.post(SPOOL, "application/x-ndjson", &reports(0..60));
    assert_eq!((status, &answer["accepted"]), (202, &60.into()), "{answer}");
    // A kill before the broker was ever seen takes nothing of it.
    deck.kill();
    let deck = Deck::start(&up);
    let (status, answer) = deck.post(SPOOL, "application/x-ndjson", &reports(60..80));
    assert_eq!((status, &answer["accepted"]), (202, &20.into()), "{answer}");
    let lines = dir.path().join("lines");
    std::fs::write(&lines, reports(80..100)).unwrap();
    let produce = ["produce", "exec.reports.v1", text(&lines), "--ack", "spool", "--json", "--config", &file];
    let sent = json(&[&produce[..], &["--data", text(&data)]].concat());
    assert_eq!((&sent["accepted"], &sent["ack"]), (&20.into(), &"spool".into()), "{sent}");
    // A command that is about the log itself does not wait for it.
    let elsewhere = dir.path().join("elsewhere");
    let listed = run(&["topics", "list", "--config", &file, "--data", text(&elsewhere)]);
    assert!(!listed.status.success() && stderr(&listed).contains("no broker answers"), "{}", stderr(&listed));

    cluster.start_all();
    let fills = eventually("100 fills", || {
        let page = deck.ask("/api/fills?limit=1000").1;
        let fills = page["items"].as_array()?.clone();
        (fills.len() >= 100).then_some(fills)
    });
    assert_eq!((fills.len(), ids(&fills).len()), (100, 100));
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
    assert_eq!(deck.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", &reports(100..101)).0, 202);
    eventually("the fill that came after", || (deck.all("/api/fills").len() == 101).then_some(()));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_deck_that_waits_for_brokers_ends_in_order_and_sends_what_it_kept_at_its_next_start() {
    let Some(cluster) = Cluster::start(1) else { return };
    let bootstrap = cluster.bootstrap().to_owned();
    cluster.stop_all();
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), &format!("bootstrap_servers = \"{bootstrap}\""));
    let data = dir.path().join("data");
    let lines = dir.path().join("lines");
    std::fs::write(&lines, reports(0..10)).unwrap();
    // Nobody holds the folder: the command keeps the events itself.
    let produce = ["produce", "exec.reports.v1", text(&lines), "--ack", "spool", "--json", "--config", &file];
    let sent = json(&[&produce[..], &["--data", text(&data)]].concat());
    assert_eq!(sent["accepted"], 10, "{sent}");
    let up = ["up", "--config", &file, "--data", text(&data)];
    let deck = Deck::start(&up);
    assert_eq!(deck.post(SPOOL, "application/x-ndjson", &reports(10..20)).0, 202);
    assert_eq!(deck.terminate(), 0);

    cluster.start_all();
    let deck = Deck::start(&up);
    let fills = eventually("20 fills", || {
        let fills = deck.ask("/api/fills?limit=1000").1["items"].as_array()?.clone();
        (fills.len() >= 20).then_some(fills)
    });
    assert_eq!((fills.len(), ids(&fills).len()), (20, 20));
}

#[test]
fn a_wrong_password_and_an_unknown_authority_end_the_start_with_their_message() {
    let Some(cluster) = Cluster::start_secure() else { return };
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "not-this-one").unwrap();
    let secured = |ca: &str| {
        format!(
            "bootstrap_servers = \"{}\"\nsecurity_protocol = \"sasl_ssl\"\nca_file = \"{ca}\"\nsasl_username = \"deck\"\n\
             sasl_password = \"file:{}\"",
            cluster.bootstrap(),
            password.display()
        )
    };
    for (ca, word) in [("CA_FILE", "kafka.sasl_password"), ("OTHER_CA_FILE", "kafka.ca_file")] {
        let file = config(dir.path(), &secured(&cluster.secret(ca)));
        let output = run(&["up", "--config", &file, "--data", text(&dir.path().join(ca))]);
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(word), "{said}");
    }
}

#[test]
fn what_is_posted_before_the_database_answers_is_stored_once_when_it_does() {
    let (Some(kafka), Some(postgres)) = (tapedeck_testbed::kafka(), tapedeck_testbed::postgres()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (who, at) = postgres.split_once('@').unwrap();
    let (address, database) = at.split_once('/').unwrap();
    let proxy = Proxy::before_none();
    let prefix = format!("{}.", tapedeck_testbed::name("late"));
    let through = format!("{who}@{}/{database}", proxy.address());
    let file = cluster::config_of(dir.path(), "late", (&kafka, &prefix), &through, "");
    let data = dir.path().join("data");
    let deck = Deck::start(&["up", "--config", text(&file), "--data", text(&data)]);
    assert_eq!(deck.ask("/health/live").0, 200);
    let (status, why) = deck.ask("/health/ready");
    assert!(status == 503 && why["detail"].as_str().unwrap().contains("PostgreSQL"), "{status} {why}");
    assert_eq!(deck.ask("/api/fills").0, 503);
    eventually("the log to take events", || {
        let (status, _) = deck.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", &reports(0..20));
        (status == 202).then_some(())
    });

    proxy.lead_to(address);
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
    let fills = eventually("20 fills", || {
        let fills = deck.ask("/api/fills?limit=1000").1["items"].as_array()?.clone();
        (fills.len() >= 20).then_some(fills)
    });
    assert_eq!((fills.len(), ids(&fills).len()), (20, 20));
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_database_that_refuses_the_password_ends_the_start_with_its_message() {
    let (Some(kafka), Some(postgres)) = (tapedeck_testbed::kafka(), tapedeck_testbed::postgres()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (who, at) = postgres.split_once('@').unwrap();
    let (user, _) = who.rsplit_once(':').unwrap();
    let prefix = format!("{}.", tapedeck_testbed::name("refused"));
    let file = cluster::config_of(dir.path(), "refused", (&kafka, &prefix), &format!("{user}:not-this-one@{at}"), "");
    let output = run(&["up", "--config", text(&file), "--data", text(&dir.path().join("data"))]);
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains("password"), "{said}");
}
