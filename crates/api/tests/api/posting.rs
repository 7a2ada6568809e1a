//! Events from elsewhere.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tapedeck_log::{Log, LogRecord, PollLimits, TopicPartition};
use tapedeck_store::conformance::samples;

use crate::support::Running;

fn records(api: &Running, topic: &str, partitions: u32) -> Vec<LogRecord> {
    let from: Vec<(TopicPartition, u64)> = (0..partitions).map(|p| (TopicPartition::new(topic, p), 0)).collect();
    let mut reader = api.log.reader().unwrap();
    reader.assign(&from).unwrap();
    let end: u64 = from.iter().map(|(place, _)| api.log.bounds(place).unwrap().1).sum();
    let mut all = Vec::new();
    while (all.len() as u64) < end {
        all.extend(
            reader.poll(PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::ZERO }).unwrap(),
        );
    }
    all
}

/// A thousand reports, every tenth with a limit price that is no decimal.
fn thousand() -> String {
    let line = |n: u64| {
        let mut report = serde_json::to_value(samples::trade(n)).unwrap();
        if n.is_multiple_of(10) {
            report["order"]["limit_price"] = json!("abc");
        }
        format!("{report}\n")
    };
    (1..=1_000).map(line).collect()
}

#[test]
fn of_a_thousand_lines_the_good_are_durable_and_the_bad_are_named() {
    let api = Running::start();
    let answer = api.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", thousand());
    assert_eq!(answer.status, 202, "{}", answer.body);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(900), &json!(100)));
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 1_000);
    assert_eq!(
        results[9],
        json!({ "line": 10, "status": "rejected", "error": { "path": "$.order.limit_price", "detail": "expected a decimal, found \"abc\"" } })
    );
    let first = &results[0];
    assert_eq!((&first["line"], &first["status"]), (&json!(1), &json!("accepted")));
    assert_eq!(first["event_id"], samples::trade(1).event_id.as_str());

    let written = records(&api, "exec.reports.v1", 8);
    assert_eq!(written.len(), 900);
    let record = written.iter().find(|record| record.headers.text("ce_id") == first["event_id"].as_str()).unwrap();
    assert_eq!(json!([record.partition, record.offset]), json!([first["partition"], first["offset"]]));
    assert_eq!(record.key.as_deref(), Some(&b"BTCUSDT"[..]));
    assert_eq!(record.headers.text("ce_type"), Some("execution_report"));
    assert_eq!(record.headers.text("ce_source"), Some("tapedeck/api"));
}

#[test]
fn the_same_lines_again_carry_the_same_ids() {
    let api = Running::start();
    let quote = r#"{"timestamp":"2024-01-01T12:00:00Z","producer_service":"x","data":{"symbol":"A","price":"1.5","volume":0,"timestamp":"2024-01-01T12:00:00Z","source":"s"}}"#;
    let named = quote.replacen('{', r#"{"event_id":"mine-1","#, 1);
    let body = format!("{quote}\n{named}\n");
    let ids = || -> Vec<Value> {
        let answer = api.post("/api/v1/events/market-data-updates", "application/x-ndjson", &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["results"].as_array().unwrap().iter().map(|result| result["event_id"].clone()).collect()
    };
    let first = ids();
    assert_eq!(first, ids());
    assert_eq!(first[1], "mine-1");
    let written = records(&api, "market-data-updates", 8);
    let distinct: BTreeSet<&str> = written.iter().map(|record| record.headers.text("ce_id").unwrap()).collect();
    assert_eq!((written.len(), distinct.len()), (4, 2));
}

#[test]
fn an_object_and_an_array_are_taken_too() {
    let api = Running::start();
    let report = serde_json::to_string_pretty(&samples::trade(1)).unwrap();
    let one = api.post("/api/v1/events/exec.reports.v1", "application/json", &report);
    assert_eq!((one.status, &one.json()["accepted"]), (202, &json!(1)));
    let two = api.post("/api/v1/events/exec.reports.v1", "application/json; charset=utf-8", format!("[{report},{{}}]"));
    let body = two.json();
    assert_eq!((two.status, &body["accepted"], &body["rejected"]), (202, &json!(1), &json!(1)));
    assert_eq!(body["results"][1]["line"], 2);
}

#[test]
fn where_no_line_was_taken_the_answer_is_400_with_the_reasons() {
    let api = Running::start();
    let answer = api.post("/api/v1/events/exec.reports.v1", "application/x-ndjson", "{}\nnot json\n");
    assert_eq!(answer.status, 400);
    let body = answer.json();
    assert_eq!((&body["accepted"], &body["rejected"]), (&json!(0), &json!(2)));
    assert_eq!(body["results"][1]["line"], 2);
    assert_eq!(body["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn a_time_that_lies_far_ahead_is_refused_since_it_would_hide_all_others() {
    let api = Running::start();
    let mut alert = samples::alert(1, tapedeck_contracts::events::Severity::Info, None);
    alert.timestamp = tapedeck_contracts::Timestamp::parse("9999-12-31T23:59:59Z").unwrap();
    let answer = api.post("/api/v1/events/alerts.v1", "application/json", serde_json::to_string(&alert).unwrap());
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["results"][0]["error"]["path"], "$.timestamp", "{}", answer.body);
}

#[test]
fn a_record_that_the_log_refuses_does_not_cost_its_neighbours() {
    let api = Running::start();
    let mut alert = samples::alert(1, tapedeck_contracts::events::Severity::Info, None);
    let good = serde_json::to_string(&alert).unwrap();
    alert.message = "x".repeat(2 << 20);
    let large = serde_json::to_string(&alert).unwrap();
    let answer = api.post("/api/v1/events/alerts.v1", "application/x-ndjson", format!("{large}\n{good}\n"));
    let body = answer.json();
    assert_eq!((answer.status, &body["accepted"], &body["rejected"]), (202, &json!(1), &json!(1)), "{}", answer.body);
    assert_eq!(
        (&body["results"][0]["status"], &body["results"][1]["status"]),
        (&json!("rejected"), &json!("accepted"))
    );
    assert_eq!(records(&api, "alerts.v1", 4).len(), 1);
}
