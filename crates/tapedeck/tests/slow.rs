//! Parts that stop, that answer late, and a client that does not read: what
//! waits is held without taking memory, everything else goes on, and all that
//! was accepted is there afterwards.
//!
//! Not here: full disks (`full`), and processes that are killed (`kills`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "what was measured is printed")]

use std::{collections::BTreeSet, fmt::Write as _, time::Instant};

use common::{
    Deck, eventually,
    outage::{Faults, Load, WAITING_MB, memory_mb, role},
    socket::{Said, Socket},
    text,
};

mod common;

/// Posts while a part is away: some thousand events that wait.
const POSTS: usize = 12;
fn alert(n: u64, message: &str) -> String {
    format!(
        r#"{{"event_id":"00000000-0000-4000-a000-{n:012}","timestamp":"2026-01-02T03:04:05Z","severity":"INFO","code":"TEST","message":"{message}","source":"test"}}"#
    )
}

fn post_alerts(deck: &Deck, numbers: std::ops::Range<u64>, message: &str) {
    let body = numbers.fold(String::new(), |mut body, n| {
        writeln!(body, "{}", alert(n, message)).unwrap();
        body
    });
    assert_eq!(deck.post("/api/v1/events/alerts.v1", "application/x-ndjson", &body).0, 202);
}

/// A deck whose store fails as a file says.
fn faulty(faults: &Faults, data: &str) -> Deck {
    let path = faults.path();
    let variables = [("TAPEDECK_CHAOS_FAULTS", text(&path))];
    Deck::start_with(&["up", "--roles", "recorder,api", "--data", data], &variables).unheard()
}

/// Posts on and on; each must be taken at once, and reach a socket.
fn post_beside(deck: &Deck, load: &mut Load, socket: &mut Socket) {
    for n in 0..POSTS {
        assert_eq!(load.post(deck).0, 202, "the log is well");
        post_alerts(deck, n as u64..n as u64 + 1, "beside");
        assert_eq!(socket.next_of("alert")["payload"]["message"], "beside");
        assert_eq!(deck.get("/api/admin/records?topic=exec.reports.v1&limit=1")["items"].as_array().unwrap().len(), 1);
        assert_eq!(deck.ask("/health/live").0, 200);
    }
}

#[test]
fn a_store_that_stops_is_waited_for_without_end_and_caught_up_with() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let deck = faulty(&faults, text(dir.path()));
    let mut load = Load::default();
    load.post_until_accepted(&deck);
    load.all_stored(&deck);
    let mut socket = Socket::connect(&deck.url, "/ws/alerts");
    socket.next_of("connected");
    let before = memory_mb(&deck, "before");
    faults.set("store=stop");
    let known = load.accepted();
    post_beside(&deck, &mut load, &mut socket);
    eventually("the recorder to wait", || (role(&deck, "recorder")["phase"] == "retrying").then_some(()));
    let (status, problem) = deck.ask("/api/fills?account=OUTAGE");
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("store"), "{problem}");
    let letters = deck.get("/api/admin/records?topic=exec.reports.v1.dlq&limit=1");
    assert_eq!(letters["items"].as_array().unwrap().len(), 0, "an outage makes no dead letter");
    assert!(memory_mb(&deck, "while the store is stopped") < before + WAITING_MB);
    faults.set("");
    let healed = Instant::now();
    load.all_stored(&deck);
    println!("{} events that had waited were there after {:?}", load.accepted() - known, healed.elapsed());
    assert!(memory_mb(&deck, "after") < before + WAITING_MB);
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_store_that_answers_late_delays_nobody_else() {
    let (dir, faults) = (tempfile::tempdir().unwrap(), Faults::new());
    let deck = faulty(&faults, text(dir.path()));
    let mut load = Load::default();
    load.post_until_accepted(&deck);
    load.all_stored(&deck);
    let mut socket = Socket::connect(&deck.url, "/ws/alerts");
    socket.next_of("connected");
    let before = memory_mb(&deck, "before");
    // So late that a part of a batch must not be tried in its place: each call
    // takes as long, whatever is in it.
    faults.set("store=slow:5100");
    post_beside(&deck, &mut load, &mut socket);
    assert!(memory_mb(&deck, "while the store is slow") < before + WAITING_MB);
    eventually("all to be written nevertheless", || {
        (role(&deck, "recorder")["records"].as_u64().unwrap() >= load.accepted() + POSTS as u64).then_some(())
    });
    faults.set("");
    load.all_stored(&deck);
    assert_eq!(deck.terminate(), 0);
}

#[test]
fn a_client_that_stops_reading_is_closed_with_4008_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let deck = Deck::start(&["up", "--roles", "recorder,api", "--data", text(dir.path())]).unheard();
    let mut sleeper = Socket::connect(&deck.url, "/ws/alerts");
    let mut seq = sleeper.next_of("connected")["seq"].as_str().unwrap().to_owned();
    let before = memory_mb(&deck, "before");
    // Long messages fill the buffers between the two soon.
    let (message, chunk) = ("x".repeat(8_000), 250);
    let mut posted = 0;
    eventually("the client to be closed", || {
        post_alerts(&deck, posted..posted + chunk, &message);
        posted += chunk;
        (closed_as_slow(&deck) > 0).then_some(())
    });
    assert!(memory_mb(&deck, "after the client was closed") < before + WAITING_MB);
    let mut seen = Vec::new();
    let code = loop {
        match sleeper.next() {
            Said::Close(code) => break code,
            Said::Text(event) if event["type"] == "alert" => {
                seq = event["seq"].as_str().unwrap().to_owned();
                seen.push(event["payload"]["event_id"].as_str().unwrap().to_owned());
            }
            Said::Text(_) => {}
        }
    };
    assert_eq!(code, 4008);
    println!("{posted} alerts were posted, {} came before the close", seen.len());
    assert!((seen.len() as u64) < posted);
    let mut again = Socket::connect(&deck.url, &format!("/ws/alerts?since={seq}"));
    again.next_of("connected");
    while (seen.len() as u64) < posted {
        seen.push(again.next_of("alert")["payload"]["event_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len() as u64, posted, "each once");
    assert_eq!(deck.terminate(), 0);
}

/// Clients that were closed for being slow.
fn closed_as_slow(deck: &Deck) -> u64 {
    let metrics = deck.text("/metrics");
    let line = metrics.lines().find(|line| line.contains("ws_slow_clients_closed") && !line.starts_with('#')).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
