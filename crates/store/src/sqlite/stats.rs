//! Statistics by account, venue and symbol, kept as running sums: what a batch
//! touches is read once, added to in memory, and written at its end.
//!
//! Not here: the curve over time.

use std::collections::{BTreeMap, btree_map::Entry};

use rusqlite::{Connection, params};
use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec,
    events::{ExecType, ExecutionReport, Fill, Side},
};

use super::{
    apply::poison,
    codec::{self, exact_sum, money_product, money_share},
    names::Names,
    reports::Series,
    risk, totals,
};
use crate::{Result, StoreError, SymbolStats};

/// The fill that a correction replaces or a cancel takes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replaced {
    pub(super) side: Side,
    pub(super) quantity: Decimal,
    pub(super) price: Decimal,
}

/// The statistics that a batch touches.
#[derive(Default)]
pub(super) struct Stats(BTreeMap<Series, Stat>);

#[derive(Default)]
struct Stat {
    fills: i64,
    volume: Decimal,
    turnover: Decimal,
    realized: Decimal,
    /// Signed quantity by the fills alone: what makes a round trip.
    position: Decimal,
    /// Realised less commissions since the position was last flat.
    trip_net: Decimal,
    round_trips: i64,
    round_trips_won: i64,
    /// Sum of slippage times notional, and of those notionals: a mean in basis
    /// points is a figure for the eye, so binary floats do.
    slippage_sum: f64,
    slippage_weight: f64,
    fees: BTreeMap<String, Decimal>,
}

impl Stats {
    /// Adds a report. A cancel takes the fill it names out of count, volume and
    /// turnover, a correction puts its own in the place of it; where the named
    /// fill is not kept (any more), only realised PnL and commission count.
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
        stat.report(report, replaced, own_currency).ok_or_else(|| too_large(report))
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

/// The error of a report that makes a sum outgrow a decimal.
pub(super) fn too_large(report: &ExecutionReport) -> StoreError {
    poison(format!(
        "the sums of {} in {} would outgrow the 28 digits of a decimal: look at its quantities and prices",
        report.account, report.symbol
    ))
}

impl Stat {
    /// None where a sum has too many digits.
    fn report(&mut self, report: &ExecutionReport, replaced: Option<Replaced>, own_currency: bool) -> Option<()> {
        self.realized = exact_sum(self.realized, *report.pnl.realized)?;
        let commission = *report.costs.commission;
        if !commission.is_zero() {
            let fees = self.fees.entry(report.costs.currency.clone()).or_default();
            *fees = exact_sum(*fees, commission)?;
        }
        let before = self.position;
        if let Some(fill) = &report.fill {
            self.fill(report, fill, replaced)?;
        }
        if before.is_zero() && self.position.is_zero() {
            return Some(());
        }
        // A flip closes one trip and opens the next; each pays its share of the
        // commission, as in the paper broker's books.
        let flipped = !before.is_zero()
            && !self.position.is_zero()
            && before.is_sign_negative() != self.position.is_sign_negative();
        let commission = if own_currency { commission } else { Decimal::ZERO };
        let closing = match &report.fill {
            Some(fill) if flipped => money_share(commission, before.abs(), *fill.last_qty)?,
            _ => commission,
        };
        self.trip_net = exact_sum(exact_sum(self.trip_net, *report.pnl.realized)?, -closing)?;
        if self.position.is_zero() || flipped {
            self.round_trips += 1;
            self.round_trips_won += i64::from(self.trip_net > Decimal::ZERO);
            self.trip_net = closing - commission;
        }
        Some(())
    }

    fn fill(&mut self, report: &ExecutionReport, fill: &Fill, replaced: Option<Replaced>) -> Option<()> {
        let own = Replaced { side: report.order.side, quantity: *fill.last_qty, price: *fill.last_px };
        match (report.exec_type, replaced) {
            (ExecType::TradeCancel, Some(old)) => self.count(old, -1),
            (ExecType::TradeCorrect, Some(old)) => self.count(old, -1).and_then(|()| self.count(own, 1)),
            (ExecType::TradeCancel | ExecType::TradeCorrect, None) => Some(()),
            _ => {
                let notional = money_product(own.quantity, own.price)?;
                if let Some(bps) = report.costs.slippage_bps {
                    let weight = f64::try_from(notional).ok()?;
                    self.slippage_sum += bps * weight;
                    self.slippage_weight += weight;
                }
                self.count(own, 1)
            }
        }
    }

    fn count(&mut self, fill: Replaced, times: i64) -> Option<()> {
        let times_decimal = Decimal::from(times);
        let bought = if fill.side == Side::Buy { times_decimal } else { -times_decimal };
        self.fills += times;
        self.volume = exact_sum(self.volume, fill.quantity * times_decimal)?;
        self.turnover = exact_sum(self.turnover, money_product(fill.quantity, fill.price)? * times_decimal)?;
        self.position = exact_sum(self.position, fill.quantity * bought)?;
        Some(())
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

impl Stat {
    fn into_answer(
        mut self,
        account: String,
        venue: String,
        symbol: String,
        currency: String,
        unrealized: Decimal,
    ) -> SymbolStats {
        let fees = self.fees.remove(&currency).unwrap_or_default();
        let other_fees = self.fees.into_iter().filter(|(_, total)| !total.is_zero());
        SymbolStats {
            account,
            venue,
            symbol,
            currency,
            fills: self.fills.max(0).unsigned_abs(),
            volume: Dec(self.volume),
            turnover: Dec(self.turnover),
            fees: Dec(fees),
            other_fees: other_fees.map(|(currency, total)| (currency, Dec(total))).collect(),
            realized: Dec(self.realized),
            unrealized: Dec(unrealized),
            round_trips: self.round_trips.unsigned_abs(),
            round_trips_won: self.round_trips_won.unsigned_abs(),
            slippage_bps: (self.slippage_weight > 0.0).then(|| self.slippage_sum / self.slippage_weight),
        }
    }
}
