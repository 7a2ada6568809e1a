//! What the config says of the paper broker.
//!
//! Not here: the broker.

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Dec, events::MarketKind};

/// One entry of `[[sessions]]`: an account that trades the signals or decisions meant for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionConfig {
    /// The session.
    pub id: String,
    /// Its account.
    pub account: String,
    /// The account's one currency.
    #[serde(default = "default_currency")]
    pub currency: String,
    /// What it begins with.
    #[serde(default = "default_equity")]
    pub starting_equity: Dec,
    /// What it trades.
    #[serde(default)]
    pub source: TradeSource,
    /// The one market source that the account listens to.
    pub market_source: String,
    /// The events that fill its orders; the kind that caused the order where absent.
    #[serde(default)]
    pub fill_on: Option<MarketKind>,
    /// Gross exposure that is 100 %; the starting equity where absent.
    #[serde(default)]
    pub max_gross: Option<Dec>,
}

/// What a session trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TradeSource {
    /// Signals that name the session.
    #[default]
    Signals,
    /// Decisions for its account.
    Decisions,
}

/// The `[broker]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Event time between a cause and the first event that may fill, ms.
    pub latency_ms: u64,
    /// Of notional.
    pub taker_commission_bps: Dec,
    /// Of notional.
    pub maker_commission_bps: Dec,
    /// Against the order, takers only.
    pub slippage_bps: Dec,
    /// Of an event's volume that one event may fill.
    pub volume_share: Dec,
    /// Event time between risk metrics, ms.
    pub metrics_interval_ms: u64,
    /// Live: how long a price waits for the signals it may have caused, ms.
    pub join_wait_ms: u64,
    /// Market events in one transact.
    pub batch_max_events: usize,
}

/// The `[risk]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RiskConfig {
    /// Whose midnight and Monday begin a drawdown (an IANA zone).
    pub zone: String,
    /// Of gross, where the instrument does not say.
    pub margin_rate: Dec,
    /// For Sharpe and Sortino.
    pub days_per_year: u32,
}

/// The `[ess]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EssConfig {
    /// Trips at this fall from the day's peak, percent; 0 is off.
    pub daily_drawdown_pct: f64,
    /// Trips at so many losing round trips; 0 is off.
    pub losing_streak: u32,
    /// Trips when a held symbol has no price for max(3 intervals, 5 min).
    pub stale_data: bool,
    /// TRIPPED to COOLING, s of event time.
    pub hold_s: u64,
    /// COOLING to ARMED, s of event time.
    pub cool_down_s: u64,
}

fn default_currency() -> String {
    "USD".into()
}
fn default_equity() -> Dec {
    Dec(rust_decimal::Decimal::new(100_000, 0))
}
