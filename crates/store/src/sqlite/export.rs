//! What the file keeps, as the events it came from, in the order in which they
//! were kept: for a move to another store.
//!
//! Not here: sums and curves, which the other store makes of the events again.

use std::sync::Arc;

use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use tapedeck_contracts::{
    Dec, Event, EventId, Timestamp,
    events::{
        Alert, Envelope, ExecutionReport, ForwardTest, RiskMetrics, Signal,
        execution::{Costs, Fill, Order, Pnl},
        portfolio::{ForwardTestKind, ForwardTestMetrics},
    },
};

use super::{SqliteStore, codec, failure::damaged, forensics, names::Names};
use crate::{AccountRow, Explained, Explanations, Importance, Origin, Result, Row, common::values};

/// A table of events, and the topic they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// `exec_reports`.
    Reports,
    /// `risk_metrics`.
    Metrics,
    /// `alerts`.
    Alerts,
    /// `signals`.
    Signals,
}

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptRow {
    /// Its place in the table: rows are kept in this order.
    pub seq: u64,
    /// When it was taken from the log, in ms since the epoch.
    pub ingested_at_ms: i64,
    /// The event and where it came from.
    pub row: Row,
}

/// An explained decision as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptExplained {
    /// Its place in the table: chains are in their order in this order.
    pub seq: u64,
    /// When it was taken from the log, in ms since the epoch.
    pub ingested_at_ms: i64,
    /// What is kept.
    pub row: Explained,
}

/// Where a group goes on, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPosition {
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the next record to take.
    pub next: u64,
}

impl Kept {
    /// All tables, in an order in which they can be kept again.
    pub const ALL: [Kept; 4] = [Kept::Reports, Kept::Metrics, Kept::Alerts, Kept::Signals];

    /// The table's name.
    pub fn table(self) -> &'static str {
        match self {
            Self::Reports => "exec_reports",
            Self::Metrics => "risk_metrics",
            Self::Alerts => "alerts",
            Self::Signals => "signals",
        }
    }

    /// The topic that its events come from.
    pub fn topic(self) -> &'static str {
        match self {
            Self::Reports => "exec.reports.v1",
            Self::Metrics => "risk.metrics.v1",
            Self::Alerts => "alerts.v1",
            Self::Signals => "strategy-signals",
        }
    }
}

impl SqliteStore {
    /// Rows of a table after a place, at most `limit`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept(&self, table: Kept, after: u64, limit: usize) -> Result<Vec<KeptRow>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.read(|conn, names| match table {
            Kept::Reports => reports(conn, names, after, limit),
            Kept::Metrics => bodies(conn, table, after, limit, |body: RiskMetrics, _| {
                (body.event_id.clone(), Event::RiskMetrics(Box::new(body)))
            }),
            Kept::Alerts => bodies(conn, table, after, limit, |body: Alert, _| {
                (body.event_id.clone(), Event::Alert(Box::new(body)))
            }),
            Kept::Signals => {
                bodies(conn, table, after, limit, |body: Envelope<Signal>, id| (id, Event::Signal(Box::new(body))))
            }
        })
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_count(&self, table: Kept) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {}", table.table());
        self.read(|conn, _| Ok(conn.query_row(&sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs()))
    }

    /// Explained decisions after a place, at most `limit`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_explained(&self, after: u64, limit: usize) -> Result<Vec<KeptExplained>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.read(|conn, names| forensics::kept(conn, names, after, limit))
    }

    /// Sums of importance from an hour on, in whole hours, oldest first: so many hours
    /// that there are about `limit` sums, and one at least.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_importance(&self, from: Timestamp, limit: usize) -> Result<Vec<Importance>> {
        const SQL: &str = "SELECT max(hour_us) FROM (SELECT hour_us FROM forensics_importance WHERE hour_us >= ?1 \
                           ORDER BY hour_us LIMIT ?2)";
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let find = |row: &rusqlite::Row<'_>| row.get::<_, Option<i64>>(0);
        let last = self.read(|conn, _| Ok(conn.prepare_cached(SQL)?.query_row([from.micros(), limit], find)?))?;
        let Some(last) = last else { return Ok(Vec::new()) };
        self.importance(from, Timestamp::from_micros(last.saturating_add(1)), None)
    }

    /// How many explained decisions there are.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn explained_count(&self) -> Result<u64> {
        // Along the narrowest index: the rows themselves are not looked at.
        let sql = "SELECT count(*) FROM forensics";
        self.read(|conn, _| Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?.unsigned_abs()))
    }

    /// The positions of all groups.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_positions(&self) -> Result<Vec<KeptPosition>> {
        const SQL: &str = "SELECT consumer_group, topic, partition, next FROM consumer_offsets ORDER BY 1, 2, 3";
        let position = |row: &rusqlite::Row<'_>| {
            let next = row.get::<_, i64>(3)?.cast_unsigned();
            Ok(KeptPosition { group: row.get(0)?, topic: row.get(1)?, partition: row.get(2)?, next })
        };
        self.read(|conn, _| Ok(conn.prepare_cached(SQL)?.query_map([], position)?.collect::<rusqlite::Result<_>>()?))
    }
}

/// What the session of an account said of it: the event itself is not kept.
pub fn session_of(account: &AccountRow) -> Option<Envelope<ForwardTest>> {
    Some(Envelope {
        timestamp: account.as_of,
        producer_service: "forward-test".into(),
        data: ForwardTest {
            session_id: account.session_id.clone()?,
            event: ForwardTestKind::Started,
            metrics: ForwardTestMetrics { trades: 0, win_rate: None, sharpe: None, max_drawdown: 0.0, pnl: Dec::ZERO },
            account: Some(account.account.clone()),
            currency: account.currency.clone(),
            starting_equity: account.starting_equity,
            source: account.source.clone(),
        },
    })
}

fn origin(table: Kept, place: i64) -> Origin {
    let key = values::key(0, place);
    Origin { topic: Arc::from(table.topic()), partition: key.partition, offset: key.offset }
}

fn bodies<T: DeserializeOwned>(
    conn: &Connection,
    table: Kept,
    after: i64,
    limit: usize,
    event: impl Fn(T, EventId) -> (EventId, Event),
) -> Result<Vec<KeptRow>> {
    let id = if table == Kept::Signals { "event_id" } else { "NULL" };
    let sql = format!(
        "SELECT seq, place, ingested_ms, body, {id} FROM {} WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        table.table()
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, codec::limit(limit)])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(3)?;
        let body = serde_json::from_str(&text).map_err(|_| damaged("a body"))?;
        let id = EventId(codec::optional_id(row, 4)?.unwrap_or_default());
        let (event_id, event) = event(body, id);
        let row_of = Row { origin: origin(table, row.get(1)?), event_id, event };
        kept.push(KeptRow { seq: row.get::<_, i64>(0)?.unsigned_abs(), ingested_at_ms: row.get(2)?, row: row_of });
    }
    Ok(kept)
}

const REPORTS: &str = "SELECT seq, place, ingested_ms, time_us, account, venue, symbol, strategy, exec_type, event_id, \
     decision_id, order_id, client_order_id, side, order_type, quantity, limit_price, time_in_force, status, cum_qty, \
     leaves_qty, avg_px, fill_id, execution_number, last_qty, last_px, liquidity, ref_fill_id, commission, currency, \
     slippage_bps, realized, unrealized, reason FROM exec_reports WHERE seq > ?1 ORDER BY seq LIMIT ?2";

fn reports(conn: &Connection, names: &mut Names, after: i64, limit: usize) -> Result<Vec<KeptRow>> {
    let mut statement = conn.prepare_cached(REPORTS)?;
    let mut rows = statement.query(params![after, codec::limit(limit)])?;
    let mut kept = Vec::new();
    while let Some(row) = rows.next()? {
        let report = report(conn, names, row)?;
        let row_of = Row {
            origin: origin(Kept::Reports, row.get(1)?),
            event_id: report.event_id.clone(),
            event: Event::ExecutionReport(Box::new(report)),
        };
        kept.push(KeptRow { seq: row.get::<_, i64>(0)?.unsigned_abs(), ingested_at_ms: row.get(2)?, row: row_of });
    }
    Ok(kept)
}

fn report(conn: &Connection, names: &mut Names, row: &rusqlite::Row<'_>) -> Result<ExecutionReport> {
    let mut name = |column| -> Result<String> { Ok(names.name(conn, row.get(column)?)?.to_string()) };
    let dec = |column| -> Result<Dec> { Ok(Dec(codec::decimal(row, column)?)) };
    let optional_dec = |column| -> Result<Option<Dec>> { Ok(codec::optional_decimal(row, column)?.map(Dec)) };
    let strategy = row.get::<_, Option<i64>>(7)?;
    let reason: Option<String> = row.get(33)?;
    Ok(ExecutionReport {
        event_id: EventId(codec::id(row, 9)?),
        schema_version: tapedeck_contracts::events::SCHEMA_VERSION.into(),
        timestamp: Timestamp::from_micros(row.get(3)?),
        account: name(4)?,
        venue: name(5)?,
        symbol: name(6)?,
        exec_type: codec::word(codec::EXEC_TYPES, row, 8)?,
        decision_id: codec::optional_id(row, 10)?,
        strategy_id: strategy.map(|_| name(7)).transpose()?,
        order: Order {
            order_id: codec::id(row, 11)?,
            client_order_id: codec::id(row, 12)?,
            side: codec::word(codec::SIDES, row, 13)?,
            order_type: codec::word(codec::ORDER_TYPES, row, 14)?,
            quantity: dec(15)?,
            limit_price: optional_dec(16)?,
            time_in_force: codec::word(codec::TIMES_IN_FORCE, row, 17)?,
            status: codec::word(codec::STATUSES, row, 18)?,
            cum_qty: dec(19)?,
            leaves_qty: dec(20)?,
            avg_px: optional_dec(21)?,
        },
        fill: match codec::optional_id(row, 22)? {
            None => None,
            Some(fill_id) => Some(Fill {
                fill_id,
                execution_number: row.get::<_, Option<i64>>(23)?.map(i64::unsigned_abs),
                last_qty: dec(24)?,
                last_px: dec(25)?,
                liquidity: codec::word(codec::LIQUIDITIES, row, 26)?,
                ref_fill_id: codec::optional_id(row, 27)?,
            }),
        },
        costs: Costs { commission: dec(28)?, currency: name(29)?, slippage_bps: row.get(30)? },
        pnl: Pnl { realized: dec(31)?, unrealized: dec(32)? },
        reason: reason.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| damaged("a reason"))?,
    })
}
