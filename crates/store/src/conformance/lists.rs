//! Fills, executions, orders and alerts: filters, order, paging.
//!
//! Not here: sums.

use tapedeck_contracts::events::{ExecType, OrderStatus, Severity};

use super::{
    Open,
    samples::{alert, at, dec, metrics, new_order, reports, row, row_in, rows, trade},
};
use crate::{AlertsQuery, FillRow, FillsQuery, OrdersQuery, Store};

const ACCOUNTS: [&str; 2] = ["ACC-1", "ACC-2"];
const VENUES: [&str; 2] = ["BINANCE", "COINBASE"];
const SYMBOLS: [&str; 3] = ["BTCUSDT", "ETHUSDT", "SOLUSDT"];

fn mixed() -> crate::Batch {
    reports((1..=60).map(|n| {
        let mut report = trade(n);
        let n = usize::try_from(n).expect("a small number");
        report.account = ACCOUNTS[n % 2].into();
        report.venue = VENUES[n / 2 % 2].into();
        report.symbol = SYMBOLS[n % 3].into();
        report
    }))
}

fn numbers(fills: &[FillRow]) -> Vec<u64> {
    fills.iter().filter_map(|fill| fill.execution_number).collect()
}

/// Every set of filters gives what a plain filter over all fills gives.
pub fn every_set_of_filters_finds_its_fills(open: Open<'_>) {
    let store = open();
    store.apply(&mixed()).expect("apply");
    let all = store.fills(&FillsQuery { limit: 1_000, ..FillsQuery::default() }).expect("fills");
    assert_eq!(numbers(&all), (1..=60).rev().collect::<Vec<_>>(), "newest first");
    for set in 0..32_u32 {
        let wanted = |bit: u32| set & bit != 0;
        let query = FillsQuery {
            account: wanted(1).then(|| "ACC-1".to_owned()),
            symbol: wanted(2).then(|| "ETHUSDT".to_owned()),
            venue: wanted(4).then(|| "COINBASE".to_owned()),
            from: wanted(8).then(|| at(10)),
            to: wanted(16).then(|| at(50)),
            after: None,
            limit: 1_000,
        };
        let expected: Vec<_> = all
            .iter()
            .filter(|fill| query.account.as_ref().is_none_or(|account| *account == fill.account))
            .filter(|fill| query.symbol.as_ref().is_none_or(|symbol| *symbol == fill.symbol))
            .filter(|fill| query.venue.as_ref().is_none_or(|venue| *venue == fill.venue))
            .filter(|fill| query.from.is_none_or(|from| fill.timestamp >= from))
            .filter(|fill| query.to.is_none_or(|to| fill.timestamp < to))
            .cloned()
            .collect();
        assert!(!expected.is_empty(), "the sample has fills for each set");
        assert_eq!(store.fills(&query).expect("fills"), expected, "{query:?}");
    }
    let unknown = FillsQuery { venue: Some("NOWHERE".into()), limit: 10, ..FillsQuery::default() };
    assert_eq!(store.fills(&unknown).expect("fills"), []);
}

/// Pages show each fill once, in order, while newer ones arrive.
pub fn pages_are_stable_while_fills_arrive(open: Open<'_>) {
    let store = open();
    // Three partitions share each time: the key has to tell them apart.
    let tied = (0..30_u64).map(|n| {
        let mut report = trade(n + 1);
        report.timestamp = at(i64::try_from(n / 3).expect("small"));
        row_in(u32::try_from(n % 3).expect("small"), n, report)
    });
    store.apply(&rows(tied.collect())).expect("apply");
    let whole = store.fills(&FillsQuery { limit: 100, ..FillsQuery::default() }).expect("fills");
    let mut query = FillsQuery { limit: 7, ..FillsQuery::default() };
    let mut paged = Vec::new();
    for arriving in 100.. {
        let page = store.fills(&query).expect("fills");
        let Some(last) = page.last() else { break };
        query.after = Some(last.key);
        paged.extend(page);
        store.apply(&rows(vec![row(arriving, trade(arriving))])).expect("apply");
    }
    assert_eq!(paged, whole);
    assert!(whole.is_sorted_by(
        |a, b| (a.timestamp, a.key.partition, a.key.offset) > (b.timestamp, b.key.partition, b.key.offset)
    ));
}

/// Executions come by their number, without corrections and without other accounts.
pub fn executions_come_by_their_number(open: Open<'_>) {
    let store = open();
    let mut batch: Vec<_> = [5, 3, 1, 4, 2].map(trade).into();
    batch[1].account = "ACC-2".into();
    batch[2].timestamp = at(99);
    let mut cancel = trade(6);
    cancel.exec_type = ExecType::TradeCancel;
    cancel.fill.as_mut().expect("a fill").ref_fill_id = Some("F5".into());
    batch.push(cancel);
    batch.push(new_order(7));
    store.apply(&reports(batch)).expect("apply");
    let numbered = |after, limit| numbers(&store.executions("ACC-1", after, limit).expect("executions"));
    assert_eq!(numbered(0, 100), [1, 2, 4, 5]);
    assert_eq!(numbered(1, 2), [2, 4]);
    assert_eq!(numbered(5, 100), Vec::<u64>::new());
    assert_eq!(store.executions("NOBODY", 0, 10).expect("executions"), []);
}

/// An order stands as its newest report says, and keeps when it began.
pub fn an_order_stands_as_its_newest_report_says(open: Open<'_>) {
    let store = open();
    store.apply(&rows(vec![row(0, new_order(1)), row(1, new_order(2))])).expect("apply");
    let open_orders = OrdersQuery { open_only: true, limit: 10, ..OrdersQuery::default() };
    assert_eq!(order_ids(&*store, &open_orders), ["O2", "O1"]);
    let mut part = trade(3);
    part.order.order_id = "O1".into();
    part.order.status = OrderStatus::PartiallyFilled;
    part.order.cum_qty = dec("0.2");
    part.order.leaves_qty = dec("0.3");
    let mut filled = trade(4);
    filled.order.order_id = "O2".into();
    store.apply(&rows(vec![row(2, part), row(3, filled)])).expect("apply");
    let orders = store.orders(&open_orders).expect("orders");
    assert_eq!(orders.len(), 1);
    assert_eq!((orders[0].order_id.as_str(), orders[0].status), ("O1", OrderStatus::PartiallyFilled));
    assert_eq!((orders[0].created_at, orders[0].updated_at), (at(1), at(3)));
    assert_eq!((orders[0].cum_qty, orders[0].leaves_qty), (dec("0.2"), dec("0.3")));
    assert_eq!(orders[0].strategy_id.as_deref(), Some("sma-crossover"));
    let all = OrdersQuery { limit: 10, ..OrdersQuery::default() };
    assert_eq!(order_ids(&*store, &all), ["O2", "O1"]);
}

fn order_ids(store: &dyn Store, query: &OrdersQuery) -> Vec<String> {
    store.orders(query).expect("orders").into_iter().map(|order| order.order_id).collect()
}

/// Orders are found by account and symbol, open or all, page by page.
pub fn every_set_of_filters_finds_its_orders(open: Open<'_>) {
    let store = open();
    let batch = (1..=40).map(|n| {
        let mut report = if n % 3 == 0 { trade(n) } else { new_order(n) };
        let n = usize::try_from(n).expect("a small number");
        report.account = ACCOUNTS[n % 2].into();
        report.symbol = SYMBOLS[n / 2 % 3].into();
        report
    });
    store.apply(&reports(batch)).expect("apply");
    let all = store.orders(&OrdersQuery { limit: 100, ..OrdersQuery::default() }).expect("orders");
    assert_eq!(all.len(), 40);
    for set in 0..8_u32 {
        let mut query = OrdersQuery {
            account: (set & 1 != 0).then(|| "ACC-1".to_owned()),
            symbol: (set & 2 != 0).then(|| "SOLUSDT".to_owned()),
            open_only: set & 4 != 0,
            after: None,
            limit: 3,
        };
        let expected: Vec<_> = all
            .iter()
            .filter(|order| query.account.as_ref().is_none_or(|account| *account == order.account))
            .filter(|order| query.symbol.as_ref().is_none_or(|symbol| *symbol == order.symbol))
            .filter(|order| !query.open_only || order.status == OrderStatus::New)
            .cloned()
            .collect();
        let mut paged = Vec::new();
        loop {
            let page = store.orders(&query).expect("orders");
            let Some(last) = page.last() else { break };
            query.after = Some(last.key);
            paged.extend(page);
        }
        assert_eq!(paged, expected, "{query:?}");
    }
}

/// Alerts are found by severity, account and time, newest first, page by page, whole.
pub fn every_set_of_filters_finds_its_alerts(open: Open<'_>) {
    let store = open();
    let severities = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];
    let batch = (1..=40_u64).map(|n| {
        let at = usize::try_from(n).expect("small");
        row(n, alert(n, severities[at * 7 % 4], [None, Some("ACC-1"), Some("ACC-2")][at % 3]))
    });
    store.apply(&rows(batch.collect())).expect("apply");
    let all = store.alerts(&AlertsQuery { limit: 100, ..AlertsQuery::default() }).expect("alerts");
    assert_eq!(all.len(), 40);
    assert_eq!(all[0].1, alert(40, severities[40 * 7 % 4], Some("ACC-1")), "the body comes back whole");
    for set in 0..32_u32 {
        let mut query = AlertsQuery {
            min_severity: (set & 3 != 0).then(|| severities[usize::try_from(set & 3).expect("small")]),
            account: (set & 4 != 0).then(|| "ACC-1".to_owned()),
            from: (set & 8 != 0).then(|| at(5)),
            to: (set & 16 != 0).then(|| at(35)),
            after: None,
            limit: 4,
        };
        let expected: Vec<_> = all
            .iter()
            .filter(|(_, alert)| query.min_severity.is_none_or(|severity| alert.severity >= severity))
            .filter(|(_, alert)| query.account.is_none() || alert.account == query.account)
            .filter(|(_, alert)| query.from.is_none_or(|from| alert.timestamp >= from))
            .filter(|(_, alert)| query.to.is_none_or(|to| alert.timestamp < to))
            .cloned()
            .collect();
        let mut paged = Vec::new();
        loop {
            let page = store.alerts(&query).expect("alerts");
            let Some((key, _)) = page.last() else { break };
            query.after = Some(*key);
            paged.extend(page);
        }
        assert_eq!(paged, expected, "{query:?}");
    }
}

/// The newest metrics of an account by their own time, whole, and none of a stranger.
pub fn the_latest_metrics_are_the_newest_by_their_time(open: Open<'_>) {
    let store = open();
    let newest = metrics(9, "ACC-1", Some("500"));
    let batch = rows(vec![
        row(0, metrics(3, "ACC-1", Some("1"))),
        row(1, newest.clone()),
        row(2, metrics(5, "ACC-1", None)),
        row(3, metrics(4, "ACC-2", None)),
    ]);
    store.apply(&batch).expect("apply");
    assert_eq!(store.latest_risk(Some("ACC-1")).expect("risk"), std::slice::from_ref(&newest));
    assert_eq!(store.latest_risk(None).expect("risk"), [newest, metrics(4, "ACC-2", None)]);
    assert_eq!(store.latest_risk(Some("NOBODY")).expect("risk"), []);
}
