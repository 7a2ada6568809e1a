//! What stands: accounts, statistics, curves and orders. What a batch touches is
//! read once, under the locks of its accounts, added to in memory, and written at
//! its end.
//!
//! Not here: what a report adds, which every store does alike.

use std::collections::{BTreeMap, BTreeSet};

use tapedeck_contracts::{
    Event,
    events::{Envelope, ExecutionReport, ForwardTest},
};

use super::{
    apply::Series,
    claims::{Named, at, refs},
    codec::{Numeric, Time, get},
    connect::Session,
    reports::Orders,
    sheet::{Kind, Sheet, Table, parameters},
};
use crate::{
    Batch, Result,
    common::{
        accounts::{Account, begun},
        curves::Total,
        stats::Stat,
    },
};

/// A total, and how many reports it is made of.
#[derive(Clone, Copy, Default)]
struct Standing {
    total: Total,
    reports: i64,
}

/// What a batch touches.
pub(super) struct Sums<'a> {
    accounts: BTreeMap<&'a str, Account<String>>,
    stats: BTreeMap<Series<'a>, Stat>,
    totals: BTreeMap<(&'a str, &'a str), Standing>,
    /// New points of curves, by account, symbol and time.
    points: BTreeMap<(&'a str, &'a str, i64), Standing>,
    orders: Orders<'a>,
}

impl<'a> Sums<'a> {
    pub(super) fn load(
        session: &mut Session,
        batch: &'a Batch,
        is_new: &[bool],
        touched: &BTreeSet<&'a str>,
    ) -> Result<Self> {
        let rows = batch.rows.iter().zip(is_new).filter(|(_, is_new)| **is_new);
        let series: BTreeSet<Series<'a>> = rows
            .filter_map(|(row, _)| match &row.event {
                Event::ExecutionReport(report) => Some(Series::of(report)),
                _ => None,
            })
            .collect();
        Ok(Self {
            accounts: accounts(session, touched)?,
            stats: stats(session, &series)?,
            totals: totals(session, &series)?,
            points: BTreeMap::new(),
            orders: Orders::default(),
        })
    }

    /// The account of a row, as it stands.
    pub(super) fn account(&mut self, name: &'a str) -> &mut Account<String> {
        self.accounts.entry(name).or_default()
    }

    /// The newest metrics of an account before the batch.
    pub(super) fn metrics_us(&self, account: &str) -> Option<i64> {
        self.accounts.get(account).and_then(|account| account.metrics_us)
    }

    /// Adds a report.
    ///
    /// # Errors
    /// Poison where a sum would have too many digits.
    pub(super) fn report(&mut self, report: &'a ExecutionReport, place: i64, named: &mut Named<'a>) -> Result<()> {
        let series = Series::of(report);
        let replaced = report.fill.as_ref().and_then(|fill| named.take(series, report, fill));
        let own_currency = self.account(series.account).report(report);
        self.stats.entry(series).or_default().report(report, replaced, own_currency)?;
        let standing = self.totals.entry((series.account, series.symbol)).or_default();
        standing.total.report(report, own_currency)?;
        standing.reports += 1;
        self.points.insert((series.account, series.symbol, standing.total.time_us), *standing);
        self.orders.report(series, report, place);
        Ok(())
    }

    /// Notes a session that began.
    pub(super) fn session(&mut self, event: &'a Envelope<ForwardTest>) {
        if let Some(name) = begun(event) {
            self.account(name).session(event);
        }
    }

    pub(super) fn send(self, session: &mut Session, ingested_us: i64, copies: bool) -> Result<()> {
        self.orders.send(session, ingested_us, copies)?;
        send_stats(session, &self.stats)?;
        let mut curve = Sheet::new(&PNL_CURVE, copies);
        for ((account, symbol, time_us), standing) in self.points {
            curve.row().time(ingested_us).text(account).text(symbol).time(time_us);
            curve.int(standing.reports).num(standing.total.realized).num(standing.total.fees);
        }
        curve.send(session)?;
        let mut totals = Sheet::new(&PNL_TOTALS, false);
        for ((account, symbol), standing) in self.totals.iter().filter(|(_, standing)| standing.reports > 0) {
            totals.row().text(account).text(symbol).time(standing.total.time_us);
            totals.int(standing.reports).num(standing.total.realized).num(standing.total.fees);
        }
        totals.send(session)?;
        send_accounts(session, self.accounts)
    }
}

const PNL_CURVE: Table = Table {
    name: "pnl_curve",
    columns: &[
        ("ingested_at", Kind::Time),
        ("account", Kind::Text),
        ("symbol", Kind::Text),
        ("time", Kind::Time),
        ("reports", Kind::Int),
        ("realized", Kind::Num),
        ("fees", Kind::Num),
    ],
    on_conflict: "",
};

const PNL_TOTALS: Table = Table {
    name: "pnl_totals",
    columns: &[
        ("account", Kind::Text),
        ("symbol", Kind::Text),
        ("time", Kind::Time),
        ("reports", Kind::Int),
        ("realized", Kind::Num),
        ("fees", Kind::Num),
    ],
    on_conflict: "ON CONFLICT (account, symbol) DO UPDATE SET time = excluded.time, reports = excluded.reports, \
                  realized = excluded.realized, fees = excluded.fees",
};

fn totals<'a>(session: &mut Session, series: &BTreeSet<Series<'a>>) -> Result<BTreeMap<(&'a str, &'a str), Standing>> {
    let keys: BTreeSet<_> = series.iter().map(|series| (series.account, series.symbol)).collect();
    let mut totals: BTreeMap<_, _> = keys.iter().map(|key| (*key, Standing::default())).collect();
    if keys.is_empty() {
        return Ok(totals);
    }
    let keys: Vec<_> = keys.into_iter().collect();
    let (accounts, symbols): (Vec<&str>, Vec<&str>) = keys.iter().copied().unzip();
    let rows = session.query(
        "SELECT k.n, time, reports, realized, fees FROM pnl_totals \
         JOIN unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(account, symbol, n) USING (account, symbol)",
        &[&accounts, &symbols],
    )?;
    for row in &rows {
        let total = Total {
            time_us: get::<Time>(row, 1)?.0,
            realized: get::<Numeric>(row, 3)?.0,
            fees: get::<Numeric>(row, 4)?.0,
        };
        totals.insert(*at(row, &keys)?, Standing { total, reports: get(row, 2)? });
    }
    Ok(totals)
}

const STATS: Table = Table {
    name: "symbol_stats",
    columns: &[
        ("account", Kind::Text),
        ("venue", Kind::Text),
        ("symbol", Kind::Text),
        ("fills", Kind::Int),
        ("volume", Kind::Num),
        ("turnover", Kind::Num),
        ("realized", Kind::Num),
        ("position", Kind::Num),
        ("trip_net", Kind::Num),
        ("round_trips", Kind::Int),
        ("round_trips_won", Kind::Int),
        ("slippage_sum", Kind::Float),
        ("slippage_weight", Kind::Float),
    ],
    on_conflict: "ON CONFLICT (account, venue, symbol) DO UPDATE SET fills = excluded.fills, \
                  volume = excluded.volume, turnover = excluded.turnover, realized = excluded.realized, \
                  position = excluded.position, trip_net = excluded.trip_net, round_trips = excluded.round_trips, \
                  round_trips_won = excluded.round_trips_won, slippage_sum = excluded.slippage_sum, \
                  slippage_weight = excluded.slippage_weight",
};

const FEES: Table = Table {
    name: "symbol_fees",
    columns: &[
        ("account", Kind::Text),
        ("venue", Kind::Text),
        ("symbol", Kind::Text),
        ("currency", Kind::Text),
        ("total", Kind::Num),
    ],
    on_conflict: "ON CONFLICT (account, venue, symbol, currency) DO UPDATE SET total = excluded.total",
};

fn send_stats(session: &mut Session, stats: &BTreeMap<Series<'_>, Stat>) -> Result<()> {
    let (mut sums, mut fees) = (Sheet::new(&STATS, false), Sheet::new(&FEES, false));
    for (series, stat) in stats {
        sums.row().text(series.account).text(series.venue).text(series.symbol);
        sums.int(stat.fills).num(stat.volume).num(stat.turnover).num(stat.realized);
        sums.num(stat.position).num(stat.trip_net).int(stat.round_trips).int(stat.round_trips_won);
        sums.optional_float(Some(stat.slippage_sum)).optional_float(Some(stat.slippage_weight));
        for (currency, total) in &stat.fees {
            fees.row().text(series.account).text(series.venue).text(series.symbol).text(currency).num(*total);
        }
    }
    sums.send(session)?;
    fees.send(session)?;
    Ok(())
}

const SERIES: &[(&str, Kind)] = &[("account", Kind::Text), ("venue", Kind::Text), ("symbol", Kind::Text)];

fn stats<'a>(session: &mut Session, series: &BTreeSet<Series<'a>>) -> Result<BTreeMap<Series<'a>, Stat>> {
    let mut stats: BTreeMap<_, _> = series.iter().map(|series| (*series, Stat::default())).collect();
    if series.is_empty() {
        return Ok(stats);
    }
    let of: Vec<_> = series.iter().copied().collect();
    let column = |part: fn(&Series<'a>) -> &'a str| of.iter().map(part).collect::<Vec<_>>();
    let keys = [column(|of| of.account), column(|of| of.venue), column(|of| of.symbol)];
    let of_keys = format!(
        "JOIN unnest({}) WITH ORDINALITY AS k(account, venue, symbol, n) USING (account, venue, symbol)",
        parameters(SERIES)
    );
    let sums = format!(
        "SELECT k.n, fills, volume, turnover, realized, position, trip_net, round_trips, round_trips_won, \
         slippage_sum, slippage_weight FROM symbol_stats {of_keys}"
    );
    for row in &session.query(&sums, &refs(&keys))? {
        let num = |column| get::<Numeric>(row, column).map(|Numeric(value)| value);
        let stat = Stat {
            fills: get(row, 1)?,
            volume: num(2)?,
            turnover: num(3)?,
            realized: num(4)?,
            position: num(5)?,
            trip_net: num(6)?,
            round_trips: get(row, 7)?,
            round_trips_won: get(row, 8)?,
            slippage_sum: get(row, 9)?,
            slippage_weight: get(row, 10)?,
            fees: BTreeMap::new(),
        };
        stats.insert(*at(row, &of)?, stat);
    }
    let fees = format!("SELECT k.n, currency, total FROM symbol_fees {of_keys}");
    for row in &session.query(&fees, &refs(&keys))? {
        stats.entry(*at(row, &of)?).or_default().fees.insert(get(row, 1)?, get::<Numeric>(row, 2)?.0);
    }
    Ok(stats)
}

const ACCOUNTS: Table = Table {
    name: "accounts",
    columns: &[
        ("account", Kind::Text),
        ("currency", Kind::Text),
        ("fee_currency", Kind::Text),
        ("session_id", Kind::Text),
        ("source", Kind::Text),
        ("starting_equity", Kind::Num),
        ("equity", Kind::Num),
        ("metrics_time", Kind::Time),
        ("held", Kind::Text),
        ("as_of", Kind::Time),
    ],
    on_conflict: "ON CONFLICT (account) DO UPDATE SET currency = excluded.currency, \
                  fee_currency = excluded.fee_currency, session_id = excluded.session_id, source = excluded.source, \
                  starting_equity = excluded.starting_equity, equity = excluded.equity, \
                  metrics_time = excluded.metrics_time, held = excluded.held, as_of = excluded.as_of",
};

fn send_accounts(session: &mut Session, accounts: BTreeMap<&str, Account<String>>) -> Result<()> {
    let mut sheet = Sheet::new(&ACCOUNTS, false);
    for (name, account) in accounts {
        sheet.row().text(name).optional_text(account.currency.as_deref());
        sheet.optional_text(account.fee_currency.as_deref()).optional_text(account.session_id.as_deref());
        sheet.optional_text(account.source.as_deref()).optional_num(account.starting_equity);
        sheet.optional_num(account.equity).optional_time(account.metrics_us);
        sheet.text(&crate::common::json(&account.held)?).time(account.as_of_us.unwrap_or_default());
    }
    sheet.send(session)?;
    Ok(())
}

fn accounts<'a>(session: &mut Session, touched: &BTreeSet<&'a str>) -> Result<BTreeMap<&'a str, Account<String>>> {
    let mut accounts: BTreeMap<_, _> = touched.iter().map(|name| (*name, Account::default())).collect();
    if touched.is_empty() {
        return Ok(accounts);
    }
    let names: Vec<&str> = touched.iter().copied().collect();
    let sql = "SELECT k.n, currency, fee_currency, session_id, source, starting_equity, equity, metrics_time, held, as_of \
               FROM accounts JOIN unnest($1::text[]) WITH ORDINALITY AS k(account, n) USING (account)";
    for row in &session.query(sql, &[&names])? {
        accounts.insert(*at(row, &names)?, account_of(row)?);
    }
    Ok(accounts)
}

/// An account as it is stored.
fn account_of(row: &tokio_postgres::Row) -> Result<Account<String>> {
    let num = |column| get::<Option<Numeric>>(row, column).map(|value| value.map(|Numeric(value)| value));
    let time = |column| get::<Option<Time>>(row, column).map(|time| time.map(|Time(time_us)| time_us));
    Ok(Account {
        currency: get(row, 1)?,
        fee_currency: get(row, 2)?,
        session_id: get(row, 3)?,
        source: get(row, 4)?,
        starting_equity: num(5)?,
        equity: num(6)?,
        metrics_us: time(7)?,
        held: serde_json::from_str(get(row, 8)?).map_err(|_| super::failure::damaged("what an account holds"))?,
        as_of_us: time(9)?,
    })
}
