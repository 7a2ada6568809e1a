//! A store that is waited for: its calls go to the one that was opened.
//!
//! Not here: opening it. PostgreSQL alone is waited for; SQLite is there or fails.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck_contracts::{
    Timestamp,
    events::{Alert, RiskMetrics},
};
use tapedeck_store::{
    AccountRow, AlertsQuery, Applied, Batch, ChainHead, Explained, ExplainedBatch, ExplainedQuery, Explanations,
    FillRow, FillsQuery, Importance, OrderRow, OrdersQuery, PageKey, PnlPoint, PnlQuery, Result, Resume, Retention,
    Store, StoreError, SymbolStats,
};

use super::Awaited;

impl Awaited<dyn Store> {
    fn store(&self) -> Result<&Arc<dyn Store>> {
        self.there().map_err(StoreError::Transient)
    }
}

impl Store for Awaited<dyn Store> {
    fn apply(&self, batch: &Batch) -> Result<Applied> {
        self.store()?.apply(batch)
    }

    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
        self.store()?.resume(group, partitions)
    }

    fn fills(&self, query: &FillsQuery) -> Result<Vec<FillRow>> {
        self.store()?.fills(query)
    }

    fn executions(&self, account: &str, after: u64, limit: usize) -> Result<Vec<FillRow>> {
        self.store()?.executions(account, after, limit)
    }

    fn orders(&self, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
        self.store()?.orders(query)
    }

    fn pnl(&self, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
        self.store()?.pnl(query)
    }

    fn latest_risk(&self, account: Option<&str>) -> Result<Vec<RiskMetrics>> {
        self.store()?.latest_risk(account)
    }

    fn accounts(&self) -> Result<Vec<AccountRow>> {
        self.store()?.accounts()
    }

    fn symbol_stats(&self, account: Option<&str>) -> Result<Vec<SymbolStats>> {
        self.store()?.symbol_stats(account)
    }

    fn alerts(&self, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>> {
        self.store()?.alerts(query)
    }

    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> Result<u64> {
        self.store()?.enforce_retention(rules, now_ms)
    }
}

impl Explanations for Awaited<dyn Store> {
    fn apply_explained(&self, batch: &ExplainedBatch) -> Result<Vec<usize>> {
        self.store()?.apply_explained(batch)
    }

    fn chain_heads(&self) -> Result<Vec<ChainHead>> {
        self.store()?.chain_heads()
    }

    fn last_of_symbols(&self, chain: u32) -> Result<Vec<Explained>> {
        self.store()?.last_of_symbols(chain)
    }

    fn explained(&self, decision_id: &str) -> Result<Option<Explained>> {
        self.store()?.explained(decision_id)
    }

    fn explanations(&self, query: &ExplainedQuery) -> Result<Vec<(PageKey, Explained)>> {
        self.store()?.explanations(query)
    }

    fn chain(&self, chain: u32, from: u64, limit: usize) -> Result<Vec<Explained>> {
        self.store()?.chain(chain, from, limit)
    }

    fn feature_set(&self, id: [u8; 16]) -> Result<Option<Bytes>> {
        self.store()?.feature_set(id)
    }

    fn importance(&self, from: Timestamp, to: Timestamp, symbol: Option<&str>) -> Result<Vec<Importance>> {
        self.store()?.importance(from, to, symbol)
    }

    fn fills_of(&self, decision_id: &str, limit: usize) -> Result<Vec<FillRow>> {
        self.store()?.fills_of(decision_id, limit)
    }

    fn orders_of(&self, decision_id: &str, limit: usize) -> Result<Vec<OrderRow>> {
        self.store()?.orders_of(decision_id, limit)
    }
}
