//! Reports with a fill, newest first or by execution number. Filters choose
//! series, whose lists lie sorted in one index of each part and are merged.
//!
//! Not here: how reports are kept.

use tokio_postgres::Row;

use super::{
    codec::{self, Time, get},
    connect::Session,
    series::{self, Series},
};
use crate::{
    FillRow, FillsQuery, Result,
    common::{
        values::{key, limit, lower_end, upper_end},
        words,
    },
    merge::{self, Found},
};

const COLUMNS: &str = "r.time, r.place, r.fill_id, r.execution_number, r.event_id, r.exec_type, r.account, r.venue, \
     r.symbol, r.side, r.last_qty, r.last_px, r.liquidity, r.commission, r.currency, r.slippage_bps, r.realized, \
     r.order_id, r.client_order_id, r.status, r.decision_id, r.strategy_id";

/// All fills, newest first; `place >= 0` chooses the index, as the schema says.
pub(super) fn all_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM exec_reports r WHERE r.fill_id IS NOT NULL AND r.place >= 0 AND r.time >= $1 \
         AND (r.time, r.place) < ($2, $3) ORDER BY r.time DESC, r.place DESC LIMIT $4"
    )
}

/// The newest fills of several series, each before a (time, place) of its own.
pub(super) fn series_sql() -> String {
    format!(
        "SELECT f.*, w.list FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], \
         $6::bigint[]) AS w (list, account, symbol, venue, before, place) CROSS JOIN LATERAL (SELECT {COLUMNS} \
         FROM exec_reports r WHERE r.fill_id IS NOT NULL AND r.account = w.account AND r.symbol = w.symbol \
         AND r.venue = w.venue AND r.time >= $7 AND (r.time, r.place) < (w.before, w.place) \
         ORDER BY r.time DESC, r.place DESC LIMIT $8) AS f"
    )
}

/// TRADE fills with a number above another, by number.
pub(super) fn executions_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM exec_reports r WHERE r.execution_number IS NOT NULL AND r.exec_type = 'TRADE' \
         AND r.account = $1 AND r.execution_number > $2 ORDER BY r.execution_number LIMIT $3"
    )
}

/// Fills, newest first.
pub(super) fn fills(session: &mut Session, query: &FillsQuery) -> Result<Vec<FillRow>> {
    let (from, before) = (Time(lower_end(query.from)), upper_end(query.to, query.after));
    let FillsQuery { account, symbol, venue, .. } = query;
    if account.is_none() && symbol.is_none() && venue.is_none() {
        let bounds: [&series::Param<'_>; 4] = [&from, &Time(before.0), &before.1, &limit(query.limit)];
        return session.query(&all_sql(), &bounds)?.iter().map(fill).collect();
    }
    let lists = series::of_filters(session, account.as_deref(), symbol.as_deref(), venue.as_deref())?;
    let sql = series_sql();
    let found = merge::newest(lists.len(), before, query.limit, |wanted, most| {
        newest_of(session, &sql, &lists, wanted, from, most)
    })?;
    Ok(found.into_iter().map(|(_, fill)| fill).collect())
}

/// The newest fills of each of the wanted series, in the order wanted.
fn newest_of(
    session: &mut Session,
    sql: &str,
    lists: &[Series],
    wanted: &[(usize, (i64, i64))],
    from: Time,
    most: usize,
) -> Result<Vec<Vec<Found<FillRow>>>> {
    let of = |part: fn(&Series) -> &str| wanted.iter().map(|(list, _)| part(&lists[*list])).collect::<Vec<_>>();
    let numbers: Vec<i64> = (0..).take(wanted.len()).collect();
    let times: Vec<Time> = wanted.iter().map(|(_, before)| Time(before.0)).collect();
    let places: Vec<i64> = wanted.iter().map(|(_, before)| before.1).collect();
    let bounds: [&series::Param<'_>; 8] = [
        &numbers,
        &of(|series| &series.account),
        &of(|series| &series.symbol),
        &of(|series| &series.venue),
        &times,
        &places,
        &from,
        &limit(most),
    ];
    let rows = session.query(sql, &bounds)?;
    series::by_list(&rows, wanted.len(), 22, fill)
}

/// TRADE fills with a number above `after`, by number.
pub(super) fn executions(session: &mut Session, account: &str, after: u64, rows: usize) -> Result<Vec<FillRow>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    session.query(&executions_sql(), &[&account, &after, &limit(rows)])?.iter().map(fill).collect()
}

/// The fills of a decision, oldest first.
pub(super) fn decision_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM exec_reports r WHERE r.fill_id IS NOT NULL AND r.decision_id IS NOT NULL \
         AND r.decision_id = $1 ORDER BY r.time, r.place LIMIT $2"
    )
}

/// The fills of a decision, oldest first.
pub(super) fn of_decision(session: &mut Session, decision: &str, rows: usize) -> Result<Vec<FillRow>> {
    session.query(&decision_sql(), &[&decision, &limit(rows)])?.iter().map(fill).collect()
}

fn fill(row: &Row) -> Result<FillRow> {
    let time = codec::time(row, 0)?;

    Ok(FillRow {
        key: key(time.micros(), get(row, 1)?),
        fill_id: get(row, 2)?,
        execution_number: get::<Option<i64>>(row, 3)?.map(i64::unsigned_abs),
        event_id: get(row, 4)?,
        exec_type: codec::word(words::EXEC_TYPES, row, 5)?,
        timestamp: time,
        account: get(row, 6)?,
        venue: get(row, 7)?,
        symbol: get(row, 8)?,
        side: codec::word(words::SIDES, row, 9)?,
        quantity: codec::dec(row, 10)?,
        price: codec::dec(row, 11)?,
        liquidity: codec::word(words::LIQUIDITIES, row, 12)?,
        commission: codec::dec(row, 13)?,
        currency: get(row, 14)?,
        slippage_bps: get(row, 15)?,
        realized_pnl: codec::dec(row, 16)?,
        order_id: get(row, 17)?,
        client_order_id: get(row, 18)?,
        order_status: codec::word(words::STATUSES, row, 19)?,
        decision_id: get(row, 20)?,
        strategy_id: get(row, 21)?,
    })
}
