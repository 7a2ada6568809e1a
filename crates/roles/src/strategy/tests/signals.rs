//! When the rules speak, by hand-computed bars.
//!
//! Not here: long random runs (`reference`).

use super::{bar, breakout, closes, compiled, config, dec, expect, line, rsi, sma, trade};
use crate::strategy::{StrategyConfig, config::StrategyKind};

#[test]
fn sma_goes_long_above_and_short_below_and_names_its_means() {
    // Means of 2 and 3: equal; 11.5 over 11; 10 and 10; 7 under 9.
    let bars = closes(&["10", "10", "10", "13", "7", "7"]);
    expect(sma(2, 3), &bars, &[(3, "BUY 1 to 1 at 13"), (5, "SELL 2 to -1 at 7")]);
    let mut strategies = compiled(&[sma(2, 3)]);
    let reasons: Vec<_> =
        bars.iter().flat_map(|bar| strategies.market(bar)).map(|signal| signal.signal.reason).collect();
    assert_eq!(reasons, ["fast mean 11.5 crossed above slow mean 11", "fast mean 7 crossed below slow mean 9"]);
}

#[test]
fn sma_says_nothing_on_its_first_value() {
    expect(sma(2, 3), &closes(&["1", "2", "3", "4", "5"]), &[]);
    expect(sma(2, 3), &closes(&["3", "2", "1", "9"]), &[(3, "BUY 1 to 1 at 9")]);
}

#[test]
fn long_only_is_flat_where_others_are_short() {
    let long_only = StrategyConfig { long_only: true, quantity: dec("0.25"), ..sma(2, 3) };
    let bars = closes(&["10", "10", "10", "13", "7", "7", "1"]);
    expect(long_only.clone(), &bars, &[(3, "BUY 0.25 to 0.25 at 13"), (5, "SELL 0.25 to 0 at 7")]);
    expect(long_only, &closes(&["10", "10", "10", "7"]), &[]);
}

#[test]
fn rsi_goes_long_up_through_oversold_and_flat_at_the_middle() {
    // Over 2 bars: 0 after the seed; then gain 0.5 and loss 1, so 33.3; then 0.75 and 0.5, so 60.
    let bars = closes(&["10", "8", "6", "7", "8"]);
    expect(rsi(2), &bars, &[(3, "BUY 1 to 1 at 7"), (4, "SELL 1 to 0 at 8")]);
}

#[test]
fn rsi_goes_short_down_through_overbought_and_flat_at_the_middle() {
    let bars = closes(&["6", "8", "10", "9", "8"]);
    expect(rsi(2), &bars, &[(3, "SELL 1 to -1 at 9"), (4, "BUY 1 to 0 at 8")]);
    expect(StrategyConfig { long_only: true, ..rsi(2) }, &bars, &[]);
}

#[test]
fn rsi_that_jumps_over_the_middle_enters_nothing() {
    // 0 after the seed, then gain 1 and loss 1: exactly 50.
    expect(rsi(2), &closes(&["10", "8", "6", "8"]), &[]);
}

#[test]
fn rsi_of_a_market_that_stands_still_is_in_the_middle() {
    expect(rsi(2), &closes(&["10", "10", "10", "10", "10"]), &[]);
    // 50 after the seed and 100 after it: nothing was crossed from outside; down from 100 to 66.7 was.
    expect(rsi(2), &closes(&["10", "10", "10", "12", "11.5"]), &[(4, "SELL 1 to -1 at 11.5")]);
}

#[test]
fn breakout_enters_on_the_entry_window_and_leaves_on_the_exit_window() {
    let bars: Vec<_> = [
        ("12", "8", "10"),
        ("12", "9", "10"),
        ("11", "9", "10"),
        ("13", "10", "12"),   // the high of 3 bars is 12: not above
        ("14", "12", "13.5"), // above 13
        ("15", "13", "14"),
        ("15", "11", "12"),   // the low of 2 bars is 12: not below
        ("12", "10", "10.5"), // below 11, flat; the low of 3 bars is 11 too: short
    ]
    .iter()
    .zip(1..)
    .map(|((high, low, close), n)| bar(n, dec(high), dec(low), dec(close)))
    .collect();
    expect(breakout(3, 2), &bars, &[(4, "BUY 1 to 1 at 13.5"), (7, "SELL 2 to -1 at 10.5")]);
    let long_only = StrategyConfig { long_only: true, ..breakout(3, 2) };
    expect(long_only, &bars, &[(4, "BUY 1 to 1 at 13.5"), (7, "SELL 1 to 0 at 10.5")]);
}

#[test]
fn breakout_leaves_before_it_turns() {
    // Long above 10; below the low of 1 bar (12) but not of 3 (9): flat.
    let bars = closes(&["9", "10", "10", "11", "12", "11.5"]);
    expect(breakout(3, 1), &bars, &[(3, "BUY 1 to 1 at 11"), (5, "SELL 1 to 0 at 11.5")]);
    let mirrored = closes(&["11", "10", "10", "9", "8", "8.5"]);
    expect(breakout(3, 1), &mirrored, &[(3, "SELL 1 to -1 at 9"), (5, "BUY 1 to 0 at 8.5")]);
}

#[test]
fn signals_of_one_event_come_in_the_order_of_the_config() {
    let second = StrategyConfig { id: "second".into(), session_id: "other".into(), ..sma(2, 3) };
    let mut strategies = compiled(&[sma(2, 3), config("quiet", StrategyKind::Breakout), second]);
    let signals: Vec<_> = closes(&["10", "10", "10", "13"]).iter().flat_map(|bar| strategies.market(bar)).collect();
    let ids: Vec<_> = signals.iter().map(|signal| (signal.strategy_id.as_str(), signal.session_id.as_str())).collect();
    assert_eq!(ids, [("sma", "session"), ("second", "other")]);
}

#[test]
fn each_symbol_is_remembered_apart_and_others_are_left_alone() {
    let only_btc = StrategyConfig { symbols: vec!["BTC".into()], ..sma(2, 3) };
    let mut strategies = compiled(&[only_btc]);
    let mut said = Vec::new();
    for event in closes(&["10", "10", "10", "13"]) {
        let mut other = event.clone();
        other.symbol = "ETH".into();
        said.extend(strategies.market(&event));
        said.extend(strategies.market(&other));
    }
    let lines: Vec<_> = said.iter().map(|signal| (signal.market_data.symbol.as_str(), line(signal))).collect();
    assert_eq!(lines, [("BTC", "BUY 1 to 1 at 13".to_owned())]);
}

#[test]
fn a_price_beyond_all_prices_is_left_out_and_breaks_nothing() {
    let mut events = closes(&["10", "10", "10", "1e27", "13"]);
    events.push(trade("BTC", 99, dec("1e27")));
    expect(sma(2, 3), &events, &[(4, "BUY 1 to 1 at 13")]);
}
