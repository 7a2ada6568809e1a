//! What bad input gets: a problem that names the place.

use tapedeck_api::{ApiConfig, WsConfig};

use crate::support::{Answer, Running, free_port};

/// Checks the form of a problem, and gives the first place that it names.
fn place(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    for member in ["type", "title", "detail", "instance"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {body}");
    }
    body["errors"][0]["path"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_bad_parameter_is_named() {
    let api = Running::start().with_trades();
    for (target, name) in [
        ("/api/fills?limit=-1", "limit"),
        ("/api/fills?limit=0", "limit"),
        ("/api/fills?limit=1001", "limit"),
        ("/api/fills?limt=5", "limt"),
        ("/api/fills?from=yesterday", "from"),
        ("/api/fills?from=2025-10-21T14:30:00", "from"),
        ("/api/fills?from=2025-10-22T00:00:00Z&to=2025-10-21T00:00:00Z", "from"),
        ("/api/fills?cursor=abc", "cursor"),
        ("/api/fills?account=", "account"),
        ("/api/fills?symbol=A&symbol=B", "symbol"),
        ("/api/pnl?interval=2m", "interval"),
        ("/api/pnl?max_points=0", "max_points"),
        ("/api/pnl?max_points=10001", "max_points"),
        ("/api/orders?status=closed", "status"),
        ("/api/alerts?severity=loud", "severity"),
        ("/api/accounts?account=A", "account"),
        ("/api/admin/records", "topic"),
        ("/api/admin/records?topic=alerts.v1&from=5", "from"),
        ("/api/admin/records?topic=alerts.v1&partition=4", "partition"),
        ("/api/admin/records?topic=alerts.v1&partition=0&from=99", "from"),
    ] {
        assert_eq!(place(&api.get(target), 400), name, "{target}");
    }
    assert!(api.get("/api/fills?limt=5").body.contains("did you mean `limit`?"));
}

#[test]
fn a_cursor_that_was_tampered_with_or_is_of_other_filters_is_refused() {
    let api = Running::start().with_trades();
    let body = api.get("/api/fills?limit=1").json();
    let cursor = body["next_cursor"].as_str().unwrap();
    assert_eq!(api.get(&format!("/api/fills?cursor={cursor}")).status, 200);
    assert_eq!(place(&api.get(&format!("/api/fills?symbol=BTCUSDT&cursor={cursor}")), 400), "cursor");
    assert_eq!(place(&api.get(&format!("/api/orders?cursor={cursor}")), 400), "cursor");
    let other = if cursor.starts_with('B') { 'C' } else { 'B' };
    let tampered = format!("{}{other}{}", &cursor[..10], &cursor[11..]);
    if tampered != cursor {
        assert_eq!(place(&api.get(&format!("/api/fills?cursor={tampered}")), 400), "cursor");
    }
}

#[test]
fn unknown_accounts_paths_topics_and_methods_are_told() {
    let api = Running::start().with_trades();
    let answer = api.get("/api/fills?account=ACC-2");
    place(&answer, 404);
    assert!(answer.body.contains("did you mean `ACC-1`?"), "{}", answer.body);
    place(&api.get("/api/positions/latest?account=nobody"), 404);
    place(&api.get("/api/nothing"), 404);
    let answer = api.send("DELETE", "/api/fills", &[], b"");
    place(&answer, 405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    let answer = api.post("/api/v1/events/exec.report.v1", "application/json", "{}");
    place(&answer, 404);
    assert!(answer.body.contains("did you mean `exec.reports.v1`?"), "{}", answer.body);
    place(&api.get("/api/admin/records?topic=alerts"), 404);
}

#[test]
fn closed_topics_cannot_be_written() {
    let api = Running::start();
    for topic in ["risk-commands", "audit-logs", "tapedeck.strategy.state", "alerts.v1.dlq"] {
        place(&api.post(&format!("/api/v1/events/{topic}"), "application/json", "{}"), 403);
    }
}

#[test]
fn a_body_over_the_limit_gets_413() {
    let api = Running::with(ApiConfig { body_limit_bytes: 1_000, ..free_port() }, WsConfig::default());
    place(&api.post("/api/v1/events/alerts.v1", "application/x-ndjson", vec![b' '; 1_001]), 413);
    place(&api.post("/api/v1/events/alerts.v1", "application/x-ndjson", vec![b' '; 1_000]), 400);
}

#[test]
fn a_body_of_another_type_or_that_is_not_json_is_refused() {
    let api = Running::start();
    let target = "/api/v1/events/alerts.v1";
    place(&api.post(target, "application/x-www-form-urlencoded", "{}"), 415);
    place(&api.post(target, "text/plain", "{}"), 415);
    place(&api.send("POST", target, &[], b"{}"), 415);
    assert_eq!(place(&api.post(target, "application/json", "{\"a\":"), 400), "$");
    assert_eq!(place(&api.post(target, "application/json", ""), 400), "$");
    assert_eq!(place(&api.post(target, "application/x-ndjson", "\n\n"), 400), "$");
    place(&api.post("/api/risk/ess/trip", "application/x-ndjson", "{}"), 415);
}

#[test]
fn pages_of_other_machines_are_kept_out() {
    let api = Running::start();
    place(&api.send("GET", "/api/fills", &[("host", "evil.example")], b""), 403);
    let headers = [("content-type", "application/json"), ("origin", "https://evil.example")];
    place(&api.send("POST", "/api/risk/ess/trip", &headers, b"{}"), 403);
    place(&api.send("GET", "/ws/alerts", &[("origin", "https://evil.example")], b""), 403);
}

#[test]
fn too_many_requests_of_one_address_get_429_and_probes_pass() {
    let config = ApiConfig { rate_limit_per_s: 1, rate_limit_burst: 2, ..free_port() };
    let api = Running::with(config, WsConfig::default());
    let answers: Vec<Answer> = (0..4).map(|_| api.get("/api/instruments")).collect();
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    place(refused, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(api.get("/health/live").status, 200);
}

#[test]
fn beyond_the_concurrency_limit_503_comes_at_once() {
    let api = Running::with(ApiConfig { max_concurrent: 0, ..free_port() }, WsConfig::default());
    let answer = api.get("/api/instruments");
    place(&answer, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(api.get("/health/live").status, 200);
    let stop = api.post("/api/risk/ess/trip", "application/json", "{}");
    place(&stop, 422);
}
