//! Statistics by account, venue and symbol, kept as running sums: what a batch
//! touches is read once, added to in memory, and written at its end.
//!
//! Not here: the curve over time.

use std::collections::{BTreeMap, btree_map::Entry};

use rusqlite::{Connection, params};
use rust_decimal::Decimal;
use tapedeck_contracts::events::ExecutionReport;

use super::{
    codec::{self, exact_sum},
    names::Names,
    reports::Series,
    risk, totals,
};
use crate::{
    Result, SymbolStats,
    common::stats::{Replaced, Stat},
};

/// The statistics that a batch touches.
#[derive(Default)]
pub(super) struct Stats(BTreeMap<Series, Stat>);

impl Stats {
    /// Adds a report.
    pub(super) fn report(
        &mut self,
        conn: &Connection,
        series: Series,
        report: &ExecutionReport,
        replaced: Option<Replaced>,
        own_currency: bool,
    ) -> Result<()> {
        let stat = match self.0.entry(series) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(load(conn, series)?),
        };
        stat.report(report, replaced, own_currency)
    }

    pub(super) fn flush(self, conn: &Connection) -> Result<()> {
        let mut put = conn.prepare_cached(
            "INSERT OR REPLACE INTO symbol_stats (account, venue, symbol, fills, volume, turnover, realized, position, \
             trip_net, round_trips, round_trips_won, slippage_sum, slippage_weight) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        let mut put_fees = conn.prepare_cached(
            "INSERT OR REPLACE INTO symbol_fees (account, venue, symbol, currency, total) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for (Series { account, venue, symbol }, stat) in self.0 {
            put.execute(params![
                account,
                venue,
                symbol,
                stat.fills,
                codec::stored(stat.volume),
                codec::stored(stat.turnover),
                codec::stored(stat.realized),
                codec::stored(stat.position),
                codec::stored(stat.trip_net),
                stat.round_trips,
                stat.round_trips_won,
                stat.slippage_sum,
                stat.slippage_weight,
            ])?;
            for (currency, total) in stat.fees {
                put_fees.execute(params![account, venue, symbol, currency, codec::stored(total)])?;
            }
        }
        Ok(())
    }
}

fn load(conn: &Connection, series: Series) -> Result<Stat> {
    let mut statement = conn.prepare_cached(
        "SELECT fills, volume, turnover, realized, position, trip_net, round_trips, round_trips_won, slippage_sum, \
         slippage_weight FROM symbol_stats WHERE account = ?1 AND venue = ?2 AND symbol = ?3",
    )?;
    let mut rows = statement.query(params![series.account, series.venue, series.symbol])?;
    let Some(row) = rows.next()? else { return Ok(Stat::default()) };
    Ok(Stat {
        fills: row.get(0)?,
        volume: codec::decimal(row, 1)?,
        turnover: codec::decimal(row, 2)?,
        realized: codec::decimal(row, 3)?,
        position: codec::decimal(row, 4)?,
        trip_net: codec::decimal(row, 5)?,
        round_trips: row.get(6)?,
        round_trips_won: row.get(7)?,
        slippage_sum: row.get(8)?,
        slippage_weight: row.get(9)?,
        fees: load_fees(conn, series)?,
    })
}

fn load_fees(conn: &Connection, series: Series) -> Result<BTreeMap<String, Decimal>> {
    let mut statement = conn
        .prepare_cached("SELECT currency, total FROM symbol_fees WHERE account = ?1 AND venue = ?2 AND symbol = ?3")?;
    let mut rows = statement.query(params![series.account, series.venue, series.symbol])?;
    let mut fees = BTreeMap::new();
    while let Some(row) = rows.next()? {
        fees.insert(row.get(0)?, codec::decimal(row, 1)?);
    }
    Ok(fees)
}

pub(super) const OF_ALL: &str = "SELECT account, venue, symbol FROM symbol_stats ORDER BY account, venue, symbol";
pub(super) const OF_ACCOUNT: &str =
    "SELECT account, venue, symbol FROM symbol_stats WHERE account = ?1 ORDER BY account, venue, symbol";

/// Statistics by account, venue and symbol, sorted by their names.
pub(super) fn symbol_stats(conn: &Connection, names: &mut Names, account: Option<&str>) -> Result<Vec<SymbolStats>> {
    let keys = match account {
        None => series(conn, OF_ALL, &[])?,
        Some(name) => match names.find(conn, name)? {
            None => return Ok(Vec::new()),
            Some(account) => series(conn, OF_ACCOUNT, &[&account])?,
        },
    };
    let held = risk::latest(conn, names, account)?;
    let mut all = Vec::with_capacity(keys.len());
    for key in keys {
        let name = |names: &mut Names, id| names.name(conn, id).map(|name| name.to_string());
        let (account, venue) = (name(names, key.account)?, name(names, key.venue)?);
        let symbol = name(names, key.symbol)?;
        let currency = totals::currency(conn, key.account)?.unwrap_or_default();
        let of_account = held.iter().filter(|metrics| metrics.account == account);
        let positions = of_account.flat_map(|metrics| &metrics.positions);
        let unrealized = positions
            .filter(|position| position.venue == venue && position.symbol == symbol)
            .try_fold(Decimal::ZERO, |sum, position| exact_sum(sum, *position.unrealized_pnl))
            .unwrap_or_default();
        all.push(load(conn, key)?.into_answer(account, venue, symbol, currency, unrealized));
    }
    all.sort_by(|a, b| (&a.account, &a.venue, &a.symbol).cmp(&(&b.account, &b.venue, &b.symbol)));
    Ok(all)
}

fn series(conn: &Connection, sql: &str, of: &[&dyn rusqlite::ToSql]) -> Result<Vec<Series>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows =
        statement.query_map(of, |row| Ok(Series { account: row.get(0)?, venue: row.get(1)?, symbol: row.get(2)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
