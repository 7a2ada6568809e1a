//! Reading the PnL curve: from its end backwards, one seek a bucket in each of
//! its two tables, so that a point costs the same however many events it covers.
//!
//! Not here: how the curve is kept.

use rusqlite::{Connection, params};
use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, Timestamp};

use super::{codec, curves::WHOLE_ACCOUNT, names::Names};
use crate::{PnlPoint, PnlQuery, Result};

/// At most so many points come of one call: the newest.
const MAX_POINTS: usize = 10_000;

pub(super) const LAST_REALIZED: &str = "SELECT time_us, realized, fees FROM pnl_curve \
     WHERE account = ?1 AND symbol = ?2 AND time_us < ?3 ORDER BY time_us DESC LIMIT 1";
pub(super) const LAST_UNREALIZED: &str = "SELECT time_us, unrealized FROM unrealized_curve \
     WHERE account = ?1 AND symbol = ?2 AND time_us < ?3 ORDER BY time_us DESC LIMIT 1";

/// The points of the buckets that hold an event, oldest first.
pub(super) fn pnl(conn: &Connection, names: &mut Names, query: &PnlQuery) -> Result<Vec<PnlPoint>> {
    let Some(account) = names.find(conn, &query.account)? else { return Ok(Vec::new()) };
    let symbol = match &query.symbol {
        None => WHOLE_ACCOUNT,
        Some(name) => match names.find(conn, name)? {
            None => return Ok(Vec::new()),
            Some(symbol) => symbol,
        },
    };
    let interval_us = query.interval_us.max(1);
    let bucket = |time_us: i64| time_us.div_euclid(interval_us).saturating_mul(interval_us);
    let first = bucket(query.from.micros());
    let mut end = bucket(query.to.micros()).saturating_add(interval_us);
    let mut realized = Realized::before(conn, account, symbol, end)?;
    let mut unrealized = Unrealized::before(conn, account, symbol, end)?;
    let mut points = Vec::new();
    while points.len() < MAX_POINTS {
        let newest = realized.as_ref().map(|row| row.time_us).max(unrealized.as_ref().map(|row| row.time_us));
        let Some(start) = newest.map(bucket).filter(|start| *start >= first) else { break };
        points.push(PnlPoint {
            timestamp: Timestamp::from_micros(start),
            realized: Dec(realized.as_ref().map_or(Decimal::ZERO, |row| row.realized)),
            unrealized: Dec(unrealized.as_ref().map_or(Decimal::ZERO, |row| row.unrealized)),
            fees: Dec(realized.as_ref().map_or(Decimal::ZERO, |row| row.fees)),
        });
        end = start;
        if realized.as_ref().is_some_and(|row| row.time_us >= end) {
            realized = Realized::before(conn, account, symbol, end)?;
        }
        if unrealized.as_ref().is_some_and(|row| row.time_us >= end) {
            unrealized = Unrealized::before(conn, account, symbol, end)?;
        }
    }
    points.reverse();
    Ok(points)
}

struct Realized {
    time_us: i64,
    realized: Decimal,
    fees: Decimal,
}

impl Realized {
    fn before(conn: &Connection, account: i64, symbol: i64, end_us: i64) -> Result<Option<Self>> {
        let mut statement = conn.prepare_cached(LAST_REALIZED)?;
        let mut rows = statement.query(params![account, symbol, end_us])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (realized, fees) = (codec::decimal(row, 1)?, codec::decimal(row, 2)?);
        Ok(Some(Self { time_us: row.get(0)?, realized, fees }))
    }
}

struct Unrealized {
    time_us: i64,
    unrealized: Decimal,
}

impl Unrealized {
    fn before(conn: &Connection, account: i64, symbol: i64, end_us: i64) -> Result<Option<Self>> {
        let mut statement = conn.prepare_cached(LAST_UNREALIZED)?;
        let mut rows = statement.query(params![account, symbol, end_us])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(Self { time_us: row.get(0)?, unrealized: codec::decimal(row, 1)? }))
    }
}
