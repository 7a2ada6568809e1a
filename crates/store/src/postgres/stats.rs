//! Statistics by account, venue and symbol, as they stand.
//!
//! Not here: how they are kept.

use std::collections::{BTreeMap, HashMap};

use rust_decimal::Decimal;
use tokio_postgres::Row;

use super::{
    codec::{self, get},
    connect::Session,
    risk,
};
use crate::{
    Result, SymbolStats,
    common::{stats::Stat, values::exact_sum},
};

/// A row a series, and they are few. A filter that is off is null.
pub(super) const STATS: &str = "SELECT s.account, s.venue, s.symbol, coalesce(a.currency, a.fee_currency, ''), s.fills, \
     s.volume, s.turnover, s.realized, s.round_trips, s.round_trips_won, s.slippage_sum, s.slippage_weight \
     FROM symbol_stats s LEFT JOIN accounts a ON a.account = s.account WHERE $1::text IS NULL OR s.account = $1 \
     ORDER BY s.account, s.venue, s.symbol";
pub(super) const FEES: &str = "SELECT account, venue, symbol, currency, total FROM symbol_fees \
     WHERE $1::text IS NULL OR account = $1 ORDER BY account, venue, symbol, currency";

/// Account, venue and symbol.
type Of = (String, String, String);

/// Statistics by account, venue and symbol, sorted by their names.
pub(super) fn symbol_stats(session: &mut Session, account: Option<&str>) -> Result<Vec<SymbolStats>> {
    let mut fees: HashMap<Of, BTreeMap<String, Decimal>> = HashMap::new();
    for row in session.query(FEES, &[&account])? {
        fees.entry(of(&row)?).or_default().insert(get(&row, 3)?, *codec::dec(&row, 4)?);
    }
    let mut held: HashMap<Of, Option<Decimal>> = HashMap::new();
    for metrics in risk::latest(session, account)? {
        for position in metrics.positions {
            let sum = held.entry((metrics.account.clone(), position.venue, position.symbol));
            let sum = sum.or_insert(Some(Decimal::ZERO));
            *sum = sum.and_then(|sum| exact_sum(sum, *position.unrealized_pnl));
        }
    }
    session.query(STATS, &[&account])?.iter().map(|row| stats(row, &mut fees, &held)).collect()
}

fn of(row: &Row) -> Result<Of> {
    Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))
}

fn stats(
    row: &Row,
    fees: &mut HashMap<Of, BTreeMap<String, Decimal>>,
    held: &HashMap<Of, Option<Decimal>>,
) -> Result<SymbolStats> {
    let of = of(row)?;
    let stat = Stat {
        fills: get(row, 4)?,
        volume: *codec::dec(row, 5)?,
        turnover: *codec::dec(row, 6)?,
        realized: *codec::dec(row, 7)?,
        round_trips: get(row, 8)?,
        round_trips_won: get(row, 9)?,
        slippage_sum: get(row, 10)?,
        slippage_weight: get(row, 11)?,
        fees: fees.remove(&of).unwrap_or_default(),
        ..Stat::default()
    };
    let unrealized = held.get(&of).copied().flatten().unwrap_or_default();
    let (account, venue, symbol) = of;
    Ok(stat.into_answer(account, venue, symbol, get(row, 3)?, unrealized))
}
