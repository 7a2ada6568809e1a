//! The generator: the same digits for ever, and markets that look like some.
//!
//! Not here: what other files' tests hold.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tapedeck_contracts::{Event, EventKind, events::Envelope};

use super::*;
use crate::market::{lines::hex, testing::generator_source};

fn generator(change: impl FnOnce(&mut SourceConfig)) -> Generator {
    let mut config = generator_source("g");
    change(&mut config);
    Generator::new(&config, Timestamp::parse("2024-01-01T00:00:00Z").unwrap()).unwrap()
}

fn bars(config: &mut SourceConfig) {
    config.interval = Some("1m".into());
}

fn json(event: SourceEvent) -> Vec<u8> {
    let envelope = Envelope { timestamp: event.data.timestamp, producer_service: "market".into(), data: event.data };
    serde_json::to_vec(&envelope).unwrap()
}

fn digest(mut generator: Generator) -> String {
    let mut hasher = Sha256::new();
    while let Some(event) = generator.next_event() {
        hasher.update(json(event));
    }
    hex(&hasher.finalize())
}

#[test]
fn a_seed_gives_the_same_digits_for_ever() {
    assert_eq!(digest(generator(|_| ())), "f4b535227c7a5fff7dd59d298783ff89438f7f9733045ea6abb9e652e37a7464");
    assert_eq!(digest(generator(bars)), "2c679d556f8ac1d9c910d5e5d2c5fc2ea2a60687630ad50aea21e573001fe34e");
    assert_ne!(digest(generator(|config| config.seed = 8)), digest(generator(|_| ())));
}

#[test]
fn every_event_passes_the_check_of_the_contract() {
    for mut generator in
        [generator(|_| ()), generator(bars), generator(|c| c.symbols = vec!["EURUSD".into(), "A".into()])]
    {
        let mut count = 0;
        while let Some(event) = generator.next_event() {
            count += 1;
            assert_eq!(event.line, count);
            Event::decode(EventKind::MarketData, &json(event)).unwrap();
        }
        assert_eq!(count, 1_000);
    }
}

#[test]
fn events_come_in_the_order_of_the_sequencer() {
    let mut generator = generator(|config| config.symbols = vec!["b".into(), "a".into(), "B".into(), "b".into()]);
    let mut last = None;
    while let Some(event) = generator.next_event() {
        let key = (event.data.timestamp, event.data.symbol);
        assert!(last.as_ref() < Some(&key), "{key:?} after {last:?}");
        last = Some(key);
    }
}

#[test]
fn a_bar_opens_where_the_last_one_closed_and_holds_its_prices() {
    let mut generator = generator(bars);
    let mut closes = BTreeMap::new();
    while let Some(SourceEvent { data, .. }) = generator.next_event() {
        if let Some(close) = closes.insert(data.symbol.clone(), data.close) {
            assert_eq!(data.open, close);
        }
        assert!(data.volume > Dec::ZERO);
        let tick = price_of(&data.symbol).1;
        assert!((data.price.0 % tick).is_zero());
    }
}

#[test]
fn from_its_state_it_goes_on_with_the_same_digits() {
    for at in [0, 1, 2, 500, 501, 999, 1_000] {
        for change in [|_: &mut SourceConfig| (), bars] {
            let mut whole = generator(change);
            for _ in 0..at {
                whole.next_event();
            }
            let state = serde_json::to_string(&whole.state()).unwrap();
            let mut again = generator(change);
            again.restore(&serde_json::from_str(&state).unwrap());
            loop {
                let (left, right) = (whole.next_event(), again.next_event());
                assert_eq!(left, right);
                if left.is_none() {
                    break;
                }
            }
        }
    }
}

#[test]
fn regimes_last_and_each_has_its_own_returns() {
    let mut generator = generator(|config| {
        config.events = Some(300_000);
        config.symbols = vec!["BTCUSDT".into()];
    });
    let mut changes = 0;
    let mut last: Option<(Regime, f64)> = None;
    let mut returns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    while generator.next_event().is_some() {
        let (regime, log_price) = (generator.walks[0].regime, generator.walks[0].log_price);
        assert_eq!(generator.regime("BTCUSDT"), Some(regime));
        if let Some((before, price)) = last {
            changes += i32::from(before != regime);
            returns.entry(format!("{regime:?}")).or_default().push(log_price - price);
        }
        last = Some((regime, log_price));
    }
    // 300 steps in a regime on average: 1,000 changes, give or take.
    assert!((850..1_150).contains(&changes), "{changes}");
    for regime in Regime::ALL {
        let sample = &returns[&format!("{regime:?}")];
        let count = f64::from(u32::try_from(sample.len()).unwrap());
        assert!(count > 30_000.0, "{regime:?} {count}");
        let mean = sample.iter().sum::<f64>() / count;
        let deviation = (sample.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count).sqrt();
        let (expected_mean, expected_deviation) = regime.law();
        // Five standard errors of the mean; the pull to the start is within.
        assert!(
            (mean - expected_mean).abs() < 5.0 * expected_deviation / count.sqrt() + 2.0 * PULL,
            "{regime:?} {mean}"
        );
        assert!((deviation / expected_deviation - 1.0).abs() < 0.02, "{regime:?} {deviation}");
    }
}

#[test]
fn prices_stay_plausible_for_months() {
    let mut generator = generator(|config| {
        config.events = Some(200_000);
        bars(config);
    });
    let (mut low, mut high) = (f64::MAX, 0.0_f64);
    while generator.next_event().is_some() {
        let price = libm::exp(generator.walks[0].log_price);
        (low, high) = (low.min(price), high.max(price));
    }
    assert!(low > 15_000.0 && high < 240_000.0, "{low} {high}");
}
