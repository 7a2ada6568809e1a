//! The store on PostgreSQL, with hypertables where TimescaleDB is there and
//! partitions by time where it is not.
//!
//! Not here: the rules of what is kept, which the conformance suite says.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use self::{
    connect::{Connector, Session},
    partitions::Layout,
    pool::Pool,
};
use crate::Result;

mod accounts;
mod alerts;
mod codec;
mod connect;
mod failure;
mod fills;
mod orders;
mod partitions;
mod pnl;
mod pool;
mod risk;
mod schema;
mod series;
mod stats;

#[cfg(test)]
mod plans;

/// The `[postgres]` section.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            password: _,
            tls,
            ca_file,
            schema,
            read_connections,
            statement_timeout_ms,
            connect_timeout_ms,
            timescale,
        } = self;
        out.debug_struct("PostgresConfig")
            .field("url", url)
            .field("tls", tls)
            .field("ca_file", ca_file)
            .field("schema", schema)
            .field("read_connections", read_connections)
            .field("statement_timeout_ms", statement_timeout_ms)
            .field("connect_timeout_ms", connect_timeout_ms)
            .field("timescale", timescale)
            .finish_non_exhaustive()
    }
}

/// A store in one schema of a PostgreSQL database.
pub struct PostgresStore {
    schema: String,
    layout: Layout,
    writer: Pool,
    /// None where queries go over the writer's connection.
    readers: Option<Pool>,
}

impl PostgresStore {
    /// Connects, and brings the tables to this version under a lock.
    ///
    /// # Errors
    /// Transient where the server cannot be reached in time; fatal where it
    /// does not let us in, where the config asks for what it cannot do, or where
    /// the schema is not ours to use. Nothing is changed then.
    pub fn open(config: &PostgresConfig) -> Result<Arc<Self>> {
        let connector = Arc::new(Connector::new(config)?);
        let writer = Pool::new(Arc::clone(&connector), 1);
        let layout = writer.with(|| true, |session| schema::migrate(session, &config.schema, &config.timescale))?;
        let readers = (config.read_connections > 0).then(|| Pool::new(connector, config.read_connections));
        Ok(Arc::new(Self { schema: config.schema.clone(), layout, writer, readers }))
    }

    /// Runs a query, once more where the connection was lost in it.
    fn read<T>(&self, work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        self.readers.as_ref().unwrap_or(&self.writer).with(|| true, work)
    }

    /// Runs several queries on one snapshot of the store.
    fn read_at_once<T>(&self, mut work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        self.read(|session| session.transaction(series::AT_ONCE, |session| work(session)))
    }
}
