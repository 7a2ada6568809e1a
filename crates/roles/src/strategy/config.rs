//! What the config says of strategies, and what is wrong with it.
//!
//! Not here: running them.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tapedeck_contracts::{Dec, events::market::interval_micros, ids::MAX_ID_BYTES};

use super::rules::{Breakout, Rsi, Rule, Sma};

/// No window is longer: its bars are kept in state, by strategy and symbol, and
/// written with every batch that changed them (a bar is some 12 bytes).
pub const MAX_BARS: usize = 5_000;

/// Part of every version: grows when the meaning of kept state changes.
const STATE_FORMAT: u32 = 2;

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
    /// The market source it follows; that of its session where absent, and all
    /// where neither is known.
    #[serde(default)]
    pub source: Option<String>,
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

/// A config that was checked, with its defaults filled in.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: StrategyConfig,
    pub(super) interval_us: i64,
    /// The rule before its first bar.
    pub(super) rule: Rule,
}

impl Settings {
    /// Whether the strategy runs on a symbol.
    pub(super) fn runs_on(&self, symbol: &str) -> bool {
        let symbols = &self.config.symbols;
        symbols.is_empty() || symbols.iter().any(|wanted| wanted == symbol)
    }
}

impl StrategyConfig {
    /// A hash of the settings, defaults filled in: state that was kept under
    /// another one is of no use.
    pub(super) fn version(&self) -> String {
        let settings = serde_json::to_vec(&self.with_defaults()).expect("a config is strings and numbers");
        let mut hash = Sha256::new();
        hash.update(STATE_FORMAT.to_be_bytes());
        hash.update(settings);
        hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The settings, or everything that is wrong with them.
    pub(super) fn check(&self) -> Result<Settings, Vec<String>> {
        let mut wrong = Vec::new();
        self.check_names(&mut wrong);
        self.check_options(&mut wrong);
        if self.quantity.0 <= Decimal::ZERO {
            wrong.push(format!("quantity: expected a decimal over 0, found {}", self.quantity));
        }
        let interval_us = interval_micros(&self.interval);
        if interval_us.is_none() {
            wrong.push(format!("interval: expected a number over 0 and s, m, h or d, found {:?}", self.interval));
        }
        let config = self.with_defaults();
        let rule = config.rule(&mut wrong);
        match (interval_us, rule) {
            (Some(interval_us), Some(rule)) if wrong.is_empty() => Ok(Settings { config, interval_us, rule }),
            _ => Err(wrong),
        }
    }

    fn check_names(&self, wrong: &mut Vec<String>) {
        let names = [("id", &self.id), ("session_id", &self.session_id)];
        let source = self.source.iter().map(|source| ("source", source));
        for (field, name) in
            names.into_iter().chain(source).chain(self.symbols.iter().map(|symbol| ("symbols", symbol)))
        {
            if name.is_empty() || name.len() > MAX_ID_BYTES {
                wrong.push(format!("{field}: expected 1 to {MAX_ID_BYTES} bytes, found {}", name.len()));
            }
        }
        if self.id.contains('/') {
            wrong.push(format!("id: expected no `/`, which divides the keys of its state, found {:?}", self.id));
        }
    }

    /// Options that another rule takes.
    fn check_options(&self, wrong: &mut Vec<String>) {
        let options = [
            ("fast", self.fast.is_some(), StrategyKind::SmaCrossover),
            ("slow", self.slow.is_some(), StrategyKind::SmaCrossover),
            ("period", self.period.is_some(), StrategyKind::RsiMeanReversion),
            ("oversold", self.oversold.is_some(), StrategyKind::RsiMeanReversion),
            ("overbought", self.overbought.is_some(), StrategyKind::RsiMeanReversion),
            ("entry_bars", self.entry_bars.is_some(), StrategyKind::Breakout),
            ("exit_bars", self.exit_bars.is_some(), StrategyKind::Breakout),
        ];
        for (option, given, of) in options {
            if given && of != self.kind {
                wrong.push(format!("{option}: belongs to {}, and this is {}", of.name(), self.kind.name()));
            }
        }
    }

    fn with_defaults(&self) -> Self {
        let mut config = self.clone();
        match self.kind {
            StrategyKind::SmaCrossover => {
                config.fast.get_or_insert(10);
                config.slow.get_or_insert(30);
            }
            StrategyKind::RsiMeanReversion => {
                config.period.get_or_insert(14);
                config.oversold.get_or_insert(Dec(Decimal::from(30)));
                config.overbought.get_or_insert(Dec(Decimal::from(70)));
            }
            StrategyKind::Breakout => {
                config.entry_bars.get_or_insert(20);
                config.exit_bars.get_or_insert(10);
            }
        }
        config
    }

    /// The rule before its first bar, of settings with their defaults.
    fn rule(&self, wrong: &mut Vec<String>) -> Option<Rule> {
        match self.kind {
            StrategyKind::SmaCrossover => {
                let (fast, slow) = (bars("fast", self.fast, wrong)?, bars("slow", self.slow, wrong)?);
                if fast >= slow {
                    wrong.push(format!("fast: expected less than slow ({slow}), found {fast}"));
                }
                Some(Rule::Sma(Sma::new(fast, slow)))
            }
            StrategyKind::RsiMeanReversion => {
                let (low, high) = (self.oversold?.0, self.overbought?.0);
                let middle = Decimal::from(50);
                if low < Decimal::ZERO || low >= middle {
                    wrong.push(format!("oversold: expected 0 to less than 50, found {low}"));
                }
                if high > Decimal::ONE_HUNDRED || high <= middle {
                    wrong.push(format!("overbought: expected more than 50 to 100, found {high}"));
                }
                Some(Rule::Rsi(Rsi::new(bars("period", self.period, wrong)?, low, high)))
            }
            StrategyKind::Breakout => {
                let entry = bars("entry_bars", self.entry_bars, wrong)?;
                Some(Rule::Breakout(Breakout::new(entry, bars("exit_bars", self.exit_bars, wrong)?)))
            }
        }
    }
}

/// A number of bars that a window can have.
fn bars(option: &str, given: Option<usize>, wrong: &mut Vec<String>) -> Option<usize> {
    let given = given?;
    if (1..=MAX_BARS).contains(&given) {
        return Some(given);
    }
    wrong.push(format!("{option}: expected 1 to {MAX_BARS} bars, found {given}"));
    None
}

impl StrategyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::SmaCrossover => "sma_crossover",
            Self::RsiMeanReversion => "rsi_mean_reversion",
            Self::Breakout => "breakout",
        }
    }
}

fn default_quantity() -> Dec {
    Dec(rust_decimal::Decimal::ONE)
}
fn default_interval() -> String {
    "1m".into()
}
