//! A whole deck on a secured broker with the rights that `topics acls` gives and no
//! others; and what is said where one of them is missing.
//!
//! Not here: which rights a role is given, and ways to say who one is, which the
//! tests beside the code hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{fmt::Write as _, sync::Mutex};

use common::{Deck, eventually, json, run, stderr, stdout, text};
use serde_json::Value;
use tapedeck_kafka::{Acl, AclOperation, AclResource, KafkaConfig, KafkaLog};
use tapedeck_testbed::{Cluster, name};

mod common;

/// A secured broker and a deck fill a small machine: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const REPORT: &str = r#"{"event_id":"00000000-0000-4000-8000-00000000000N","schema_version":"1.0","timestamp":"2026-01-02T03:04:05.000001Z","account":"ACC-1","venue":"X","symbol":"S","exec_type":"TRADE","decision_id":null,"strategy_id":null,"order":{"order_id":"ON","client_order_id":"CN","side":"BUY","type":"MARKET","quantity":"1","limit_price":null,"time_in_force":"GTC","status":"FILLED","cum_qty":"1","leaves_qty":"0","avg_px":"100.5"},"fill":{"fill_id":"FN","last_qty":"1","last_px":"100.5","liquidity":"TAKER"},"costs":{"commission":"0.1","currency":"USD","slippage_bps":0.4},"pnl":{"realized":"0","unrealized":"0"}}"#;

/// A market of its own, strategies and specialists on it, and an account for each:
/// every role has work.
const TRADING: &str = r#"
[[instruments]]
venue = "SIM"
symbol = "BTCUSDT"
quote_currency = "USDT"
[[strategies]]
id = "sma-crossover"
kind = "sma_crossover"
session_id = "s"
interval = "1s"
quantity = "0.5"
fast = 5
slow = 20
[[sessions]]
id = "s"
account = "PAPER"
currency = "USDT"
market_source = "m"
[[sessions]]
id = "d"
account = "DECIDED"
currency = "USDT"
market_source = "m"
source = "decisions"
[inference]
interval = "1s"
band = 0.01
lot = "0.001"
[[sources]]
id = "m"
kind = "generator"
venue = "SIM"
symbols = ["BTCUSDT"]
seed = 7
speed = "60x"
step_ms = 1000
"#;

/// A part of the broker under a prefix of its own: the topics are made, and `deck` may
/// do nothing yet.
struct Part<'a> {
    cluster: &'a Cluster,
    dir: tempfile::TempDir,
    prefix: String,
}

impl<'a> Part<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let part = Self { cluster, dir: tempfile::tempdir().unwrap(), prefix: format!("{}.", name("rights")) };
        for user in ["ADMIN", "DECK"] {
            let password = part.path(&format!("{user}.password"));
            std::fs::write(&password, cluster.secret(&format!("{user}_PASSWORD"))).unwrap();
            let mut config = format!(
                "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap_servers = \"{}\"\nprefix = \"{}\"\ncreate_topics = false\n\
                 security_protocol = \"sasl_ssl\"\nca_file = \"{}\"\nsasl_username = \"{}\"\nsasl_password = \"file:{password}\"\n",
                cluster.bootstrap(),
                part.prefix,
                cluster.secret("CA_FILE"),
                cluster.secret(&format!("{user}_USER")),
            );
            config.write_str(TRADING).unwrap();
            std::fs::write(part.path(&format!("{user}.toml")), config).unwrap();
        }
        json(&["topics", "apply", "--json", "--config", &part.admin(), "--data", &part.path("admin")]);
        part
    }

    fn path(&self, name: &str) -> String {
        text(&self.dir.path().join(name)).to_owned()
    }

    fn admin(&self) -> String {
        self.path("ADMIN.toml")
    }

    fn deck(&self) -> String {
        self.path("DECK.toml")
    }

    /// What `topics acls` says for one principal with all these roles.
    fn rights(&self, roles: &str) -> Vec<Acl> {
        let admin = self.admin();
        let shown =
            json(&["topics", "acls", "--roles", roles, "--principal", "User:deck", "--json", "--config", &admin]);
        shown["acls"].as_array().unwrap().iter().map(right).collect()
    }

    fn give(&self, acls: &[Acl]) {
        let secret = |name: &str| self.cluster.secret(name);
        let admin = KafkaConfig {
            bootstrap_servers: self.cluster.bootstrap().to_owned(),
            security_protocol: "sasl_ssl".into(),
            ca_file: secret("CA_FILE"),
            sasl_username: secret("ADMIN_USER"),
            sasl_password: secret("ADMIN_PASSWORD"),
            ..KafkaConfig::default()
        };
        KafkaLog::connect(&admin).unwrap().create_acls(acls).unwrap();
    }

    /// All rights of these roles but one.
    fn give_all_but(&self, roles: &str, resource: AclResource, name: &str, operation: AclOperation) {
        let mut acls = self.rights(roles);
        let (before, name) = (acls.len(), format!("{}{name}", self.prefix));
        acls.retain(|acl| (acl.resource, acl.name.as_str(), acl.operation) != (resource, name.as_str(), operation));
        assert_eq!(acls.len(), before - 1, "{operation} on {resource} {name} is no right of {roles}");
        self.give(&acls);
    }
}

/// A right as `topics acls --json` shows it, with the cluster's names.
fn right(shown: &Value) -> Acl {
    let word = |key: &str| shown[key].as_str().unwrap();
    let resource = [AclResource::Topic, AclResource::Group, AclResource::Cluster, AclResource::TransactionalId];
    let operation = [
        AclOperation::Read,
        AclOperation::Write,
        AclOperation::Create,
        AclOperation::Delete,
        AclOperation::Alter,
        AclOperation::Describe,
        AclOperation::DescribeConfigs,
        AclOperation::AlterConfigs,
        AclOperation::IdempotentWrite,
    ];
    Acl {
        principal: word("principal").to_owned(),
        resource: resource.into_iter().find(|known| known.to_string() == word("resource")).unwrap(),
        name: word("name").to_owned(),
        is_prefix: word("pattern") == "prefixed",
        operation: operation.into_iter().find(|known| known.to_string() == word("operation")).unwrap(),
    }
}

fn report(n: u8) -> String {
    REPORT.replace('N', &n.to_string())
}

fn is_filled(deck: &Deck, account: &str) -> Option<()> {
    let (status, page) = deck.ask(&format!("/api/fills?account={account}&limit=1"));
    (status == 200 && !page["items"].as_array()?.is_empty()).then_some(())
}

#[test]
fn a_whole_deck_works_with_the_rights_that_are_printed_and_no_others() {
    let _alone = ALONE.lock();
    let Some(cluster) = Cluster::start_secure() else { return };
    let part = Part::of(&cluster);
    let (admin, config, data) = (part.admin(), part.deck(), part.path("data"));
    let given = json(&["topics", "acls", "--principal", "User:deck", "--apply", "--json", "--config", &admin]);
    assert_eq!(given["applied"], true);

    let deck = Deck::start(&["up", "--config", &config, "--data", &data]);
    for (n, ack) in [(1, "log"), (2, "spool")] {
        let path = format!("/api/v1/events/exec.reports.v1?ack={ack}");
        // A busy machine may not answer in time, and the same body may be sent again.
        let (status, answer) = eventually("a post to be answered", || {
            Some(deck.post(&path, "application/json", &report(n))).filter(|(status, _)| *status != 503)
        });
        assert_eq!(status, 202, "{answer}");
    }
    eventually("both posted reports", || {
        let page = deck.ask("/api/fills?account=ACC-1").1;
        (page["items"].as_array()?.len() == 2).then_some(())
    });
    // Market, strategies, the paper broker and the recorder in a row.
    eventually("a fill of the paper account", || is_filled(&deck, "PAPER"));
    eventually("a fill of a decision", || is_filled(&deck, "DECIDED"));
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));

    // What people do through the api with the deck's rights.
    let on = ["--config", &config, "--data", &data];
    for command in [
        &["topics", "list"][..],
        &["groups", "list"],
        &["groups", "lag"],
        &["groups", "describe", "tapedeck.recorder"],
        &["consume", "alerts.v1", "--group", "mine", "--limit", "1"],
        &["consume", "exec.reports.v1", "--limit", "1"],
        &["groups", "reset", "mine", "--topic", "alerts.v1", "--to", "earliest"],
        &["dlq", "list"],
    ] {
        let output = run(&[command, &on].concat());
        assert!(output.status.success(), "{command:?}: {}{}", stdout(&output), stderr(&output));
    }
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_role_that_misses_a_right_ends_and_names_it() {
    use AclOperation::Read;
    use AclResource::{Group, Topic};
    let _alone = ALONE.lock();
    let Some(cluster) = Cluster::start_secure() else { return };
    for (role, resource, name, operation, words) in [
        ("recorder", Group, "tapedeck.recorder", Read, ["tapedeck.recorder", "Missing ACL: Read on the group"]),
        ("recorder", Topic, "exec.reports.v1", Read, ["exec.reports.v1", "Missing ACL: Read on topic"]),
    ] {
        let part = Part::of(&cluster);
        part.give_all_but(role, resource, name, operation);
        let output = run(&["up", "--roles", role, "--config", &part.deck(), "--data", &part.path("data")]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{role} without {operation} on {name}: {said}");
        for word in words {
            assert!(said.contains(word), "{role} without {operation} on {name} does not say `{word}`: {said}");
        }
    }
}

#[test]
fn a_post_to_a_topic_that_may_not_be_written_says_which_right_is_missing() {
    let _alone = ALONE.lock();
    let Some(cluster) = Cluster::start_secure() else { return };
    let part = Part::of(&cluster);
    let all = "market,strategy,inference,forward-test,recorder,api";
    part.give_all_but(all, AclResource::Topic, "exec.reports.v1", AclOperation::Write);
    let deck = Deck::start(&["up", "--roles", "recorder,api", "--config", &part.deck(), "--data", &part.path("data")]);
    let (status, answer) = eventually("a post to be answered", || {
        Some(deck.post("/api/v1/events/exec.reports.v1", "application/json", &report(1)))
            .filter(|(status, _)| *status != 503)
    });
    let detail = answer["detail"].as_str().unwrap();
    assert!(status == 500 && detail.contains("Missing ACL: Write on topic `exec.reports.v1`"), "{status} {answer}");
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
}
