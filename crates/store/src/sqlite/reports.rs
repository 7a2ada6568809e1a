//! Execution reports: the row, the fill's own uniqueness, and what the report
//! adds to orders, statistics and curves.
//!
//! Not here: how orders, statistics and curves are kept.

use rusqlite::{CachedStatement, Connection, params};
use tapedeck_contracts::events::{ExecutionReport, Fill};

use super::{
    apply::Step,
    codec::{self, Id, code},
};
use crate::{
    Result, Row,
    common::{identity::content, other_content, poison, stats::Replaced, words},
};

/// Who, where, what: the numbers of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Series {
    pub(super) account: i64,
    pub(super) venue: i64,
    pub(super) symbol: i64,
}

/// The statements of a batch, looked up once for all of its reports.
pub(super) struct Statements<'a> {
    fill_id: CachedStatement<'a>,
    report: CachedStatement<'a>,
    /// The number of the next report.
    next_seq: i64,
}

impl<'a> Statements<'a> {
    pub(super) fn new(conn: &'a Connection) -> Result<Self> {
        let newest: Option<i64> =
            conn.prepare_cached("SELECT max(seq) FROM exec_reports")?.query_row([], |row| row.get(0))?;
        Ok(Self {
            fill_id: conn.prepare_cached(
                "INSERT INTO fill_ids (account, venue, symbol, fill_id, content, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT DO NOTHING",
            )?,
            report: conn.prepare_cached(INSERT)?,
            next_seq: newest.unwrap_or_default() + 1,
        })
    }
}

/// Keeps a report whose event id is new. False: it repeats a fill that is kept.
pub(super) fn keep<'a>(step: &mut Step<'a>, row: &'a Row, report: &'a ExecutionReport) -> Result<bool> {
    let series = Series {
        account: step.names.intern(step.conn, &report.account)?,
        venue: step.names.intern(step.conn, &report.venue)?,
        symbol: step.names.intern(step.conn, &report.symbol)?,
    };
    if let Some(fill) = &report.fill
        && !remember_fill(step, series, report, fill)?
    {
        return Ok(false);
    }
    let place = codec::place(&row.origin)?;
    insert(step, row, report, series, place)?;
    step.reports.next_seq += 1;
    let replaced = match &report.fill {
        Some(fill) => replaced(step.conn, series, fill)?,
        None => None,
    };
    let own_currency = step.accounts.report(step.conn, series.account, report)?;
    step.stats.report(step.conn, series, report, replaced, own_currency)?;
    step.curves.report(step.conn, series, report, own_currency)?;
    step.orders.report(series, report, place);
    Ok(true)
}

/// Notes a new fill; false where it is there already with the same content.
fn remember_fill(step: &mut Step<'_>, series: Series, report: &ExecutionReport, fill: &Fill) -> Result<bool> {
    let (id, content) = (Id::of(&fill.fill_id), content(report));
    let Series { account, venue, symbol } = series;
    let seq = step.reports.next_seq;
    if step.reports.fill_id.execute(params![account, venue, symbol, id, content, seq])? == 1 {
        return Ok(true);
    }
    let known: i64 = step
        .conn
        .prepare_cached(
            "SELECT content FROM fill_ids WHERE account = ?1 AND venue = ?2 AND symbol = ?3 AND fill_id = ?4",
        )?
        .query_row(params![account, venue, symbol, id], |row| row.get(0))?;
    if known == content {
        return Ok(false);
    }
    Err(other_content(report, &fill.fill_id))
}

/// The fill that a correction or a cancel names, while its row is kept.
fn replaced(conn: &Connection, series: Series, fill: &Fill) -> Result<Option<Replaced>> {
    let Some(named) = &fill.ref_fill_id else { return Ok(None) };
    let mut statement = conn.prepare_cached(
        "SELECT side, last_qty, last_px FROM exec_reports WHERE fill_id = ?4 AND seq = (SELECT seq FROM fill_ids \
         WHERE account = ?1 AND venue = ?2 AND symbol = ?3 AND fill_id = ?4)",
    )?;
    let mut rows = statement.query(params![series.account, series.venue, series.symbol, Id::of(named)])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Replaced {
        side: codec::word(codec::SIDES, row, 0)?,
        quantity: codec::decimal(row, 1)?,
        price: codec::decimal(row, 2)?,
    }))
}

const INSERT: &str = "INSERT INTO exec_reports (seq, time_us, place, ingested_ms, account, venue, symbol, strategy, \
     exec_type, event_id, decision_id, order_id, client_order_id, side, order_type, quantity, limit_price, \
     time_in_force, status, cum_qty, leaves_qty, avg_px, fill_id, execution_number, last_qty, last_px, liquidity, \
     ref_fill_id, commission, currency, slippage_bps, realized, unrealized, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, \
     ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, \
     ?30, ?31, ?32, ?33, ?34)";

fn insert(step: &mut Step<'_>, row: &Row, report: &ExecutionReport, series: Series, place: i64) -> Result<()> {
    let (conn, order) = (step.conn, &report.order);
    let strategy = report.strategy_id.as_deref().map(|name| step.names.intern(conn, name)).transpose()?;
    let currency = step.names.intern(conn, &report.costs.currency)?;
    let fill = report.fill.as_ref();
    let number = fill.and_then(|fill| fill.execution_number);
    let number = number.map(i64::try_from).transpose().map_err(|_| poison("$.fill.execution_number is beyond 2^63"))?;
    let reason = report.reason.as_ref().map(words::reason);
    step.reports.report.execute(params![
        step.reports.next_seq,
        report.timestamp.micros(),
        place,
        step.ingested_ms,
        series.account,
        series.venue,
        series.symbol,
        strategy,
        code(codec::EXEC_TYPES, &report.exec_type),
        Id::of(row.event_id.as_str()),
        report.decision_id.as_deref().map(Id::of),
        Id::of(&order.order_id),
        Id::of(&order.client_order_id),
        code(codec::SIDES, &order.side),
        code(codec::ORDER_TYPES, &order.order_type),
        codec::stored(*order.quantity),
        order.limit_price.map(|price| codec::stored(*price)),
        code(codec::TIMES_IN_FORCE, &order.time_in_force),
        code(codec::STATUSES, &order.status),
        codec::stored(*order.cum_qty),
        codec::stored(*order.leaves_qty),
        order.avg_px.map(|price| codec::stored(*price)),
        fill.map(|fill| Id::of(&fill.fill_id)),
        number,
        fill.map(|fill| codec::stored(*fill.last_qty)),
        fill.map(|fill| codec::stored(*fill.last_px)),
        fill.map(|fill| code(codec::LIQUIDITIES, &fill.liquidity)),
        fill.and_then(|fill| fill.ref_fill_id.as_deref()).map(Id::of),
        codec::stored(*report.costs.commission),
        currency,
        report.costs.slippage_bps,
        codec::stored(*report.pnl.realized),
        codec::stored(*report.pnl.unrealized),
        reason,
    ])?;
    Ok(())
}
