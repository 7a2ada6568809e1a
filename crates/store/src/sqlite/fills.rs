//! Reports with a fill, newest first or by execution number. Filters choose
//! series, whose lists lie sorted in one index and are merged.
//!
//! Not here: how reports are kept.

use rusqlite::{Connection, params};
use tapedeck_contracts::{Dec, Timestamp};

use super::{codec, failure::damaged, names::Names, series::series};
use crate::{FillRow, FillsQuery, Result, merge};

const COLUMNS: &str = "time_us, place, fill_id, execution_number, event_id, exec_type, account, venue, symbol, side, \
     last_qty, last_px, liquidity, commission, currency, slippage_bps, realized, order_id, client_order_id, status, \
     decision_id, strategy";

/// All fills, newest first.
pub(super) fn all_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM exec_reports INDEXED BY fills_time WHERE fill_id IS NOT NULL AND time_us >= ?1 \
         AND (time_us, place) < (?2, ?3) ORDER BY time_us DESC, place DESC LIMIT ?4"
    )
}

/// The keys of one series, newest first. The index holds fills alone: its rows
/// are not looked at.
pub(super) const KEYS: &str = "SELECT time_us, place, seq FROM exec_reports INDEXED BY fills_series \
     WHERE fill_id IS NOT NULL AND account = ?1 AND symbol = ?2 AND venue = ?3 AND time_us >= ?4 \
     AND (time_us, place) < (?5, ?6) ORDER BY time_us DESC, place DESC LIMIT ?7";

/// Fills, newest first.
pub(super) fn fills(conn: &Connection, names: &mut Names, query: &FillsQuery) -> Result<Vec<FillRow>> {
    let Some(account) = names.filter(conn, query.account.as_deref())? else { return Ok(Vec::new()) };
    let Some(symbol) = names.filter(conn, query.symbol.as_deref())? else { return Ok(Vec::new()) };
    let Some(venue) = names.filter(conn, query.venue.as_deref())? else { return Ok(Vec::new()) };
    let from_us = codec::lower_end(query.from);
    let before = codec::upper_end(query.to, query.after);
    if account.or(symbol).or(venue).is_none() {
        let mut statement = conn.prepare_cached(&all_sql())?;
        let rows = statement.query(params![from_us, before.0, before.1, codec::limit(query.limit)])?;
        return read(conn, names, rows, query.limit);
    }
    let lists = series(conn, account, symbol, venue)?;
    let mut keys = conn.prepare_cached(KEYS)?;
    let numbers = merge::newest(lists.len(), before, query.limit, |wanted, most| {
        let of_list = |(list, before): &(usize, (i64, i64))| {
            let of = lists[*list];
            let bounds = params![of.account, of.symbol, of.venue, from_us, before.0, before.1, codec::limit(most)];
            let keys = keys.query_map(bounds, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
            Ok(keys.collect::<rusqlite::Result<_>>()?)
        };
        wanted.iter().map(of_list).collect()
    })?;
    let mut by_number = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM exec_reports WHERE seq = ?1"))?;
    let mut fills = Vec::with_capacity(numbers.len());
    for (_, number) in numbers {
        let mut rows = by_number.query::<[i64; 1]>([number])?;
        let row = rows.next()?.ok_or_else(|| damaged("an index that has lost its row"))?;
        fills.push(fill(conn, names, row)?);
    }
    Ok(fills)
}

/// TRADE is the second word of the list of exec types.
pub(super) const EXECUTIONS_AFTER: &str = "execution_number IS NOT NULL AND exec_type = 1 AND account = ?1 \
     AND execution_number > ?2 ORDER BY execution_number LIMIT ?3";

/// The query behind [`executions`].
pub(super) fn executions_sql() -> String {
    format!("SELECT {COLUMNS} FROM exec_reports INDEXED BY executions WHERE {EXECUTIONS_AFTER}")
}

/// TRADE fills with a number above `after`, by number.
pub(super) fn executions(
    conn: &Connection,
    names: &mut Names,
    account: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<FillRow>> {
    let Some(account) = names.find(conn, account)? else { return Ok(Vec::new()) };
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(&executions_sql())?;
    let rows = statement.query(params![account, after, codec::limit(limit)])?;
    read(conn, names, rows, limit)
}

/// The fills of a decision, oldest first.
pub(super) fn decision_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM exec_reports INDEXED BY fills_decision WHERE decision_id = ?1 AND fill_id IS NOT NULL \
         ORDER BY time_us, place LIMIT ?2"
    )
}

/// The fills of a decision, oldest first.
pub(super) fn of_decision(conn: &Connection, names: &mut Names, decision: &str, limit: usize) -> Result<Vec<FillRow>> {
    let mut statement = conn.prepare_cached(&decision_sql())?;
    let rows = statement.query(params![codec::Id::of(decision), codec::limit(limit)])?;
    read(conn, names, rows, limit)
}

fn read(conn: &Connection, names: &mut Names, mut rows: rusqlite::Rows<'_>, limit: usize) -> Result<Vec<FillRow>> {
    // A page of the API at most is set aside at once; the rest grows.
    let mut fills = Vec::with_capacity(limit.min(1_000));
    while let Some(row) = rows.next()? {
        fills.push(fill(conn, names, row)?);
    }
    Ok(fills)
}

fn fill(conn: &Connection, names: &mut Names, row: &rusqlite::Row<'_>) -> Result<FillRow> {
    let mut name = |column| -> Result<String> { Ok(names.name(conn, row.get(column)?)?.to_string()) };
    let time_us = row.get(0)?;
    Ok(FillRow {
        key: codec::key(time_us, row.get(1)?),
        fill_id: codec::id(row, 2)?,
        execution_number: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
        event_id: codec::id(row, 4)?,
        exec_type: codec::word(codec::EXEC_TYPES, row, 5)?,
        timestamp: Timestamp::from_micros(time_us),
        account: name(6)?,
        venue: name(7)?,
        symbol: name(8)?,
        side: codec::word(codec::SIDES, row, 9)?,
        quantity: Dec(codec::decimal(row, 10)?),
        price: Dec(codec::decimal(row, 11)?),
        liquidity: codec::word(codec::LIQUIDITIES, row, 12)?,
        commission: Dec(codec::decimal(row, 13)?),
        currency: name(14)?,
        slippage_bps: row.get(15)?,
        realized_pnl: Dec(codec::decimal(row, 16)?),
        order_id: codec::id(row, 17)?,
        client_order_id: codec::id(row, 18)?,
        order_status: codec::word(codec::STATUSES, row, 19)?,
        decision_id: codec::optional_id(row, 20)?,
        strategy_id: row.get::<_, Option<i64>>(21)?.map(|_| name(21)).transpose()?,
    })
}
