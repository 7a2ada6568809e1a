//! Alerts on sockets.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tapedeck_api::WsConfig;
use tapedeck_contracts::{Event, events::Severity, headers::REDRIVE};
use tapedeck_flow::Outbound;
use tapedeck_log::{Log, Record};
use tapedeck_store::conformance::samples;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, client::client};

use crate::support::{Running, free_port};

/// So long a message is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client(WebSocket<TcpStream>);

impl Client {
    /// Connects and reads the first message.
    fn connect(api: &Running, query: &str) -> (Self, Value) {
        let mut client = Self::open(api, query).unwrap();
        let first = client.next();
        (client, first)
    }

    fn open(api: &Running, query: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(api.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match client(format!("ws://{}/ws/alerts{query}", api.addr), stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The ids of the next alerts, and the seq of the last.
    fn alerts(&mut self, count: usize) -> (Vec<String>, String) {
        let mut seq = String::new();
        let ids = (0..count).map(|_| {
            let message = self.next();
            assert_eq!(message["type"], "alert", "{message}");
            seq = message["seq"].as_str().unwrap().to_owned();
            message["payload"]["event_id"].as_str().unwrap().to_owned()
        });
        (ids.collect(), seq)
    }

    /// Reads on until the server closes, and gives its code.
    fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(frame)) = self.0.read().unwrap() {
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}

fn record(n: u64, severity: Severity) -> Record {
    let alert = samples::alert(n, severity, Some(&format!("ACC-{}", n % 7)));
    let id = alert.event_id.clone();
    Outbound::first("alerts.v1", id, Event::Alert(Box::new(alert))).into_record("test").unwrap()
}

fn raise(api: &Running, numbers: std::ops::RangeInclusive<u64>) {
    api.log.append(numbers.map(|n| record(n, Severity::Warning)).collect()).unwrap();
}

fn ids(numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let mut ids: Vec<String> = numbers.map(|n| format!("alert-{n}")).collect();
    ids.sort();
    ids
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[test]
fn an_alert_reaches_every_socket_with_its_body() {
    let api = Running::start();
    let mut clients: Vec<Client> = (0..3)
        .map(|_| {
            let (client, first) = Client::connect(&api, "");
            assert_eq!(first["type"], "connected");
            assert!(first["session"].is_string() && first["seq"].is_string(), "{first}");
            client
        })
        .collect();
    raise(&api, 1..=1);
    for client in &mut clients {
        let message = client.next();
        assert_eq!((&message["type"], &message["timestamp"]), (&json!("alert"), &json!("2025-10-21T14:30:01.123456Z")));
        assert_eq!(
            message["payload"],
            json!({ "event_id": "alert-1", "timestamp": "2025-10-21T14:30:01.123456Z", "severity": "WARNING",
                "code": "RISK_DRAWDOWN", "message": "daily drawdown 5.1 %, limit 5 %", "context": { "limit_pct": 5 },
                "source": "risk", "account": "ACC-1", "decision_id": null })
        );
    }
}

#[test]
fn a_client_that_comes_back_gets_exactly_what_it_missed_also_after_a_restart() {
    let api = Running::start();
    let (mut client, _) = Client::connect(&api, "");
    raise(&api, 1..=20);
    let (before, seq) = client.alerts(13);
    drop(client);
    raise(&api, 21..=30);
    let (mut again, first) = Client::connect(&api, &format!("?since={seq}"));
    assert_eq!(first["seq"], seq.as_str(), "a client that goes again at once has missed nothing");
    let (missed, _) = again.alerts(17);
    assert_eq!(sorted([before.clone(), missed].concat()), ids(1..=30));
    raise(&api, 31..=31);
    assert_eq!(again.alerts(1).0, ["alert-31"], "and then what is new");

    let folder = api.stop();
    let api = Running::over(folder, free_port(), WsConfig::default());
    let (mut later, _) = Client::connect(&api, &format!("?since={seq}"));
    raise(&api, 32..=40);
    let (missed, _) = later.alerts(27);
    assert_eq!(sorted([before, missed].concat()), ids(1..=40));
}

#[test]
fn coming_back_while_alerts_go_on_loses_and_doubles_none() {
    const ALL: u64 = 2_000;
    let api = Running::start();
    let (_, first) = Client::connect(&api, "");
    let mut seq = first["seq"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| (1..=ALL).for_each(|n| raise(&api, n..=n)));
        while (seen.len() as u64) < ALL {
            let (mut client, _) = Client::connect(&api, &format!("?since={seq}"));
            let (some, last) = client.alerts(37.min(ALL as usize - seen.len()));
            seen.extend(some);
            seq = last;
        }
    });
    assert_eq!(sorted(seen), ids(1..=ALL));
}

#[test]
fn an_alert_written_twice_is_shown_once() {
    let api = Running::start();
    let (mut client, first) = Client::connect(&api, "");
    raise(&api, 1..=3);
    raise(&api, 1..=4);
    assert_eq!(sorted(client.alerts(4).0), ids(1..=4));
    let since = first["seq"].as_str().unwrap();
    let (mut again, _) = Client::connect(&api, &format!("?since={since}"));
    assert_eq!(sorted(again.alerts(4).0), ids(1..=4));
    raise(&api, 5..=5);
    assert_eq!(again.alerts(1).0, ["alert-5"]);
}

#[test]
fn an_alert_that_is_sent_again_for_a_group_is_not_shown_again() {
    let api = Running::start();
    let (mut client, first) = Client::connect(&api, "");
    raise(&api, 1..=1);
    // Its id is not among the last that are remembered: nothing else tells.
    let mut again = record(2, Severity::Info);
    again.headers = again.headers.with(REDRIVE, "tapedeck.recorder/1");
    api.log.append(vec![again]).unwrap();
    raise(&api, 3..=3);
    let wanted: Vec<String> = ids(1..=1).into_iter().chain(ids(3..=3)).collect();
    assert_eq!(sorted(client.alerts(2).0), wanted);
    let (mut later, _) = Client::connect(&api, &format!("?since={}", first["seq"].as_str().unwrap()));
    assert_eq!(sorted(later.alerts(2).0), wanted);
}

#[test]
fn what_retention_has_taken_is_told_as_a_gap() {
    let api = Running::start();
    let (_, first) = Client::connect(&api, "");
    raise(&api, 1..=20);
    let long_after_ms = samples::START.millis() * 2;
    api.log.run_retention(long_after_ms).unwrap();
    let since = first["seq"].as_str().unwrap();
    let (mut client, _) = Client::connect(&api, &format!("?since={since}"));
    let gap = client.next();
    assert_eq!(gap["type"], "gap");
    raise(&api, 21..=21);
    assert_eq!(client.alerts(1).0, ["alert-21"]);
    let from_gap = gap["seq"].as_str().unwrap();
    let (mut again, _) = Client::connect(&api, &format!("?since={from_gap}"));
    assert_eq!(again.alerts(1).0, ["alert-21"], "the gap's seq leads on without another gap");
}

#[test]
fn severities_are_filtered_live_and_missed() {
    let api = Running::start();
    let (mut live, first) = Client::connect(&api, "?severity=ERROR");
    let all = [Severity::Info, Severity::Critical, Severity::Warning, Severity::Error];
    api.log.append((1..).zip(all).map(|(n, severity)| record(n, severity)).collect()).unwrap();
    assert_eq!(sorted(live.alerts(2).0), ["alert-2", "alert-4"]);
    let since = first["seq"].as_str().unwrap();
    let (mut some, _) = Client::connect(&api, &format!("?severity=INFO,WARNING&since={since}"));
    assert_eq!(sorted(some.alerts(2).0), ["alert-1", "alert-3"]);
    assert_eq!(Client::open(&api, "?severity=LOUD").err(), Some(400));
    assert_eq!(Client::open(&api, "?sinse=x").err(), Some(400));
}

#[test]
fn a_since_that_is_no_seq_is_told_and_closed_with_4400() {
    let api = Running::start();
    for bad in ["abc", "AQAAAAAAAABjAAAAAAAAAGMAAAAAAAAAYwAAAAAAAABj"] {
        let (mut client, first) = Client::connect(&api, &format!("?since={bad}"));
        assert_eq!((&first["type"], &first["problem"]["status"]), (&json!("error"), &json!(400)), "{first}");
        assert_eq!(client.closed().0, 4400);
    }
}

#[test]
fn pings_are_answered_and_heartbeats_come() {
    let api = Running::with(free_port(), WsConfig { heartbeat_s: 1, ..WsConfig::default() });
    let (mut client, _) = Client::connect(&api, "");
    for ping in ["ping", r#"{"type":"ping"}"#] {
        client.0.send(Message::text(ping)).unwrap();
        assert_eq!(client.next()["type"], "pong");
    }
    let beat = client.next();
    assert_eq!(beat["type"], "heartbeat");
    assert!(beat["timestamp"].is_string());
}

#[test]
fn a_slow_client_is_closed_with_4008_and_loses_nothing() {
    let api = Running::with(free_port(), WsConfig { queue_events: 16, ..WsConfig::default() });
    let (mut slow, first) = Client::connect(&api, "");
    let (mut seen, mut n) = (Vec::new(), 0);
    let mut seq = first["seq"].as_str().unwrap().to_owned();
    // Large alerts fill what the kernel keeps for a client that does not read.
    let closed_by = Instant::now() + PATIENCE;
    while !api.get("/metrics").body.contains("tapedeck_ws_slow_clients_closed_total 1") {
        assert!(Instant::now() < closed_by, "still not closed after {n} alerts");
        let large = |n| {
            let mut alert = samples::alert(n, Severity::Info, None);
            alert.message = "x".repeat(100_000);
            Outbound::first("alerts.v1", alert.event_id.clone(), Event::Alert(Box::new(alert)))
                .into_record("t")
                .unwrap()
        };
        api.log.append((n + 1..=n + 10).map(large).collect()).unwrap();
        n += 10;
    }
    let (code, reason) = loop {
        match slow.0.read().unwrap() {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                seq = message["seq"].as_str().unwrap().to_owned();
                seen.push(message["payload"]["event_id"].as_str().unwrap().to_owned());
            }
            Message::Close(Some(frame)) => break (u16::from(frame.code), frame.reason.to_string()),
            _ => {}
        }
    };
    assert_eq!((code, reason.as_str()), (4008, "slow consumer; reconnect with ?since="));
    // Whoever comes back late on a busy machine may be too slow again: it goes on
    // from the last seq it saw.
    while seen.len() < usize::try_from(n).unwrap() {
        let (mut again, _) = Client::connect(&api, &format!("?since={seq}"));
        let before = seen.len();
        while seen.len() < usize::try_from(n).unwrap() {
            let Ok(message) = again.0.read() else { break };
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            seq = message["seq"].as_str().unwrap().to_owned();
            seen.push(message["payload"]["event_id"].as_str().unwrap().to_owned());
        }
        assert!(seen.len() > before, "a client that came back saw nothing");
    }
    assert_eq!(sorted(seen), ids(1..=n));
}

#[test]
fn beyond_the_most_sockets_503_comes() {
    let api = Running::with(free_port(), WsConfig { max_clients: 1, ..WsConfig::default() });
    let (client, _) = Client::connect(&api, "");
    assert_eq!(Client::open(&api, "").err(), Some(503));
    drop(client);
    let freed = Instant::now() + PATIENCE;
    while Client::open(&api, "").is_err() {
        assert!(Instant::now() < freed, "the place is not free again");
    }
}

#[test]
fn the_server_says_goodbye_when_it_ends() {
    let api = Running::start();
    let (mut client, _) = Client::connect(&api, "");
    let goodbye = std::thread::spawn(move || client.closed());
    api.stop();
    assert_eq!(goodbye.join().unwrap().0, 1001);
}

#[test]
fn without_an_upgrade_the_answer_says_what_to_do() {
    let api = Running::start();
    let answer = api.get("/ws/alerts");
    assert_eq!(answer.status, 426);
    assert!(answer.body.contains("WebSocket"), "{}", answer.body);
}
