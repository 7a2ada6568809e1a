//! The keys of `[api]` and `[ws]`; their defaults and reasons are in the
//! binary's `default.toml`.
//!
//! Not here: reading files or the environment.

use serde::{Deserialize, Serialize};

/// How the HTTP side listens, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiConfig {
    /// Address and port; loopback only. Port 0 takes a free one.
    pub listen: String,
    /// A larger body is refused with 413.
    pub body_limit_bytes: usize,
    /// Requests at work at the same time; beyond it 503 at once.
    pub max_concurrent: usize,
    /// A request that takes longer is answered with 503.
    pub request_timeout_ms: u64,
    /// Requests a second of one client address, on average.
    pub rate_limit_per_s: u32,
    /// Requests of one client address at once.
    pub rate_limit_burst: u32,
    /// Where the secret is kept that cursors are signed with (`env:NAME`, `file:PATH`);
    /// empty where the data folder's own key is used.
    #[serde(default)]
    pub cursor_key: String,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7380".into(),
            body_limit_bytes: 8 << 20,
            max_concurrent: 512,
            request_timeout_ms: 10_000,
            rate_limit_per_s: 2_000,
            rate_limit_burst: 4_000,
            cursor_key: String::new(),
        }
    }
}

/// How sockets are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WsConfig {
    /// Seconds between heartbeats.
    pub heartbeat_s: u64,
    /// A client that is more events behind is closed with 4008.
    pub queue_events: usize,
    /// Sockets at the same time; beyond it 503.
    pub max_clients: usize,
}

impl Default for WsConfig {
    fn default() -> Self {
        Self { heartbeat_s: 30, queue_events: 1_024, max_clients: 12_000 }
    }
}
