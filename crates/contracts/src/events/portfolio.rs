//! What the paper broker says beside its execution reports: plain fills, the
//! account's money, and the sessions.
//!
//! Not here: risk metrics and execution reports.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, EventKind, PositionView, Side};
use crate::{Dec, FieldError, Timestamp, check};

/// How a trade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TradeStatus {
    /// The order is filled.
    Filled,
    /// The order is filled in part.
    PartiallyFilled,
    /// The order was rejected.
    Rejected,
    /// The order was canceled.
    Canceled,
}

/// A fill, for readers who want nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TradeExecution {
    /// The fill's id.
    pub trade_id: String,
    /// The session that traded.
    pub session_id: String,
    /// The instrument.
    pub symbol: String,
    /// BUY or SELL.
    pub action: Side,
    /// Last quantity.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub quantity: Dec,
    /// Last price.
    pub price: Dec,
    /// How the order stands.
    pub status: TradeStatus,
    /// When it filled.
    pub timestamp: Timestamp,
    /// The decision it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// Commission.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::decimal::wide_option")]
    pub fees: Option<Dec>,
}

impl Data for TradeExecution {
    const KIND: EventKind = EventKind::TradeExecution;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.trade_id", &self.trade_id)?;
        check::id("$.data.session_id", &self.session_id)?;
        check::id("$.data.symbol", &self.symbol)?;
        check::optional_id("$.data.decision_id", self.decision_id.as_deref())?;
        if matches!(self.status, TradeStatus::Filled | TradeStatus::PartiallyFilled) {
            check::positive("$.data.quantity", &self.quantity)?;
            check::positive("$.data.price", &self.price)
        } else {
            check::not_negative("$.data.quantity", &self.quantity)?;
            check::not_negative("$.data.price", &self.price)
        }
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Option<Timestamp> {
        Some(self.timestamp)
    }
}

/// An account's money and positions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Portfolio {
    /// Whose.
    pub account: String,
    /// Cash plus positions at mark.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub equity: Dec,
    /// Start less what was paid, plus what was received.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub cash: Dec,
    /// Gross times the margin rate.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub margin: Dec,
    /// Positions that are not flat.
    pub positions: Vec<PositionView>,
    /// Since the start, before costs.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub realized_pnl: Dec,
    /// At the marks.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub unrealized_pnl: Dec,
}

impl Data for Portfolio {
    const KIND: EventKind = EventKind::Portfolio;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.account", &self.account)?;
        check::not_negative("$.data.margin", &self.margin)?;
        for (at, position) in self.positions.iter().enumerate() {
            position.check().map_err(|error| error.within(&format!("$.data.positions[{at}]")))?;
        }
        Ok(())
    }

    fn key(&self) -> &str {
        &self.account
    }
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForwardTestKind {
    /// It began.
    Started,
    /// Its figures.
    Metrics,
    /// It ended.
    Stopped,
}

/// A session's figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardTestMetrics {
    /// Round trips.
    pub trades: u64,
    /// Of round trips, net of fees, 0 to 100; null without one.
    pub win_rate: Option<f64>,
    /// Of daily equity returns, annualised; null under 20 days.
    pub sharpe: Option<f64>,
    /// In percent, 0 to 100.
    pub max_drawdown: f64,
    /// Equity less its start.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub pnl: Dec,
}

/// A session of the paper broker began, stands, or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ForwardTest {
    /// The session.
    pub session_id: String,
    /// What happened.
    pub event: ForwardTestKind,
    /// Its figures.
    pub metrics: ForwardTestMetrics,
    /// The account it trades, where we made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The account's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What the account began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_equity: Option<Dec>,
    /// What it trades: `signals` or `decisions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Data for ForwardTest {
    const KIND: EventKind = EventKind::ForwardTest;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.session_id", &self.session_id)?;
        check::up_to("$.data.metrics.win_rate", 100.0, self.metrics.win_rate.unwrap_or(0.0))?;
        check::finite("$.data.metrics.sharpe", self.metrics.sharpe.unwrap_or(0.0))?;
        check::at_least_0("$.data.metrics.max_drawdown", self.metrics.max_drawdown)?;
        check::optional_id("$.data.account", self.account.as_deref())?;
        check::optional_id("$.data.currency", self.currency.as_deref())?;
        check::optional_positive("$.data.starting_equity", self.starting_equity.as_ref())
    }

    fn key(&self) -> &str {
        &self.session_id
    }
}
