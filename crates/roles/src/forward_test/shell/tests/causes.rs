//! Causes on a real log: what an order may fill at, and whose signals trade.
//!
//! Not here: failures.

use std::collections::HashMap;

use tapedeck_contracts::events::{ExecType, ExecutionReport};
use tapedeck_flow::DeliveryConfig;

use super::*;
use crate::strategy::{StrategyConfig, shell as strategy};

/// A final one-minute bar of a random walk; three symbols end at each minute.
fn random_bar(n: u64, random: &mut u64, prices: &mut [i64; 3]) -> Outbound {
    let mut next = |below: u64| {
        // The constants of Knuth's MMIX generator.
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((*random >> 33) % below) as i64
    };
    let at = (n % 3) as usize;
    let open = prices[at];
    let close = (open + next(201) - 100).max(500);
    let (high, low) = (open.max(close) + next(40), open.min(close) - next(40));
    prices[at] = close;
    let dec = |cents: i64| Dec(rust_decimal::Decimal::new(cents, 2));
    let minute = Timestamp::from_millis((n / 3) as i64 * 60_000);
    let data = MarketData {
        open: Some(dec(open)),
        high: Some(dec(high)),
        low: Some(dec(low)),
        close: Some(dec(close)),
        interval: Some("1m".into()),
        ..MarketData::new(SYMBOLS[at], dec(close), dec(900), minute, SOURCE)
    };
    let envelope = Envelope { timestamp: minute, producer_service: "market".into(), data };
    let id = EventId::from_file("bars", n);
    let mut event = Outbound::first(MARKET_TOPIC, id, Event::MarketData(Box::new(envelope)));
    event.seq = Some(Seq { source: SOURCE.into(), n });
    event
}

fn strategies() -> Vec<StrategyConfig> {
    let config = |text: &str| serde_json::from_str(text).unwrap();
    vec![
        config(r#"{"id":"sma","kind":"sma_crossover","session_id":"paper","source":"s","fast":2,"slow":5}"#),
        config(r#"{"id":"rsi","kind":"rsi_mean_reversion","session_id":"paper","source":"s","period":3}"#),
        config(r#"{"id":"break","kind":"breakout","session_id":"paper","entry_bars":4,"exit_bars":2}"#),
    ]
}

/// The number of a source that a record's header names.
fn number(record: &LogRecord, header: &str) -> u64 {
    Seq::parse(record.headers.text(header).unwrap()).unwrap().n
}

#[test]
fn no_order_fills_at_an_event_that_is_not_after_its_cause_over_a_replay_of_random_bars() {
    let (_dir, log) = new_log();
    let (mut random, mut prices) = (7, [10_000; 3]);
    write(&*log, "market", (1..=EVENTS).map(|n| random_bar(n, &mut random, &mut prices)));
    finish_source(&*log, EVENTS);
    let role = Running::start(log.clone(), "one", config());
    let stop = Stop::new();
    let deciding = Context { stop: stop.clone(), gauges: Arc::default(), ..role.context.clone() };
    let deciding = thread::spawn(move || strategy::run(deciding, strategies(), DeliveryConfig::default()));
    role.until_settled();
    stop.request();
    deciding.join().unwrap().unwrap();
    assert_eq!(role.stop(), Phase::Stopped);

    let all = |topic: &str| {
        let places = places(&*log, topic).into_iter();
        places.flat_map(|place| read_all(&*log, &place, 0, log.bounds(&place).unwrap().1)).collect::<Vec<_>>()
    };
    let place = |record: &LogRecord| format!("{}/{}/{}", record.topic, record.partition, record.offset);
    let signals: HashMap<_, _> =
        all("strategy-signals").iter().map(|r| (place(r), number(r, headers::ROOT_SEQ))).collect();
    let reports: Vec<(LogRecord, ExecutionReport)> = all("exec.reports.v1")
        .into_iter()
        .map(|record| {
            let report = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            (record, report)
        })
        .collect();
    let causes: HashMap<_, _> = reports
        .iter()
        .filter(|(_, report)| report.exec_type == ExecType::New)
        .map(|(record, report)| (&report.order.order_id, signals[record.headers.text(headers::CAUSE).unwrap()]))
        .collect();
    let mut fills: HashMap<&str, u32> = HashMap::new();
    for (record, report) in reports.iter().filter(|(_, report)| report.exec_type == ExecType::Trade) {
        let (filled_at, caused_at) = (number(record, headers::ROOT_SEQ), causes[&report.order.order_id]);
        assert!(filled_at > caused_at, "{} of event {caused_at} filled at {filled_at}", report.order.order_id);
        *fills.entry(report.strategy_id.as_deref().unwrap()).or_default() += 1;
    }
    assert!(fills.len() == 3 && fills.values().all(|fills| *fills > 20), "{fills:?}");
}

#[test]
fn a_signal_of_another_source_than_its_sessions_is_counted_and_not_traded() {
    let (_dir, log) = new_log();
    write(&*log, "market", (1..=20).map(price));
    let own = places(&*log, MARKET_TOPIC).into_iter().flat_map(|place| {
        let end = log.bounds(&place).unwrap().1;
        read_all(&*log, &place, 0, end).iter().filter_map(signal).collect::<Vec<_>>()
    });
    let others = own.map(|mut signal| {
        let (place, seq) = signal.root.take().unwrap();
        signal.root = Some((place, seq.map(|seq| Seq { source: "elsewhere".into(), ..seq })));
        signal
    });
    let others: Vec<_> = others.collect();
    assert_eq!(others.len(), 4);
    write(&*log, "strategy", others);
    let role = Running::start(log.clone(), "one", JoinConfig { strategies: false, replay: false, ..config() });
    role.until_settled();
    assert_eq!(role.stop(), Phase::Stopped);
    assert_eq!(source_note(&*log, ROLE, "ignored").unwrap(), r#"{"ignored":4}"#);
    assert!(outputs(&*log).iter().all(|(place, said)| !place.starts_with("exec") || said.is_empty()));
}
