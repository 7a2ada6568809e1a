//! The desk over a generated market: what it decides, that it goes on from its
//! state, and that the shipped filter finds the hidden regimes.
//!
//! Not here: the log.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tapedeck_contracts::{Timestamp, events::signal::Action};

use super::*;
use crate::{
    inference::models::{Models, tests::set},
    market::{
        Generator, Regime,
        config::{SourceConfig, SourceKind, Speed},
    },
};

fn generator(seed: u64, interval: Option<&str>, symbols: &[&str], bars: u64) -> Generator {
    let config = SourceConfig {
        id: "made".into(),
        kind: SourceKind::Generator,
        venue: "SIM".into(),
        volume_unit: Default::default(),
        speed: Speed::Max,
        paths: Vec::new(),
        path: None,
        symbol: None,
        columns: BTreeMap::new(),
        tz: "UTC".into(),
        time_format: None,
        bar_time: Default::default(),
        interval: interval.map(str::to_owned),
        seed,
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        start: None,
        events: Some(bars * symbols.len() as u64),
        step_ms: 1_000,
    };
    Generator::new(&config, Timestamp::from_micros(0)).expect("a config of the test")
}

fn market(seed: u64, symbols: &[&str], bars: u64) -> Vec<MarketData> {
    let mut generator = generator(seed, Some("1m"), symbols, bars);
    std::iter::from_fn(|| generator.next_event()).map(|event| event.data).collect()
}

fn desk(config: InferenceConfig, partitions: u32) -> Desk {
    let mut desk = Desk::new(Arc::new(config));
    for partition in 0..partitions {
        desk.assign(partition, std::iter::empty()).expect("nothing was kept");
    }
    desk
}

fn named(at: usize) -> Named {
    Named { decision_id: EventId::from(format!("d-{at}").as_str()), correlation_id: None }
}

fn demo() -> Arc<ModelSet> {
    Models::open(&InferenceConfig::default()).expect("they are in the binary").current()
}

#[test]
fn every_final_bar_of_every_symbol_is_decided_on_and_no_other_event() {
    let mut desk = desk(InferenceConfig { symbols: vec!["A".into(), "B".into()], ..Default::default() }, 1);
    let models = set([0.0; 3]);
    let mut decided = BTreeMap::new();
    for (at, data) in market(1, &["A", "B", "C"], 10).iter().enumerate() {
        let open = MarketData { is_final: Some(false), ..data.clone() };
        assert_eq!(desk.take(0, &open, &models, || named(at)), Ok(None));
        if let Some(said) = desk.take(0, data, &models, || named(at)).expect("finite") {
            assert_eq!(said.decided.decision.timestamp, data.timestamp);
            *decided.entry(said.decided.decision.symbol).or_insert(0) += 1;
        }
    }
    assert_eq!(decided, BTreeMap::from([("A".to_owned(), 10), ("B".to_owned(), 10)]));
}

#[test]
fn quotes_are_gathered_into_bars_that_are_decided_on() {
    let mut desk = desk(InferenceConfig { interval: "10s".into(), ..Default::default() }, 1);
    let (models, mut generator) = (set([0.0; 3]), generator(1, None, &["A"], 65));
    let mut decided = 0;
    while let Some(event) = generator.next_event() {
        let said = desk.take(0, &event.data, &models, || named(0)).expect("finite");
        decided += usize::from(said.is_some());
    }
    assert_eq!(decided, 6);
}

#[test]
fn what_was_accepted_is_the_position_before_the_next_decision() {
    let config = InferenceConfig { min_bars: 0, max_size: Decimal::from(4).into(), ..Default::default() };
    let mut desk = desk(config, 1);
    let models = set([libm::log(3.0); 3]); // p = 0.75: half of the largest size.
    let mut before = Vec::new();
    for (at, data) in market(1, &["A"], 8).iter().enumerate() {
        let said = desk.take(0, data, &models, || named(at)).expect("finite").expect("a final bar");
        let decision = said.decided.decision;
        assert_eq!(decision.action, Action::Buy);
        let reasons = decision.reasons.join(",");
        before.push((decision.position_before.expect("ours always have it").to_string(), reasons));
    }
    let expected = ["0", "2", "4", "6", "8", "10", "10", "10"];
    for (at, (position, reasons)) in before.iter().enumerate() {
        assert_eq!(position, expected[at]);
        assert_eq!(reasons, if at < 5 { "" } else { "position_limit" });
    }
}

#[test]
fn the_checks_see_symbols_of_other_partitions() {
    let config = InferenceConfig { min_bars: 0, ..Default::default() };
    let models = set([libm::log(3.0); 3]);
    let mut desk = desk(config, 2);
    let prices = market(1, &["A"], 200);
    let mut last = Vec::new();
    for (at, data) in prices.iter().enumerate() {
        // Two names of one price: what moves as one with the book is no new bet.
        let twin = MarketData { symbol: "B".into(), ..data.clone() };
        desk.take(0, data, &models, || named(at)).expect("finite");
        let said = desk.take(1, &twin, &models, || named(at)).expect("finite").expect("a final bar");
        last = said.decided.decision.reasons;
    }
    assert!(last.contains(&"correlation".to_owned()), "{last:?}");
}

#[test]
fn a_desk_that_goes_on_from_its_state_says_the_same_with_the_same_digits() {
    let models = demo();
    let events = market(3, &["BTCUSDT", "ETHUSDT", "SOLUSDT"], 400);
    let partition = |data: &MarketData| u32::from(data.symbol.starts_with('E'));
    let run = |restarts: &[usize]| {
        let mut desk = desk(InferenceConfig::default(), 2);
        let mut state: BTreeMap<u32, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        let mut said = Vec::new();
        for (at, data) in events.iter().enumerate() {
            let words = desk.take(partition(data), data, &models, || named(at)).expect("finite");
            said.extend(words.map(|words| serde_json::to_string(&words.decided.decision).expect("JSON")));
            for number in 0..2 {
                state.entry(number).or_default().extend(desk.take_changed(number));
            }
            if restarts.contains(&at) {
                desk = Desk::new(Arc::new(InferenceConfig::default()));
                for (number, state) in &state {
                    let state = state.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
                    desk.assign(*number, state).expect("it was just kept");
                }
            }
        }
        said
    };
    let straight = run(&[]);
    assert_eq!(straight.len(), events.len());
    assert!(
        straight.iter().any(|said| said.contains("\"BUY\"")) && straight.iter().any(|said| said.contains("\"SELL\""))
    );
    assert_eq!(run(&[1, 30, 31, 400, 777, 1_100]), straight);
}

#[test]
fn state_of_another_version_is_refused_by_name() {
    let mut desk = desk(InferenceConfig::default(), 0);
    let error = desk.assign(0, [("symbol/s/A", b"{}".as_slice())].into_iter()).expect_err("no state of ours");
    assert!(error.starts_with("`symbol/s/A`"), "{error}");
    assert!(desk.assign(0, [("else", b"{}".as_slice())].into_iter()).is_err());
}

/// Share of bars, by hidden regime, at which the filter holds the right one for the
/// most likely.
fn found(seed: u64, interval: &str) -> [f64; 3] {
    let config = InferenceConfig::default();
    let mut generator = generator(seed, Some(interval), &["BTCUSDT", "EURUSD"], 6_000);
    let (mut desk, models) = (desk(config, 1), set([0.0; 3]));
    let mut counts = [(0.0, 0.0); 3];
    let mut at = 0;
    while let Some(event) = generator.next_event() {
        let said = desk.take(0, &event.data, &models, || named(at)).expect("finite").expect("a final bar");
        at += 1;
        let hidden = match generator.regime(&event.data.symbol).expect("one of its symbols") {
            Regime::Bull => "bull",
            Regime::Bear => "bear",
            Regime::Sideways => "sideways",
        };
        let probs = &said.decided.decision.regime_probs;
        let likely = REGIMES.into_iter().max_by(|a, b| probs[*a].total_cmp(&probs[*b])).expect("three of them");
        let count = &mut counts[REGIMES.iter().position(|regime| *regime == hidden).expect("one of three")];
        count.0 += 1.0;
        count.1 += f64::from(u8::from(likely == hidden));
    }
    counts.map(|(all, right)| right / all)
}

#[test]
fn the_shipped_filter_finds_the_hidden_regime_of_markets_it_was_not_fitted_to() {
    for (seed, interval) in [(101, "1m"), (102, "1s")] {
        let found = found(seed, interval);
        // One in three would be chance.
        assert!(found.iter().all(|share| *share > 0.7), "{interval}: right in {found:?}");
    }
}
