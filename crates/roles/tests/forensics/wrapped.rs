//! A store that does what it is told to: fails before or after it has kept a batch, or
//! shows rows that somebody changed.
//!
//! Not here: what comes of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use tapedeck_contracts::{Timestamp, events::RiskMetrics};
use tapedeck_store::*;

/// What becomes of the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is kept.
    Keep,
    /// It is not kept, and nobody knows.
    FailBefore,
    /// It is kept, and nobody knows.
    FailAfter,
}

/// Done between the first and the second time that somebody reads where chains stand.
type Between = dyn Fn(&SqliteStore) + Send + Sync;
type Change = dyn Fn(&mut Vec<Explained>) + Send + Sync;

/// A store with something between it and who asks.
pub(crate) struct Wrapped {
    inner: Arc<SqliteStore>,
    turns: Mutex<VecDeque<Turn>>,
    change: Option<Box<Change>>,
    between: Option<Box<Between>>,
    reads: AtomicU32,
    kept: Mutex<Vec<ExplainedBatch>>,
}

impl Wrapped {
    /// Takes these turns, and then keeps everything.
    pub(crate) fn taking(inner: &Arc<SqliteStore>, turns: impl IntoIterator<Item = Turn>) -> Arc<Self> {
        Arc::new(Self { turns: Mutex::new(turns.into_iter().collect()), ..Self::of(inner) })
    }

    /// Shows the rows of a chain as this leaves them.
    pub(crate) fn changed(
        inner: &Arc<SqliteStore>,
        change: impl Fn(&mut Vec<Explained>) + Send + Sync + 'static,
    ) -> Self {
        Self { change: Some(Box::new(change)), ..Self::of(inner) }
    }

    /// Does this where a role that opens its chains has read one thing of them.
    pub(crate) fn interrupted(
        inner: &Arc<SqliteStore>,
        between: impl Fn(&SqliteStore) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { between: Some(Box::new(between)), ..Self::of(inner) })
    }

    /// The first batch that was kept.
    pub(crate) fn first_kept(&self) -> ExplainedBatch {
        self.kept.lock().unwrap()[0].clone()
    }

    fn of(inner: &Arc<SqliteStore>) -> Self {
        Self {
            inner: Arc::clone(inner),
            turns: Mutex::default(),
            change: None,
            between: None,
            reads: AtomicU32::new(0),
            kept: Mutex::default(),
        }
    }

    fn read(&self) {
        if let Some(between) = self.between.as_ref().filter(|_| self.reads.fetch_add(1, SeqCst) == 1) {
            between(&self.inner);
        }
    }
}

impl Explanations for Wrapped {
    fn apply_explained(&self, batch: &ExplainedBatch) -> Result<Vec<usize>> {
        let turn = self.turns.lock().unwrap().pop_front().unwrap_or(Turn::Keep);
        let lost = || Err(StoreError::Transient(format!("the answer was lost: {turn:?}")));
        match turn {
            Turn::Keep => {
                self.kept.lock().unwrap().push(batch.clone());
                self.inner.apply_explained(batch)
            }
            Turn::FailBefore => lost(),
            Turn::FailAfter => self.inner.apply_explained(batch).and_then(|_| lost()),
        }
    }

    fn chain_heads(&self) -> Result<Vec<ChainHead>> {
        self.read();
        self.inner.chain_heads()
    }

    fn last_of_symbols(&self, chain: u32) -> Result<Vec<Explained>> {
        self.read();
        self.inner.last_of_symbols(chain)
    }

    fn explained(&self, decision_id: &str) -> Result<Option<Explained>> {
        self.inner.explained(decision_id)
    }

    fn explanations(&self, query: &ExplainedQuery) -> Result<Vec<(PageKey, Explained)>> {
        self.inner.explanations(query)
    }

    fn chain(&self, chain: u32, from: u64, limit: usize) -> Result<Vec<Explained>> {
        let Some(change) = &self.change else { return self.inner.chain(chain, from, limit) };
        let mut rows = self.inner.chain(chain, 0, usize::MAX >> 1)?;
        change(&mut rows);
        rows.retain(|row| row.index >= from);
        rows.truncate(limit);
        Ok(rows)
    }

    fn feature_set(&self, id: [u8; 16]) -> Result<Option<Bytes>> {
        self.inner.feature_set(id)
    }

    fn importance(&self, from: Timestamp, to: Timestamp, symbol: Option<&str>) -> Result<Vec<Importance>> {
        self.inner.importance(from, to, symbol)
    }

    fn fills_of(&self, decision_id: &str, limit: usize) -> Result<Vec<FillRow>> {
        self.inner.fills_of(decision_id, limit)
    }

    fn orders_of(&self, decision_id: &str, limit: usize) -> Result<Vec<OrderRow>> {
        self.inner.orders_of(decision_id, limit)
    }
}

impl Store for Wrapped {
    fn apply(&self, batch: &Batch) -> Result<Applied> {
        self.inner.apply(batch)
    }

    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
        self.inner.resume(group, partitions)
    }

    fn fills(&self, query: &FillsQuery) -> Result<Vec<FillRow>> {
        self.inner.fills(query)
    }

    fn executions(&self, account: &str, after: u64, limit: usize) -> Result<Vec<FillRow>> {
        self.inner.executions(account, after, limit)
    }

    fn orders(&self, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
        self.inner.orders(query)
    }

    fn pnl(&self, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
        self.inner.pnl(query)
    }

    fn latest_risk(&self, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
        self.inner.latest_risk(account)
    }

    fn accounts(&self) -> Result<Vec<AccountRow>> {
        self.inner.accounts()
    }

    fn symbol_stats(&self, account: Option<&str>) -> Result<Vec<SymbolStats>> {
        self.inner.symbol_stats(account)
    }

    fn alerts(&self, query: &AlertsQuery) -> Result<Vec<(PageKey, tapedeck_contracts::events::Alert)>> {
        self.inner.alerts(query)
    }

    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> Result<u64> {
        self.inner.enforce_retention(rules, now_ms)
    }
}
