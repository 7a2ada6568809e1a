//! Orders, statistics and curves against a model that reads all reports anew
//! for every answer, over random reports with duplicates, late times, batches
//! and restarts.
//!
//! Not here: exact examples, which are the conformance suite's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use proptest::prelude::*;
use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, EventId,
    events::{ExecutionReport, OrderStatus, Side},
};
use tapedeck_store::{
    OrdersQuery, PnlQuery, SqliteConfig, SqliteStore, Store,
    conformance::samples::{START, at, new_order, row, rows, trade},
};

#[derive(Clone, Debug)]
enum Step {
    Report(Box<ExecutionReport>),
    /// An earlier report again; counted from the first.
    Again(usize),
    EndBatch,
    Restart,
}

fn report() -> impl Strategy<Value = ExecutionReport> {
    let whose = (0..2_u8, 0..2_u8, 0..2_u8, 0..6_u8);
    let fill = (any::<bool>(), any::<bool>(), 1..4_i64, 1..1_000_000_i64);
    let money = (-5_000_000_000_i64..5_000_000_000, -500_000_i64..500_000, 0..10_u8);
    (whose, fill, money, 0..120_i64).prop_map(|(whose, fill, money, second)| {
        let (account, venue, symbol, order) = whose;
        let (is_fill, is_buy, quantity, price) = fill;
        let (realized, commission, currency) = money;
        let mut report = if is_fill { trade(1) } else { new_order(1) };
        report.timestamp = at(second);
        report.account = format!("ACC-{account}");
        report.venue = format!("V{venue}");
        report.symbol = format!("S{symbol}");
        report.order.order_id = format!("O{order}");
        report.order.side = if is_buy { Side::Buy } else { Side::Sell };
        report.costs.currency = if currency == 0 { "BNB".into() } else { "USDT".into() };
        if let Some(fill) = &mut report.fill {
            fill.last_qty = Dec(Decimal::new(quantity, 1));
            fill.last_px = Dec(Decimal::new(price, 5));
            report.pnl.realized = Dec(Decimal::new(realized, 8));
            report.costs.commission = Dec(Decimal::new(commission, 8));
        } else if quantity == 3 {
            report.order.status = OrderStatus::Canceled;
        }
        report
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => report().prop_map(|report| Step::Report(Box::new(report))),
        3 => any::<prop::sample::Index>().prop_map(|index| Step::Again(index.index(1_000))),
        2 => Just(Step::EndBatch),
        1 => Just(Step::Restart),
    ]
}

/// Runs the steps; returns the store and the reports without duplicates.
fn run(folder: &Path, steps: Vec<Step>) -> (Arc<SqliteStore>, Vec<ExecutionReport>) {
    let open = || SqliteStore::open(folder, SqliteConfig::default()).expect("a store");
    let (mut store, mut all, mut batch, mut offset) = (open(), Vec::<ExecutionReport>::new(), Vec::new(), 0);
    for step in steps.into_iter().chain([Step::EndBatch]) {
        match step {
            Step::Report(mut report) => {
                report.event_id = EventId(format!("E{}", all.len()));
                if let Some(fill) = &mut report.fill {
                    fill.fill_id = format!("F{}", all.len());
                }
                all.push((*report).clone());
                batch.push(row(offset, *report));
                offset += 1;
            }
            Step::Again(index) if !all.is_empty() => {
                batch.push(row(offset, all[index % all.len()].clone()));
                offset += 1;
            }
            Step::Again(_) => {}
            Step::EndBatch | Step::Restart => {
                store.apply(&rows(std::mem::take(&mut batch))).expect("apply");
                if matches!(step, Step::Restart) {
                    store = open();
                }
            }
        }
    }
    (store, all)
}

/// The currency of an account is that of its first report here.
fn own_fee(all: &[ExecutionReport], report: &ExecutionReport) -> Decimal {
    let first = all.iter().find(|other| other.account == report.account).expect("itself at least");
    if first.costs.currency == report.costs.currency { *report.costs.commission } else { Decimal::ZERO }
}

/// The last realised PnL and fees of each second, after the reports so far; of an
/// account, the sum over its symbols.
fn model_curve(all: &[ExecutionReport], account: &str, symbol: Option<&str>) -> BTreeMap<i64, (Decimal, Decimal)> {
    let Some(symbol) = symbol else {
        let symbols: BTreeSet<&str> = all.iter().filter(|r| r.account == account).map(|r| r.symbol.as_str()).collect();
        let curves: Vec<_> = symbols.into_iter().map(|symbol| model_curve(all, account, Some(symbol))).collect();
        let seconds: BTreeSet<i64> = curves.iter().flat_map(BTreeMap::keys).copied().collect();
        let newest = |curve: &BTreeMap<i64, (Decimal, Decimal)>, second| {
            curve.range(..=second).next_back().map_or((Decimal::ZERO, Decimal::ZERO), |(_, sums)| *sums)
        };
        let sum = |second| {
            let each = curves.iter().map(|curve| newest(curve, second));
            each.fold((Decimal::ZERO, Decimal::ZERO), |all, one| (all.0 + one.0, all.1 + one.1))
        };
        return seconds.into_iter().map(|second| (second, sum(second))).collect();
    };
    let (mut clock, mut realized, mut fees) = (i64::MIN, Decimal::ZERO, Decimal::ZERO);
    let mut curve = BTreeMap::new();
    for report in all.iter().filter(|report| report.account == account && report.symbol == symbol) {
        clock = clock.max(report.timestamp.micros());
        realized += *report.pnl.realized;
        fees += own_fee(all, report);
        curve.insert(clock.div_euclid(1_000_000) * 1_000_000, (realized, fees));
    }
    curve
}

#[derive(Debug, Default, PartialEq)]
struct ModelStats {
    fills: u64,
    volume: Decimal,
    turnover: Decimal,
    realized: Decimal,
    fees: Decimal,
    trips: u64,
    won: u64,
}

fn model_stats(all: &[ExecutionReport], account: &str, venue: &str, symbol: &str) -> ModelStats {
    let mut stats = ModelStats::default();
    let (mut position, mut net) = (Decimal::ZERO, Decimal::ZERO);
    for report in all.iter().filter(|r| r.account == account && r.venue == venue && r.symbol == symbol) {
        let fee = own_fee(all, report);
        stats.realized += *report.pnl.realized;
        stats.fees += fee;
        let Some(fill) = &report.fill else { continue };
        stats.fills += 1;
        stats.volume += *fill.last_qty;
        stats.turnover += (*fill.last_qty * *fill.last_px).round_dp(8);
        let after = if report.order.side == Side::Buy { position + *fill.last_qty } else { position - *fill.last_qty };
        let ends = !position.is_zero() && (after.is_zero() || (after > Decimal::ZERO) != (position > Decimal::ZERO));
        let closing = if ends { (fee * position.abs() / *fill.last_qty).round_dp(8) } else { fee };
        net += *report.pnl.realized - closing;
        if ends {
            stats.trips += 1;
            stats.won += u64::from(net > Decimal::ZERO);
            net = closing - fee;
        }
        position = after;
    }
    stats
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_as_a_model_that_reads_all_reports_anew(steps in prop::collection::vec(step(), 1..120)) {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, all) = run(folder.path(), steps);

        let mut model = BTreeMap::new();
        for report in &all {
            let key = (&report.account, &report.venue, &report.symbol, &report.order.order_id);
            let created = model.get(&key).map_or(report.timestamp, |(created, _)| *created);
            model.insert(key, (created, report));
        }
        let orders = store.orders(&OrdersQuery { limit: 1_000, ..OrdersQuery::default() }).expect("orders");
        prop_assert_eq!(orders.len(), model.len());
        for order in &orders {
            let (created, report) = model[&(&order.account, &order.venue, &order.symbol, &order.order_id)];
            prop_assert_eq!((order.created_at, order.updated_at), (created, report.timestamp));
            prop_assert_eq!((order.status, order.side), (report.order.status, report.order.side));
        }

        for found in store.symbol_stats(None).expect("stats") {
            let expected = model_stats(&all, &found.account, &found.venue, &found.symbol);
            let found = ModelStats {
                fills: found.fills,
                volume: *found.volume,
                turnover: *found.turnover,
                realized: *found.realized,
                fees: *found.fees,
                trips: found.round_trips,
                won: found.round_trips_won,
            };
            prop_assert_eq!(found, expected);
        }

        for (account, symbol) in [("ACC-0", None), ("ACC-1", None), ("ACC-0", Some("S1")), ("ACC-1", Some("S0"))] {
            let query = PnlQuery {
                account: account.into(),
                symbol: symbol.map(str::to_owned),
                from: START,
                to: at(200),
                interval_us: 1_000_000,
            };
            let points = store.pnl(&query).expect("pnl").into_iter();
            let found: BTreeMap<_, _> =
                points.map(|point| (point.timestamp.micros(), (*point.realized, *point.fees))).collect();
            prop_assert_eq!(found, model_curve(&all, account, symbol));
        }
    }
}
