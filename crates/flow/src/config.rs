//! What the config says of delivery.
//!
//! Not here: what a role adds to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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
}

impl DeliveryConfig {
    /// How long a record waits for company.
    pub fn batch_max_age(&self) -> Duration {
        Duration::from_millis(self.batch_max_age_ms)
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
        }
    }
}
