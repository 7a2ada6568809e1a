//! The store on PostgreSQL, with hypertables where TimescaleDB is there and
//! partitions by time where it is not.
//!
//! Not here: the rules of what is kept, which the conformance suite says.

use serde::{Deserialize, Serialize};

/// The `[postgres]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `host=… port=… user=… dbname=…` or `postgres://user@host:port/db`; without the password.
    pub url: String,
    /// The password, already read from where the config refers to; never shown.
    pub password: String,
    /// `disable`, `prefer`, `require` (TLS without a look at who answers) or `verify`
    /// (the certificate is checked, the name in it too).
    pub tls: String,
    /// PEM file of the authorities that are trusted; the system's where empty.
    pub ca_file: String,
    /// The schema that holds the tables.
    pub schema: String,
    /// Connections for queries, beside the one that writes.
    pub read_connections: usize,
    /// How long one statement may take.
    pub statement_timeout_ms: u64,
    /// How long a connection may take to come up.
    pub connect_timeout_ms: u64,
    /// `auto` (hypertables where the extension is there), `yes` (or an error) or `no`.
    pub timescale: String,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: "postgres://tapedeck@127.0.0.1:5432/tapedeck".into(),
            password: String::new(),
            tls: "prefer".into(),
            ca_file: String::new(),
            schema: "tapedeck".into(),
            read_connections: 4,
            statement_timeout_ms: 10_000,
            connect_timeout_ms: 5_000,
            timescale: "auto".into(),
        }
    }
}
