//! What the config says of sources.
//!
//! Not here: reading them.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The `[market]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketConfig {
    /// Records in one append at most.
    pub append_records: usize,
    /// Live: what a price may wait for company, ms.
    pub append_age_ms: u64,
}

/// How fast a file or generator runs: `max`, or a multiple of real time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Speed {
    /// As fast as readers take it.
    Max,
    /// Event time passes so many times as fast as the clock.
    Times(f64),
}

impl TryFrom<String> for Speed {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err(format!("expected `max` or a multiple such as `1x` or `60x`, found `{text}`")),
        }
    }
}

impl From<Speed> for String {
    fn from(speed: Speed) -> Self {
        match speed {
            Speed::Max => "max".into(),
            Speed::Times(times) => format!("{times}x"),
        }
    }
}

/// What a source's volume counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeUnit {
    /// The instrument.
    #[default]
    Base,
    /// The currency it is quoted in: divided by the price before it caps a fill.
    Quote,
    /// Contracts of one unit of the instrument.
    Contracts,
}

/// Which end of a bar its time in a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BarTime {
    /// Its beginning; the event is published at its end.
    #[default]
    Open,
    /// Its end.
    Close,
}

/// One entry of `[[sources]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Numbers its events under this name.
    pub id: String,
    /// What it is.
    pub kind: SourceKind,
    /// The venue of its events.
    #[serde(default = "default_venue")]
    pub venue: String,
    /// What its volume counts.
    #[serde(default)]
    pub volume_unit: VolumeUnit,
    /// How fast it runs.
    #[serde(default = "default_speed")]
    pub speed: Speed,
    /// File: the path (CSV or NDJSON, `.gz` too). Several files are merged by event time.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// File: the path, where it is one.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// File: the symbol, where its rows do not say.
    #[serde(default)]
    pub symbol: Option<String>,
    /// File: our field name to its column name, or its column number from 1.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// File: the zone of times without one.
    #[serde(default = "default_zone")]
    pub tz: String,
    /// File: a strptime format for its times.
    #[serde(default)]
    pub time_format: Option<String>,
    /// File: which end of a bar its time is.
    #[serde(default)]
    pub bar_time: BarTime,
    /// File: length of its bars (`1m`); found from the times where absent.
    /// Generator: bars of this length, one a step; quotes where absent.
    #[serde(default)]
    pub interval: Option<String>,
    /// Generator: its seed.
    #[serde(default)]
    pub seed: u64,
    /// Generator: its symbols.
    #[serde(default)]
    pub symbols: Vec<String>,
    /// Generator: the event time it begins at; now where absent.
    #[serde(default)]
    pub start: Option<String>,
    /// Generator: how many events; without end where absent.
    #[serde(default)]
    pub events: Option<u64>,
    /// Generator: event time between the quotes of a symbol, ms.
    #[serde(default = "default_step_ms")]
    pub step_ms: u64,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Files.
    File,
    /// A seeded regime-switching market.
    Generator,
}

fn default_venue() -> String {
    "SIM".into()
}
fn default_speed() -> Speed {
    Speed::Times(1.0)
}
fn default_zone() -> String {
    "UTC".into()
}
fn default_step_ms() -> u64 {
    1_000
}
