//! Writes what the demo's specialists are trained on: the bars of generated markets
//! as rows of features, with the hidden regime and what the price did next. CSV on
//! standard output, the same for the same seeds:
//!
//! ```sh
//! cargo run --release -p tapedeck-roles --example training_rows -- 1m:1:6000 > rows.csv
//! ```
//!
//! Each argument is `<interval>:<seed>:<bars a symbol>`. Columns: `market`, `minutes`
//! (length of a bar), `regime`, `forward` (log return of the next [`AHEAD`] bars),
//! and the features, empty where they are missing.
//!
//! Not here: training (`scripts/train.py`).
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;

use tapedeck_contracts::{Timestamp, events::market::interval_micros};
use tapedeck_roles::{
    inference::features::{Bar, FEATURES, Features, Row},
    market::{
        Generator, Regime,
        config::{SourceConfig, SourceKind, Speed},
    },
};

/// How far a row looks ahead, in bars.
const AHEAD: usize = 10;

/// Symbols whose ticks are coarse and fine.
const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "EURUSD"];

fn main() -> Result<(), String> {
    let names: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
    println!("market,minutes,regime,forward,{}", names.join(","));
    for argument in std::env::args().skip(1) {
        write_market(&argument)?;
    }
    Ok(())
}

fn write_market(argument: &str) -> Result<(), String> {
    let parts: Vec<&str> = argument.split(':').collect();
    let [interval, seed, bars] = parts[..] else {
        return Err(format!("expected <interval>:<seed>:<bars>, found `{argument}`"));
    };
    let interval_us = interval_micros(interval).ok_or_else(|| format!("`{interval}` is no interval"))?;
    let bars: usize = bars.parse().map_err(|error| format!("`{bars}`: {error}"))?;
    let seed: u64 = seed.parse().map_err(|error| format!("`{seed}`: {error}"))?;
    let mut generator = Generator::new(&source(interval, seed, bars * SYMBOLS.len()), Timestamp::from_micros(0))?;
    let mut rows: BTreeMap<String, Vec<(Regime, f64, Row)>> = BTreeMap::new();
    let mut features: BTreeMap<String, Features> = BTreeMap::new();
    while let Some(event) = generator.next_event() {
        let symbol = event.data.symbol.clone();
        let Some(bar) = Bar::of(&event.data) else { continue };
        let features = features.entry(symbol.clone()).or_default();
        features.take(bar);
        let regime = generator.regime(&symbol).ok_or("a symbol of its own")?;
        rows.entry(symbol).or_default().push((regime, bar.close, features.row()));
    }
    #[expect(clippy::cast_precision_loss, reason = "an interval")]
    let minutes = interval_us as f64 / 6e7;
    for (symbol, rows) in rows {
        for pair in rows.windows(AHEAD + 1) {
            let (regime, close, row) = &pair[0];
            let forward = libm::log(pair[AHEAD].1 / close);
            let values: Vec<String> = row.iter().map(|value| value.map_or(String::new(), |v| v.to_string())).collect();
            println!("{argument}/{symbol},{minutes},{regime:?},{forward},{}", values.join(","));
        }
    }
    Ok(())
}

fn source(interval: &str, seed: u64, events: usize) -> SourceConfig {
    SourceConfig {
        id: "training".into(),
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
        interval: Some(interval.into()),
        seed,
        symbols: SYMBOLS.map(str::to_owned).to_vec(),
        start: None,
        events: Some(events as u64),
        step_ms: 1_000,
    }
}
