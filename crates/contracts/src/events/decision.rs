//! Decisions of the trading path, and what belongs to them: models, regimes,
//! risk checks.
//!
//! Not here: features, models, explanations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, EventKind};
use crate::{Body, Dec, EventId, FieldError, Timestamp, check};

/// Whether a decision was let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Taken.
    #[default]
    Accepted,
    /// Not taken; the reasons say why.
    Rejected,
}

/// A decision of the trading path, taken or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TradingDecision {
    /// Always `trading_decision`.
    pub event_type: String,
    /// The event's id; the decision's id stands for it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// Contract version of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// When it was made.
    pub timestamp: Timestamp,
    /// The decision's id.
    pub decision_id: EventId,
    /// What belongs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The instrument.
    pub symbol: String,
    /// What to do.
    pub action: Action,
    /// How much; written as a number.
    #[serde(serialize_with = "crate::decimal::as_number")]
    pub quantity: Dec,
    /// max(p, 1 - p).
    pub confidence: f64,
    /// Probability of each regime.
    #[serde(deserialize_with = "crate::unique::map")]
    pub regime_probs: BTreeMap<String, f64>,
    /// Weight of each specialist; they sum to 1.
    #[serde(deserialize_with = "crate::unique::map")]
    pub strategy_weights: BTreeMap<String, f64>,
    /// Version of each specialist; the current one where absent.
    #[serde(default, deserialize_with = "crate::unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub model_versions: BTreeMap<String, String>,
    /// Every feature of every model named; null is a missing value.
    #[serde(deserialize_with = "crate::unique::map")]
    pub features: BTreeMap<String, Option<f64>>,
    /// Each check and whether it passed.
    #[serde(deserialize_with = "crate::unique::map")]
    pub risk_checks: BTreeMap<String, bool>,
    /// The intended position before the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_before: Option<Dec>,
    /// Accepted where absent.
    #[serde(default)]
    pub outcome: Outcome,
    /// Machine-readable reasons.
    #[serde(default)]
    pub reasons: Vec<String>,
}

impl Body for TradingDecision {
    const KIND: EventKind = EventKind::TradingDecision;

    fn validate(&self) -> Result<(), FieldError> {
        check::event_type(&self.event_type, "trading_decision")?;
        check::optional_id("$.event_id", self.event_id.as_ref().map(EventId::as_str))?;
        self.schema_version.as_deref().map_or(Ok(()), |version| check::version("$.schema_version", version))?;
        check::id("$.decision_id", self.decision_id.as_str())?;
        check::optional_id("$.correlation_id", self.correlation_id.as_deref())?;
        check::optional_id("$.account", self.account.as_deref())?;
        check::id("$.symbol", &self.symbol)?;
        check::not_negative("$.quantity", &self.quantity)?;
        check::up_to("$.confidence", 1.0, self.confidence)?;
        check::probabilities("$.regime_probs", &self.regime_probs)?;
        check::weights("$.strategy_weights", &self.strategy_weights)?;
        for (name, version) in &self.model_versions {
            check::id(&format!("$.model_versions.{name}"), version)?;
        }
        for (name, value) in &self.features {
            check::finite(&format!("$.features.{name}"), value.unwrap_or(0.0))?;
        }
        check::that(self.outcome == Outcome::Accepted || !self.reasons.is_empty(), "$.reasons", || {
            "expected at least one reason, as the outcome is rejected, found none".into()
        })
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(self.event_id.as_ref().unwrap_or(&self.decision_id))
    }
}

/// How a model was made new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateType {
    /// Trained further.
    Incremental,
    /// Trained anew.
    FullRetrain,
}

/// Whether the new version held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StabilityCheck {
    /// It did.
    Passed,
    /// It did not, and the version before it is back.
    FailedRollback,
}

/// The data that a model was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DataWindow {
    /// From.
    pub start: Timestamp,
    /// To.
    pub end: Timestamp,
}

/// A model has a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelUpdate {
    /// Always `model_update`.
    pub event_type: String,
    /// When.
    pub timestamp: Timestamp,
    /// Model and version (`bull_specialist_v127`).
    pub model_id: String,
    /// How it was made.
    pub update_type: UpdateType,
    /// What it was trained on.
    pub data_window: DataWindow,
    /// Figures before and after.
    #[serde(deserialize_with = "crate::unique::map")]
    pub performance_metrics: BTreeMap<String, f64>,
    /// Whether it held.
    pub stability_check: StabilityCheck,
    /// The specialist; read from `model_id` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialist: Option<String>,
    /// The version; read from `model_id` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl ModelUpdate {
    /// The specialist: as written, or `model_id` up to its last `_v<n>`.
    pub fn specialist(&self) -> &str {
        self.specialist.as_deref().unwrap_or_else(|| match self.model_id.rsplit_once("_v") {
            Some((name, n)) if !name.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) && !n.is_empty() => name,
            _ => &self.model_id,
        })
    }
}

impl Body for ModelUpdate {
    const KIND: EventKind = EventKind::ModelUpdate;

    fn validate(&self) -> Result<(), FieldError> {
        check::event_type(&self.event_type, "model_update")?;
        check::id("$.model_id", &self.model_id)?;
        check::optional_id("$.specialist", self.specialist.as_deref())?;
        check::optional_id("$.version", self.version.as_deref())?;
        let DataWindow { start, end } = &self.data_window;
        check::that(start <= end, "$.data_window.end", || format!("expected a time from {start} on, found {end}"))?;
        for (name, value) in &self.performance_metrics {
            check::finite(&format!("$.performance_metrics.{name}"), *value)?;
        }
        Ok(())
    }

    fn key(&self) -> &str {
        self.specialist()
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }
}

/// The market's regime changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegimeChange {
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// When.
    pub timestamp: Timestamp,
    /// The instrument.
    pub symbol: String,
    /// The regime before.
    pub from: String,
    /// The regime now.
    pub to: String,
    /// Probabilities now.
    #[serde(deserialize_with = "crate::unique::map")]
    pub probs: BTreeMap<String, f64>,
    /// Probabilities before.
    #[serde(deserialize_with = "crate::unique::map")]
    pub previous_probs: BTreeMap<String, f64>,
}

impl Body for RegimeChange {
    const KIND: EventKind = EventKind::RegimeChange;

    fn validate(&self) -> Result<(), FieldError> {
        check::optional_id("$.event_id", self.event_id.as_ref().map(EventId::as_str))?;
        check::id("$.symbol", &self.symbol)?;
        check::id("$.from", &self.from)?;
        check::id("$.to", &self.to)?;
        check::probabilities("$.probs", &self.probs)?;
        check::probabilities("$.previous_probs", &self.previous_probs)
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        self.event_id.as_ref()
    }
}

/// The risk checks of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RiskDecision {
    /// The event's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// When.
    pub timestamp: Timestamp,
    /// The decision.
    pub decision_id: EventId,
    /// The instrument.
    pub symbol: String,
    /// Whether it may trade.
    pub approved: bool,
    /// Each check and whether it passed.
    #[serde(deserialize_with = "crate::unique::map")]
    pub checks: BTreeMap<String, bool>,
    /// The limits it was held against.
    #[serde(deserialize_with = "crate::unique::map")]
    pub limits: BTreeMap<String, Value>,
    /// Machine-readable reasons.
    pub reasons: Vec<String>,
}

impl Body for RiskDecision {
    const KIND: EventKind = EventKind::RiskDecision;

    fn validate(&self) -> Result<(), FieldError> {
        check::optional_id("$.event_id", self.event_id.as_ref().map(EventId::as_str))?;
        check::id("$.decision_id", self.decision_id.as_str())?;
        check::id("$.symbol", &self.symbol)
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        self.event_id.as_ref()
    }
}
