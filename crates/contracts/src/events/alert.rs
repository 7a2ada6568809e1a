//! Alerts: something a person should know.
//!
//! Not here: who is told, and how.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::EventKind;
use crate::{Body, EventId, FieldError, Timestamp, check};

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    Warning,
    /// Something failed.
    Error,
    /// Look at it now.
    Critical,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The event's id.
    pub event_id: EventId,
    /// When it happened.
    pub timestamp: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// For machines.
    pub code: String,
    /// For people.
    pub message: String,
    /// Figures and names behind the message.
    #[serde(default, deserialize_with = "crate::unique::object")]
    pub context: Map<String, Value>,
    /// The role that raised it.
    pub source: String,
    /// The account it is about.
    #[serde(default)]
    pub account: Option<String>,
    /// The decision it is about.
    #[serde(default)]
    pub decision_id: Option<String>,
}

impl Body for Alert {
    const KIND: EventKind = EventKind::Alert;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::id("$.code", &self.code)?;
        check::text("$.message", &self.message)?;
        check::id("$.source", &self.source)?;
        check::optional_id("$.account", self.account.as_deref())?;
        check::optional_id("$.decision_id", self.decision_id.as_deref())
    }

    fn key(&self) -> &str {
        self.account.as_deref().unwrap_or(&self.source)
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}
