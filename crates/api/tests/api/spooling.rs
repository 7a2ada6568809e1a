//! Events that are answered for before they are in the log.
//!
//! Not here: the end of the process in between, which the binary's tests stage,
//! and what the emitter does, which its own tests hold.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tapedeck_api::WsConfig;
use tapedeck_flow::{
    Boundaries,
    emitter::{Emitter, EmitterConfig},
};
use tapedeck_log::{Log, LogRecord, PollLimits, TopicPartition};
use tapedeck_store::conformance::samples;

use crate::{
    away::AwayLog,
    support::{Running, deps, free_port, open_log},
};

const TARGET: &str = "/api/v1/events/exec.reports.v1?ack=spool";
const NDJSON: &str = "application/x-ndjson";

/// A server whose log can be sent away.
struct Spooling {
    api: Running,
    away: Arc<AtomicBool>,
    _emitter: Emitter,
}

impl Spooling {
    /// The rings lie in the folder, so that nothing is left elsewhere.
    fn start(change: impl FnOnce(&mut EmitterConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = EmitterConfig {
            ring_dir: folder.path().join("rings").to_str().unwrap().into(),
            ring_bytes: 4 << 20,
            breaker_open_ms: 50,
            ..EmitterConfig::default()
        };
        std::fs::create_dir_all(&config.ring_dir).unwrap();
        change(&mut config);
        let (inner, away) = (open_log(folder.path()), Arc::new(AtomicBool::new(false)));
        let front: Arc<dyn Log> = Arc::new(AwayLog { inner: Arc::clone(&inner), away: Arc::clone(&away) });
        let emitter =
            Emitter::open(Arc::clone(&front), &folder.path().join("emitter"), "api", &config, Boundaries::default())
                .unwrap();
        emitter.send_leftovers(&mut |_| true, &tapedeck_flow::Stop::new()).unwrap();
        let mut deps = deps(folder.path(), Arc::clone(&inner));
        deps.log = front;
        deps.producer = Some(emitter.producer().unwrap());
        deps.emitters = vec![("api".into(), emitter.stats())];
        let api = Running::of(deps, inner, folder, free_port(), WsConfig::default());
        Self { api, away, _emitter: emitter }
    }

    fn emitter(&self) -> Value {
        self.api.get("/api/admin/emitter").json()["items"][0].clone()
    }

    /// Waits for what the emitter does on its own thread.
    fn eventually<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "waited for {what}: {}", self.emitter());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn written(&self) -> Vec<LogRecord> {
        let from: Vec<_> = (0..8).map(|p| (TopicPartition::new("exec.reports.v1", p), 0)).collect();
        let mut reader = self.api.log.reader().unwrap();
        reader.assign(&from).unwrap();
        let limits = PollLimits { max_records: 100_000, max_bytes: 64 << 20, timeout: Duration::ZERO };
        let mut all = Vec::new();
        loop {
            let records = reader.poll(limits).unwrap();
            if records.is_empty() {
                return all;
            }
            all.extend(records);
        }
    }
}

fn reports(numbers: std::ops::RangeInclusive<u64>) -> String {
    numbers.map(|n| serde_json::to_string(&samples::trade(n)).unwrap() + "\n").collect()
}

#[test]
fn events_are_taken_while_the_log_is_away_and_are_in_it_in_order_once_it_is_back() {
    let deck = Spooling::start(|_| {});
    deck.away.store(true, Relaxed);
    assert_eq!(deck.api.post("/api/v1/events/exec.reports.v1", NDJSON, reports(1..=1)).status, 503);
    let answer = deck.api.post(TARGET, NDJSON, reports(1..=100) + "not json\n");
    let body = answer.json();
    assert_eq!((answer.status, &body["accepted"], &body["rejected"]), (202, &json!(100), &json!(1)), "{}", answer.body);
    assert!(body["note"].as_str().unwrap().contains("not in the log yet"), "{body}");
    assert_eq!(
        body["results"][0],
        json!({ "line": 1, "status": "accepted", "event_id": samples::trade(1).event_id.as_str(), "ack": "spool" })
    );
    assert_eq!(body["results"][100]["line"], 101);
    assert_eq!(deck.api.post(TARGET, NDJSON, reports(101..=200)).status, 202);
    assert!(deck.written().is_empty());

    deck.away.store(false, Relaxed);
    let written = deck.eventually("200 records", || Some(deck.written()).filter(|all| all.len() >= 200));
    let ids: Vec<&str> = written.iter().map(|record| record.headers.text("ce_id").unwrap()).collect();
    let sent: Vec<_> = (1..=200).map(|n| samples::trade(n).event_id).collect();
    let sent: Vec<&str> = sent.iter().map(|id| id.as_str()).collect();
    assert_eq!(ids, sent, "all are of one symbol, so of one partition");
    assert_eq!(deck.emitter()["emitted"], 200);
}

#[test]
fn an_emitter_that_cannot_send_shows_in_health_and_metrics() {
    let deck = Spooling::start(|config| config.breaker_open_ms = 60_000);
    assert_eq!(deck.api.get("/health/ready").json(), json!({ "status": "ok" }));
    deck.away.store(true, Relaxed);
    assert_eq!(deck.api.post(TARGET, NDJSON, reports(1..=3)).status, 202);
    deck.eventually("the breaker", || (deck.emitter()["breaker"] == "open").then_some(()));
    let health = deck.api.get("/health/ready");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("degraded")), "{}", health.body);
    assert!(health.body.contains("emitter api: breaker open"), "{}", health.body);
    let figures = deck.api.get("/metrics").body;
    for line in [
        r#"tapedeck_emitter_breaker_state{emitter="api"} 1"#,
        r#"tapedeck_emitter_emitted_records_total{emitter="api"} 3"#,
        r#"tapedeck_emitter_sent_records_total{emitter="api"} 0"#,
        "tapedeck_memory_cap_bytes 536870912",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line}\n{figures}");
    }
    assert!(figures.contains("tapedeck_process_resident_memory_bytes "), "{figures}");
}

#[test]
fn when_ring_and_spool_are_full_the_answer_is_503_and_says_which_were_taken() {
    let deck = Spooling::start(|config| (config.spool_max_bytes, config.segment_bytes) = (4 << 20, 2 << 20));
    deck.away.store(true, Relaxed);
    let mut accepted = BTreeSet::new();
    let full = (0..200)
        .map(|block| deck.api.post(TARGET, NDJSON, reports(block * 1_000 + 1..=block * 1_000 + 1_000)))
        .find(|answer| {
            let body = answer.json();
            let taken = body["results"].as_array().unwrap().iter().filter(|result| result["status"] == "accepted");
            accepted.extend(taken.map(|result| result["event_id"].as_str().unwrap().to_owned()));
            answer.status != 202
        });
    let full = full.expect("8 MiB do not hold 200,000 reports");
    assert_eq!(full.status, 503, "{}", full.body);
    assert!(full.header("retry-after").is_some() && full.json()["detail"].as_str().unwrap().contains("full"));
    assert_eq!(full.json()["results"].as_array().unwrap().len(), 1_000);

    deck.away.store(false, Relaxed);
    let written =
        deck.eventually("all that was taken", || Some(deck.written()).filter(|all| all.len() >= accepted.len()));
    let ids: BTreeSet<String> = written.iter().map(|record| record.headers.text("ce_id").unwrap().to_owned()).collect();
    assert_eq!(ids, accepted);
}

#[test]
fn one_record_that_is_too_large_does_not_cost_its_neighbours_the_ring() {
    let deck = Spooling::start(|_| {});
    let mut alert = samples::alert(1, tapedeck_contracts::events::Severity::Info, None);
    let good = serde_json::to_string(&alert).unwrap();
    alert.message = "x".repeat(2 << 20);
    let body = format!("{}\n{good}\n", serde_json::to_string(&alert).unwrap());
    let answer = deck.api.post("/api/v1/events/alerts.v1?ack=spool", NDJSON, body);
    let body = answer.json();
    assert_eq!((answer.status, &body["accepted"], &body["rejected"]), (202, &json!(1), &json!(1)), "{}", answer.body);
    assert!(body["results"][0]["error"]["detail"].as_str().unwrap().contains("larger"), "{body}");
}

#[test]
fn another_word_for_ack_is_refused_by_name() {
    let deck = Spooling::start(|_| {});
    let answer = deck.api.post("/api/v1/events/exec.reports.v1?ack=memory", NDJSON, reports(1..=1));
    assert_eq!((answer.status, &answer.json()["errors"][0]["path"]), (400, &json!("ack")), "{}", answer.body);
    assert!(answer.body.contains("log, spool") && answer.body.contains("memory"), "{}", answer.body);
}

#[test]
fn a_process_that_emits_nothing_says_so() {
    let api = Running::start();
    let answer = api.post(TARGET, NDJSON, reports(1..=1));
    assert!(answer.status == 503 && answer.body.contains("emits nothing"), "{}", answer.body);
    assert_eq!(api.get("/api/admin/emitter").json(), json!({ "items": [], "next_cursor": null }));
}
