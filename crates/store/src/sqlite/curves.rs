//! The PnL curve as it is written: what a batch touches is read once, added to
//! in memory, and written at its end.
//!
//! Not here: its rules, and reading it.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};
use rust_decimal::Decimal;
use tapedeck_contracts::events::{ExecutionReport, RiskMetrics};

use super::{codec, names::Names, reports::Series};
use crate::{
    Result,
    common::curves::{Total, unrealized as sums},
};

/// The symbol that stands for the whole account.
pub(super) const WHOLE_ACCOUNT: i64 = 0;

/// The curves that a batch touches.
#[derive(Default)]
pub(super) struct Curves {
    /// As they stand, by (account, symbol).
    totals: BTreeMap<(i64, i64), Total>,
    /// New points, by (account, symbol, time).
    points: BTreeMap<(i64, i64, i64), (Decimal, Decimal)>,
}

impl Curves {
    /// Adds a report to the curve of its symbol. A commission in another currency
    /// than the account's is not in it.
    pub(super) fn report(
        &mut self,
        conn: &Connection,
        series: Series,
        report: &ExecutionReport,
        own_currency: bool,
    ) -> Result<()> {
        let key = (series.account, series.symbol);
        let mut total = match self.totals.get(&key) {
            Some(total) => *total,
            None => load(conn, key)?,
        };
        total.report(report, own_currency)?;
        self.totals.insert(key, total);
        self.points.insert((key.0, key.1, total.time_us), (total.realized, total.fees));
        Ok(())
    }

    pub(super) fn flush(self, conn: &Connection, ingested_ms: i64) -> Result<()> {
        let mut put = conn.prepare_cached(
            "INSERT OR REPLACE INTO pnl_curve (account, symbol, time_us, realized, fees, ingested_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for ((account, symbol, time_us), (realized, fees)) in self.points {
            put.execute(params![account, symbol, time_us, codec::stored(realized), codec::stored(fees), ingested_ms])?;
        }
        let mut put = conn.prepare_cached(
            "INSERT OR REPLACE INTO pnl_totals (account, symbol, time_us, realized, fees) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for ((account, symbol), total) in self.totals {
            put.execute(params![
                account,
                symbol,
                total.time_us,
                codec::stored(total.realized),
                codec::stored(total.fees)
            ])?;
        }
        Ok(())
    }
}

fn load(conn: &Connection, (account, symbol): (i64, i64)) -> Result<Total> {
    let mut statement =
        conn.prepare_cached("SELECT time_us, realized, fees FROM pnl_totals WHERE account = ?1 AND symbol = ?2")?;
    let mut rows = statement.query(params![account, symbol])?;
    match rows.next()? {
        Some(row) => {
            Ok(Total { time_us: row.get(0)?, realized: codec::decimal(row, 1)?, fees: codec::decimal(row, 2)? })
        }
        None => Ok(Total::default()),
    }
}

/// Writes what is held at the metrics: the account's sum, each held symbol, and
/// a zero for each symbol of `held_before` that is held no more. Returns the
/// symbols held now.
pub(super) fn unrealized(
    conn: &Connection,
    names: &mut Names,
    metrics: &RiskMetrics,
    at: (i64, i64, i64),
    held_before: &[i64],
) -> Result<Vec<i64>> {
    let (account, place, ingested_ms) = at;
    let symbols =
        metrics.positions.iter().map(|position| names.intern(conn, &position.symbol)).collect::<Result<Vec<_>>>()?;
    let (by_symbol, held) = sums(metrics, &symbols, &WHOLE_ACCOUNT, held_before)?;
    let mut put = conn.prepare_cached(
        "INSERT INTO unrealized_curve (account, symbol, time_us, place, unrealized, ingested_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET place = excluded.place, \
         unrealized = excluded.unrealized, ingested_ms = excluded.ingested_ms WHERE excluded.place >= place",
    )?;
    for (symbol, sum) in by_symbol {
        put.execute(params![account, symbol, metrics.timestamp.micros(), place, codec::stored(sum), ingested_ms])?;
    }
    Ok(held)
}
