//! What is told of sources that stopped before their end: how the role stands,
//! and an alert.
//!
//! Not here: what stops one.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::{Map, json};
use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{Alert, Severity},
};
use tapedeck_flow::{Outbound, Phase};

use super::{ROLE, state::SourceState};
use crate::Context;

const ALERTS: &str = "alerts.v1";

/// The sources of a role that stopped, by id, and what is told of each.
#[derive(Debug, Default)]
pub(super) struct Stopped(Mutex<BTreeMap<String, String>>);

impl Stopped {
    /// Shows that a source stopped, beside those that did before; the words say
    /// what to do.
    pub(super) fn tell(&self, ctx: &Context, source: &str, why: &str, acked: u64) -> String {
        let message = format!(
            "source `{source}` stopped behind its event {acked}: {why}. The other sources go on. Correct the input and \
             give it a source `id` of its own, since numbers cannot go on with other bytes"
        );
        tracing::error!(role = ROLE, source, "{message}");
        let mut stopped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.insert(source.to_owned(), message.clone());
        let all: Vec<&str> = stopped.values().map(String::as_str).collect();
        ctx.gauges.set_phase(Phase::Blocked(all.join("; ")));
        message
    }
}

/// The alert `SOURCE_STOPPED`. Its id is that of the number that is missing: it is
/// one, however often the source is started.
pub(super) fn stopped_alert(source: &str, state: &SourceState, message: String, now: Timestamp) -> Outbound {
    let cause = EventId(format!("{source}/{}", state.acked + 1));
    let id = EventId::derived(&cause, ROLE, ALERTS, "SOURCE_STOPPED", 0);
    let context = [
        ("source", json!(source)),
        ("events", json!(state.acked)),
        ("why", json!(state.stopped.as_deref().unwrap_or_default())),
    ];
    let alert = Alert {
        event_id: id.clone(),
        timestamp: now,
        severity: Severity::Critical,
        code: "SOURCE_STOPPED".to_owned(),
        message,
        context: context.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
        source: ROLE.to_owned(),
        account: None,
        decision_id: None,
    };
    Outbound::first(ALERTS, id, Event::Alert(Box::new(alert)))
}
