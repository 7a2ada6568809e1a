//! Orders as they stand: the newest report of each, in the order of the log.
//!
//! Not here: the reports themselves.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, named_params, params};
use tapedeck_contracts::{Dec, Timestamp, events::ExecutionReport};

use super::{
    codec::{self, Id, code},
    failure::damaged,
    names::Names,
    reports::Series,
    series::series,
};
use crate::{
    OrderRow, OrdersQuery, Result,
    common::{by_creation, words},
    merge,
};

/// The orders that a batch touches, each with its newest report in it.
#[derive(Default)]
pub(super) struct Orders<'a>(BTreeMap<(Series, Id<'a>), Newest<'a>>);

struct Newest<'a> {
    report: &'a ExecutionReport,
    place: i64,
    /// Time of the first report in the batch; an order that is stored keeps its own.
    created_us: i64,
}

impl<'a> Orders<'a> {
    pub(super) fn report(&mut self, series: Series, report: &'a ExecutionReport, place: i64) {
        let created_us = report.timestamp.micros();
        let newest = Newest { report, place, created_us };
        self.0
            .entry((series, Id::of(&report.order.order_id)))
            .and_modify(|known| (known.report, known.place) = (report, place))
            .or_insert(newest);
    }

    pub(super) fn flush(self, conn: &Connection, names: &mut Names, ingested_ms: i64) -> Result<()> {
        let mut put = conn.prepare_cached(
            "INSERT INTO orders (account, venue, symbol, order_id, time_us, place, ingested_ms, created_us, open, \
             client_order_id, side, order_type, quantity, limit_price, time_in_force, status, cum_qty, leaves_qty, \
             avg_px, decision_id, strategy, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, \
             ?16, ?17, ?18, ?19, ?20, ?21, ?22) ON CONFLICT DO UPDATE SET time_us = excluded.time_us, \
             place = excluded.place, ingested_ms = excluded.ingested_ms, open = excluded.open, \
             client_order_id = excluded.client_order_id, side = excluded.side, order_type = excluded.order_type, \
             quantity = excluded.quantity, limit_price = excluded.limit_price, \
             time_in_force = excluded.time_in_force, status = excluded.status, cum_qty = excluded.cum_qty, \
             leaves_qty = excluded.leaves_qty, avg_px = excluded.avg_px, decision_id = excluded.decision_id, \
             strategy = excluded.strategy, reason = excluded.reason",
        )?;
        for ((series, order_id), newest) in self.0 {
            let (report, order) = (newest.report, &newest.report.order);
            let strategy = report.strategy_id.as_deref().map(|name| names.intern(conn, name)).transpose()?;
            put.execute(params![
                series.account,
                series.venue,
                series.symbol,
                order_id,
                report.timestamp.micros(),
                newest.place,
                ingested_ms,
                newest.created_us,
                words::is_open(order.status),
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
                report.decision_id.as_deref().map(Id::of),
                strategy,
                report.reason.as_ref().map(words::reason),
            ])?;
        }
        Ok(())
    }
}

const COLUMNS: &str = "time_us, place, order_id, client_order_id, account, venue, symbol, side, order_type, quantity, \
     limit_price, time_in_force, status, cum_qty, leaves_qty, avg_px, decision_id, strategy, created_us, \
     reason";

/// The query along the one index of all orders, or of the open ones. Parameters
/// that a variant does not name are not bound.
pub(super) fn sql(account: bool, symbol: bool, open_only: bool) -> String {
    let (index, open) = match (open_only, account) {
        (false, _) => ("orders_time", ""),
        (true, false) => ("orders_open_time", " AND open = 1"),
        (true, true) => ("orders_open_account", " AND open = 1"),
    };
    let account = if account { " AND account = :account" } else { "" };
    let symbol = if symbol { " AND symbol = :symbol" } else { "" };
    format!(
        "SELECT {COLUMNS} FROM orders INDEXED BY {index} WHERE (time_us, place) < (:before_us, :before_place)\
         {account}{symbol}{open} ORDER BY time_us DESC, place DESC LIMIT :limit"
    )
}

/// The keys of one account's orders in one symbol, newest first, from the index alone.
pub(super) const KEYS: &str = "SELECT time_us, place, seq FROM orders INDEXED BY orders_account_symbol \
     WHERE account = ?1 AND symbol = ?2 AND (time_us, place) < (?3, ?4) ORDER BY time_us DESC, place DESC LIMIT ?5";

/// Orders, newest update first.
pub(super) fn orders(conn: &Connection, names: &mut Names, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
    let Some(account) = names.filter(conn, query.account.as_deref())? else { return Ok(Vec::new()) };
    let Some(symbol) = names.filter(conn, query.symbol.as_deref())? else { return Ok(Vec::new()) };
    let before = codec::upper_end(None, query.after);
    if !query.open_only && account.or(symbol).is_some() {
        return merged(conn, names, (account, symbol), before, query.limit);
    }
    let limit = codec::limit(query.limit);
    let mut statement = conn.prepare_cached(&sql(account.is_some(), symbol.is_some(), query.open_only))?;
    codec::bind(
        &mut statement,
        named_params! {
            ":account": account, ":symbol": symbol, ":before_us": before.0, ":before_place": before.1,
            ":limit": limit,
        },
    )?;
    let mut rows = statement.raw_query();
    let mut orders = Vec::with_capacity(query.limit.min(1_000));
    while let Some(row) = rows.next()? {
        orders.push(order(conn, names, row)?);
    }
    Ok(orders)
}

/// The query behind [`of_decision`].
pub(super) fn decision_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM orders INDEXED BY orders_decision WHERE decision_id = ?1 AND decision_id IS NOT NULL \
         ORDER BY created_us LIMIT ?2"
    )
}

/// The orders of a decision, oldest first.
pub(super) fn of_decision(conn: &Connection, names: &mut Names, decision: &str, limit: usize) -> Result<Vec<OrderRow>> {
    let mut statement = conn.prepare_cached(&decision_sql())?;
    let mut rows = statement.query(params![Id::of(decision), codec::limit(limit)])?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next()? {
        orders.push(order(conn, names, row)?);
    }
    by_creation(&mut orders);
    Ok(orders)
}

/// Orders of an account, of a symbol, or of both, from the lists of each pair.
fn merged(
    conn: &Connection,
    names: &mut Names,
    (account, symbol): (Option<i64>, Option<i64>),
    before: (i64, i64),
    limit: usize,
) -> Result<Vec<OrderRow>> {
    let series = series(conn, account, symbol, None)?;
    let pairs: BTreeSet<_> = series.into_iter().map(|of| (of.account, of.symbol)).collect();
    let pairs: Vec<_> = pairs.into_iter().collect();
    let mut keys = conn.prepare_cached(KEYS)?;
    let numbers = merge::newest(pairs.len(), before, limit, |wanted, most| {
        let of_list = |(list, before): &(usize, (i64, i64))| {
            let (account, symbol) = pairs[*list];
            let bounds = params![account, symbol, before.0, before.1, codec::limit(most)];
            let keys = keys.query_map(bounds, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
            Ok(keys.collect::<rusqlite::Result<_>>()?)
        };
        wanted.iter().map(of_list).collect()
    })?;
    let mut by_number = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM orders WHERE seq = ?1"))?;
    let mut orders = Vec::with_capacity(numbers.len());
    for (_, number) in numbers {
        let mut rows = by_number.query::<[i64; 1]>([number])?;
        let row = rows.next()?.ok_or_else(|| damaged("an index that has lost its row"))?;
        orders.push(order(conn, names, row)?);
    }
    Ok(orders)
}

fn order(conn: &Connection, names: &mut Names, row: &rusqlite::Row<'_>) -> Result<OrderRow> {
    let mut name = |column| -> Result<String> { Ok(names.name(conn, row.get(column)?)?.to_string()) };
    Ok(OrderRow {
        key: codec::key(row.get(0)?, row.get(1)?),
        order_id: codec::id(row, 2)?,
        client_order_id: codec::id(row, 3)?,
        account: name(4)?,
        venue: name(5)?,
        symbol: name(6)?,
        side: codec::word(codec::SIDES, row, 7)?,
        order_type: codec::word(codec::ORDER_TYPES, row, 8)?,
        quantity: Dec(codec::decimal(row, 9)?),
        limit_price: codec::optional_decimal(row, 10)?.map(Dec),
        time_in_force: codec::word(codec::TIMES_IN_FORCE, row, 11)?,
        status: codec::word(codec::STATUSES, row, 12)?,
        cum_qty: Dec(codec::decimal(row, 13)?),
        leaves_qty: Dec(codec::decimal(row, 14)?),
        avg_px: codec::optional_decimal(row, 15)?.map(Dec),
        decision_id: codec::optional_id(row, 16)?,
        strategy_id: row.get::<_, Option<i64>>(17)?.map(|_| name(17)).transpose()?,
        created_at: Timestamp::from_micros(row.get(18)?),
        reason: words::reason_of(row.get::<_, Option<String>>(19)?.as_deref()),
        updated_at: Timestamp::from_micros(row.get(0)?),
    })
}
