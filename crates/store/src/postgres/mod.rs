//! The store on PostgreSQL, with hypertables where TimescaleDB is there and
//! partitions by time where it is not.
//!
//! Not here: the rules of what is kept, which the conformance suite says.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Timestamp,
    events::{Alert, RiskMetrics},
};

use self::{
    connect::{Connector, Session},
    partitions::Layout,
    pool::Pool,
};
use crate::{
    AccountRow, AlertsQuery, Applied, Batch, ChainHead, Explained, ExplainedBatch, ExplainedQuery, Explanations,
    FillRow, FillsQuery, Importance, OrderRow, OrdersQuery, PageKey, PnlPoint, PnlQuery, Result, Resume, Retention,
    Store, StoreError, SymbolStats,
};

mod accounts;
mod alerts;
mod apply;
mod claims;
mod codec;
mod connect;
mod failure;
mod fills;
mod forensics;
mod orders;
mod partitions;
mod pnl;
mod pool;
mod reports;
mod retention;
mod risk;
mod schema;
mod series;
mod sheet;
mod states;
mod stats;
mod sums;

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
    /// How long a query may take, and how long it waits for a server that is away; never
    /// longer than a statement.
    pub read_timeout_ms: u64,
    /// How long a connection may take to come up.
    pub connect_timeout_ms: u64,
    /// `auto` (hypertables where the extension is there), `yes` (or an error) or `no`.
    pub timescale: String,
    /// How rows are sent in bulk: `copy`, or `arrays` where something in between
    /// does not know COPY.
    pub bulk: String,
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
            read_timeout_ms: 2_000,
            connect_timeout_ms: 5_000,
            timescale: "auto".into(),
            bulk: "copy".into(),
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
            read_timeout_ms,
            connect_timeout_ms,
            timescale,
            bulk,
        } = self;
        out.debug_struct("PostgresConfig")
            .field("url", url)
            .field("tls", tls)
            .field("ca_file", ca_file)
            .field("schema", schema)
            .field("read_connections", read_connections)
            .field("statement_timeout_ms", statement_timeout_ms)
            .field("read_timeout_ms", read_timeout_ms)
            .field("connect_timeout_ms", connect_timeout_ms)
            .field("timescale", timescale)
            .field("bulk", bulk)
            .finish_non_exhaustive()
    }
}

/// A store in one schema of a PostgreSQL database.
pub struct PostgresStore {
    schema: String,
    layout: Layout,
    /// Whether COPY can be had.
    copies: bool,
    memory: apply::Memory,
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
        for (field, value, words) in [
            ("timescale", &config.timescale, ["auto", "yes", "no"].as_slice()),
            ("bulk", &config.bulk, ["copy", "arrays"].as_slice()),
        ] {
            if !words.contains(&value.as_str()) {
                let expected = words.join(", ");
                return Err(StoreError::Fatal(format!(
                    "[postgres] {field}: expected one of {expected}, found `{value}`"
                )));
            }
        }
        let connector = Arc::new(Connector::new(config)?);
        let writer = Pool::new(connector, 1);
        let layout = writer.with(|session| schema::migrate(session, &config.schema, &config.timescale))?;
        let reading = PostgresConfig {
            statement_timeout_ms: config.read_timeout_ms.min(config.statement_timeout_ms),
            ..config.clone()
        };
        let readers = match config.read_connections {
            0 => None,
            places => Some(Pool::failing_fast(Arc::new(Connector::new(&reading)?), places)),
        };
        let memory = apply::Memory::default();
        Ok(Arc::new(Self {
            schema: config.schema.clone(),
            layout,
            copies: config.bulk == "copy",
            memory,
            writer,
            readers,
        }))
    }

    /// Whether the schema has our tables already. Nothing is made.
    ///
    /// # Errors
    /// Those of [`Self::open`], also where the tables are not there and may not be made.
    pub fn is_there(config: &PostgresConfig) -> Result<bool> {
        Pool::new(Arc::new(Connector::new(config)?), 1).with(|session| schema::is_there(session, &config.schema))
    }

    /// Runs a query, once more where the connection was lost in it.
    fn read<T>(&self, work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        self.readers.as_ref().unwrap_or(&self.writer).with(work)
    }

    /// Runs queries on one snapshot of the store, along indexes alone.
    fn read_at_once<T>(&self, mut work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        self.read(|session| session.transaction(series::AT_ONCE, |session| work(session)))
    }
}

impl Explanations for PostgresStore {
    fn apply_explained(&self, batch: &ExplainedBatch) -> Result<Vec<usize>> {
        forensics::apply(self, batch)
    }

    fn chain_heads(&self) -> Result<Vec<ChainHead>> {
        self.read_at_once(forensics::heads)
    }

    fn last_of_symbols(&self, chain: u32) -> Result<Vec<Explained>> {
        self.read_at_once(|session| forensics::last_of_symbols(session, chain))
    }

    fn explained(&self, decision_id: &str) -> Result<Option<Explained>> {
        self.read_at_once(|session| forensics::explained(session, decision_id))
    }

    fn explanations(&self, query: &ExplainedQuery) -> Result<Vec<(PageKey, Explained)>> {
        self.read_at_once(|session| forensics::explanations(session, query))
    }

    fn chain(&self, chain: u32, from: u64, limit: usize) -> Result<Vec<Explained>> {
        self.read_at_once(|session| forensics::chain(session, chain, from, limit))
    }

    fn feature_set(&self, id: [u8; 16]) -> Result<Option<Bytes>> {
        self.read_at_once(|session| forensics::feature_set(session, id))
    }

    fn importance(&self, from: Timestamp, to: Timestamp, symbol: Option<&str>) -> Result<Vec<Importance>> {
        self.read_at_once(|session| forensics::importance(session, from, to, symbol))
    }

    fn fills_of(&self, decision_id: &str, limit: usize) -> Result<Vec<FillRow>> {
        self.read_at_once(|session| fills::of_decision(session, decision_id, limit))
    }

    fn orders_of(&self, decision_id: &str, limit: usize) -> Result<Vec<OrderRow>> {
        self.read_at_once(|session| orders::of_decision(session, decision_id, limit))
    }
}

impl Store for PostgresStore {
    fn apply(&self, batch: &Batch) -> Result<Applied> {
        apply::apply(self, batch)
    }

    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
        self.read(|session| apply::resume(session, group, partitions))
    }

    fn fills(&self, query: &FillsQuery) -> Result<Vec<FillRow>> {
        self.read_at_once(|session| fills::fills(session, query))
    }

    fn executions(&self, account: &str, after: u64, limit: usize) -> Result<Vec<FillRow>> {
        self.read_at_once(|session| fills::executions(session, account, after, limit))
    }

    fn orders(&self, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
        self.read_at_once(|session| orders::orders(session, query))
    }

    fn pnl(&self, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
        self.read_at_once(|session| pnl::pnl(session, self.layout, query))
    }

    fn latest_risk(&self, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
        self.read_at_once(|session| risk::latest(session, account))
    }

    fn accounts(&self) -> Result<Vec<AccountRow>> {
        self.read_at_once(accounts::accounts)
    }

    fn symbol_stats(&self, account: Option<&str>) -> Result<Vec<SymbolStats>> {
        self.read_at_once(|session| stats::symbol_stats(session, account))
    }

    fn alerts(&self, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>> {
        self.read_at_once(|session| alerts::alerts(session, query))
    }

    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> Result<u64> {
        let gone = self.writer.with(|session| retention::enforce(session, &self.schema, self.layout, rules, now_ms))?;
        if gone > 0 {
            // A partition may be among them: it is looked for before it is written to again.
            self.memory.lock().unwrap_or_else(PoisonError::into_inner).forget_partitions();
        }
        Ok(gone)
    }
}
