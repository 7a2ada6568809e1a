//! Decisions of the trading path, and what belongs to them: models, regimes,
//! risk checks.
//!
//! Not here: features, models, explanations.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, EventKind};
use crate::{Body, ByName, Dec, EventId, FieldError, Timestamp, check, plain::Plain};

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
    pub regime_probs: ByName<f64>,
    /// Weight of each specialist; they sum to 1.
    pub strategy_weights: ByName<f64>,
    /// Version of each specialist; the current one where absent.
    #[serde(default, skip_serializing_if = "ByName::is_empty")]
    pub model_versions: ByName<String>,
    /// Every feature of every model named; null is a missing value.
    pub features: ByName<Option<f64>>,
    /// Each check and whether it passed.
    pub risk_checks: ByName<bool>,
    /// The intended position before the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position_before: Option<Dec>,
    /// Accepted where absent.
    #[serde(default)]
    pub outcome: Outcome,
    /// Machine-readable reasons.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Of checks that failed, what was measured and what it may be.
    #[serde(default, skip_serializing_if = "ByName::is_empty")]
    pub failed_checks: ByName<CheckNumbers>,
    /// The signal that it was made on; absent where a bar or a question asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<AskingSignal>,
}

/// The numbers of a risk check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckNumbers {
    /// What was measured; written as a number.
    #[serde(serialize_with = "crate::decimal::as_number")]
    pub value: Dec,
    /// The most that it may be; written as a number.
    #[serde(serialize_with = "crate::decimal::as_number")]
    pub limit: Dec,
}

/// A signal that asked for a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskingSignal {
    /// The strategy that made it.
    pub strategy_id: String,
    /// What it wants.
    pub action: Action,
    /// How sure, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
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
        check::probabilities("$.regime_probs", self.regime_probs.iter())?;
        check::weights("$.strategy_weights", self.strategy_weights.iter())?;
        // Paths are made where something is wrong: there are two dozen a decision.
        for (name, version) in self.model_versions.iter() {
            check::id("", version).map_err(|error| error.at(format!("$.model_versions.{name}")))?;
        }
        for (name, value) in self.features.iter() {
            let finite = check::finite("", value.unwrap_or(0.0));
            finite.map_err(|error| error.at(format!("$.features.{name}")))?;
        }
        for name in self.failed_checks.keys() {
            check::that(self.risk_checks.get(name) == Some(&false), &format!("$.failed_checks.{name}"), || {
                format!("expected a check that $.risk_checks says failed, found `{name}`")
            })?;
        }
        if let Some(signal) = &self.signal {
            check::id("$.signal.strategy_id", &signal.strategy_id)?;
            check::up_to("$.signal.confidence", 1.0, signal.confidence.unwrap_or(0.0))?;
        }
        check::that(self.outcome == Outcome::Accepted || !self.reasons.is_empty(), "$.reasons", || {
            "expected at least one reason, as the outcome is rejected, found none".into()
        })
    }

    fn read_plain(text: &str) -> Option<Self> {
        let (mut body, mut seen) = (blank(), 0);
        let mut json = Plain::new(text);
        json.object(|json, name| {
            let field = body.read_field(json, name)?;
            // A field that comes twice is an error.
            let is_new = seen & field == 0;
            seen |= field;
            is_new.then_some(())
        })?;
        json.end()?;
        (seen & NEEDED == NEEDED).then_some(body)
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

/// Fields that every decision has, as [`TradingDecision::read_field`] numbers them.
const NEEDED: u32 = (1 << 11) - 1;

/// What the fields are before they are read.
fn blank() -> TradingDecision {
    TradingDecision {
        event_type: String::new(),
        event_id: None,
        schema_version: None,
        timestamp: Timestamp::default(),
        decision_id: EventId(String::new()),
        correlation_id: None,
        account: None,
        symbol: String::new(),
        action: Action::Hold,
        quantity: Dec::ZERO,
        confidence: 0.0,
        regime_probs: ByName::default(),
        strategy_weights: ByName::default(),
        model_versions: ByName::default(),
        features: ByName::default(),
        risk_checks: ByName::default(),
        position_before: None,
        outcome: Outcome::Accepted,
        reasons: Vec::new(),
        failed_checks: ByName::default(),
        signal: None,
    }
}

impl TradingDecision {
    /// Reads the value of one field, and says which it is: a bit, those that are needed first.
    fn read_field(&mut self, json: &mut Plain<'_>, name: &str) -> Option<u32> {
        let optional = |json: &mut Plain<'_>| json.or_null(|json| json.text().map(str::to_owned));
        let field = match name {
            "event_type" => (self.event_type = json.text()?.to_owned(), 0).1,
            "timestamp" => (self.timestamp = Timestamp::parse(json.text()?).ok()?, 1).1,
            "decision_id" => (self.decision_id = json.text()?.into(), 2).1,
            "symbol" => (self.symbol = json.text()?.to_owned(), 3).1,
            "action" => (self.action = action_of(json.text()?)?, 4).1,
            "quantity" => (self.quantity = decimal(json)?, 5).1,
            "confidence" => (self.confidence = json.float()?, 6).1,
            "regime_probs" => (self.regime_probs = json.by_name(Plain::float)?, 7).1,
            "strategy_weights" => (self.strategy_weights = json.by_name(Plain::float)?, 8).1,
            "features" => (self.features = json.by_name(|json| json.or_null(Plain::float))?, 9).1,
            "risk_checks" => (self.risk_checks = json.by_name(Plain::boolean)?, 10).1,
            "event_id" => (self.event_id = optional(json)?.map(EventId), 11).1,
            "schema_version" => (self.schema_version = optional(json)?, 12).1,
            "correlation_id" => (self.correlation_id = optional(json)?, 13).1,
            "account" => (self.account = optional(json)?, 14).1,
            "model_versions" => (self.model_versions = json.by_name(|json| json.text().map(str::to_owned))?, 15).1,
            "position_before" => (self.position_before = json.or_null(decimal)?, 16).1,
            "outcome" => (self.outcome = outcome_of(json.text()?)?, 17).1,
            "reasons" => (self.reasons = json.texts()?, 18).1,
            "failed_checks" => (self.failed_checks = json.by_name(check_numbers)?, 19).1,
            "signal" => (self.signal = json.or_null(asking_signal)?, 20).1,
            _ => return None,
        };
        Some(1 << field)
    }
}

fn check_numbers(json: &mut Plain<'_>) -> Option<CheckNumbers> {
    let (mut value, mut limit) = (None, None);
    json.object(|json, name| {
        let field = match name {
            "value" => &mut value,
            "limit" => &mut limit,
            _ => return None,
        };
        field.replace(decimal(json)?).is_none().then_some(())
    })?;
    Some(CheckNumbers { value: value?, limit: limit? })
}

fn asking_signal(json: &mut Plain<'_>) -> Option<AskingSignal> {
    let (mut strategy_id, mut action, mut confidence) = (None, None, None);
    json.object(|json, name| {
        let is_new = match name {
            "strategy_id" => strategy_id.replace(json.text()?.to_owned()).is_none(),
            "action" => action.replace(action_of(json.text()?)?).is_none(),
            "confidence" => confidence.replace(json.or_null(Plain::float)?).is_none(),
            _ => return None,
        };
        is_new.then_some(())
    })?;
    Some(AskingSignal { strategy_id: strategy_id?, action: action?, confidence: confidence.flatten() })
}

fn decimal(json: &mut Plain<'_>) -> Option<Dec> {
    let text = if json.is_text() { json.text()? } else { json.number()? };
    Dec::parse(text).ok()
}

fn action_of(word: &str) -> Option<Action> {
    Some(match word {
        "BUY" => Action::Buy,
        "SELL" => Action::Sell,
        "HOLD" => Action::Hold,
        _ => return None,
    })
}

fn outcome_of(word: &str) -> Option<Outcome> {
    Some(match word {
        "accepted" => Outcome::Accepted,
        "rejected" => Outcome::Rejected,
        _ => return None,
    })
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
        let named = [&self.probs, &self.previous_probs].map(|probs| probs.iter().map(|(name, p)| (name.as_str(), p)));
        let [probs, previous_probs] = named;
        check::probabilities("$.probs", probs)?;
        check::probabilities("$.previous_probs", previous_probs)
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

#[cfg(test)]
mod tests;
