//! What the config says of decisions, and what is wrong with it.
//!
//! Not here: making decisions.

use std::path::PathBuf;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Dec, events::market::interval_micros, ids::MAX_ID_BYTES};

use super::{
    features::WARM_BARS,
    regime::Hmm,
    risk::Limits,
    weights::{self, IDENTITY, Matrix},
};
use crate::instruments::default_lot;

/// The parameters of the regime filter that come with the demo's specialists;
/// `scripts/train.py` fits them.
const FITTED: &str = include_str!("../../../../models/regimes.toml");

/// The `[inference]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InferenceConfig {
    /// Whether it decides on what the market sends.
    pub enabled: Enabled,
    /// What a decision is made for: each final bar, or each signal.
    pub trigger: Trigger,
    /// For whom; that of the session whose source is decisions where absent.
    #[serde(with = "empty")]
    pub account: Option<String>,
    /// The market source it follows; that of the session where absent. Where that is
    /// absent too it follows all, and then the symbols of two sources must differ, as
    /// they share one intended position.
    #[serde(with = "empty")]
    pub source: Option<String>,
    /// The symbols it decides on; empty means all.
    pub symbols: Vec<String>,
    /// Length of the bars that quotes and trades are gathered into; bars come as
    /// they are.
    pub interval: String,
    /// Before so many bars of a symbol nothing is traded (`not_warm`): its features
    /// are not all there.
    pub min_bars: u64,
    /// How far p must be from one half for more than a HOLD, 0 to less than 0.5.
    pub band: f64,
    /// The size of a decision that is wholly sure, in the symbol's unit.
    pub max_size: Dec,
    /// Sizes are multiples of it.
    pub lot: Dec,
    /// Symbols with sizes of their own.
    pub sizes: Vec<SymbolSize>,
    /// The specialists of bull, bear and sideways, as their folders and decisions
    /// name them.
    pub specialists: [String; 3],
    /// Weights of specialists (columns) by regime (rows); each row sums to 1.
    pub matrix: Matrix,
    /// The regime filter's parameters, per square root of a minute.
    pub hmm: Hmm,
    /// Limits of the intended book.
    pub limits: Limits,
    /// Where models come from.
    pub models: ModelsConfig,
}

/// Whether decisions are made on what the market sends. Questions are answered and
/// models are loaded either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enabled {
    /// Where a session trades decisions, or models are there that are not the demo's.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never: who trades decisions gets them from elsewhere.
    No,
}

/// What a decision is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    /// Each final bar of each symbol.
    #[default]
    Bars,
    /// Each signal, on the features of the market event that it goes back to.
    Signals,
}

/// One entry of `[[inference.sizes]]`; what it leaves out is the section's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymbolSize {
    /// The symbol.
    pub symbol: String,
    /// Its `max_size`.
    #[serde(default)]
    pub max_size: Option<Dec>,
    /// Its `lot`.
    #[serde(default)]
    pub lot: Option<Dec>,
    /// Its `limits.position`.
    #[serde(default)]
    pub position: Option<Dec>,
}

/// `[inference.models]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsConfig {
    /// A folder with `<specialist>/<version>.json`, `.ubj` or `.txt`; the demo's
    /// specialists, which are in the binary, where absent.
    #[serde(with = "empty")]
    pub dir: Option<PathBuf>,
    /// Versions kept of each specialist: to go back to, and to explain what they
    /// decided. Each is some hundred kilobytes to megabytes.
    pub keep: usize,
    /// How long a version that a `model_update` names is waited for before it is
    /// reported, seconds: a file may come after its announcement.
    pub wait_s: u64,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self { dir: None, keep: 8, wait_s: 60 }
    }
}

impl Default for InferenceConfig {
    fn default() -> Self {
        Self {
            enabled: Enabled::Auto,
            trigger: Trigger::Bars,
            account: None,
            source: None,
            symbols: Vec::new(),
            interval: "1m".into(),
            min_bars: WARM_BARS,
            band: 0.05,
            max_size: Dec(Decimal::ONE),
            lot: default_lot(),
            sizes: Vec::new(),
            specialists: ["bull_specialist", "bear_specialist", "sideways_specialist"].map(str::to_owned),
            matrix: IDENTITY,
            hmm: fitted(),
            limits: Limits::default(),
            models: ModelsConfig::default(),
        }
    }
}

/// The parameters that were fitted to the generator's market.
pub fn fitted() -> Hmm {
    toml::from_str(FITTED).expect("a test reads the parameters that are shipped")
}

/// How much may be traded of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The size of a decision that is wholly sure.
    pub max_size: Decimal,
    /// Sizes are multiples of it.
    pub lot: Decimal,
    /// The largest position, unsigned.
    pub position: Decimal,
}

impl InferenceConfig {
    /// How much may be traded of a symbol.
    pub fn size_of(&self, symbol: &str) -> Size {
        let own = self.sizes.iter().find(|size| size.symbol == symbol);
        let of = |own: Option<Dec>, all: Dec| own.unwrap_or(all).0;
        Size {
            max_size: of(own.and_then(|own| own.max_size), self.max_size),
            lot: of(own.and_then(|own| own.lot), self.lot),
            position: of(own.and_then(|own| own.position), self.limits.position),
        }
    }

    /// Whether a market event is to be looked at.
    pub fn follows(&self, source: &str, symbol: &str) -> bool {
        self.source.as_ref().is_none_or(|wanted| wanted == source)
            && (self.symbols.is_empty() || self.symbols.iter().any(|wanted| wanted == symbol))
    }

    /// Length of the bars that quotes and trades are gathered into, µs.
    pub fn interval_us(&self) -> i64 {
        interval_micros(&self.interval).unwrap_or(60_000_000)
    }

    /// Everything that is wrong with the section, each with its key.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = self.hmm.wrong();
        wrong.extend(weights::wrong(&self.matrix));
        wrong.extend(self.limits.wrong());
        if !(0.0..0.5).contains(&self.band) {
            wrong.push(format!("band: expected 0 to less than 0.5, found {}", self.band));
        }
        if interval_micros(&self.interval).is_none() {
            wrong.push(format!("interval: expected a number over 0 and s, m, h or d, found {:?}", self.interval));
        }
        self.check_sizes(&mut wrong);
        self.check_names(&mut wrong);
        if !(2..=1_000).contains(&self.models.keep) {
            wrong.push(format!("models.keep: expected 2 (to go back to) to 1000 versions, found {}", self.models.keep));
        }
        wrong
    }

    fn check_sizes(&self, wrong: &mut Vec<String>) {
        let mut over_zero = |key: String, value: Option<Dec>| {
            if let Some(value) = value.filter(|value| value.0 <= Decimal::ZERO) {
                wrong.push(format!("{key}: expected a decimal over 0, found {value}"));
            }
        };
        over_zero("max_size".into(), Some(self.max_size));
        over_zero("lot".into(), Some(self.lot));
        for (at, size) in self.sizes.iter().enumerate() {
            for (key, value) in [("max_size", size.max_size), ("lot", size.lot), ("position", size.position)] {
                over_zero(format!("sizes[{at}].{key}"), value);
            }
        }
        for (at, size) in self.sizes.iter().enumerate() {
            if self.sizes[..at].iter().any(|before| before.symbol == size.symbol) {
                wrong.push(format!("sizes[{at}].symbol: `{}` is there twice", size.symbol));
            }
        }
    }

    fn check_names(&self, wrong: &mut Vec<String>) {
        let list = |key: &'static str, names: &[String]| -> Vec<(String, String)> {
            names.iter().enumerate().map(|(at, name)| (format!("{key}[{at}]"), name.clone())).collect()
        };
        let own = self.sizes.iter().enumerate().map(|(at, size)| (format!("sizes[{at}].symbol"), size.symbol.clone()));
        let one = |key: &str, name: &Option<String>| name.clone().map(|name| (key.to_owned(), name));
        let names = list("symbols", &self.symbols).into_iter().chain(list("specialists", &self.specialists)).chain(own);
        for (key, name) in names.chain(one("account", &self.account)).chain(one("source", &self.source)) {
            if name.is_empty() || name.len() > MAX_ID_BYTES {
                wrong.push(format!("{key}: expected a name of 1 to {MAX_ID_BYTES} bytes, found {name:?}"));
            }
        }
        for (at, name) in self.specialists.iter().enumerate() {
            if name.contains(['/', '\\']) || name.starts_with('.') {
                wrong.push(format!("specialists[{at}]: {name:?} cannot be the name of a folder"));
            }
            if self.specialists[..at].contains(name) {
                wrong.push(format!("specialists[{at}]: {name:?} is there twice"));
            }
        }
    }
}

/// A key that may be left out, as a config shows it: empty, so that it is there to be
/// seen and set.
mod empty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// What is empty where it is not there.
    pub(super) trait Text: Serialize + Default {
        fn is_empty(&self) -> bool;
    }

    impl Text for String {
        fn is_empty(&self) -> bool {
            Self::is_empty(self)
        }
    }

    impl Text for std::path::PathBuf {
        fn is_empty(&self) -> bool {
            self.as_os_str().is_empty()
        }
    }

    pub(super) fn serialize<T: Text, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => T::default().serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: Text + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Some(T::deserialize(deserializer)?).filter(|value| !value.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_config_and_come_back_from_its_text() {
        let config = InferenceConfig::default();
        assert_eq!(config.wrong(), Vec::<String>::new());
        let text = toml::to_string(&config).expect("a config is a table");
        assert_eq!(toml::from_str::<InferenceConfig>(&text).expect("its own text"), config);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = r#"
            band = 0.5
            interval = "soon"
            max_size = "0"
            specialists = ["a", "a", "../b"]
            matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 2]]
            sizes = [{ symbol = "X", lot = "-1" }, { symbol = "X" }]
            models = { keep = 1 }
            limits = { position = "-1" }
        "#;
        let config: InferenceConfig = toml::from_str(text).expect("every key is one");
        let wrong = config.wrong();
        for key in [
            "band",
            "interval",
            "max_size",
            "specialists[1]",
            "specialists[2]",
            "matrix",
            "sizes[0].lot",
            "sizes[1].symbol",
            "models.keep",
            "limits.position",
        ] {
            assert!(wrong.iter().any(|text| text.starts_with(&format!("{key}:"))), "{key} is not in {wrong:?}");
        }
        assert!(toml::from_str::<InferenceConfig>("trigger = \"moods\"").is_err());
    }

    #[test]
    fn a_symbol_takes_its_own_sizes_and_the_sections_for_the_rest() {
        let text = "max_size = 2\nsizes = [{ symbol = \"BTC\", lot = \"0.001\" }]";
        let config: InferenceConfig = toml::from_str(text).expect("a config");
        let (btc, other) = (config.size_of("BTC"), config.size_of("ETH"));
        assert_eq!((btc.max_size, btc.lot, btc.position), (Decimal::TWO, Decimal::new(1, 3), Decimal::TEN));
        assert_eq!(other.lot, Decimal::new(1, 8));
    }
}
