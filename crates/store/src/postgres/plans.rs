//! Tests that every query is read along its index, in every part of its table and
//! without a sort, whatever the planner believes of the names in it; and that a
//! point of a curve is a jump in one part.
//!
//! Not here: what the queries answer.

use std::time::{Duration, Instant};

use tapedeck_contracts::events::Severity;

use super::{
    PostgresConfig, PostgresStore, accounts, alerts,
    codec::Time,
    connect::{Connector, Session},
    fills, forensics, orders,
    partitions::Layout,
    pnl, risk, series, stats,
};
use crate::{
    Batch, Store,
    conformance::samples::{alert, metrics, new_order, row_in, rows, trade},
};

/// 2025-10-01, and how far apart the parts are that get rows: two months.
const FIRST_MS: i64 = 1_759_276_800_000;
const APART_MS: i64 = 61 * 86_400_000;
/// Rows of each list in each part.
const ROWS: u64 = 2_000;

/// Reports, metrics and alerts of two accounts, one of them rare, in three parts of
/// each table, which nobody has counted; none where no server is to be had.
fn filled() -> Option<Session> {
    let config = config(&tapedeck_testbed::postgres()?);
    let store = PostgresStore::open(&config).expect("a store");
    for part in 0..3 {
        let first = part * ROWS;
        let mut all = Vec::new();
        for n in first..first + ROWS {
            let rare = n % 500 == 0;
            let mut report = if n % 50 == 0 { new_order(n) } else { trade(n) };
            report.account = if rare { "RARE" } else { "ACC" }.into();
            report.symbol = format!("S{}", n % 4);
            let severity = if rare { Severity::Critical } else { Severity::Info };
            let about = [None, Some("ACC")][usize::from(n % 2 == 0)].filter(|_| !rare).or(rare.then_some("RARE"));
            all.push(row_in(0, n, report));
            all.push(row_in(1, n, metrics(n, "ACC", Some("500"))));
            all.push(row_in(2, n, alert(n, severity, about)));
        }
        let ingested_at_ms = FIRST_MS + i64::try_from(part).expect("small") * APART_MS;
        store.apply(&Batch { ingested_at_ms, ..rows(all) }).expect("apply");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    Some(Connector::new(&config).and_then(|connector| connector.connect(deadline)).expect("a connection"))
}

/// A URL with a password, as servers for tests give it, taken apart.
fn config(url: &str) -> PostgresConfig {
    let (user, rest) = url.split_once('@').expect("a user");
    let (name, password) = match user.trim_start_matches("postgres://").split_once(':') {
        Some((name, password)) => (name, password),
        None => (user.trim_start_matches("postgres://"), ""),
    };
    PostgresConfig {
        url: format!("postgres://{name}@{rest}"),
        password: password.into(),
        timescale: "no".into(),
        ..PostgresConfig::default()
    }
}

/// The plan of a query for any values, a step a line, the numbers of parts taken out.
fn plan(session: &mut Session, name: &str, sql: &str) -> Vec<String> {
    let parameters = (1..=9).rev().find(|number| sql.contains(&format!("${number}"))).unwrap_or(0);
    let values = if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(", ")) };
    session.batch(&format!("PREPARE {name} AS {sql}")).expect("a statement");
    let rows = session.query(&format!("EXPLAIN (COSTS OFF) EXECUTE {name}{values}"), &[]).expect("a plan");
    rows.iter().map(|row| row.get::<_, String>(0).replace(|letter: char| letter.is_ascii_digit(), "")).collect()
}

/// A query, the table it reads, and the index that it has to read along.
fn every_list() -> Vec<(String, &'static str, &'static str)> {
    let [realized, unrealized] = pnl::all_sql();
    vec![
        (fills::all_sql(), "exec_reports_p", "exec_reports_p_time_place_idx"),
        (fills::series_sql(), "exec_reports_p", "exec_reports_p_account_symbol_venue_time_place_idx"),
        (fills::executions_sql(), "exec_reports_p", "exec_reports_p_account_execution_number_idx"),
        (fills::decision_sql(), "exec_reports_p", "exec_reports_p_decision_id_time_place_idx"),
        (forensics::lists_sql(), "forensics_p", "forensics_p_list_time_place_idx"),
        (forensics::chain_sql(), "forensics_p", "forensics_p_chain_chain_index_idx"),
        (orders::decision_sql(), "orders", "orders_decision"),
        (orders::sql(false, false), "orders", "orders_time"),
        (orders::sql(true, false), "orders", "orders_open_time"),
        (orders::sql(true, true), "orders", "orders_open_account"),
        (orders::pairs_sql(), "orders", "orders_account_symbol"),
        (alerts::sql(false, false), "alerts_p", "alerts_p_time_place_idx"),
        (alerts::sql(false, true), "alerts_p", "alerts_p_severity_time_place_idx"),
        (alerts::sql(true, false), "alerts_p", "alerts_p_account_time_place_idx"),
        (alerts::sql(true, true), "alerts_p", "alerts_p_account_severity_time_place_idx"),
        (risk::OF_ACCOUNT.to_owned(), "risk_latest", "risk_latest_pkey"),
        (stats::STATS.to_owned(), "symbol_stats", "symbol_stats_pkey"),
        (stats::FEES.to_owned(), "symbol_fees", "symbol_fees_pkey"),
        (series::SERIES.to_owned(), "symbol_stats", "symbol_stats_pkey"),
        (accounts::ALL.to_owned(), "accounts", "accounts_pkey"),
        (realized, "pnl_curve_p", "pnl_curve_p_account_symbol_time_reports_idx"),
        (unrealized, "unrealized_curve_p", "unrealized_curve_p_account_symbol_time_place_idx"),
    ]
}

fn assert_is_read_along(steps: &[String], table: &str, index: &str) {
    let on = format!(" on {table} ");
    let scans: Vec<_> = steps.iter().filter(|step| step.contains("Scan") && format!("{step} ").contains(&on)).collect();
    assert!(!scans.is_empty(), "{table} is not read: {steps:#?}");
    for scan in scans {
        assert!(scan.contains(&format!(" using {index} on")), "{scan} has to go along {index}");
    }
    let sorted =
        steps.iter().find(|step| step.trim_start().trim_start_matches("->").trim_start().starts_with("Sort ("));
    assert!(sorted.is_none() && !steps.iter().any(|step| step.trim_end().ends_with("Sort")), "sorted: {steps:#?}");
}

#[test]
fn every_list_is_read_along_its_index_in_every_part() {
    let Some(mut session) = filled() else { return };
    for (round, before) in ["", "ANALYZE"].into_iter().enumerate() {
        session.batch(before).and_then(|()| session.batch(series::AT_ONCE)).expect("statistics");
        for (at, (sql, table, index)) in every_list().into_iter().enumerate() {
            let steps = plan(&mut session, &format!("look_{round}_{at}"), &sql);
            assert_is_read_along(&steps, table, index);
        }
        session.batch("COMMIT").expect("the end");
    }
}

#[test]
fn a_jump_in_a_curve_looks_into_one_part_alone() {
    let Some(mut session) = filled() else { return };
    let [realized, _] = pnl::all_sql();
    session.batch(&format!("PREPARE jump AS {realized}")).expect("a statement");
    let (firsts, lasts) = pnl::parts(&mut session, Layout::Declarative, "pnl_curve").expect("parts");
    let rows = session.query("SELECT $1::timestamptz[]::text, $2::timestamptz[]::text", &[&firsts, &lasts]);
    let row = &rows.expect("two texts")[0];
    let ranges = format!("'{}', '{}'", row.get::<_, &str>(0), row.get::<_, &str>(1));
    let call = format!("EXECUTE jump('ACC', 'S1', '2100-01-01', '40 seconds', '2025-01-01', 10001, {ranges})");
    let rows = session.query(&format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {call}"), &[]).expect("a plan");
    let jumps: Vec<usize> = rows
        .iter()
        .map(|row| row.get::<_, String>(0))
        .filter(|step| step.contains("pnl_curve_p"))
        .map(|step| {
            step.rsplit_once("loops=").map_or(0, |(_, loops)| loops.trim_end_matches(')').parse().expect("a number"))
        })
        .collect();
    // 50 buckets in each of three parts; one seek more in each finds nothing.
    let (seeks, points) = (jumps.iter().sum::<usize>(), 150);
    assert!(seeks >= points && seeks < points * 2, "{seeks} seeks: {jumps:?}");
}

#[test]
fn buckets_of_the_server_are_those_of_the_rules() {
    let Some(mut session) = filled() else { return };
    let sql = "SELECT date_bin($1::text::interval, $2, 'epoch')";
    for (time_us, interval_us) in [(1, 7), (-1, 7), (-7, 7), (0, 60_000_000), (-62_167_219_199_999_999, 86_400_000_000)]
    {
        let rows = session.query(sql, &[&format!("{interval_us} microseconds"), &Time(time_us)]).expect("a bucket");
        assert_eq!(rows[0].get::<_, Time>(0).0, i64::div_euclid(time_us, interval_us) * interval_us);
    }
}
