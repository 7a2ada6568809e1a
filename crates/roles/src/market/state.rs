//! What the role keeps of a source: what it is made of, and how far the log
//! surely holds it.
//!
//! Not here: writing it.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Timestamp, catalogue::state_topic};
use tapedeck_flow::{Failure, state};
use tapedeck_log::{Log, Record};

use super::generator::GeneratorState;

/// A source as it stands: the value of its id in `tapedeck.market.state`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// What the source is made of: hashes of its files, and the settings that
    /// change its events.
    pub made_of: BTreeMap<String, String>,
    /// Events 1 to this number are durable in the log.
    pub acked: u64,
    /// The number of the last event, once the source is at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Why the source stopped before its end, and where, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Event time of number `acked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Timestamp>,
    /// The event time a generator began at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// Where a generator stood after number `acked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<GeneratorState>,
}

impl SourceState {
    /// The record of it.
    pub(super) fn record(&self, source: &str) -> Record {
        let value = serde_json::to_vec(self).expect("texts and numbers are JSON");
        state::record(&topic(), 0, source, Some(value))
    }

    /// Refuses to go on with a source that is made of something else.
    pub(super) fn check_same(&self, source: &str, now: &BTreeMap<String, String>) -> Result<(), Failure> {
        let keys: std::collections::BTreeSet<&String> = self.made_of.keys().chain(now.keys()).collect();
        let text = |map: &BTreeMap<String, String>, key: &String| {
            map.get(key).map_or("not there".to_owned(), |v| format!("`{v}`"))
        };
        let changed: Vec<String> = keys
            .into_iter()
            .filter(|key| self.made_of.get(*key) != now.get(*key))
            .map(|key| format!("{key} was {}, is {}", text(&self.made_of, key), text(now, key)))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Failure::Fatal(format!(
            "source `{source}` has {} events in this data folder and has changed since: {}. Its numbers cannot go on with other events: \
             give the source another `id`, use another data folder, or restore what it was",
            self.acked,
            changed.join("; ")
        )))
    }
}

/// The states of all sources, by id.
///
/// # Errors
/// Those of the log; fatal where a state cannot be read.
pub fn load_states(log: &dyn Log) -> Result<BTreeMap<String, SourceState>, Failure> {
    let records = state::load(log, &topic(), 0)?;
    let sources = records.into_iter().filter(|(key, _)| !key.starts_with('@'));
    let read = sources.map(|(source, value)| match serde_json::from_slice(&value) {
        Ok(state) => Ok((source, state)),
        Err(error) => Err(Failure::Fatal(format!(
            "the state of source `{source}` cannot be read ({error}): it was written by another version; use that one or another data folder"
        ))),
    });
    read.collect()
}

fn topic() -> Arc<str> {
    state_topic(super::ROLE).into()
}
