//! What the config says of strategies.
//!
//! Not here: running them.

use serde::{Deserialize, Serialize};
use tapedeck_contracts::Dec;

/// One entry of `[[strategies]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyConfig {
    /// Its name, at most 128 bytes.
    pub id: String,
    /// Which rule.
    pub kind: StrategyKind,
    /// The session that its signals are meant for.
    pub session_id: String,
    /// The symbols it runs on; empty means all.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// The position it takes, unsigned.
    #[serde(default = "default_quantity")]
    pub quantity: Dec,
    /// Never short.
    #[serde(default)]
    pub long_only: bool,
    /// Length of the bars that quotes and trades are gathered into (`1m`); bars come as they are.
    #[serde(default = "default_interval")]
    pub interval: String,
    /// SMA crossover: bars of the fast mean (10).
    #[serde(default)]
    pub fast: Option<usize>,
    /// SMA crossover: bars of the slow mean (30).
    #[serde(default)]
    pub slow: Option<usize>,
    /// RSI: bars (14).
    #[serde(default)]
    pub period: Option<usize>,
    /// RSI: long when it crosses up through this (30).
    #[serde(default)]
    pub oversold: Option<Dec>,
    /// RSI: short when it crosses down through this (70).
    #[serde(default)]
    pub overbought: Option<Dec>,
    /// Breakout: bars of the high that is broken (20).
    #[serde(default)]
    pub entry_bars: Option<usize>,
    /// Breakout: bars of the low that ends it (10).
    #[serde(default)]
    pub exit_bars: Option<usize>,
}

/// Which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Two simple moving averages.
    SmaCrossover,
    /// Wilder's relative strength index.
    RsiMeanReversion,
    /// Highest high, lowest low.
    Breakout,
}

fn default_quantity() -> Dec {
    Dec(rust_decimal::Decimal::ONE)
}
fn default_interval() -> String {
    "1m".into()
}
