//! Tests that every query is read along its index, in every part of its table and
//! without a sort, whatever the planner believes of the names in it; and that a
//! point of a curve is a jump in one part.
//!
//! Not here: what the queries answer.

use super::{
    PostgresConfig, accounts, alerts,
    codec::Time,
    connect::{Connector, Session},
    fills, orders,
    partitions::{Known, Layout},
    pnl, risk, schema, series, stats,
};

const SCHEMA: &str = "tapedeck";
/// 2025-10-01, and how far apart the parts are that get rows: two months.
const FIRST_MS: i64 = 1_759_276_800_000;
const APART_MS: i64 = 61 * 86_400_000;

/// Rows of two accounts, one of them rare, in three parts of each table.
const FILL: &str = "
INSERT INTO exec_reports SELECT $AT, $AT + n * interval '1 ms', n, CASE WHEN n % 1000 = 0 THEN 'RARE' ELSE 'ACC' END, \
    'V', 'S' || n % 4, 's', 'TRADE', 'e', null, 'o', 'c', 'BUY', 'MARKET', 1, null, 'GTC', 'FILLED', 1, 0, 1, 'F' || n, n, 1, 1, \
    'TAKER', null, 0, 'USD', 1, 0, 0, null, null FROM generate_series(1, 5000) n;
INSERT INTO pnl_curve SELECT $AT, 'ACC', 'S' || n % 4, $AT + n * interval '1 ms', n, n, 0 FROM generate_series(1, 5000) n;
INSERT INTO unrealized_curve SELECT $AT, 'ACC', '', $AT + n * interval '1 ms', n, n FROM generate_series(1, 5000) n;
INSERT INTO alerts SELECT $AT, $AT + n * interval '1 ms', n, CASE WHEN n % 1000 = 0 THEN 'CRITICAL' ELSE 'INFO' END, \
    CASE WHEN n % 1000 = 0 THEN 'RARE' WHEN n % 2 = 0 THEN 'ACC' END, '{}' FROM generate_series(1, 5000) n;
INSERT INTO orders SELECT CASE WHEN n % 1000 = 0 THEN 'RARE' ELSE 'ACC' END, 'V', 'S' || n % 4, $AT::text || n, \
    $AT + n * interval '1 ms', n, $AT, $AT, n % 50 = 0, 'c', 'BUY', 'MARKET', 1, null, 'GTC', 'NEW', 0, 1, null, null, null \
    FROM generate_series(1, 5000) n;
";

/// A schema with rows that nobody has counted; none where no server is to be had.
fn filled() -> Option<Session> {
    let connector = Connector::new(&config(&tapedeck_testbed::postgres()?)).expect("a config");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut session = connector.connect(deadline).expect("a connection");
    schema::migrate(&mut session, SCHEMA, "no").expect("a schema");
    let mut known = Known::default();
    for part in 0..3 {
        let ingested_ms = FIRST_MS + part * APART_MS;
        known.make(&mut session, SCHEMA, ingested_ms).expect("parts");
        let at = format!("to_timestamp({}::bigint)", ingested_ms / 1_000);
        session.batch(&FILL.replace("$AT", &at)).expect("rows");
    }
    Some(session)
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
        schema: SCHEMA.into(),
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
    session
        .batch(&format!("INSERT INTO pnl_totals VALUES ('ACC', 'S1', now(), 0, 0, 0); PREPARE jump AS {realized}"))
        .expect("a statement");
    let (firsts, lasts) = pnl::parts(&mut session, Layout::Declarative, "pnl_curve").expect("parts");
    let rows = session.query("SELECT $1::timestamptz[]::text, $2::timestamptz[]::text", &[&firsts, &lasts]);
    let row = &rows.expect("two texts")[0];
    let ranges = format!("'{}', '{}'", row.get::<_, &str>(0), row.get::<_, &str>(1));
    let call = format!("EXECUTE jump('ACC', NULL, '2100-01-01', '100 milliseconds', '2025-01-01', 10001, {ranges})");
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
