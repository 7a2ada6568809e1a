//! Starting, probing, describing, stopping.

use std::time::{Duration, Instant};

use tapedeck_api::{ApiConfig, ApiError, WsConfig, openapi_document, serve};
use tapedeck_flow::Phase;

use crate::support::{Running, deps, free_port, open_log};

fn refused(listen: &str) -> ApiError {
    let folder = tempfile::tempdir().unwrap();
    serve(
        deps(folder.path(), open_log(folder.path())),
        ApiConfig { listen: listen.into(), ..free_port() },
        WsConfig::default(),
    )
    .unwrap_err()
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let api = Running::start();
    let error = refused(&api.addr.to_string()).to_string();
    assert!(error.contains(&api.addr.to_string()) && error.contains("api.listen"), "{error}");
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7380"] {
        let error = refused(listen);
        assert!(matches!(error, ApiError::NotLoopback { .. }), "{listen}: {error}");
        assert!(error.to_string().contains("no locks yet"), "{error}");
    }
    assert!(matches!(refused("nonsense"), ApiError::BadAddress { .. }));
}

#[test]
fn ready_says_which_role_is_not() {
    let api = Running::start();
    assert_eq!(api.get("/health/live").status, 200);
    assert_eq!(api.get("/health/ready").status, 200);
    api.gauges.set_phase(Phase::Blocked("exec.reports.v1/3 offset 7: no such field".into()));
    let answer = api.get("/health/ready");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("recorder: exec.reports.v1/3 offset 7"), "{}", answer.body);
    api.gauges.set_phase(Phase::Standby);
    assert_eq!(api.get("/health/ready").status, 200);
}

#[test]
fn metrics_count_requests_by_route_and_show_roles() {
    let api = Running::start().with_trades();
    api.get("/api/fills?limit=-1");
    api.get("/api/fills");
    api.gauges.records.store(42, std::sync::atomic::Ordering::Relaxed);
    let answer = api.get("/metrics");
    for line in [
        r#"tapedeck_http_requests_total{route="/api/fills",status="4xx"} 1"#,
        r#"tapedeck_http_requests_total{route="/api/fills",status="2xx"} 1"#,
        r#"tapedeck_http_request_duration_seconds_count{route="/api/fills"} 2"#,
        r#"tapedeck_role_up{role="recorder"} 1"#,
        r#"tapedeck_role_records_total{role="recorder"} 42"#,
        r#"tapedeck_account_equity{account="ACC-1"} 100481.0"#,
        r#"tapedeck_log_bytes{topic="alerts.v1"} 0"#,
        "# HELP tapedeck_ws_clients Sockets open now.",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line}\n{}", answer.body);
    }
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn request_id_and_trace_context_come_back() {
    let api = Running::start();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = api.send("GET", "/api/instruments", &[("x-request-id", "mine-7"), ("traceparent", trace)], b"");
    assert_eq!((answer.header("x-request-id"), answer.header("traceparent")), (Some("mine-7"), Some(trace)));
    let answer = api.get("/api/instruments");
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36));
    assert_eq!(answer.header("traceparent").map(str::len), Some(55));
}

#[test]
fn the_description_is_the_one_that_was_reviewed() {
    let api = Running::start();
    assert_eq!(api.get("/openapi.json").body, openapi_document());
    let kept = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let reviewed = std::fs::read_to_string(&kept).unwrap_or_default();
    if reviewed != openapi_document() {
        let new = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        std::fs::write(&new, openapi_document()).unwrap();
        panic!("the description changed: review {} and move it over openapi.json", new.display());
    }
}

#[test]
fn every_operation_of_the_description_has_a_name_of_its_own() {
    let description: serde_json::Value = serde_json::from_str(&openapi_document()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let operations = paths.values().flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let distinct: std::collections::BTreeSet<&&str> = names.iter().collect();
    assert_eq!(names.len(), distinct.len(), "{names:?}");
}

#[test]
fn pages_load_nothing_from_elsewhere() {
    let api = Running::start();
    for path in ["/", "/docs"] {
        let answer = api.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(!answer.body.contains("://"), "{path} names another host");
    }
    let description: serde_json::Value = serde_json::from_str(&openapi_document()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let landing = api.get("/").body;
    for link in landing.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let answer = api.get(link);
        assert!(answer.status != 404 || answer.body.contains("no account yet"), "{link}: {}", answer.body);
    }
}

#[test]
fn a_stop_ends_the_server_within_its_time_and_frees_the_folder() {
    let api = Running::start();
    let started = Instant::now();
    let folder = api.stop();
    assert!(started.elapsed() < Duration::from_secs(10));
    let again = Running::over(folder, free_port(), WsConfig::default());
    assert_eq!(again.get("/health/ready").status, 200);
}
