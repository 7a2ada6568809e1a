//! Reading the PnL curve: the last row of each bucket, from the end backwards,
//! in each of its two tables; then both side by side. A bucket of few rows is
//! walked over, one of many is jumped over, so that a point costs the same
//! however many events it covers.
//!
//! Not here: how the curve is kept.

use rusqlite::{Connection, Row, params};
use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, Timestamp};

use super::{codec, curves::WHOLE_ACCOUNT, names::Names};
use crate::{PnlPoint, PnlQuery, Result};

/// At most so many points come of one call: the newest.
const MAX_POINTS: usize = 10_000;

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

type Curve = Vec<(i64, (Decimal, Decimal))>;

/// One curve of several that are newest first: in each bucket the sum of the
/// newest row of each up to it, and one more from before the stretch.
fn summed(mut curves: Vec<Curve>, first_us: i64) -> Curve {
    if curves.len() == 1 {
        return curves.remove(0);
    }
    let mut heads = vec![0; curves.len()];
    let mut sums = Curve::new();
    loop {
        let standing = |(curve, head): (&Curve, &usize)| curve.get(*head).copied();
        let newest = curves.iter().zip(&heads).filter_map(standing).map(|(start, _)| start).max();
        let Some(newest) = newest else { return sums };
        let (mut realized, mut fees) = (Decimal::ZERO, Decimal::ZERO);
        for (_, row) in curves.iter().zip(&heads).filter_map(standing) {
            (realized, fees) = (realized + row.0, fees + row.1);
        }
        sums.push((newest, (realized, fees)));
        if newest < first_us || sums.len() > MAX_POINTS {
            return sums;
        }
        for (curve, head) in curves.iter().zip(&mut heads) {
            *head += usize::from(curve.get(*head).is_some_and(|(start, _)| *start == newest));
        }
    }
}

/// What is asked for, in buckets.
struct Stretch {
    interval_us: i64,
    /// Where the first bucket begins.
    first_us: i64,
    /// Where the last bucket ends.
    end_us: i64,
}

impl Stretch {
    fn of(query: &PnlQuery) -> Self {
        let mut stretch = Self { interval_us: query.interval_us.max(1), first_us: 0, end_us: 0 };
        stretch.first_us = stretch.bucket(query.from.micros());
        stretch.end_us = stretch.bucket(query.to.micros()).saturating_add(stretch.interval_us);
        stretch
    }

    /// Where the bucket of a time begins.
    fn bucket(&self, time_us: i64) -> i64 {
        time_us.div_euclid(self.interval_us).saturating_mul(self.interval_us)
    }
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

/// The points of two lists that are newest first, oldest first. Where one has
/// no row in a bucket of the other, its newest before that stands.
fn side_by_side(sums: &[(i64, (Decimal, Decimal))], held: &[(i64, Decimal)], first_us: i64) -> Vec<PnlPoint> {
    let (mut sums, mut held) = (sums.iter().peekable(), held.iter().peekable());
    let mut points = Vec::with_capacity(MAX_POINTS.min(sums.len() + held.len()));
    while points.len() < MAX_POINTS {
        let newest = sums.peek().map(|(start, _)| *start).max(held.peek().map(|(start, _)| *start));
        let Some(start_us) = newest.filter(|start| *start >= first_us) else { break };
        let (realized, fees) = sums.peek().map_or((Decimal::ZERO, Decimal::ZERO), |(_, sums)| *sums);
        points.push(PnlPoint {
            timestamp: Timestamp::from_micros(start_us),
            realized: Dec(realized),
            unrealized: Dec(held.peek().map_or(Decimal::ZERO, |(_, unrealized)| *unrealized)),
            fees: Dec(fees),
        });
        sums.next_if(|(start, _)| *start == start_us);
        held.next_if(|(start, _)| *start == start_us);
    }
    points.reverse();
    points
}
