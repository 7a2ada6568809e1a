//! What a bar costs a strategy, in nanoseconds: `cargo bench -p tapedeck-roles
//! --bench strategy`.
//!
//! Not here: the log around it, which `tapedeck bench` measures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{hint::black_box, time::Instant};

use tapedeck_contracts::{
    events::{Envelope, MarketData},
    {Dec, Timestamp, decode::decode},
};
use tapedeck_roles::strategy::{Strategies, StrategyConfig};

const BAR: &str = include_str!("../../contracts/fixtures/market_data/1.0/bar.json");
const BARS: i64 = 200_000;

fn main() {
    for kind in ["sma_crossover", "rsi_mean_reversion", "breakout"] {
        let config: StrategyConfig =
            serde_json::from_value(serde_json::json!({"id": kind, "kind": kind, "session_id": "bench"}))
                .expect("the config is right");
        let (mut strategies, _) = Strategies::compile(&[config]);
        let bars = walk();
        let mut signals = 0;
        let start = Instant::now();
        for bar in &bars {
            signals += black_box(strategies.market(black_box(bar))).len();
        }
        let ns = start.elapsed().as_nanos() as f64 / BARS as f64;
        let start = Instant::now();
        let kept = strategies.take_changed();
        let kept_us = start.elapsed().as_micros();
        println!(
            "{kind:<20} {ns:>6.0} ns a bar, {signals} signals; state of {} bytes in {kept_us} us",
            kept[0].1.len()
        );
    }
}

/// Bars whose close walks up and down like a market's.
fn walk() -> Vec<MarketData> {
    let first: Envelope<MarketData> = decode(BAR.as_bytes()).expect("the bar is right");
    let mut random: u64 = 1;
    let mut cents = 9_500_050_i64;
    (0..BARS)
        .map(|n| {
            // Knuth's multiplicative generator: any noise will do.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            cents = (cents + (random >> 48) as i64 % 4_001 - 2_000).max(1_000_000);
            let price = |cents: i64| Dec::parse(&format!("{}.{:02}", cents / 100, cents % 100)).expect("a decimal");
            MarketData {
                timestamp: Timestamp::from_millis(n * 60_000),
                is_final: Some(true),
                price: price(cents),
                close: Some(price(cents)),
                high: Some(price(cents + 700)),
                low: Some(price(cents - 700)),
                ..first.data.clone()
            }
        })
        .collect()
}
