//! Decisions beside signals: a price waits for both, whoever is slower, and each
//! trades in its own session.
//!
//! Not here: which decisions trade, which the broker's tests hold.

use tapedeck_contracts::events::{ExecutionReport, TradingDecision};

use super::*;
use crate::forward_test::shell::inputs::DECISIONS;

/// One account trades the signals, another the decisions.
fn both() -> BrokerSetup {
    let mut setup = setup();
    let signals = setup.sessions[0].clone();
    setup.sessions.push(SessionConfig {
        id: "decided".into(),
        account: "decided".into(),
        source: TradeSource::Decisions,
        ..signals
    });
    setup
}

/// What inference says to a market event: something to every third.
fn decision(record: &LogRecord) -> Option<Outbound> {
    let seq = Seq::parse(record.headers.text(headers::SEQ)?)?;
    let Event::MarketData(price) = price(seq.n).event else { return None };
    let id = EventId::derived(&EventId::from_file("f", seq.n), "inference", DECISIONS, &price.data.symbol, 0);
    let text = format!(
        r#"{{"event_type":"trading_decision","timestamp":"1970-01-01T00:00:00Z","decision_id":"{}","account":"decided",
            "symbol":"{}","action":"BUY","quantity":{},"confidence":0.8,"regime_probs":{{"bull":1}},
            "strategy_weights":{{"b":1}},"features":{{}},"risk_checks":{{}}}}"#,
        id.as_str(),
        price.data.symbol,
        1 + seq.n % 40
    );
    let mut decision: TradingDecision = serde_json::from_str(&text).unwrap();
    decision.timestamp = price.data.timestamp;
    decision.action = if seq.n.is_multiple_of(2) { Action::Buy } else { Action::Sell };
    let mut event = Outbound::first(DECISIONS, id, Event::TradingDecision(Box::new(decision)));
    let place = Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset };
    event.root = Some((place.clone(), Some(seq.clone())));
    event.cause = Some(place);
    seq.n.is_multiple_of(3).then_some(event)
}

fn waiting() -> JoinConfig {
    JoinConfig { join_wait_ms: 3_600_000, replay: false, decides: true, ..config() }
}

fn start(log: &Arc<EmbeddedLog>, config: JoinConfig) -> Running {
    Running::start_of(log.clone(), "one", both(), config, Boundaries::default())
}

fn all_decided(log: &dyn Log) -> bool {
    let committed = log.committed(&group_of(ROLE)).unwrap();
    places(log, DECISIONS).iter().all(|place| {
        let end = log.bounds(place).unwrap().1;
        end == 0 || committed.iter().any(|at| at.partition == *place && at.next >= end)
    })
}

/// Everything is there before the role starts.
fn calm() -> BTreeMap<String, Vec<(String, String)>> {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=EVENTS).map(price));
    decide(&*log);
    make(&*log, "inference", decision);
    finish_source(&*log, EVENTS);
    let role = start(&log, JoinConfig { decides: true, ..config() });
    role.until(|context| settled(&*context.log) && all_decided(&*context.log));
    assert_eq!(role.stop(), Phase::Stopped);
    outputs(&*log)
}

#[test]
fn a_price_waits_for_signals_and_decisions_whoever_is_slower() {
    let expected = calm();
    let reports = expected.iter().filter(|(place, _)| place.starts_with("exec")).flat_map(|(_, said)| said);
    let mut traded: BTreeMap<(String, bool), u64> = BTreeMap::new();
    for (_, body) in reports {
        let report: ExecutionReport = serde_json::from_str(body).unwrap();
        *traded.entry((report.account, report.decision_id.is_some())).or_default() += 1;
    }
    let keys: Vec<_> = traded.keys().cloned().collect();
    assert_eq!(keys, [("acc".to_owned(), false), ("decided".to_owned(), true)], "{traded:?}");
    assert!(traded.values().all(|reports| *reports > EVENTS / 5), "{traded:?}");

    let (_dir, log) = new_log();
    let mut role = start(&log, waiting());
    for (turn, from) in (1..=EVENTS).step_by(100).enumerate() {
        write(&*log, "market", (from..from + 100).map(price));
        if turn % 2 == 0 {
            decide(&*log);
            make(&*log, "inference", decision);
        } else {
            make(&*log, "inference", decision);
            decide(&*log);
        }
        if turn == 7 {
            // Another process goes on.
            assert_eq!(role.stop(), Phase::Stopped);
            role = start(&log, waiting());
        }
    }
    finish_source(&*log, EVENTS);
    role.until(|context| settled(&*context.log) && all_decided(&*context.log));
    assert_eq!(role.context.gauges.late.load(Relaxed), 0);
    assert_eq!(role.stop(), Phase::Stopped);
    assert_eq!(outputs(&*log), expected);
}

#[test]
fn decisions_of_before_a_session_traded_them_are_not_made_up_for() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=30).map(price));
    decide(&*log);
    make(&*log, "inference", decision);
    let role = Running::start(log.clone(), "one", JoinConfig { replay: false, ..config() });
    role.until_settled();
    assert_eq!(role.stop(), Phase::Stopped);
    let role = start(&log, waiting());
    role.until(|context| context.gauges.phase() == Phase::Running);
    write(&*log, "market", (31..=60).map(price));
    decide(&*log);
    make(&*log, "inference", decision);
    role.until(|context| settled(&*context.log) && all_decided(&*context.log));
    assert_eq!(role.context.gauges.late.load(Relaxed), 0);
    assert_eq!(role.stop(), Phase::Stopped);
    let said = outputs(&*log);
    let reports = said.values().flatten().filter(|(_, body)| body.contains(r#""exec_type":"NEW""#));
    let decided = reports.filter(|(_, body)| body.contains(r#""account":"decided""#)).count();
    assert_eq!(decided, 10, "one for each third of the second 30 events");
}
