//! Reading the PnL curve: the last row of each bucket, from the end backwards,
//! in each of its two tables. A bucket of few rows is walked over, one of many
//! is jumped over, so that a point costs the same however many events it covers.
//!
//! Not here: how the curve is kept, and how points are made of the rows.

use rusqlite::{Connection, Row, params};

use super::{codec, curves::WHOLE_ACCOUNT, names::Names};
use crate::{
    PnlPoint, PnlQuery, Result,
    points::{MAX_POINTS, Stretch, side_by_side, summed},
};

/// Rows that are walked over before the rest of a bucket is jumped over: the
/// way to a row from the root of its table costs as much as some ten steps.
const MOST_STEPS: usize = 16;

pub(super) const REALIZED: &str = "SELECT time_us, realized, fees FROM pnl_curve \
     WHERE account = ?1 AND symbol = ?2 AND time_us < ?3 ORDER BY time_us DESC";
pub(super) const UNREALIZED: &str = "SELECT time_us, unrealized FROM unrealized_curve \
     WHERE account = ?1 AND symbol = ?2 AND time_us < ?3 ORDER BY time_us DESC";

pub(super) const SYMBOLS: &str = "SELECT symbol FROM pnl_totals WHERE account = ?1";

/// The points of the buckets that hold an event, oldest first.
pub(super) fn pnl(conn: &Connection, names: &mut Names, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
    let Some(account) = names.find(conn, &query.account)? else { return Ok(Vec::new()) };
    let stretch = Stretch::of(query);
    let (symbols, held_as) = match &query.symbol {
        None => (symbols_of(conn, account)?, WHOLE_ACCOUNT),
        Some(name) => match names.find(conn, name)? {
            None => return Ok(Vec::new()),
            Some(symbol) => (vec![symbol], symbol),
        },
    };
    let curves: Vec<_> = symbols
        .into_iter()
        .map(|symbol| {
            last_of_buckets(conn, REALIZED, (account, symbol), &stretch, |row| {
                Ok((codec::decimal(row, 1)?, codec::decimal(row, 2)?))
            })
        })
        .collect::<Result<_>>()?;
    let held = last_of_buckets(conn, UNREALIZED, (account, held_as), &stretch, |row| codec::decimal(row, 1))?;
    Ok(side_by_side(&summed(curves, stretch.first_us), &held, stretch.first_us))
}

/// The symbols of an account that have a curve.
fn symbols_of(conn: &Connection, account: i64) -> Result<Vec<i64>> {
    let mut statement = conn.prepare_cached(SYMBOLS)?;
    let mut rows = statement.query(params![account])?;
    let mut symbols = Vec::new();
    while let Some(row) = rows.next()? {
        symbols.push(row.get(0)?);
    }
    Ok(symbols)
}

/// The last row of each bucket with the bucket's beginning, newest first, and
/// behind the stretch one row more: what stood before it.
fn last_of_buckets<T>(
    conn: &Connection,
    sql: &str,
    (account, symbol): (i64, i64),
    stretch: &Stretch,
    read: impl Fn(&Row<'_>) -> Result<T>,
) -> Result<Vec<(i64, T)>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = Vec::new();
    let mut end_us = stretch.end_us;
    let mut steps_allowed = MOST_STEPS;
    loop {
        let mut rows = statement.query(params![account, symbol, end_us])?;
        let mut steps = 0;
        loop {
            let Some(row) = rows.next()? else { return Ok(found) };
            let time_us = row.get(0)?;
            if time_us < end_us {
                end_us = stretch.bucket(time_us);
                found.push((end_us, read(row)?));
                if end_us < stretch.first_us || found.len() > MAX_POINTS {
                    return Ok(found);
                }
                steps_allowed = (steps_allowed * 2).min(MOST_STEPS);
                steps = 0;
            } else if steps == steps_allowed {
                // Buckets here hold many rows: the next is tried with fewer steps.
                steps_allowed = (steps_allowed / 4).max(1);
                break;
            }
            steps += 1;
        }
    }
}
