//! Tests that every list of events is read along an index in the order of its
//! answer: nothing is sorted, and only the few rows of the statistics are scanned.
//!
//! Not here: what the queries answer.

use rusqlite::Connection;

use super::{alerts, fills, forensics, orders, pnl, risk, schema, series, stats};

/// The plan of a query, a step a line.
fn plan(sql: &str) -> Vec<String> {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&schema::MIGRATIONS.concat()).unwrap();
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps
}

/// One step: a search along the index, whose columns in front are all bound.
fn assert_searches(sql: &str, index: &str, bound: &[&str]) {
    let steps = plan(sql);
    assert_eq!(steps.len(), 1, "one step, no sorting: {steps:?}");
    assert!(steps[0].starts_with("SEARCH") && steps[0].contains(index), "{steps:?} has to search {index}");
    for column in bound {
        assert!(steps[0].contains(&format!("{column}=?")), "{steps:?} has to bind {column}");
    }
    assert!(steps[0].contains("time_us<?") || steps[0].contains("time_us,place)<"), "{steps:?} has to seek by time");
}

#[test]
fn fills_are_read_along_their_times_or_those_of_a_series() {
    assert_searches(&fills::all_sql(), "fills_time", &[]);
    assert_searches(fills::KEYS, "fills_series", &["account", "symbol", "venue"]);
}

#[test]
fn orders_are_read_along_their_times_or_those_of_an_account_and_symbol() {
    assert_searches(&orders::sql(false, false, false), "orders_time", &[]);
    assert_searches(orders::KEYS, "COVERING INDEX orders_account_symbol", &["account", "symbol"]);
    // Open orders are few: their symbol is compared row by row.
    for symbol in [false, true] {
        assert_searches(&orders::sql(false, symbol, true), "orders_open_time", &[]);
        assert_searches(&orders::sql(true, symbol, true), "orders_open_account", &["account"]);
    }
}

#[test]
fn every_set_of_filters_of_alerts_has_its_index() {
    for set in 0..4_u8 {
        let (account, severity) = (set & 1 != 0, set & 2 != 0);
        let mut bound = if account { vec!["account"] } else { vec![] };
        bound.extend(severity.then_some("severity"));
        assert_searches(&alerts::sql(account, severity), "alerts_", &bound);
    }
}

#[test]
fn a_point_of_the_curve_is_a_seek_in_each_table() {
    for sql in [pnl::REALIZED, pnl::UNREALIZED] {
        assert_searches(sql, "PRIMARY KEY", &["account", "symbol"]);
    }
}

#[test]
fn executions_latest_metrics_and_statistics_are_searched() {
    let searched = [
        (fills::executions_sql(), "executions (account=? AND execution_number>?)"),
        (risk::LATEST.to_owned(), "risk_metrics_account (account=?)"),
        (stats::OF_ACCOUNT.to_owned(), "PRIMARY KEY (account=?)"),
    ];
    for (sql, index) in searched {
        let steps = plan(&sql);
        assert!(steps.len() == 1 && steps[0].contains(index), "{steps:?} has to search {index}");
    }
    // Series are a row each, and few: the table in its order, without a sort.
    assert_eq!(plan(series::SERIES), ["SCAN symbol_stats"]);
    assert_eq!(plan(stats::OF_ALL), ["SCAN symbol_stats"]);
}

#[test]
fn explained_decisions_are_read_along_their_lists_and_chains() {
    assert_searches(forensics::KEYS, "COVERING INDEX forensics_time", &["list"]);
    let steps = plan(forensics::STRETCHES);
    assert!(steps[0].contains("PRIMARY KEY (chain=? AND first_index>?)"), "{steps:?}");
    let steps = plan(&forensics::rows_sql());
    assert!(steps[0].contains("INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{steps:?}");
    assert!(steps.iter().all(|step| step.starts_with("SEARCH")), "{steps:?}");
    for (sql, index) in [(fills::decision_sql(), "fills_decision"), (orders::decision_sql(), "orders_decision")] {
        let steps = plan(&sql);
        assert!(steps.len() == 1 && steps[0].contains(&format!("{index} (decision_id=?)")), "{steps:?}");
    }
}
