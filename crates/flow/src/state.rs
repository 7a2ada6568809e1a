//! A role's state in its compacted topic: written by partition number, only
//! changed keys, in the same step as the offsets; read whole when a role starts.
//!
//! Not here: what the state is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tapedeck_log::{Headers, Log, PollLimits, Record, TopicPartition};

use crate::Failure;

/// The key of the record that says which input positions the state reflects.
pub const AT: &str = "@at";

/// The input positions that a state reflects, by `topic/partition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// The offset of the next record to take.
    pub next: BTreeMap<String, u64>,
    /// Offsets beyond `next` that are in the state already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ahead: BTreeMap<String, Vec<u64>>,
}

/// A record of a state topic; no value deletes the key.
pub fn record(topic: &Arc<str>, partition: u32, key: &str, value: Option<Vec<u8>>) -> Record {
    Record {
        topic: Arc::clone(topic),
        partition: Some(partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(Bytes::from),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// Reads a partition of a state topic to its end: the newest value of each key.
/// The end counts what a predecessor may still be about to make visible.
///
/// # Errors
/// Those of the log; fatal for a key that is not UTF-8.
pub fn load(log: &dyn Log, topic: &Arc<str>, partition: u32) -> Result<BTreeMap<String, Bytes>, Failure> {
    /// Large, since nothing else can be done before the state is there.
    const LIMITS: PollLimits =
        PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };
    let place = TopicPartition { topic: Arc::clone(topic), partition };
    let (start, end) = (log.bounds(&place)?.0, log.written_end(&place)?);
    let mut state = BTreeMap::new();
    let mut reader = log.reader()?;
    reader.assign(&[(place.clone(), start)])?;
    while reader.position(&place).is_some_and(|next| next < end) {
        for record in reader.poll(LIMITS)? {
            let key = String::from_utf8(record.key.as_deref().unwrap_or_default().to_vec())
                .map_err(|_| Failure::Fatal(format!("{place} offset {} has a key that is not text", record.offset)))?;
            match record.value {
                Some(value) => state.insert(key, value),
                None => state.remove(&key),
            };
        }
    }
    Ok(state)
}
