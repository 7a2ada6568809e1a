//! What the strategies promise, by hand-computed cases and against slow
//! implementations of the same rules (`reference`).
//!
//! Not here: the shell's promises.

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{MarketData, MarketKind, Signal, signal::CompilationStatus},
};

use super::{Strategies, StrategyConfig, config::StrategyKind};

mod compiling;
mod gathering;
mod keeping;
mod reference;
mod signals;

const MINUTE_US: i64 = 60_000_000;

fn dec(text: &str) -> Dec {
    Dec::parse(text).expect("a decimal of the test")
}

fn config(id: &str, kind: StrategyKind) -> StrategyConfig {
    StrategyConfig {
        id: id.into(),
        kind,
        session_id: "session".into(),
        source: None,
        symbols: vec![],
        quantity: dec("1"),
        long_only: false,
        interval: "1m".into(),
        fast: None,
        slow: None,
        period: None,
        oversold: None,
        overbought: None,
        entry_bars: None,
        exit_bars: None,
    }
}

fn sma(fast: usize, slow: usize) -> StrategyConfig {
    StrategyConfig { fast: Some(fast), slow: Some(slow), ..config("sma", StrategyKind::SmaCrossover) }
}

fn rsi(period: usize) -> StrategyConfig {
    StrategyConfig { period: Some(period), ..config("rsi", StrategyKind::RsiMeanReversion) }
}

fn breakout(entry: usize, exit: usize) -> StrategyConfig {
    StrategyConfig { entry_bars: Some(entry), exit_bars: Some(exit), ..config("breakout", StrategyKind::Breakout) }
}

fn compiled(configs: &[StrategyConfig]) -> Strategies {
    let (strategies, compilations) = Strategies::compile(configs);
    for compilation in compilations {
        assert_eq!(compilation.status, CompilationStatus::Succeeded, "{:?}", compilation.diagnostics);
    }
    strategies
}

/// A price of a symbol at a time: a trade.
fn trade(symbol: &str, at_us: i64, price: Dec) -> MarketData {
    MarketData::new(symbol, price, Dec::ZERO, Timestamp::from_micros(at_us), "file")
}

/// The n-th minute's bar.
fn bar(n: i64, high: Dec, low: Dec, close: Dec) -> MarketData {
    MarketData {
        kind: Some(MarketKind::Bar),
        open: Some(close),
        high: Some(high),
        low: Some(low),
        close: Some(close),
        is_final: Some(true),
        ..trade("BTC", n * MINUTE_US, close)
    }
}

/// Bars whose high and low are their close.
fn closes(texts: &[&str]) -> Vec<MarketData> {
    texts.iter().zip(1..).map(|(text, n)| bar(n, dec(text), dec(text), dec(text))).collect()
}

/// What one strategy says of some events: place of the event, action with
/// quantity, target, price.
fn said(config: StrategyConfig, events: &[MarketData]) -> Vec<(usize, String)> {
    let mut strategies = compiled(&[config]);
    let mut said = Vec::new();
    for (at, event) in events.iter().enumerate() {
        said.extend(strategies.market(event).iter().map(|signal| (at, line(signal))));
    }
    said
}

fn line(signal: &Signal) -> String {
    let body = &signal.signal;
    let action = serde_json::to_string(&body.action).expect("a word");
    let target = body.target_position.expect("ours always have a target");
    format!("{} {} to {target} at {}", action.trim_matches('"'), body.quantity, signal.market_data.price)
}

fn expect(config: StrategyConfig, events: &[MarketData], expected: &[(usize, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(at, line)| (*at, (*line).to_owned())).collect();
    assert_eq!(said(config, events), expected);
}

fn number(value: i64, scale: u32) -> Dec {
    Dec(Decimal::new(value, scale))
}
