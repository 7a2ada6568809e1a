//! Ids and where they come from. A derived event takes its id from its cause,
//! so that handling a record again gives the same events with the same ids.
//!
//! Not here: order, fill and trade ids, which are counters of an account.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The name space of every id that tapedeck derives (a fixed random UUID).
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_9a1e_52d3_4c07_9d43_7b0e_2f85_a6c1);

/// Ids are strings of at most this many bytes.
pub const MAX_ID_BYTES: usize = 128;

/// The id of an event: unique for ever, a UUID where we make it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(pub String);

impl EventId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 128 bits that stand for the id in memory: the UUID itself, or the
    /// UUIDv5 of any other text.
    pub fn fingerprint(&self) -> u128 {
        Uuid::try_parse(&self.0).unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, self.0.as_bytes())).as_u128()
    }

    /// The id of an event that `role` derives from the event `cause`:
    /// UUIDv5(cause's event id / role / output topic / key / ordinal). The
    /// ordinal numbers the events of one cause, role, topic and key from 0.
    pub fn derived(cause: &EventId, role: &str, topic: &str, key: &str, ordinal: u32) -> Self {
        Self::from_parts(&[cause.as_str(), role, topic, key, &ordinal.to_string()])
    }

    /// The id of an event that a line of a file is: UUIDv5(file hash / line).
    pub fn from_file(file_hash: &str, line: u64) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("{file_hash}/{line}").as_bytes()).to_string())
    }

    /// The id of an event that a clock causes: UUIDv5(entity id / due time).
    pub fn from_due_time(entity: &str, due: crate::Timestamp) -> Self {
        Self::from_parts(&[entity, &due.to_string()])
    }

    /// The id of a record from elsewhere that brings none: made of its place.
    pub fn from_place(topic: &str, partition: u32, offset: u64) -> Self {
        Self::from_parts(&[topic, &partition.to_string(), &offset.to_string()])
    }

    fn from_parts(parts: &[&str]) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, parts.join("/").as_bytes()).to_string())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl From<&str> for EventId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}
