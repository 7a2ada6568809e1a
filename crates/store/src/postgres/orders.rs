//! Orders as they stand, newest update first.
//!
//! Not here: how they are kept.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use super::{
    codec::{self, Time, get},
    connect::Session,
    series::{self, Param},
};
use crate::{
    OrderRow, OrdersQuery, Result,
    common::{
        by_creation,
        values::{key, limit, upper_end},
        words,
    },
    merge::{self, Found},
};

const COLUMNS: &str = "o.time, o.place, o.order_id, o.client_order_id, o.account, o.venue, o.symbol, o.side, \
     o.order_type, o.quantity, o.limit_price, o.time_in_force, o.status, o.cum_qty, o.leaves_qty, o.avg_px, \
     o.decision_id, o.strategy_id, o.created_at, o.reason";

/// The query along the one index of all orders, or of the open ones; open orders
/// are few, and their symbol is compared row by row. A symbol that is not asked for
/// is null. `place >= 0` chooses the index, as the schema says.
pub(super) fn sql(open_only: bool, account: bool) -> String {
    let of = match (open_only, account) {
        (false, _) => "o.place >= 0",
        (true, false) => "o.open AND o.place >= 0",
        (true, true) => "o.open AND o.account = $5",
    };
    format!(
        "SELECT {COLUMNS} FROM orders o WHERE {of} AND (o.time, o.place) < ($1, $2) \
         AND ($4::text IS NULL OR o.symbol = $4) ORDER BY o.time DESC, o.place DESC LIMIT $3"
    )
}

/// The newest orders of several accounts and symbols, each before a (time, place)
/// of its own.
pub(super) fn pairs_sql() -> String {
    format!(
        "SELECT f.*, w.list FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[]) \
         AS w (list, account, symbol, before, place) CROSS JOIN LATERAL (SELECT {COLUMNS} FROM orders o \
         WHERE o.account = w.account AND o.symbol = w.symbol AND (o.time, o.place) < (w.before, w.place) \
         ORDER BY o.time DESC, o.place DESC LIMIT $6) AS f"
    )
}

/// Orders, newest update first.
pub(super) fn orders(session: &mut Session, query: &OrdersQuery) -> Result<Vec<OrderRow>> {
    let before = upper_end(None, query.after);
    let OrdersQuery { account, symbol, open_only, .. } = query;
    if !open_only && (account.is_some() || symbol.is_some()) {
        return merged(session, query, before);
    }
    let (time, most) = (Time(before.0), limit(query.limit));
    let mut bounds: Vec<&Param<'_>> = vec![&time, &before.1, &most, symbol];
    bounds.extend(account.as_ref().map(|account| account as &Param<'_>));
    session.query(&sql(*open_only, account.is_some()), &bounds)?.iter().map(order).collect()
}

/// The query behind [`of_decision`].
pub(super) fn decision_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM orders o WHERE o.decision_id IS NOT NULL AND o.decision_id = $1 \
         ORDER BY o.created_at LIMIT $2"
    )
}

/// The orders of a decision, oldest first.
pub(super) fn of_decision(session: &mut Session, decision: &str, most: usize) -> Result<Vec<OrderRow>> {
    let rows = session.query(&decision_sql(), &[&decision, &limit(most)])?;
    let mut orders = rows.iter().map(order).collect::<Result<Vec<_>>>()?;
    by_creation(&mut orders);
    Ok(orders)
}

/// Orders of an account, of a symbol, or of both, from the lists of each pair.
fn merged(session: &mut Session, query: &OrdersQuery, before: (i64, i64)) -> Result<Vec<OrderRow>> {
    let series = series::of_filters(session, query.account.as_deref(), query.symbol.as_deref(), None)?;
    let pairs: BTreeSet<_> = series.into_iter().map(|of| (of.account, of.symbol)).collect();
    let pairs: Vec<_> = pairs.into_iter().collect();
    let sql = pairs_sql();
    let found =
        merge::newest(pairs.len(), before, query.limit, |wanted, most| newest_of(session, &sql, &pairs, wanted, most))?;
    Ok(found.into_iter().map(|(_, order)| order).collect())
}

/// The newest orders of each of the wanted pairs, in the order wanted.
fn newest_of(
    session: &mut Session,
    sql: &str,
    pairs: &[(String, String)],
    wanted: &[(usize, (i64, i64))],
    most: usize,
) -> Result<Vec<Vec<Found<OrderRow>>>> {
    let numbers: Vec<i64> = (0..).take(wanted.len()).collect();
    let accounts: Vec<&str> = wanted.iter().map(|(list, _)| pairs[*list].0.as_str()).collect();
    let symbols: Vec<&str> = wanted.iter().map(|(list, _)| pairs[*list].1.as_str()).collect();
    let times: Vec<Time> = wanted.iter().map(|(_, before)| Time(before.0)).collect();
    let places: Vec<i64> = wanted.iter().map(|(_, before)| before.1).collect();
    let bounds: [&Param<'_>; 6] = [&numbers, &accounts, &symbols, &times, &places, &limit(most)];
    series::by_list(&session.query(sql, &bounds)?, wanted.len(), 20, order)
}

fn order(row: &Row) -> Result<OrderRow> {
    let time = codec::time(row, 0)?;
    Ok(OrderRow {
        key: key(time.micros(), get(row, 1)?),
        order_id: get(row, 2)?,
        client_order_id: get(row, 3)?,
        account: get(row, 4)?,
        venue: get(row, 5)?,
        symbol: get(row, 6)?,
        side: codec::word(words::SIDES, row, 7)?,
        order_type: codec::word(words::ORDER_TYPES, row, 8)?,
        quantity: codec::dec(row, 9)?,
        limit_price: codec::optional_dec(row, 10)?,
        time_in_force: codec::word(words::TIMES_IN_FORCE, row, 11)?,
        status: codec::word(words::STATUSES, row, 12)?,
        cum_qty: codec::dec(row, 13)?,
        leaves_qty: codec::dec(row, 14)?,
        avg_px: codec::optional_dec(row, 15)?,
        decision_id: get(row, 16)?,
        strategy_id: get(row, 17)?,
        created_at: codec::time(row, 18)?,
        reason: words::reason_of(get::<Option<&str>>(row, 19)?),
        updated_at: time,
    })
}
