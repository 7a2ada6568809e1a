//! Signals of strategies, and whether a strategy could be loaded.
//!
//! Not here: the strategies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, EventKind, OrderType, TimeInForce};
use crate::{Dec, FieldError, check};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
    /// Nothing.
    Hold,
}

/// How the order of a signal is to be placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalOrder {
    /// MARKET or LIMIT.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// The limit; null or absent for MARKET.
    #[serde(default)]
    pub limit_price: Option<Dec>,
    /// GTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_in_force: Option<TimeInForce>,
}

/// The signal itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalBody {
    /// What to do.
    pub action: Action,
    /// Order quantity.
    pub quantity: Dec,
    /// Why, for people.
    pub reason: String,
    /// How sure, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The signed position wanted; wins over `quantity` where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_position: Option<Dec>,
    /// MARKET GTC where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<SignalOrder>,
}

/// The price that the signal was made at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalMarket {
    /// The instrument.
    pub symbol: String,
    /// Its price.
    pub price: Dec,
}

/// A strategy's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    /// The session that it is meant for; it trades in no other.
    pub session_id: String,
    /// The strategy that made it.
    pub strategy_id: String,
    /// What to do.
    pub signal: SignalBody,
    /// At which price.
    pub market_data: SignalMarket,
}

impl Data for Signal {
    const KIND: EventKind = EventKind::Signal;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.session_id", &self.session_id)?;
        check::id("$.data.strategy_id", &self.strategy_id)?;
        let signal = &self.signal;
        if signal.action == Action::Hold || signal.target_position.is_some() {
            check::not_negative("$.data.signal.quantity", &signal.quantity)?;
        } else {
            check::positive("$.data.signal.quantity", &signal.quantity)?;
        }
        check::up_to("$.data.signal.confidence", 1.0, signal.confidence.unwrap_or(0.0))?;
        if let Some(order) = &signal.order {
            check::limit("$.data.signal.order.limit_price", order.order_type, order.limit_price.as_ref())?;
        }
        check::id("$.data.market_data.symbol", &self.market_data.symbol)?;
        check::positive("$.data.market_data.price", &self.market_data.price)
    }

    fn key(&self) -> &str {
        &self.market_data.symbol
    }
}

/// Whether a strategy could be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompilationStatus {
    /// It runs.
    Succeeded,
    /// It does not; the diagnostics say why.
    Failed,
}

/// A strategy was checked and loaded, or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compilation {
    /// The strategy.
    pub strategy_id: String,
    /// A hash of its settings.
    pub version: String,
    /// Whether it runs.
    pub status: CompilationStatus,
    /// What is wrong with it; empty where it runs.
    pub diagnostics: Vec<String>,
}

impl Data for Compilation {
    const KIND: EventKind = EventKind::Compilation;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.strategy_id", &self.strategy_id)?;
        check::id("$.data.version", &self.version)?;
        let ran = self.status == CompilationStatus::Succeeded;
        check::that(ran || !self.diagnostics.is_empty(), "$.data.diagnostics", || {
            "expected at least one diagnostic, as the status is failed, found none".into()
        })
    }

    fn key(&self) -> &str {
        &self.strategy_id
    }
}
