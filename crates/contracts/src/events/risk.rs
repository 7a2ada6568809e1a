//! Risk of an account, and the operator's commands to the broker.
//!
//! Not here: how the figures are made.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventKind;
use crate::{Body, Dec, EventId, FieldError, Timestamp, check};

/// Which way a position goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PositionSide {
    /// Bought.
    Long,
    /// Sold.
    Short,
    /// Nothing.
    Flat,
}

/// A position as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PositionView {
    /// The instrument.
    pub symbol: String,
    /// Where.
    pub venue: String,
    /// Long or short.
    pub side: PositionSide,
    /// Unsigned.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub quantity: Dec,
    /// Cost over quantity.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub avg_entry_price: Dec,
    /// The price it is valued at.
    pub mark_price: Dec,
    /// Unsigned quantity times mark.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub notional: Dec,
    /// At the mark.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub unrealized_pnl: Dec,
}

impl PositionView {
    /// Checks what types cannot; paths begin at the position.
    pub(super) fn check(&self) -> Result<(), FieldError> {
        check::id("symbol", &self.symbol)?;
        check::id("venue", &self.venue)?;
        check::not_negative("quantity", &self.quantity)?;
        check::that((self.side == PositionSide::Flat) == self.quantity.is_zero(), "side", || {
            format!("expected FLAT exactly at quantity 0, found {} at {}", check::word(&self.side), self.quantity)
        })?;
        check::not_negative("avg_entry_price", &self.avg_entry_price)?;
        check::not_negative("mark_price", &self.mark_price)?;
        check::not_negative("notional", &self.notional)
    }
}

/// Notionals at mark.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exposure {
    /// Of long positions.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub long: Dec,
    /// Of short positions, unsigned.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub short: Dec,
    /// Long less short.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub net: Dec,
    /// Long and short.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub gross: Dec,
    /// Gross by venue.
    #[serde(deserialize_with = "crate::decimal::wide_map")]
    pub by_venue: BTreeMap<String, Dec>,
}

impl Exposure {
    fn check(&self) -> Result<(), FieldError> {
        check::not_negative("$.exposure.long", &self.long)?;
        check::not_negative("$.exposure.short", &self.short)?;
        check::not_negative("$.exposure.gross", &self.gross)?;
        for (venue, gross) in &self.by_venue {
            check::not_negative(&format!("$.exposure.by_venue.{venue}"), gross)?;
        }
        Ok(())
    }
}

/// Fall from a peak, in percent (0 to 100).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drawdown {
    /// Since midnight of the risk zone.
    pub daily: f64,
    /// Since Monday.
    pub weekly: f64,
    /// The worst ever.
    pub max: f64,
}

/// The emergency stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EssState {
    /// Watching.
    Armed,
    /// Trading stopped.
    Tripped,
    /// Waiting before it may arm again.
    Cooling,
}

/// How the emergency stop stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ess {
    /// The state.
    pub state: EssState,
    /// Why it tripped.
    pub reason: Option<String>,
    /// Since when it is in that state (event time).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// The limits that the figures are held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiskLimits {
    /// Gross exposure that is 100 %.
    pub max_gross: Dec,
    /// Daily drawdown that trips, in percent.
    pub daily_drawdown_pct: f64,
}

/// An account's risk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiskMetrics {
    /// The event's id.
    pub event_id: EventId,
    /// Contract version of the body.
    pub schema_version: String,
    /// The account's time.
    pub timestamp: Timestamp,
    /// Whose.
    pub account: String,
    /// The account's currency, where we made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Positions that are not flat.
    pub positions: Vec<PositionView>,
    /// Cash plus positions at mark.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub equity: Dec,
    /// Start less what was paid, plus what was received.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub cash: Dec,
    /// Gross times the margin rate.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub margin: Dec,
    /// Gross over equity.
    pub leverage: f64,
    /// Notionals at mark.
    pub exposure: Exposure,
    /// Fall from the peaks.
    pub drawdown: Drawdown,
    /// One day, 95 %; null with too little history.
    #[serde(default, deserialize_with = "crate::decimal::wide_option")]
    pub var_95: Option<Dec>,
    /// Gross over its limit, in percent.
    pub risk_limit_pct: f64,
    /// The limits, where we made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RiskLimits>,
    /// The emergency stop.
    pub ess: Ess,
}

impl Body for RiskMetrics {
    const KIND: EventKind = EventKind::RiskMetrics;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::version("$.schema_version", &self.schema_version)?;
        check::id("$.account", &self.account)?;
        check::optional_id("$.currency", self.currency.as_deref())?;
        for (at, position) in self.positions.iter().enumerate() {
            position.check().map_err(|error| error.within(&format!("$.positions[{at}]")))?;
        }
        check::not_negative("$.margin", &self.margin)?;
        check::finite("$.leverage", self.leverage)?;
        self.exposure.check()?;
        check::at_least_0("$.drawdown.daily", self.drawdown.daily)?;
        check::at_least_0("$.drawdown.weekly", self.drawdown.weekly)?;
        check::at_least_0("$.drawdown.max", self.drawdown.max)?;
        check::optional_not_negative("$.var_95", self.var_95.as_ref())?;
        check::at_least_0("$.risk_limit_pct", self.risk_limit_pct)?;
        if let Some(limits) = &self.limits {
            check::positive("$.limits.max_gross", &limits.max_gross)?;
            check::at_least_0("$.limits.daily_drawdown_pct", limits.daily_drawdown_pct)?;
        }
        let reason = self.ess.reason.as_deref().unwrap_or_default();
        check::that(self.ess.state != EssState::Tripped || !reason.is_empty(), "$.ess.reason", || {
            "expected a reason, as the state is TRIPPED, found none".into()
        })
    }

    fn key(&self) -> &str {
        &self.account
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}

/// What an operator may ask of the emergency stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RiskCommandKind {
    /// Stop trading.
    Trip,
    /// Trade again.
    Arm,
}

/// An operator's command to the broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiskCommand {
    /// The event's id.
    pub event_id: EventId,
    /// When it was given.
    pub timestamp: Timestamp,
    /// To whom.
    pub account: String,
    /// What.
    pub command: RiskCommandKind,
    /// Why; commands without a reason are refused.
    pub reason: String,
    /// Who gave it.
    pub actor: String,
    /// With `trip`: close the positions too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flatten: Option<bool>,
}

impl Body for RiskCommand {
    const KIND: EventKind = EventKind::RiskCommand;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::id("$.account", &self.account)?;
        check::text("$.reason", &self.reason)?;
        check::id("$.actor", &self.actor)?;
        check::that(self.command == RiskCommandKind::Trip || self.flatten != Some(true), "$.flatten", || {
            "expected false, as only `trip` flattens, found true".into()
        })
    }

    fn key(&self) -> &str {
        &self.account
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}
