//! Every feature against a slow implementation of its formula, over random bars,
//! and what is kept of them.
//!
//! Not here: decisions.

use proptest::prelude::*;
use tapedeck_contracts::{Dec, Timestamp};

use super::*;

mod reference;

/// Random bars: walks of any step, stretches where nothing moves, bars without
/// volume, and jumps.
fn bars(most: usize) -> impl Strategy<Value = Vec<Bar>> {
    let bar = (-100_i32..=100, 0_u32..50, 0_u32..50, 0_u32..1_000, 0_u32..10);
    (1_u32..1_000_000, prop::collection::vec(bar, 1..most)).prop_map(|(start, bars)| {
        let mut close = f64::from(start);
        let bar = |(step, above, below, volume, kind): (i32, u32, u32, u32, u32)| {
            let factor = match kind {
                0..=2 => 1.0,
                3 => 1.0 + f64::from(step) / 200.0,
                _ => 1.0 + f64::from(step) / 10_000.0,
            };
            let before = close;
            close = (close * factor * 100.0).round().max(1.0) / 100.0;
            Bar {
                high: before.max(close) + f64::from(if kind == 0 { 0 } else { above }) / 100.0,
                low: (before.min(close) - f64::from(if kind == 0 { 0 } else { below }) / 100.0).max(0.005),
                close,
                volume: f64::from(if kind == 1 { 0 } else { volume }) / 8.0,
            }
        };
        bars.into_iter().map(bar).collect()
    })
}

fn is_near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())),
        (a, b) => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_feature_is_that_of_its_formula_over_any_bars(bars in bars(200)) {
        let mut features = Features::default();
        for (at, bar) in bars.iter().enumerate() {
            features.take(*bar);
            let expected = reference::row(&bars[..=at]);
            for ((feature, value), expected) in FEATURES.iter().zip(features.row()).zip(expected) {
                prop_assert!(is_near(value, expected), "{} after {}: {value:?}, expected {expected:?}", feature.name, at + 1);
            }
        }
    }

    #[test]
    fn features_that_were_kept_and_restored_go_on_with_the_same_digits(bars in bars(300), at in 0_usize..300) {
        let at = at.min(bars.len());
        let mut one = Features::default();
        bars[..at].iter().for_each(|bar| one.take(*bar));
        let mut other = Features::restored(&one.kept()).expect("it was just kept");
        for bar in &bars[at..] {
            one.take(*bar);
            other.take(*bar);
            prop_assert_eq!(one.row().map(bits), other.row().map(bits));
        }
        prop_assert_eq!(one.kept(), other.kept());
    }
}

fn bits(value: Option<f64>) -> Option<u64> {
    value.map(f64::to_bits)
}

fn calm(n: u64) -> Bar {
    let close = 100.0 + (n * 7 % 13) as f64 / 10.0 - (n * 5 % 11) as f64 / 7.0;
    Bar { high: close + 0.5, low: close - 0.25, close, volume: 1.0 + (n % 5) as f64 }
}

#[test]
fn a_feature_is_null_until_it_is_warm_and_then_has_a_value() {
    let mut features = Features::default();
    for n in 1..=WARM_BARS {
        features.take(calm(n));
        for (feature, value) in FEATURES.iter().zip(features.row()) {
            let is_warm = n >= feature.bars && feature.name != "spread";
            assert_eq!(value.is_some(), is_warm, "{} after {n} bars", feature.name);
        }
    }
    assert_eq!(WARM_BARS, FEATURES.iter().map(|feature| feature.bars).max().expect("there are some"));
}

#[test]
fn errors_do_not_grow_over_a_hundred_thousand_bars_of_large_prices() {
    let mut features = Features::default();
    let bars: Vec<Bar> = (0..100_000_u64)
        .map(|n| {
            let close = 1e9 + (n * 7_919 % 1_013) as f64 * 0.01;
            Bar { high: close + 0.01, low: close - 0.01, close, volume: 1e6 }
        })
        .collect();
    bars.iter().for_each(|bar| features.take(*bar));
    let windows =
        ["volatility_60", "bollinger_width", "bollinger_place", "skew_30", "autocorrelation_30", "efficiency_20"];
    // Prices have 17 digits here, of which the reference loses some as well.
    let (row, expected) = (features.row(), reference::row(&bars[bars.len() - 2_000..]));
    for name in windows {
        let place = place_of(name).expect("a feature");
        let (found, expected) = (row[place].expect("it is warm"), expected[place].expect("it is warm"));
        assert!((found - expected).abs() < 1e-7, "{name}: {found}, expected {expected}");
    }
}

#[test]
fn where_nothing_moves_after_something_did_nothing_is_made_of_rounding() {
    let mut features = Features::default();
    (0..70).for_each(|n| features.take(calm(n)));
    (0..70).for_each(|_| features.take(Bar { high: 33.3, low: 33.3, close: 33.3, volume: 0.0 }));
    let row = features.row();
    let value = |name: &str| row[place_of(name).expect("a feature")];
    assert_eq!(value("volatility_60"), Some(0.0));
    assert_eq!(value("bollinger_width"), Some(0.0));
    for name in
        ["volatility_ratio", "bollinger_place", "volume_ratio", "range_place_20", "skew_30", "autocorrelation_30"]
    {
        assert_eq!(value(name), None, "{name}");
    }
}

#[test]
fn a_spread_is_that_of_the_last_quote() {
    let quote = |bid: &str, ask: &str| {
        let dec = |text: &str| Some(Dec::parse(text).expect("a decimal"));
        let data = MarketData::new("A", Dec(Decimal::ONE), Dec::ZERO, Timestamp::from_micros(0), "s");
        MarketData { bid: dec(bid), ask: dec(ask), ..data }
    };
    let mut features = Features::default();
    features.quote(&quote("99", "101"));
    features.take(calm(1));
    assert_eq!(features.row()[place_of("spread").expect("a feature")], Some(0.02));
    let restored = Features::restored(&features.kept()).expect("it was just kept");
    assert_eq!(restored.row(), features.row());
}

#[test]
fn a_decimal_becomes_the_nearest_float() {
    for text in ["0.1", "60123.4", "-1.5", "123456789.123456", "7", "0.00000001"] {
        let value = float(Dec::parse(text).expect("a decimal").0);
        assert_eq!(value.to_bits(), text.parse::<f64>().expect("a float").to_bits(), "{text}");
    }
}

#[test]
fn state_that_this_code_did_not_write_is_refused() {
    assert!(Features::restored(b"{}").is_err());
    let mut features = Features::default();
    features.take(calm(1));
    let more = String::from_utf8(features.kept()).expect("JSON").replace("\"seen\":1", "\"seen\":2");
    assert_eq!(Features::restored(more.as_bytes()).expect_err("a bar is missing"), "expected 2 bars, found 1");
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions.md");
    let text = std::fs::read_to_string(path).expect("the documentation is there");
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = FEATURES
        .iter()
        .map(|feature| format!("| `{}` | {} | {} |", feature.name, feature.formula, feature.bars))
        .collect();
    let table: Vec<&str> = documented
        .into_iter()
        .filter(|line| line.split('`').nth(1).is_some_and(|name| place_of(name).is_some()))
        .collect();
    assert_eq!(table, expected);
}
