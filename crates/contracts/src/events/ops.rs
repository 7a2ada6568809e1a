//! Messages of operation: to people, to screens, about services, and who did
//! what.
//!
//! Not here: alerts, which have a topic and a shape of their own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Data, EventKind, Severity};
use crate::{FieldError, Timestamp, check};

/// A message for a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notification {
    /// For whom.
    pub user_id: String,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The message.
    pub body: String,
    /// Figures and names behind it.
    #[serde(default, deserialize_with = "crate::unique::object")]
    pub context: Map<String, Value>,
    /// Where to send it.
    #[serde(default)]
    pub channels: Vec<String>,
}

impl Data for Notification {
    const KIND: EventKind = EventKind::Notification;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.user_id", &self.user_id)?;
        check::text("$.data.title", &self.title)?;
        for (at, channel) in self.channels.iter().enumerate() {
            check::id(&format!("$.data.channels[{at}]"), channel)?;
        }
        Ok(())
    }

    fn key(&self) -> &str {
        &self.user_id
    }
}

/// How a service does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Well.
    Ok,
    /// It answers, but not as it should.
    Degraded,
    /// It does not answer.
    Down,
}

/// How a service does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Which.
    pub service: String,
    /// How.
    pub status: HealthStatus,
    /// How long it took to answer.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// What it says.
    #[serde(default, deserialize_with = "crate::unique::object")]
    pub details: Map<String, Value>,
    /// When it was asked.
    pub checked_at: Timestamp,
}

impl Data for Health {
    const KIND: EventKind = EventKind::Health;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.service", &self.service)?;
        check::at_least_0("$.data.latency_ms", self.latency_ms.unwrap_or(0.0))
    }

    fn key(&self) -> &str {
        &self.service
    }

    fn event_time(&self) -> Option<Timestamp> {
        Some(self.checked_at)
    }
}

/// Who did what, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Who; `local` where nobody had to say.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// Why.
    pub reason: String,
    /// The object before.
    #[serde(default)]
    pub before: Value,
    /// The object after.
    #[serde(default)]
    pub after: Value,
}

impl Data for AuditEntry {
    const KIND: EventKind = EventKind::Audit;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.actor", &self.actor)?;
        check::id("$.data.action", &self.action)?;
        check::text("$.data.object", &self.object)
    }

    fn key(&self) -> &str {
        &self.actor
    }
}

/// A message for a screen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DashboardEvent {
    /// Which message (`position_updated`, …).
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// The complete new state.
    #[serde(deserialize_with = "crate::unique::object")]
    pub payload: Map<String, Value>,
    /// The user it is for, where it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

impl Data for DashboardEvent {
    const KIND: EventKind = EventKind::Dashboard;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.type", &self.event_type)?;
        check::optional_id("$.data.user_id", self.user_id.as_deref())
    }

    fn key(&self) -> &str {
        let symbol = || self.payload.get("symbol").and_then(Value::as_str);
        self.user_id.as_deref().or_else(symbol).unwrap_or(&self.event_type)
    }

    fn event_time(&self) -> Option<Timestamp> {
        Some(self.timestamp)
    }
}
