//! Bars of quotes and trades.
//!
//! Not here: what is made of the bars.

use proptest::prelude::*;
use tapedeck_contracts::{
    Dec,
    events::{MarketData, MarketKind},
};

use crate::strategy::StrategyConfig;

use super::{MINUTE_US, bar, closes, compiled, dec, expect, line, number, sma, trade};

const SECOND_US: i64 = 1_000_000;

#[test]
fn a_bar_closes_at_the_first_event_at_or_past_its_end() {
    let trades = [
        trade("BTC", 0, dec("10")),
        trade("BTC", 60 * SECOND_US, dec("10")),
        trade("BTC", 120 * SECOND_US, dec("10")),
        trade("BTC", 180 * SECOND_US, dec("99")),
        trade("BTC", 239 * SECOND_US, dec("13")),
        trade("BTC", 239_999_999, dec("13")),
        trade("BTC", 240 * SECOND_US, dec("1")),
    ];
    // Bars close at 10, 10, 10 and 13; the last event only opens a bar.
    expect(sma(2, 3), &trades, &[(6, "BUY 1 to 1 at 13")]);
}

#[test]
fn an_event_of_the_same_source_closes_the_bars_of_its_quiet_symbols() {
    let mut strategies = compiled(&[sma(2, 3)]);
    for (minute, price) in ["10", "10", "10", "13"].iter().enumerate() {
        assert!(strategies.market(&trade("BTC", minute as i64 * MINUTE_US, dec(price))).is_empty());
    }
    let mut other_source = trade("ETH", 5 * MINUTE_US, dec("1"));
    other_source.source = "venue".into();
    assert!(strategies.market(&other_source).is_empty(), "its clock is another");
    assert!(strategies.market(&trade("ETH", 4 * MINUTE_US - 1, dec("1"))).is_empty(), "the end has not come");
    let signals = strategies.market(&trade("ETH", 4 * MINUTE_US, dec("1")));
    assert_eq!(signals.iter().map(line).collect::<Vec<_>>(), ["BUY 1 to 1 at 13"]);
    assert_eq!(signals[0].market_data.symbol, "BTC");
    assert!(strategies.market(&trade("BTC", 4 * MINUTE_US, dec("50"))).is_empty(), "a bar closes once");
}

#[test]
fn each_source_has_a_memory_of_its_own() {
    let mut strategies = compiled(&[sma(2, 3)]);
    let mut signals = Vec::new();
    for bar in closes(&["10", "10", "10", "13"]) {
        // The same symbol elsewhere goes the other way.
        let price = if bar.close == Some(dec("13")) { dec("7") } else { dec("10") };
        let mut other = MarketData { price, high: Some(price), low: Some(price), close: Some(price), ..bar.clone() };
        other.source = "venue".into();
        signals.extend(strategies.market(&bar));
        signals.extend(strategies.market(&other));
    }
    assert_eq!(signals.iter().map(line).collect::<Vec<_>>(), ["BUY 1 to 1 at 13", "SELL 1 to -1 at 7"]);
}

#[test]
fn a_strategy_follows_only_its_source() {
    let one = StrategyConfig { source: Some("venue".into()), ..sma(2, 3) };
    let mut strategies = compiled(&[one]);
    for bar in closes(&["10", "10", "10", "13"]) {
        assert!(strategies.market(&bar).is_empty());
    }
    assert!(strategies.take_changed().is_empty());
}

#[test]
fn empty_bars_are_not_invented() {
    let trades = [
        trade("BTC", 0, dec("10")),
        trade("BTC", 10 * MINUTE_US, dec("10")),
        trade("BTC", 500 * MINUTE_US, dec("10")),
        trade("BTC", 900 * MINUTE_US, dec("13")),
        trade("BTC", 9_000 * MINUTE_US, dec("1")),
    ];
    expect(sma(2, 3), &trades, &[(4, "BUY 1 to 1 at 13")]);
}

#[test]
fn a_price_that_comes_after_its_bar_closed_is_left_out() {
    let trades = [
        trade("BTC", 0, dec("10")),
        trade("BTC", MINUTE_US, dec("10")),
        trade("BTC", 2 * MINUTE_US, dec("10")),
        trade("BTC", 3 * MINUTE_US, dec("13")),
        trade("BTC", 2 * MINUTE_US + 1, dec("1")),
        trade("BTC", 4 * MINUTE_US, dec("1")),
    ];
    expect(sma(2, 3), &trades, &[(5, "BUY 1 to 1 at 13")]);
}

#[test]
fn quotes_count_by_their_mid() {
    let quote = |minute: i64, bid: &str, ask: &str| MarketData {
        kind: Some(MarketKind::Quote),
        bid: Some(dec(bid)),
        ask: Some(dec(ask)),
        ..trade("EURUSD", minute * MINUTE_US, dec(bid))
    };
    let quotes =
        [quote(0, "1", "1.2"), quote(1, "1", "1.2"), quote(2, "1", "1.2"), quote(3, "1.2", "1.21"), quote(4, "1", "1")];
    expect(sma(2, 3), &quotes, &[(4, "BUY 1 to 1 at 1.205")]);
}

#[test]
fn bars_that_are_not_final_are_left_out() {
    let mut bars = closes(&["10", "10", "10", "13"]);
    let mut open = bar(3, dec("99"), dec("1"), dec("50"));
    open.is_final = Some(false);
    bars.insert(3, open);
    expect(sma(2, 3), &bars, &[(4, "BUY 1 to 1 at 13")]);
}

#[test]
fn where_the_market_sends_bars_trades_are_not_gathered_beside_them() {
    let mut events = Vec::new();
    for bar in closes(&["10", "10", "10", "13"]) {
        events.push(bar.clone());
        events.push(trade("BTC", bar.timestamp.micros(), dec("77")));
    }
    expect(sma(2, 3), &events, &[(6, "BUY 1 to 1 at 13")]);
}

/// The bars of some trades, made by sorting them into minutes.
fn reference(trades: &[(i64, Dec)]) -> Vec<(i64, MarketData)> {
    let minute = |at_us: i64| at_us.div_euclid(MINUTE_US);
    let mut bars = Vec::new();
    for group in trades.chunk_by(|one, other| minute(one.0) == minute(other.0)) {
        let prices = || group.iter().map(|(_, price)| *price);
        let (high, low) = (prices().max().expect("a chunk has trades"), prices().min().expect("a chunk has trades"));
        bars.push((minute(group[0].0), bar(minute(group[0].0) + 1, high, low, group[group.len() - 1].1)));
    }
    bars.pop();
    bars
}

proptest! {
    #[test]
    fn gathered_bars_say_what_the_same_bars_would(
        steps in proptest::collection::vec((0_i64..90_000_000, 900_i64..1_100), 1..200),
        entry in 1_usize..6,
        exit in 1_usize..6,
    ) {
        let mut at_us = 0;
        let trades: Vec<_> = steps.iter().map(|(step, price)| { at_us += step; (at_us, number(*price, 2)) }).collect();
        let lines = |events: &mut dyn Iterator<Item = MarketData>| {
            let mut strategies = compiled(&[super::breakout(entry, exit), sma(2, 5), super::rsi(3)]);
            events.flat_map(|event| strategies.market(&event)).map(|signal| line(&signal) + &signal.strategy_id).collect::<Vec<_>>()
        };
        let gathered = lines(&mut trades.iter().map(|(at_us, price)| trade("BTC", *at_us, *price)));
        let sent = lines(&mut reference(&trades).into_iter().map(|(_, bar)| bar));
        prop_assert_eq!(gathered, sent);
    }
}
