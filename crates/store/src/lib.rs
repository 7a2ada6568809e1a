//! Where events are kept to be asked for: one trait, SQLite behind it, and the
//! conformance suite that every store passes.
//!
//! Not here: HTTP, roles, the log. A store is given events with the place they
//! came from, and the offsets they move, and makes both visible in one act.

use std::{sync::Arc, time::Duration};

use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{Alert, ExecType, Liquidity, OrderStatus, OrderType, Reason, RiskMetrics, Severity, Side, TimeInForce},
};

mod common;
pub mod conformance;
pub mod error;
mod explained;
mod merge;
mod points;
pub mod postgres;
pub mod sqlite;

pub use error::{Result, StoreError};
pub use explained::{ChainHead, Explained, ExplainedBatch, ExplainedQuery, Explanations, Importance};
pub use postgres::{PostgresConfig, PostgresStore};
pub use sqlite::{SqliteConfig, SqliteStore};

/// The place in the log that a row came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

/// An event to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it came from.
    pub origin: Origin,
    /// Its id: from its body, its headers, or its place.
    pub event_id: EventId,
    /// The event. Kept are execution reports, risk metrics, alerts, signals and
    /// forward test events; others are refused as poison.
    pub event: Event,
}

/// A move of a group's place in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetMove {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: u32,
    /// The place that the writer believes to be stored; none where there is none yet.
    pub expected: Option<u64>,
    /// The offset of the next record to take.
    pub next: u64,
    /// Offset and hash of the last record applied; see [`Resume::last`].
    pub last: (u64, u64),
}

/// Rows and the offsets they came from, to be made visible in one act.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The consumer group.
    pub group: String,
    /// What to keep.
    pub rows: Vec<Row>,
    /// How far the group then is.
    pub offsets: Vec<OffsetMove>,
    /// When it was taken from the log, in ms since the epoch: retention goes by it.
    pub ingested_at_ms: i64,
}

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that are new.
    pub stored: usize,
    /// Rows whose event id, or whose fill, was there already with the same content.
    pub duplicates: usize,
}

/// Where a group goes on in a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The offset of the next record to take; none where nothing was applied yet.
    pub next: Option<u64>,
    /// Offsets at or beyond `next` that are held already (none, in a store with
    /// transactions).
    pub held: Vec<u64>,
    /// Offset and hash of the last record applied: a log that holds another
    /// record there was recreated or truncated.
    pub last: Option<(u64, u64)>,
}

/// A place in a list that is sorted by (time, topic partition, offset): where
/// the next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageKey {
    /// Event time of the last row given.
    pub timestamp: Timestamp,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// Which fills. Times are inclusive at `from` and exclusive at `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FillsQuery {
    /// Of one account.
    pub account: Option<String>,
    /// Of one symbol.
    pub symbol: Option<String>,
    /// Of one venue.
    pub venue: Option<String>,
    /// From this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// After this row, in newest-first order.
    pub after: Option<PageKey>,
    /// At most so many.
    pub limit: usize,
}

/// A report with a fill.
#[derive(Clone, Debug, PartialEq)]
pub struct FillRow {
    /// Its place in the list.
    pub key: PageKey,
    /// The venue's id of the fill.
    pub fill_id: String,
    /// The account's running number of executions, where the venue gives one.
    pub execution_number: Option<u64>,
    /// The report's id.
    pub event_id: String,
    /// TRADE, TRADE_CORRECT or TRADE_CANCEL.
    pub exec_type: ExecType,
    /// When it filled.
    pub timestamp: Timestamp,
    /// Whose.
    pub account: String,
    /// Where.
    pub venue: String,
    /// The instrument.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Last quantity.
    pub quantity: Dec,
    /// Last price.
    pub price: Dec,
    /// Maker or taker.
    pub liquidity: Liquidity,
    /// Commission.
    pub commission: Dec,
    /// Its currency.
    pub currency: String,
    /// Signed; positive is worse.
    pub slippage_bps: Option<f64>,
    /// Realised by this fill, before costs.
    pub realized_pnl: Dec,
    /// The order.
    pub order_id: String,
    /// Our id of the order.
    pub client_order_id: String,
    /// The order after the fill.
    pub order_status: OrderStatus,
    /// The decision it came of.
    pub decision_id: Option<String>,
    /// The strategy it came of.
    pub strategy_id: Option<String>,
}

/// Which orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrdersQuery {
    /// Of one account.
    pub account: Option<String>,
    /// Of one symbol.
    pub symbol: Option<String>,
    /// Only NEW and PARTIALLY_FILLED.
    pub open_only: bool,
    /// After this row, in newest-first order of the last update.
    pub after: Option<PageKey>,
    /// At most so many.
    pub limit: usize,
}

/// An order as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderRow {
    /// Its place in the list: that of its newest report.
    pub key: PageKey,
    /// The venue's id.
    pub order_id: String,
    /// Our id.
    pub client_order_id: String,
    /// Whose.
    pub account: String,
    /// Where.
    pub venue: String,
    /// The instrument.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// MARKET or LIMIT.
    pub order_type: OrderType,
    /// What was ordered.
    pub quantity: Dec,
    /// The limit.
    pub limit_price: Option<Dec>,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// How it stands.
    pub status: OrderStatus,
    /// Filled.
    pub cum_qty: Dec,
    /// Open.
    pub leaves_qty: Dec,
    /// Average price of what filled.
    pub avg_px: Option<Dec>,
    /// Why it stands so, where its newest report says it.
    pub reason: Option<Reason>,
    /// The decision it came of.
    pub decision_id: Option<String>,
    /// The strategy it came of.
    pub strategy_id: Option<String>,
    /// Time of its first report.
    pub created_at: Timestamp,
    /// Time of its newest report.
    pub updated_at: Timestamp,
}

/// Which stretch of a PnL curve, in which steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PnlQuery {
    /// Of which account.
    pub account: String,
    /// Of one symbol, or of the whole account.
    pub symbol: Option<String>,
    /// From the bucket that holds this time.
    pub from: Timestamp,
    /// To the bucket that holds this time, that one too.
    pub to: Timestamp,
    /// Length of a bucket in microseconds; buckets begin at multiples of it since the epoch.
    pub interval_us: i64,
}

/// Profit and loss since the account's start, at the last event of a bucket.
/// Reports count in the order of the log: one that comes with an earlier time
/// than its curve's newest is in the newest point, so the last point holds all.
#[derive(Clone, Debug, PartialEq)]
pub struct PnlPoint {
    /// The bucket's beginning.
    pub timestamp: Timestamp,
    /// Realised, before costs.
    pub realized: Dec,
    /// Of what is held, at the last metrics.
    pub unrealized: Dec,
    /// Commissions in the account's currency.
    pub fees: Dec,
}

/// An account as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountRow {
    /// Its name.
    pub account: String,
    /// Its currency.
    pub currency: Option<String>,
    /// The session that trades it.
    pub session_id: Option<String>,
    /// What that session trades: `signals` or `decisions`.
    pub source: Option<String>,
    /// What it began with.
    pub starting_equity: Option<Dec>,
    /// What it has.
    pub equity: Option<Dec>,
    /// As of when: its newest event.
    pub as_of: Timestamp,
}

/// What was done in a symbol, since the account's start.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolStats {
    /// Whose.
    pub account: String,
    /// Where.
    pub venue: String,
    /// The instrument.
    pub symbol: String,
    /// Currency of the fees.
    pub currency: String,
    /// Number of fills.
    pub fills: u64,
    /// Sum of quantities.
    pub volume: Dec,
    /// Sum of quantity times price, each rounded to 8 decimals.
    pub turnover: Dec,
    /// Sum of commissions in `currency`.
    pub fees: Dec,
    /// Sum of commissions in other currencies, by currency.
    pub other_fees: Vec<(String, Dec)>,
    /// Sum of realised PnL.
    pub realized: Dec,
    /// Of what is held, at the last metrics.
    pub unrealized: Dec,
    /// Round trips (flat to flat, or to a flip) and those that won, net of fees.
    pub round_trips: u64,
    /// See `round_trips`.
    pub round_trips_won: u64,
    /// Mean slippage, weighted by turnover, in basis points.
    pub slippage_bps: Option<f64>,
}

/// Which alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertsQuery {
    /// This bad or worse.
    pub min_severity: Option<Severity>,
    /// Of one account.
    pub account: Option<String>,
    /// From this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// After this row, in newest-first order.
    pub after: Option<PageKey>,
    /// At most so many.
    pub limit: usize,
}

/// How long a table keeps its rows, from their ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The table.
    pub table: String,
    /// How long.
    pub keep: Duration,
}

/// Keeps events and answers for them. Blocking; safe to call from many threads.
pub trait Store: Explanations + Send + Sync {
    /// Keeps rows and moves offsets in one act: a reader sees both or neither.
    /// Rows whose event id is there already are left out and counted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where a stored offset is not the expected one;
    /// [`StoreError::Poison`] names a row that can never be kept; nothing of the
    /// batch is kept then.
    fn apply(&self, batch: &Batch) -> Result<Applied>;

    /// Where the group goes on, for each partition asked for, in that order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn resume(&self, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>>;

    /// Fills, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn fills(&self, query: &FillsQuery) -> Result<Vec<FillRow>>;

    /// All TRADE fills of an account that carry an execution number, by that
    /// number, after `after`, at most `limit`: what a digest is made of.
    ///
    /// # Errors
    /// The store cannot be read.
    fn executions(&self, account: &str, after: u64, limit: usize) -> Result<Vec<FillRow>>;

    /// Orders, newest update first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn orders(&self, query: &OrdersQuery) -> Result<Vec<OrderRow>>;

    /// The PnL curve, oldest point first; buckets without an event are left out.
    /// At most 10,000 points, the newest: ask with a longer interval for more.
    ///
    /// # Errors
    /// The store cannot be read.
    fn pnl(&self, query: &PnlQuery) -> Result<Vec<PnlPoint>>;

    /// The newest risk metrics of one account, or of each.
    ///
    /// # Errors
    /// The store cannot be read.
    fn latest_risk(&self, account: Option<&str>) -> Result<Vec<RiskMetrics>>;

    /// Accounts, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    fn accounts(&self) -> Result<Vec<AccountRow>>;

    /// Statistics by account, venue and symbol.
    ///
    /// # Errors
    /// The store cannot be read.
    fn symbol_stats(&self, account: Option<&str>) -> Result<Vec<SymbolStats>>;

    /// Alerts, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn alerts(&self, query: &AlertsQuery) -> Result<Vec<(PageKey, Alert)>>;

    /// Deletes what was ingested longer ago than its table keeps, counted from
    /// `now_ms`; returns how many rows went. Bounded work a call: call again
    /// while it returns more than 0. Tables are `exec_reports`, `risk_metrics`,
    /// `pnl_curve`, `alerts`, `signals`, `orders`, `forensics`. Open orders, the newest metrics
    /// of an account, the last point of a curve, sums and ids stay; a chain of
    /// explained decisions says where it then begins.
    ///
    /// # Errors
    /// The store cannot be written; fatal for a table without retention.
    fn enforce_retention(&self, rules: &[Retention], now_ms: i64) -> Result<u64>;
}
