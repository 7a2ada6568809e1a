//! The same batches to SQLite and to PostgreSQL: every query answers the same, digit
//! for digit and place for place, before and after retention.
//!
//! Not here: what the right answer is, which the conformance suite and the model say.

use std::{fmt::Debug, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, EventId,
    events::{ExecType, OrderStatus, Severity, Side},
};
use tapedeck_store::{
    AlertsQuery, Batch, FillsQuery, OrdersQuery, PageKey, PnlQuery, PostgresConfig, PostgresStore, Result, Retention,
    Row, SqliteConfig, SqliteStore, Store, StoreError,
    conformance::samples::{Sample, alert, at, metrics, new_order, row_in, rows, sale, session_started, trade},
};

use self::postgres_servers::on_postgres;

mod postgres_servers;

/// Ingest of a batch is so long after that of the one before: over the ends of parts.
const APART_MS: i64 = 9 * 86_400_000;

/// An event, by a few random numbers: few names and times, so that they meet.
fn event() -> impl Strategy<Value = (u8, [u8; 6], i64, i64)> {
    let money = prop_oneof![-99_999_999_999_i64..99_999_999_999, -99_i64..99, Just(0)];
    (0..20_u8, any::<[u8; 6]>(), money, -5..200_i64)
}

fn of_kind(n: u64, (kind, words, money, second): (u8, [u8; 6], i64, i64)) -> Sample {
    let [whose, place, what, order, quantity, currency] = words;
    let account = format!("ACC-{}", whose % 3);
    let (money, time) = (Dec(Decimal::new(money, u32::from(whose % 9))), at(second).plus_micros(i64::from(order)));
    if kind < 4 {
        let mut metrics = metrics(n, &account, (kind < 3).then_some("1.5"));
        metrics.timestamp = time;
        metrics.positions.iter_mut().for_each(|position| {
            (position.unrealized_pnl, position.symbol, position.venue) =
                (money, format!("S{}", what % 4), format!("V{}", place % 2));
        });
        return metrics.into();
    }
    if kind < 6 {
        let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
        let mut alert = alert(n, severities[usize::from(what % 4)], (place % 2 == 0).then_some(account.as_str()));
        alert.timestamp = time;
        return alert.into();
    }
    if kind == 6 {
        return session_started(&account).into();
    }
    let mut report = match kind {
        7 | 8 => new_order(n),
        9..=13 => sale(n, "1"),
        _ => trade(n),
    };
    report.event_id = EventId(format!("E{n}"));
    (report.account, report.venue, report.symbol) = (account, format!("V{}", place % 2), format!("S{}", what % 4));
    report.timestamp = time;
    report.order.order_id = format!("O{}", order % 8);
    report.order.side = if quantity % 2 == 0 { Side::Buy } else { Side::Sell };
    report.costs.currency = if currency % 8 == 0 { "BNB".into() } else { "USDT".into() };
    report.decision_id = (currency % 3 == 0).then(|| format!("D{n}"));
    report.strategy_id = (currency % 4 == 0).then(|| format!("strategy-{}", currency % 5));
    if let Some(fill) = &mut report.fill {
        (report.pnl.realized, report.costs.commission) = (money, Dec(Decimal::new(i64::from(place) - 40, 6)));
        report.costs.slippage_bps = (place % 3 == 0).then(|| f64::from(place) / 7.0);
        fill.last_qty = Dec(Decimal::new(i64::from(quantity % 5) + 1, u32::from(place % 11)));
        fill.execution_number = (order % 4 != 0).then_some(n + 1);
        if kind == 14 {
            (report.exec_type, fill.ref_fill_id) = (ExecType::TradeCorrect, Some(format!("F{}", n.saturating_sub(3))));
        }
        report.order.status = if order % 3 == 0 { OrderStatus::PartiallyFilled } else { OrderStatus::Filled };
    }
    report.into()
}

/// Rows of one batch after the other, some of them twice.
fn batches() -> impl Strategy<Value = Vec<Vec<Row>>> {
    prop::collection::vec(prop::collection::vec((event(), 0..12_u8), 1..60), 1..5).prop_map(|batches| {
        let mut n = 0;
        let mut of_batch = |events: Vec<_>| {
            let mut all = Vec::new();
            for (event, again) in events {
                n += 1;
                let row = row_in(u32::try_from(n % 3).expect("small"), n, of_kind(n, event));
                all.extend((again == 0).then(|| row.clone()));
                all.push(row);
            }
            all
        };
        batches.into_iter().map(&mut of_batch).collect()
    })
}

/// What both say of one call; where one refuses, the other does for the same row.
fn both<T: PartialEq + Debug>(
    stores: &[Arc<dyn Store>; 2],
    call: impl Fn(&dyn Store) -> Result<T>,
) -> std::result::Result<Option<T>, TestCaseError> {
    match stores.each_ref().map(|store| call(&**store)) {
        [Ok(sqlite), Ok(postgres)] => {
            prop_assert_eq!(&postgres, &sqlite);
            Ok(Some(sqlite))
        }
        [Err(StoreError::Poison { index: sqlite, .. }), Err(StoreError::Poison { index: postgres, .. })] => {
            prop_assert_eq!(postgres, sqlite);
            Ok(None)
        }
        [sqlite, postgres] => Err(TestCaseError::fail(format!("SQLite {sqlite:?}, PostgreSQL {postgres:?}"))),
    }
}

/// Pages of both until there are none, of a few rows each.
fn pages<T: PartialEq + Debug>(
    stores: &[Arc<dyn Store>; 2],
    ask: impl Fn(&dyn Store, Option<PageKey>) -> Result<Vec<T>>,
    key: impl Fn(&T) -> PageKey,
) -> std::result::Result<(), TestCaseError> {
    let mut after = None;
    while let Some(last) = both(stores, |store| ask(store, after))?.and_then(|page| page.last().map(&key)) {
        after = Some(last);
    }
    Ok(())
}

fn lists(stores: &[Arc<dyn Store>; 2]) -> std::result::Result<(), TestCaseError> {
    for set in 0..32_u8 {
        let wanted = |bit: u8| set & bit != 0;
        let account = wanted(1).then(|| "ACC-1".to_owned());
        let symbol = wanted(2).then(|| "S2".to_owned());
        let (venue, from) = (wanted(4).then(|| "V1".to_owned()), wanted(8).then(|| at(20)));
        let to = wanted(16).then(|| at(120));
        let fills =
            FillsQuery { account: account.clone(), symbol: symbol.clone(), venue, from, to, after: None, limit: 20 };
        pages(stores, |store, after| store.fills(&FillsQuery { after, ..fills.clone() }), |fill| fill.key)?;
        let orders = OrdersQuery { account: account.clone(), symbol, open_only: wanted(4), after: None, limit: 9 };
        pages(stores, |store, after| store.orders(&OrdersQuery { after, ..orders.clone() }), |order| order.key)?;
        let min_severity = wanted(2).then_some(if wanted(4) { Severity::Error } else { Severity::Warning });
        let alerts = AlertsQuery { min_severity, account, from, to, after: None, limit: 5 };
        pages(stores, |store, after| store.alerts(&AlertsQuery { after, ..alerts.clone() }), |(key, _)| *key)?;
    }
    for n in 1..40 {
        both(stores, |store| store.orders_of(&format!("D{n}"), 9))?;
    }
    for account in ["ACC-0", "ACC-1", "ACC-2", "NOBODY"] {
        both(stores, |store| store.executions(account, 0, 1_000))?;
        both(stores, |store| store.executions(account, 20, 5))?;
    }
    Ok(())
}

fn sums(stores: &[Arc<dyn Store>; 2]) -> std::result::Result<(), TestCaseError> {
    both(stores, |store| store.accounts())?;
    for account in [None, Some("ACC-0"), Some("ACC-2"), Some("NOBODY")] {
        both(stores, |store| store.symbol_stats(account))?;
        both(stores, |store| store.latest_risk(account))?;
    }
    Ok(())
}

fn curves(stores: &[Arc<dyn Store>; 2]) -> std::result::Result<(), TestCaseError> {
    for (from, to) in [(-10, 300), (30, 90), (400, 500)] {
        for interval_us in [1, 7_000_000, 86_400_000_000] {
            for symbol in [None, Some("S1"), Some("NOTHING")] {
                let query = PnlQuery {
                    account: "ACC-1".into(),
                    symbol: symbol.map(str::to_owned),
                    from: at(from),
                    to: at(to),
                    interval_us,
                };
                both(stores, |store| store.pnl(&query))?;
            }
        }
    }
    Ok(())
}

fn compare(config: &PostgresConfig, batches: Vec<Vec<Row>>) -> std::result::Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = PostgresConfig { schema: tapedeck_testbed::name("same"), ..config.clone() };
    let stores: [Arc<dyn Store>; 2] = [
        SqliteStore::open(folder.path(), SqliteConfig::default()).expect("SQLite"),
        PostgresStore::open(&config).expect("PostgreSQL"),
    ];
    let mut now_ms = at(0).millis();
    for batch in batches {
        now_ms += APART_MS;
        let batch = Batch { ingested_at_ms: now_ms, ..rows(batch) };
        both(&stores, |store| store.apply(&batch))?;
    }
    lists(&stores)?;
    sums(&stores)?;
    curves(&stores)?;
    // Not the curves: each store drops them in pieces of its own, and the last point stays in both.
    let tables = ["exec_reports", "alerts", "risk_metrics", "orders", "pnl_curve"];
    let keep = Duration::from_millis(2 * APART_MS.unsigned_abs());
    let rules = tables.map(|table| Retention { table: table.into(), keep });
    for store in &stores {
        while store.enforce_retention(&rules, now_ms).expect("retention") > 0 {}
    }
    lists(&stores)?;
    sums(&stores)
}

#[test]
fn postgresql_answers_as_sqlite_does_digit_for_digit() {
    let Some(config) = on_postgres() else { return };
    // A case is several hundred queries on each, and makes its tables first.
    let few = ProptestConfig { cases: 4, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(few);
    if let Err(failed) = runner.run(&batches(), |batches| compare(&config, batches)) {
        panic!("{failed}");
    }
}
