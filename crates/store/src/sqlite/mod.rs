//! The store on SQLite: one file, one writer, a few readers. What `apply` keeps
//! is visible in one transaction together with the offsets it came from.
//!
//! Not here: the trait, and the reasons of its promises.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::Connection;
use tapedeck_contracts::{
    Timestamp,
    events::{Alert, RiskMetrics},
};

use self::{forensics::Recent, names::Names};
use crate::{
    AccountRow, AlertsQuery, Applied, Batch, ChainHead, Explained, ExplainedBatch, ExplainedQuery, Explanations,
    FillRow, FillsQuery, Importance, OrderRow, OrdersQuery, PageKey, PnlPoint, PnlQuery, Result, Resume, Retention,
    Store, StoreError, SymbolStats,
};

mod alerts;
mod apply;
mod codec;
mod curves;
mod export;
mod failure;
mod fills;
mod forensics;
mod ids;
mod names;
mod orders;
mod pnl;
mod reports;
mod retention;
mod risk;
mod schema;
mod series;
mod stats;
mod totals;

pub use export::{Kept, KeptExplained, KeptPosition, KeptRow, session_of};

#[cfg(test)]
mod plans;

/// The file's name inside a data folder.
pub const FILE_NAME: &str = "store.db";

/// Readers side by side. Queries are short and bound by the processor: more
/// than this only wait for a core, and each keeps a cache of pages.
const READERS: usize = 4;

/// How the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteConfig {
    /// How long to wait for another writer, or for a free reader, before the
    /// call fails as transient.
    pub busy_timeout: Duration,
}

impl Default for SqliteConfig {
    /// Half of the 10 s that a call to a store may take.
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5) }
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    path: PathBuf,
    writer: Mutex<Handle>,
    readers: Mutex<Vec<Handle>>,
    reader_free: Condvar,
    config: SqliteConfig,
}

/// A connection and what it knows of the dictionary; that of the writer also of
/// the ids of decisions.
struct Handle {
    conn: Connection,
    names: Names,
    ids: Recent,
}

impl SqliteStore {
    /// Opens the file, makes it where it is missing, and brings its tables to
    /// this version under a lock. Where `path` is a folder, the file is
    /// `store.db` in it.
    ///
    /// # Errors
    /// Fatal where the file is damaged, not writable, or written by a newer
    /// version; transient where another process holds it too long.
    pub fn open(path: &Path, config: SqliteConfig) -> Result<Arc<Self>> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let writer = Handle {
            conn: schema::open_writer(&path, config.busy_timeout)?,
            names: Names::default(),
            ids: Recent::default(),
        };
        let readers = (0..READERS)
            .map(|_| {
                Ok(Handle {
                    conn: schema::open_reader(&path, config.busy_timeout)?,
                    names: Names::default(),
                    ids: Recent::default(),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(Self {
            path,
            writer: Mutex::new(writer),
            readers: Mutex::new(readers),
            reader_free: Condvar::new(),
            config,
        }))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write<T>(&self, work: impl FnOnce(&mut Handle) -> Result<T>) -> Result<T> {
        // A panic inside rolled its transaction back: the connection is sound.
        work(&mut locked(&self.writer))
    }

    /// Runs a query on one snapshot of the store.
    fn read<T>(&self, work: impl FnOnce(&Connection, &mut Names) -> Result<T>) -> Result<T> {
        let mut reader = Borrowed { pool: self, handle: Some(self.take_reader()?) };
        let handle = reader.handle.as_mut().expect("invariant: held until drop");
        let snapshot = handle.conn.transaction()?;
        work(&snapshot, &mut handle.names)
    }

    fn take_reader(&self) -> Result<Handle> {
        let (mut free, _) = self
            .reader_free
            .wait_timeout_while(locked(&self.readers), self.config.busy_timeout, |free| free.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        free.pop().ok_or_else(|| StoreError::Transient(format!("all {READERS} readers of the store are busy")))
    }
}

/// A reader that goes back to its pool, also when a query panics.
struct Borrowed<'a> {
    pool: &'a SqliteStore,
    handle: Option<Handle>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        locked(&self.pool.readers).extend(self.handle.take());
        self.pool.reader_free.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Explanations for SqliteStore {
    fn apply_explained(&self, batch: &ExplainedBatch) -> Result<Vec<usize>> {
        self.write(|writer| forensics::apply(writer, batch))
    }

    fn chain_heads(&self) -> Result<Vec<ChainHead>> {
        self.read(|conn, _| forensics::heads(conn))
    }

    fn last_of_symbols(&self, chain: u32) -> Result<Vec<Explained>> {
        self.read(|conn, names| forensics::last_of_symbols(conn, names, chain))
    }

    fn explained(&self, decision_id: &str) -> Result<Option<Explained>> {
        self.read(|conn, names| forensics::explained(conn, names, decision_id))
    }

    fn explanations(&self, query: &ExplainedQuery) -> Result<Vec<(PageKey, Explained)>> {
        self.read(|conn, names| forensics::explanations(conn, names, query))
    }

    fn chain(&self, chain: u32, from: u64, limit: usize) -> Result<Vec<Explained>> {
        self.read(|conn, names| forensics::chain(conn, names, chain, from, limit))
    }

    fn feature_set(&self, id: [u8; 16]) -> Result<Option<Bytes>> {
        self.read(|conn, _| forensics::feature_set(conn, id))
    }

    fn importance(&self, from: Timestamp, to: Timestamp, symbol: Option<&str>) -> Result<Vec<Importance>> {
        self.read(|conn, names| forensics::importance(conn, names, from, to, symbol))
    }

    fn fills_of(&self, decision_id: &str, limit: usize) -> Result<Vec<FillRow>> {
        self.read(|conn, names| fills::of_decision(conn, names, decision_id, limit))
    }

    fn orders_of(&self, decision_id: &str, limit: usize) -> Result<Vec<OrderRow>> {
        self.read(|conn, names| orders::of_decision(conn, names, decision_id, limit))
    }
}

impl Store for SqliteStore {
    fn apply(&self, batch: &Batch) -> Result<Applied> {
        self.write(|writer| apply::apply(writer, batch))
    }

    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
        self.read(|conn, _| apply::resume(conn, group, partitions))
    }

    fn fills(&self, query: &FillsQuery) -> Result<Vec<FillRow>> {
        self.read(|conn, names| fills::fills(conn, names, query))
    }

    fn executions(&self, account: &str, after: u64, limit: usize) -> Result<Vec<FillRow>> {
        self.read(|conn, names| fills::executions(conn, names, account, after, limit))
    }

    fn orders(&self, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
        self.read(|conn, names| orders::orders(conn, names, query))
    }

    fn pnl(&self, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
        self.read(|conn, names| pnl::pnl(conn, names, query))
    }

    fn latest_risk(&self, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
        self.read(|conn, names| risk::latest(conn, names, account))
    }

    fn accounts(&self) -> Result<Vec<AccountRow>> {
        self.read(totals::accounts)
    }

    fn symbol_stats(&self, account: Option<&str>) -> Result<Vec<SymbolStats>> {
        self.read(|conn, names| stats::symbol_stats(conn, names, account))
    }

    fn alerts(&self, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>> {
        self.read(|conn, names| alerts::alerts(conn, names, query))
    }

    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> Result<u64> {
        self.write(|writer| retention::enforce(&mut writer.conn, rules, now_ms))
    }
}
