//! What the config says of an emitter.
//!
//! Not here: where its files lie, which its owner says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The word that lets the emitter choose where its rings lie.
pub(super) const AUTO: &str = "auto";

/// The `[emitter]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmitterConfig {
    /// Where rings lie: a folder, or `auto` for `/dev/shm` where it has room for
    /// four of them, else the emitter's own folder.
    pub ring_dir: String,
    /// Bytes of the ring of each producing thread.
    pub ring_bytes: u64,
    /// Bytes that the spool may take on disk; beyond them `emit()` refuses.
    pub spool_max_bytes: u64,
    /// A file of the spool grows to about so many bytes.
    pub segment_bytes: u64,
    /// A batch that is not acknowledged within so long counts as a failure.
    pub send_timeout_ms: u64,
    /// Records of one call to the log at most.
    pub batch_max_records: usize,
    /// Bytes of one call to the log at most, about; one record always fits.
    pub batch_max_bytes: usize,
    /// How long an event waits for company before it is sent.
    pub linger_ms: u64,
    /// So many failures in a row open the breaker.
    pub breaker_failures: u32,
    /// How long the breaker stays open before one call probes the log.
    pub breaker_open_ms: u64,
}

impl EmitterConfig {
    /// When a call counts as failed.
    pub(super) fn send_timeout(&self) -> Duration {
        Duration::from_millis(self.send_timeout_ms.max(1))
    }

    /// How long an event waits for company.
    pub(super) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms.max(1))
    }

    /// How long the breaker stays open.
    pub(super) fn breaker_open(&self) -> Duration {
        Duration::from_millis(self.breaker_open_ms)
    }
}

impl Default for EmitterConfig {
    fn default() -> Self {
        Self {
            ring_dir: AUTO.into(),
            ring_bytes: 64 << 20,
            spool_max_bytes: 4 << 30,
            segment_bytes: 64 << 20,
            send_timeout_ms: 5_000,
            batch_max_records: 4_096,
            batch_max_bytes: 2 << 20,
            linger_ms: 5,
            breaker_failures: 5,
            breaker_open_ms: 60_000,
        }
    }
}
