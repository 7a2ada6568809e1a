//! State: what is kept, and what kept state is worth.
//!
//! Not here: that it is exact (`reference`).

use super::{breakout, closes, compiled, dec, line, rsi, sma, trade};
use crate::strategy::StrategyConfig;

#[test]
fn only_what_changed_is_kept_and_once() {
    let mut strategies = compiled(&[sma(2, 3), StrategyConfig { symbols: vec!["ETH".into()], ..rsi(2) }]);
    assert!(strategies.take_changed().is_empty());
    for bar in closes(&["10", "11"]) {
        strategies.market(&bar);
    }
    let keys: Vec<_> = strategies.take_changed().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["sma/file/BTC"]);
    assert!(strategies.take_changed().is_empty());
    strategies.market(&trade("ETH", 0, dec("1")));
    let keys: Vec<_> = strategies.take_changed().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["sma/file/ETH", "rsi/file/ETH"]);
}

#[test]
fn a_symbol_and_a_source_with_a_slash_keep_their_names() {
    let mut strategies = compiled(&[sma(2, 3)]);
    let mut bars = closes(&["10", "10", "10", "13"]);
    for bar in &mut bars {
        bar.symbol = "BTC/USD".into();
        bar.source = "100%2F/a".into();
    }
    let last = bars.pop().expect("four bars");
    for bar in &bars {
        strategies.market(bar);
    }
    let mut again = compiled(&[sma(2, 3)]);
    for (key, value) in strategies.take_changed() {
        again.restore(&key, &value).expect("it was written just now");
    }
    assert_eq!(again.market(&last).iter().map(line).collect::<Vec<_>>(), ["BUY 1 to 1 at 13"]);
}

#[test]
fn state_of_other_settings_or_of_no_strategy_is_dropped() {
    let mut strategies = compiled(&[sma(2, 3)]);
    for bar in closes(&["10", "10", "10"]) {
        strategies.market(&bar);
    }
    let kept = strategies.take_changed();
    let crossing = closes(&["13"]);
    for changed in [sma(2, 4), StrategyConfig { quantity: dec("2"), ..sma(2, 3) }, rsi(2), breakout(1, 1)] {
        for id in ["sma", "another"] {
            let mut others = compiled(&[StrategyConfig { id: id.into(), ..changed.clone() }]);
            for (key, value) in &kept {
                others.restore(key, value).expect("dropped without a word");
            }
            assert!(others.market(&crossing[0]).is_empty(), "it begins anew");
        }
    }
    let mut same = compiled(&[sma(2, 3)]);
    same.restore(&kept[0].0, &kept[0].1).expect("it was written just now");
    assert_eq!(same.market(&crossing[0]).len(), 1);
}

#[test]
fn state_that_nobody_wrote_is_an_error() {
    let mut strategies = compiled(&[sma(2, 3)]);
    strategies.market(&closes(&["10"])[0]);
    let (key, value) = strategies.take_changed().remove(0);
    let text = String::from_utf8(value).expect("JSON");
    for (key, value) in [
        ("sma", text.clone()),
        (key.as_str(), "{".into()),
        (key.as_str(), "{}".into()),
        (key.as_str(), text.replace("\"fast\":2", "\"fast\":1")),
        (key.as_str(), text.replace(r#"["10"]"#, r#"["1","1","1","1"]"#)),
        (key.as_str(), text.replace(r#"["10"]"#, r#"["x"]"#)),
    ] {
        strategies.restore(key, value.as_bytes()).expect_err(&value);
    }
}

#[test]
fn state_stays_within_its_windows() {
    let rising: Vec<String> = (0..400).map(|n| (1_000 - n).to_string()).collect();
    let bars = closes(&rising.iter().map(String::as_str).collect::<Vec<_>>());
    for config in [sma(5, 20), rsi(20), breakout(20, 10)] {
        let mut strategies = compiled(&[config]);
        let mut sizes = Vec::new();
        for bar in &bars {
            strategies.market(bar);
            sizes.push(strategies.take_changed()[0].1.len());
        }
        let early = sizes[..100].iter().max().expect("a hundred sizes");
        // A bar's number grows by a digit; nothing else does.
        assert!(sizes[399] <= early + 100, "{} after {early}", sizes[399]);
    }
}
