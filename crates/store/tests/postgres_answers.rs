//! The same events in SQLite and in PostgreSQL: every query answers the same.
//!
//! Not here: which answers are right, which the conformance suite and the model say.

use std::{fmt::Debug, sync::Arc};

use proptest::{prelude::*, test_runner::TestRunner};
use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Event, EventId,
    events::{ExecType, OrderStatus, Severity, Side},
};
use tapedeck_store::{
    AlertsQuery, FillsQuery, OrdersQuery, PnlQuery, PostgresConfig, PostgresStore, Row, SqliteConfig, SqliteStore,
    Store,
    conformance::samples::{START, alert, at, metrics, new_order, row_in, rows, session_started, trade},
};

use self::postgres_servers::on_postgres;

mod postgres_servers;

/// What an event is made from: its kind, whose, and some numbers.
type Seed = (u8, u8, i64, i64, i64, u16);

const NAMES: [&str; 3] = ["A", "a", "Ä"];

fn event(seed: &Seed, number: u64) -> Event {
    let (kind, whose, second, _, money, other) = *seed;
    let pick = |shift: u32| NAMES[usize::from(whose >> shift & 3) % 3].to_owned();
    match kind {
        0 => {
            let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
            let mut alert = alert(number, severities[usize::from(other) % 4], None);
            alert.timestamp = at(second);
            alert.account = (other % 3 > 0).then(|| pick(0));
            Event::Alert(Box::new(alert))
        }
        1 => {
            let held = (other % 4 > 0).then(|| Dec(Decimal::new(money, 8)).to_string());
            let mut metrics = metrics(number, &pick(0), held.as_deref());
            metrics.timestamp = at(second);
            metrics.positions.iter_mut().for_each(|position| position.symbol = pick(2));
            metrics.currency = other.is_multiple_of(2).then(|| "USDT".into());
            Event::RiskMetrics(Box::new(metrics))
        }
        2 => session_started(&pick(0)),
        _ => report(seed, number),
    }
}

fn report(seed: &Seed, number: u64) -> Event {
    let (kind, whose, second, quantity, money, other) = *seed;
    let pick = |shift: u32| NAMES[usize::from(whose >> shift & 3) % 3].to_owned();
    let mut report = if kind == 3 { new_order(number) } else { trade(number) };
    report.timestamp = at(second).plus_micros(money % 3);
    report.event_id = EventId(format!("E{number}"));
    (report.account, report.venue, report.symbol) = (pick(0), pick(2), pick(4));
    report.order.order_id = format!("O{}", other % 7);
    report.order.side = if money % 2 == 0 { Side::Buy } else { Side::Sell };
    report.costs.currency = if other.is_multiple_of(9) { "BNB".into() } else { "USDT".into() };
    if kind == 3 && other.is_multiple_of(5) {
        report.order.status = OrderStatus::Canceled;
    }
    if let Some(fill) = &mut report.fill {
        fill.fill_id = format!("F{number}");
        fill.last_qty = Dec(Decimal::new(quantity, 3));
        fill.last_px = Dec(Decimal::new(money.abs() + 1, 6));
        report.costs.commission = Dec(Decimal::new(money, 10));
        report.pnl.realized = Dec(Decimal::new(money * quantity, 9));
        report.costs.slippage_bps = (other % 2 == 0).then(|| f64::from(other) / 8.0 - 3.0);
        if kind > 12 && number > 0 {
            report.exec_type = if kind == 13 { ExecType::TradeCancel } else { ExecType::TradeCorrect };
            fill.ref_fill_id = Some(format!("F{}", u64::from(other) % number));
            fill.execution_number = None;
        }
    }
    Event::ExecutionReport(Box::new(report))
}

/// Some events, each perhaps again later, in batches.
fn events() -> impl Strategy<Value = (Vec<Seed>, Vec<prop::sample::Index>, usize)> {
    let seed = (0..15_u8, any::<u8>(), 0..90_i64, 1..5_000_i64, -9_999_999..9_999_999_i64, any::<u16>());
    (prop::collection::vec(seed, 1..150), prop::collection::vec(any::<prop::sample::Index>(), 0..20), 1..60_usize)
}

fn log(seeds: &[Seed], again: &[prop::sample::Index]) -> Vec<Row> {
    let row_of = |number: usize, offset: usize| {
        let number = u64::try_from(number).expect("small");
        let event = event(&seeds[usize::try_from(number).expect("small")], number);
        let event_id = event.event_id().cloned().unwrap_or_else(|| EventId(format!("S{number}")));
        let offset = u64::try_from(offset).expect("small");
        Row { event_id, ..row_in(u32::from(seeds[usize::try_from(number).expect("small")].1 & 1), offset, event) }
    };
    let first = (0..seeds.len()).map(|number| row_of(number, number));
    let later = again.iter().enumerate().map(|(at, index)| row_of(index.index(seeds.len()), seeds.len() + at));
    first.chain(later).collect()
}

fn same<T: Debug + PartialEq>(what: &str, stores: &[Arc<dyn Store>; 2], ask: impl Fn(&dyn Store) -> T) {
    assert_eq!(ask(&*stores[0]), ask(&*stores[1]), "{what}");
}

fn answers_are_the_same(stores: &[Arc<dyn Store>; 2]) {
    let names = || [None].into_iter().chain(NAMES.map(Some)).map(|name| name.map(str::to_owned));
    same("accounts", stores, |store| store.accounts().expect("accounts"));
    for account in names() {
        same("stats", stores, |store| store.symbol_stats(account.as_deref()).expect("stats"));
        same("risk", stores, |store| store.latest_risk(account.as_deref()).expect("risk"));
        for symbol in names() {
            let fills =
                FillsQuery { account: account.clone(), symbol: symbol.clone(), limit: 40, ..FillsQuery::default() };
            same("fills", stores, |store| store.fills(&fills).expect("fills"));
            for open_only in [false, true] {
                let orders =
                    OrdersQuery { account: account.clone(), symbol: symbol.clone(), open_only, after: None, limit: 9 };
                same("orders", stores, |store| store.orders(&orders).expect("orders"));
            }
            for interval_us in [1_000_000, 7_000_000, 86_400_000_000] {
                let pnl = PnlQuery {
                    account: account.clone().unwrap_or_else(|| "A".into()),
                    symbol: symbol.clone(),
                    from: at(20),
                    to: at(70),
                    interval_us,
                };
                same("pnl", stores, |store| store.pnl(&pnl).expect("pnl"));
            }
        }
        let alerts = AlertsQuery { account, min_severity: Some(Severity::Warning), limit: 9, ..AlertsQuery::default() };
        same("alerts", stores, |store| store.alerts(&alerts).expect("alerts"));
    }
    same("executions", stores, |store| store.executions("A", 3, 50).expect("executions"));
}

#[test]
fn sqlite_and_postgresql_answer_every_query_alike() {
    let Some(config) = on_postgres() else { return };
    // Each case is a schema of its own: a dozen are a second.
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    let done = runner.run(&events(), |(seeds, again, size)| {
        let folder = tempfile::tempdir().expect("a folder");
        let config = PostgresConfig { schema: tapedeck_testbed::name("alike"), ..config.clone() };
        let stores: [Arc<dyn Store>; 2] = [
            SqliteStore::open(folder.path(), SqliteConfig::default()).expect("a store"),
            PostgresStore::open(&config).expect("a store"),
        ];
        for (number, chunk) in (0..).zip(log(&seeds, &again).chunks(size)) {
            let mut batch = rows(chunk.to_vec());
            batch.ingested_at_ms = START.millis() + number * 1_000;
            same("applied", &stores, |store| store.apply(&batch).expect("apply"));
        }
        answers_are_the_same(&stores);
        Ok(())
    });
    done.expect("alike");
}
