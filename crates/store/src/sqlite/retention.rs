//! Retention: rows go when their ingest is long enough ago, a bounded number a
//! call. What rows were summed into stays, and so do the ids.
//!
//! Not here: the ids of events and fills, the statistics, the totals, accounts:
//! they are kept for ever.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::forensics;
use crate::{Result, Retention, StoreError};

/// Rows that one call deletes at most: it holds the write lock some tens of
/// milliseconds, so that a batch that waits for it hardly notices.
const ROWS_A_CALL: usize = 2_000;

/// Tables whose rows lie in the order of their ingest.
const LOGGED: &[&str] = &["exec_reports", "alerts", "signals", "risk_metrics"];

/// Deletes by ingest time; see the trait.
pub(super) fn enforce(conn: &mut Connection, rules: &[Retention], now_ms: i64) -> Result<u64> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut left = ROWS_A_CALL;
    for rule in rules {
        let keep_ms = i64::try_from(rule.keep.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now_ms.saturating_sub(keep_ms);
        let gone = match rule.table.as_str() {
            "pnl_curve" => trim_curves(&transaction, before_ms, left)?,
            "forensics" => forensics::trim(&transaction, before_ms, left)?,
            "orders" => trim_orders(&transaction, before_ms, left)?,
            table if LOGGED.contains(&table) => trim_logged(&transaction, table, before_ms, left)?,
            other => {
                return Err(StoreError::Fatal(format!(
                    "there is no retention for a table `{other}`: it is {}, orders, pnl_curve or forensics",
                    LOGGED.join(", ")
                )));
            }
        };
        left -= gone.min(left);
    }
    transaction.commit()?;
    Ok(u64::try_from(ROWS_A_CALL - left).expect("invariant: a small number"))
}

/// The oldest rows, up to the first that is to be kept; never the newest
/// metrics of an account.
fn trim_logged(conn: &Connection, table: &str, before_ms: i64, limit: usize) -> Result<usize> {
    let spared = if table == "risk_metrics" { newest_metrics(conn)? } else { HashSet::new() };
    let looked_at = i64::try_from(limit + spared.len()).unwrap_or(i64::MAX);
    let old: Vec<i64> = conn
        .prepare_cached(&format!("SELECT seq, ingested_ms FROM {table} ORDER BY seq LIMIT ?1"))?
        .query_map(params![looked_at], |row| Ok((row.get(0)?, row.get(1)?)))?
        .take_while(|row: &rusqlite::Result<(i64, i64)>| row.as_ref().map_or(true, |(_, at_ms)| *at_ms < before_ms))
        .map(|row| row.map(|(seq, _)| seq))
        .collect::<rusqlite::Result<_>>()?;
    let mut delete = conn.prepare_cached(&format!("DELETE FROM {table} WHERE seq = ?1"))?;
    let mut gone = 0;
    for seq in old.into_iter().filter(|seq| !spared.contains(seq)).take(limit) {
        gone += delete.execute(params![seq])?;
    }
    Ok(gone)
}

fn newest_metrics(conn: &Connection) -> Result<HashSet<i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT (SELECT seq FROM risk_metrics r WHERE r.account = a.account ORDER BY time_us DESC, place DESC LIMIT 1) \
         FROM accounts a",
    )?;
    let newest = statement.query_map([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(newest.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Closed orders; open ones stay however old they are.
fn trim_orders(conn: &Connection, before_ms: i64, limit: usize) -> Result<usize> {
    let gone = conn
        .prepare_cached(
            "DELETE FROM orders WHERE seq IN (SELECT seq FROM orders INDEXED BY orders_closed \
             WHERE open = 0 AND ingested_ms < ?1 ORDER BY ingested_ms LIMIT ?2)",
        )?
        .execute(params![before_ms, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    Ok(gone)
}

/// The oldest points of each curve, never its last: what comes after is
/// cumulative and stays right without them.
fn trim_curves(conn: &Connection, before_ms: i64, limit: usize) -> Result<usize> {
    let mut gone = 0;
    for table in ["pnl_curve", "unrealized_curve"] {
        let mut last = (i64::MIN, i64::MIN);
        while gone < limit
            && let Some(curve) = next_curve(conn, table, last)?
        {
            gone += trim_curve(conn, table, curve, before_ms, limit - gone)?;
            last = curve;
        }
    }
    Ok(gone)
}

/// The curve after another in a table: a seek each, however long the curves are.
fn next_curve(conn: &Connection, table: &str, (account, symbol): (i64, i64)) -> Result<Option<(i64, i64)>> {
    Ok(conn
        .prepare_cached(&format!(
            "SELECT account, symbol FROM {table} WHERE (account, symbol) > (?1, ?2) ORDER BY account, symbol LIMIT 1"
        ))?
        .query_row(params![account, symbol], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

fn trim_curve(
    conn: &Connection,
    table: &str,
    (account, symbol): (i64, i64),
    before_ms: i64,
    limit: usize,
) -> Result<usize> {
    let points: Vec<(i64, i64)> = conn
        .prepare_cached(&format!(
            "SELECT time_us, ingested_ms FROM {table} WHERE account = ?1 AND symbol = ?2 ORDER BY time_us LIMIT ?3"
        ))?
        .query_map(params![account, symbol, i64::try_from(limit + 1).unwrap_or(i64::MAX)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let all_but_last = points.len().saturating_sub(1);
    let old = points.iter().take(all_but_last).take_while(|(_, at_ms)| *at_ms < before_ms);
    let mut delete =
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE account = ?1 AND symbol = ?2 AND time_us = ?3"))?;
    let mut gone = 0;
    for (time_us, _) in old {
        gone += delete.execute(params![account, symbol, time_us])?;
    }
    Ok(gone)
}
