//! The operator's commands.

use std::time::Duration;

use serde_json::{Value, json};
use tapedeck_log::{Log, PollLimits, TopicPartition};

use crate::support::Running;

/// All values of a topic.
fn values(api: &Running, topic: &str) -> Vec<Value> {
    let topics = api.log.topics().unwrap();
    let info = topics.iter().find(|info| &*info.config.name == topic).unwrap();
    let from: Vec<(TopicPartition, u64)> =
        info.partitions.iter().map(|p| (TopicPartition::new(topic, p.partition), p.start)).collect();
    let mut reader = api.log.reader().unwrap();
    reader.assign(&from).unwrap();
    let records = reader.poll(PollLimits { max_records: 100, max_bytes: 1 << 20, timeout: Duration::ZERO }).unwrap();
    records.iter().map(|record| serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()).collect()
}

#[test]
fn a_trip_is_written_as_a_command_and_an_audit_entry() {
    let api = Running::start().with_trades();
    let body = r#"{"account":"ACC-1","reason":"news at 3","flatten":true}"#;
    let answer = api.post("/api/risk/ess/trip", "application/json", body);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let accepted = answer.json();
    assert_eq!((&accepted["topic"], &accepted["offset"]), (&json!("risk-commands"), &json!(0)));
    let commands = values(&api, "risk-commands");
    assert_eq!(commands.len(), 1);
    assert_eq!(commands[0]["event_id"], accepted["event_id"]);
    assert_eq!(
        [&commands[0]["account"], &commands[0]["command"], &commands[0]["reason"], &commands[0]["actor"]],
        ["ACC-1", "trip", "news at 3", "local"]
    );
    assert_eq!(commands[0]["flatten"], true);
    let audit = values(&api, "audit-logs");
    assert_eq!(
        [
            &audit[0]["data"]["actor"],
            &audit[0]["data"]["action"],
            &audit[0]["data"]["object"],
            &audit[0]["data"]["reason"]
        ],
        ["local", "ess.trip", "account/ACC-1", "news at 3"]
    );
}

#[test]
fn the_only_account_need_not_be_named() {
    let api = Running::start().with_trades();
    let answer = api.post("/api/risk/ess/arm", "application/json", r#"{"reason":"all clear"}"#);
    assert_eq!((answer.status, &answer.json()["account"]), (202, &json!("ACC-1")));
    assert_eq!(values(&api, "risk-commands")[0]["command"], "arm");
}

#[test]
fn a_command_without_a_reason_or_with_something_wrong_is_refused_and_not_written() {
    let api = Running::start().with_trades();
    for (kind, body, status, path) in [
        ("trip", r#"{"account":"ACC-1"}"#, 422, "$.reason"),
        ("trip", r#"{"account":"ACC-1","reason":"  "}"#, 422, "$.reason"),
        ("trip", r#"{"account":"ACC-1","reason":5}"#, 422, "$.reason"),
        ("arm", r#"{"account":"ACC-1","reason":"x","flatten":true}"#, 422, "$.flatten"),
        ("trip", r#"{"reason":"x","acount":"ACC-1"}"#, 422, "$.acount"),
        ("trip", "{", 400, "$"),
    ] {
        let answer = api.post(&format!("/api/risk/ess/{kind}"), "application/json", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert_eq!(answer.json()["errors"][0]["path"], path, "{body}");
    }
    let unknown = api.post("/api/risk/ess/trip", "application/json", r#"{"account":"ACC-9","reason":"x"}"#);
    assert_eq!(unknown.status, 404);
    assert!(values(&api, "risk-commands").is_empty());
    assert!(values(&api, "audit-logs").is_empty());
}
