//! What the config says of delivery.
//!
//! Not here: what a role adds to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{backoff::Backoff, budget::Budget};

/// The `[delivery]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryConfig {
    /// What one step makes visible at most.
    pub batch_max_records: usize,
    /// Bytes of the records of one step, about.
    pub batch_max_bytes: usize,
    /// How long a record waits for company.
    pub batch_max_age_ms: u64,
    /// Event ids remembered per partition.
    pub dedupe_window: usize,
    /// From the wish to stop to the end.
    pub drain_timeout_ms: u64,
    /// How often a record that fails now and may not later is tried, in all.
    pub record_tries: u32,
    /// The longest wait before its second try; each one after is twice as long.
    pub record_retry_first_ms: u64,
    /// The longest wait before any try of it.
    pub record_retry_longest_ms: u64,
    /// The tries of a record are spread over so long, instead of by the two keys above: for
    /// a role that knows for how long what it needs may be on its way. Not of a file.
    #[serde(skip)]
    pub record_wait: Option<Duration>,
    /// What waits in the memory of all roles of a process together, about.
    pub memory_cap_bytes: usize,
}

impl DeliveryConfig {
    /// How long a record waits for company.
    pub fn batch_max_age(&self) -> Duration {
        Duration::from_millis(self.batch_max_age_ms)
    }

    /// The waits between the tries of a record.
    pub fn record_backoff(&self) -> Backoff {
        if let Some(wait) = self.record_wait {
            return Backoff::spread(wait, self.record_tries.saturating_sub(1));
        }
        let (first, longest) = (self.record_retry_first_ms, self.record_retry_longest_ms);
        Backoff::new(Duration::from_millis(first), Duration::from_millis(longest))
    }

    /// From the wish to stop to the end.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            batch_max_records: 8_192,
            batch_max_bytes: 8 << 20,
            batch_max_age_ms: 20,
            dedupe_window: 65_536,
            drain_timeout_ms: 10_000,
            record_tries: 5,
            record_retry_first_ms: 10,
            record_retry_longest_ms: 200,
            record_wait: None,
            memory_cap_bytes: Budget::DEFAULT_BYTES,
        }
    }
}
