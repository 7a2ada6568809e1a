//! Retention: what goes, what stays, and that it stays known.
//!
//! Not here: the periods, which are config.

use std::time::Duration;

use tapedeck_contracts::events::Severity;

use super::{
    Open,
    samples::{START, alert, dec, metrics, new_order, row, rows, trade},
};
use crate::{AlertsQuery, FillsQuery, OrdersQuery, Retention, Store};

const DAY: Duration = Duration::from_secs(86_400);
const DAY_MS: i64 = 86_400_000;

fn rule(table: &str) -> Retention {
    Retention { table: table.into(), keep: DAY }
}

fn enforce(store: &dyn Store, now_ms: i64) -> u64 {
    let tables = ["exec_reports", "alerts", "signals", "risk_metrics", "orders", "pnl_curve"];
    let rules: Vec<_> = tables.into_iter().map(rule).collect();
    let mut gone = 0;
    loop {
        match store.enforce_retention(&rules, now_ms).expect("retention") {
            0 => return gone,
            more => gone += more,
        }
    }
}

/// Rows go by their ingest; open orders, the newest metrics and all sums stay.
pub fn old_rows_go_and_what_stands_stays(open: Open<'_>) {
    let store = open();
    let old = rows(vec![
        row(0, trade(1)),
        row(1, new_order(2)),
        row(2, alert(3, Severity::Error, None)),
        row(3, metrics(4, "ACC-1", Some("1"))),
        row(4, metrics(5, "ACC-1", Some("2"))),
    ]);
    store.apply(&old).expect("apply");
    assert_eq!(enforce(&*store, START.millis() + DAY_MS), 0, "nothing is a day old");
    let mut new = rows(vec![row(5, trade(6))]);
    new.ingested_at_ms = START.millis() + 10;
    store.apply(&new).expect("apply");
    let gone = enforce(&*store, START.millis() + DAY_MS + 5);
    assert!(gone > 0, "old rows went");
    let fills = store.fills(&FillsQuery { limit: 10, ..FillsQuery::default() }).expect("fills");
    assert_eq!(fills.iter().map(|fill| fill.fill_id.as_str()).collect::<Vec<_>>(), ["F6"]);
    assert_eq!(store.alerts(&AlertsQuery { limit: 10, ..AlertsQuery::default() }).expect("alerts"), []);
    let orders = store.orders(&OrdersQuery { limit: 10, ..OrdersQuery::default() }).expect("orders");
    assert_eq!(orders.iter().map(|order| order.order_id.as_str()).collect::<Vec<_>>(), ["O6", "O2"]);
    assert_eq!(store.latest_risk(None).expect("risk"), [metrics(5, "ACC-1", Some("2"))]);
    let stats = store.symbol_stats(None).expect("stats").remove(0);
    assert_eq!((stats.fills, stats.fees), (2, dec("38")));
}

/// What retention took comes back as a duplicate, not as news.
pub fn what_went_is_still_known(open: Open<'_>) {
    let store = open();
    let batch = rows(vec![row(0, trade(1)), row(1, alert(2, Severity::Info, None))]);
    store.apply(&batch).expect("apply");
    assert!(enforce(&*store, START.millis() + 2 * DAY_MS) > 0);
    drop(store);
    let store = open();
    let again = store.apply(&batch).expect("apply");
    assert_eq!((again.stored, again.duplicates), (0, 2));
    let mut same_fill = trade(1);
    same_fill.event_id = "another-id".into();
    let again = store.apply(&rows(vec![row(5, same_fill)])).expect("apply");
    assert_eq!((again.stored, again.duplicates), (0, 1));
}
