//! What only PostgreSQL has: rights, versions, and schemas that are not whole.
//!
//! Not here: its crashes and its network (`postgres_failures`), and what every
//! store does.

use std::{sync::Barrier, thread, time::Duration};

use tapedeck_contracts::events::Severity;
use tapedeck_store::{
    AlertsQuery, Batch, ExplainedBatch, ExplainedQuery, Explanations, FillsQuery, PostgresConfig, PostgresStore,
    Retention, Store, StoreError,
    conformance::explained::{batch_of, explained, the_last_of_a_symbol_outlives_an_upgrade},
    conformance::samples::{START, alert, at, dec, metrics, moved, new_order, row, row_in, rows, sale, trade},
};

use self::postgres_servers::{Admin, on_postgres, on_timescale};

mod postgres_servers;

const DAY_MS: i64 = 86_400_000;

fn open(config: &PostgresConfig) -> std::sync::Arc<PostgresStore> {
    PostgresStore::open(config).expect("a store")
}

fn refusal(config: &PostgresConfig) -> String {
    match PostgresStore::open(config).err().expect("a refusal") {
        StoreError::Fatal(text) => text,
        other => panic!("expected a fatal error, found {other:?}"),
    }
}

/// Tables of the schema, the partitions too.
fn tables(admin: &Admin, schema: &str) -> i64 {
    admin.numbers(&format!(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = '{schema}' AND c.relkind IN ('r', 'p')"
    ))[0]
}

fn has_schema(admin: &Admin, schema: &str) -> bool {
    admin.numbers(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"))[0] == 1
}

#[test]
fn a_schema_of_a_newer_version_is_refused_with_what_to_do() {
    let Some(config) = on_postgres() else { return };
    drop(open(&config));
    Admin::of(&config).run("UPDATE tapedeck_schema SET version = 99");
    let text = refusal(&config);
    assert!(text.contains("newer tapedeck (version 99") && text.contains("start that version"), "{text}");
}

/// What the first version had not.
const AFTER_THE_FIRST: &str = "DROP TABLE forensics; DROP TABLE forensics_lists, feature_sets, forensics_ids, \
     forensics_chains, forensics_symbols, forensics_importance; DROP INDEX fills_decision, orders_decision; ALTER TABLE orders DROP COLUMN reason; UPDATE tapedeck_schema SET version = 1";

fn a_schema_of_the_first_version_gets_the_tables(config: &PostgresConfig) {
    let store = open(config);
    let mut of_decision = trade(1);
    of_decision.decision_id = Some(explained(0).decision_id);
    store.apply(&rows(vec![row(0, of_decision), row(1, trade(2))])).expect("apply");
    drop(store);
    let admin = Admin::of(config);
    admin.run(AFTER_THE_FIRST);
    let store = open(config);
    assert_eq!(store.apply_explained(&batch_of(vec![explained(0)])).expect("apply"), [0_usize; 0]);
    assert_eq!(store.explained(&explained(0).decision_id).expect("a row"), Some(explained(0)));
    assert_eq!(store.fills_of(&explained(0).decision_id, 9).expect("fills")[0].fill_id, "F1");
    let orders = store.orders_of(&explained(0).decision_id, 9).expect("orders");
    assert_eq!((orders[0].order_id.as_str(), &orders[0].reason), ("O1", &None));
    assert_eq!(store.fills(&FillsQuery { limit: 9, ..FillsQuery::default() }).expect("fills").len(), 2);
}

#[test]
fn a_schema_of_the_first_version_gets_the_new_tables() {
    let Some(config) = on_postgres() else { return };
    a_schema_of_the_first_version_gets_the_tables(&config);
    let admin = Admin::of(&config);
    admin.run("DROP TABLE forensics_symbols");
    let text = refusal(&config);
    assert!(text.contains("there in part") && text.contains("`forensics_symbols`"), "{text}");
}

#[test]
fn a_schema_with_one_last_record_of_all_accounts_keeps_it() {
    let Some(config) = on_postgres() else { return };
    let downgrade = || {
        Admin::of(&config).run(
            "DELETE FROM forensics_symbols s USING forensics_symbols later
                 WHERE later.chain = s.chain AND later.symbol = s.symbol AND later.chain_index > s.chain_index;
             ALTER TABLE forensics_symbols DROP CONSTRAINT forensics_symbols_pkey;
             ALTER TABLE forensics_symbols DROP COLUMN account;
             ALTER TABLE forensics_symbols ADD CONSTRAINT forensics_symbols_pkey PRIMARY KEY (chain, symbol);
             UPDATE tapedeck_schema SET version = 3",
        );
    };
    the_last_of_a_symbol_outlives_an_upgrade(&|| open(&config), downgrade);
}

#[test]
fn on_timescaledb_a_schema_of_the_first_version_gets_a_new_hypertable() {
    let Some((_server, config)) = on_timescale() else { return };
    a_schema_of_the_first_version_gets_the_tables(&config);
    let compressed = "SELECT count(*) FROM timescaledb_information.hypertables WHERE compression_enabled";
    assert_eq!(Admin::of(&config).numbers(compressed), [7]);
}

#[test]
fn a_schema_that_is_there_in_part_is_refused_and_left_alone() {
    let Some(config) = on_postgres() else { return };
    let admin = Admin::of(&config);
    admin.run(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.orders (note text)", config.schema));
    let text = refusal(&config);
    assert!(text.contains("there in part") && text.contains("`orders`"), "{text}");
    assert_eq!(tables(&admin, &config.schema), 1, "nothing half done");

    let whole = PostgresConfig { schema: tapedeck_testbed::name("whole"), ..config };
    drop(open(&whole));
    admin.run(&format!("DROP TABLE {}.accounts", whole.schema));
    let before = tables(&admin, &whole.schema);
    let text = refusal(&whole);
    assert!(text.contains("there in part") && text.contains("`accounts`"), "{text}");
    assert_eq!(tables(&admin, &whole.schema), before, "nothing half done");
}

#[test]
fn a_database_without_the_extension_is_refused_where_it_is_asked_for() {
    let Some(config) = on_postgres() else { return };
    let asks = PostgresConfig { timescale: "yes".into(), ..config.clone() };
    let text = refusal(&asks);
    assert!(text.contains("CREATE EXTENSION timescaledb") && text.contains("auto or no"), "{text}");
    assert!(!has_schema(&Admin::of(&config), &config.schema), "nothing half done");
    drop(open(&config));
    let text = refusal(&asks);
    assert!(text.contains("made without TimescaleDB") && text.contains("auto"), "{text}");
}

#[test]
fn a_role_without_rights_is_told_what_to_grant_and_changes_nothing() {
    let Some(config) = on_postgres() else { return };
    let admin = Admin::of(&config);
    let role = tapedeck_testbed::name("reader");
    admin.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'let-me-in'"));
    let (before, place) = config.url.split_once('@').expect("a user");
    let scheme = before.split_once("://").expect("a scheme").0;
    let poor =
        PostgresConfig { url: format!("{scheme}://{role}@{place}"), password: "let-me-in".into(), ..config.clone() };
    let text = refusal(&poor);
    assert!(text.contains("permission denied") && text.contains("CREATE SCHEMA"), "{text}");
    assert!(!has_schema(&admin, &config.schema), "nothing half done");

    let owner = open(&config);
    owner.apply(&Batch { offsets: vec![moved(None, 1)], ..rows(vec![row(0, trade(1))]) }).expect("apply");
    admin.run(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
        schema = config.schema
    ));
    let reader = open(&poor);
    let all = FillsQuery { limit: 10, ..FillsQuery::default() };
    assert_eq!(reader.fills(&all).expect("fills").len(), 1, "who may read, reads");
    let batch = Batch { offsets: vec![moved(Some(1), 2)], ..rows(vec![row(1, trade(2))]) };
    let Err(StoreError::Fatal(text)) = reader.apply(&batch) else { panic!("a refusal") };
    assert!(text.contains("permission denied") && text.contains("GRANT SELECT, INSERT, UPDATE, DELETE"), "{text}");
    assert_eq!(owner.fills(&all).expect("fills").len(), 1, "nothing half done");
    assert_eq!(owner.apply(&batch).expect("apply").stored, 1);
    admin.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_wrong_password_is_fatal_and_no_password_is_ever_shown() {
    let Some(config) = on_postgres() else { return };
    let wrong = PostgresConfig { password: "not-the-password".into(), ..config.clone() };
    let text = refusal(&wrong);
    assert!(text.contains("user and password") && !text.contains("not-the-password"), "{text}");
    assert!(!format!("{wrong:?}").contains("not-the-password"));
    let inside = PostgresConfig { url: "postgres://tapedeck:in-the-url@127.0.0.1/tapedeck".into(), ..config.clone() };
    let text = refusal(&inside);
    assert!(text.contains("password") && !text.contains("in-the-url"), "{text}");
    let unknown = PostgresConfig { url: format!("{}_unknown", config.url), ..config };
    let text = refusal(&unknown);
    assert!(text.contains("does not exist") && text.contains("createdb"), "{text}");
}

#[test]
fn settings_that_mean_nothing_are_refused_by_their_name() {
    let settings = [
        ("timescale", PostgresConfig { timescale: "maybe".into(), ..PostgresConfig::default() }),
        ("bulk", PostgresConfig { bulk: "fast".into(), ..PostgresConfig::default() }),
        ("tls", PostgresConfig { tls: "strong".into(), ..PostgresConfig::default() }),
        ("url", PostgresConfig { url: "postgres://".into(), ..PostgresConfig::default() }),
        ("schema", PostgresConfig { schema: String::new(), ..PostgresConfig::default() }),
        ("ca_file", PostgresConfig { ca_file: "/no/such.pem".into(), ..PostgresConfig::default() }),
    ];
    for (name, config) in settings {
        let text = refusal(&config);
        assert!(text.contains("[postgres]") && text.contains(name), "{name}: {text}");
    }
}

#[test]
fn all_that_open_a_new_schema_at_once_find_it_whole() {
    let Some(config) = on_postgres() else { return };
    let start = Barrier::new(4);
    thread::scope(|scope| {
        let openers: Vec<_> = (0..4_u64)
            .map(|n| {
                let (start, config) = (&start, &config);
                scope.spawn(move || {
                    start.wait();
                    open(config).apply(&rows(vec![row(n, trade(n))])).expect("apply").stored
                })
            })
            .collect();
        let stored: usize = openers.into_iter().map(|opener| opener.join().expect("no panic")).sum();
        assert_eq!(stored, 4);
    });
}

#[test]
fn two_writers_of_other_partitions_wait_in_no_circle_and_lose_no_sum() {
    let Some(config) = on_postgres() else { return };
    let (batches, size) = (25, 40);
    thread::scope(|scope| {
        for partition in 0..3_u32 {
            let config = &config;
            scope.spawn(move || {
                let store = open(config);
                for number in 0..batches {
                    let first = number * size;
                    let reports = (first..first + size).map(|n| {
                        let mut report = sale(n, "1");
                        // Each batch touches all accounts, each writer in another order.
                        report.account = format!("ACC-{}", (n * u64::from(partition + 1) + n) % 4);
                        report.event_id = format!("{partition}-{n}").as_str().into();
                        report.order.order_id = format!("{partition}-{n}");
                        report.fill.as_mut().expect("a fill").fill_id = format!("{partition}-{n}");
                        row_in(partition, n, report)
                    });
                    let expected = (number > 0).then_some(first);
                    let mut offset = moved(expected, first + size);
                    offset.partition = partition;
                    let batch = Batch { offsets: vec![offset], ..rows(reports.collect()) };
                    assert_eq!(store.apply(&batch).expect("apply").stored, batch.rows.len());
                }
            });
        }
    });
    let store = open(&config);
    let stats = store.symbol_stats(None).expect("stats");
    assert_eq!(stats.iter().map(|stats| stats.fills).sum::<u64>(), 3 * batches * size);
    let realized: rust_decimal::Decimal = stats.iter().map(|stats| *stats.realized).sum();
    assert_eq!(realized, (3 * batches * size).into());
    let admin = Admin::of(&config);
    let points = admin.numbers("SELECT sum(reports)::bigint FROM pnl_totals");
    assert_eq!(points, [i64::try_from(3 * batches * size).expect("a small number")]);
}

#[test]
fn a_text_that_postgresql_cannot_keep_is_named_by_its_row() {
    let Some(config) = on_postgres() else { return };
    let store = open(&config);
    let mut with_nul = trade(2);
    with_nul.order.client_order_id = "C\0".into();
    let mut long = trade(3);
    long.symbol = "S".repeat(3_000);
    for (unfit, field) in [(with_nul, "$.order.client_order_id"), (long, "$.symbol")] {
        let batch = rows(vec![row(0, trade(1)), row(1, unfit)]);
        let Err(StoreError::Poison { index: 1, detail }) = store.apply(&batch) else { panic!("the second is named") };
        assert!(detail.contains(field), "{detail}");
    }
    assert_eq!(store.apply(&rows(vec![row(0, trade(1))])).expect("apply").stored, 1);
}

/// A batch of the sample's kinds that was ingested so many days after the start.
fn ingested(day: i64, first: u64) -> Batch {
    let batch = rows(vec![
        row(first, trade(first)),
        row(first + 1, new_order(first + 1)),
        row(first + 2, alert(first + 2, Severity::Error, None)),
        row(first + 3, metrics(first + 3, "ACC-1", Some("1"))),
    ]);
    Batch { ingested_at_ms: START.millis() + day * DAY_MS, ..batch }
}

fn keep(days: u64) -> Vec<Retention> {
    let tables = ["exec_reports", "pnl_curve", "risk_metrics", "alerts", "signals", "orders", "forensics"];
    let keep = Duration::from_secs(days * 86_400);
    tables.into_iter().map(|table| Retention { table: table.into(), keep }).collect()
}

/// The parts of its table go whole, and what stands is still there.
fn old_parts_go_whole(config: &PostgresConfig, parts: &str) {
    let store = open(config);
    for (number, day) in (0_u64..).zip([0, 40, 80, 400]) {
        store.apply(&ingested(day, number * 10 + 1)).expect("apply");
    }
    let admin_counts = |sql: &str| Admin::of(config).numbers(sql)[0];
    let (before, stats) = (admin_counts(parts), store.symbol_stats(None).expect("stats"));
    let now_ms = START.millis() + 401 * DAY_MS;
    while store.enforce_retention(&keep(100), now_ms).expect("retention") > 0 {}
    assert!(admin_counts(parts) < before, "whole parts went");
    let fills = store.fills(&FillsQuery { limit: 10, ..FillsQuery::default() }).expect("fills");
    assert_eq!(fills.iter().map(|fill| fill.fill_id.as_str()).collect::<Vec<_>>(), ["F31"]);
    assert_eq!(store.alerts(&AlertsQuery { limit: 10, ..AlertsQuery::default() }).expect("alerts").len(), 1);
    assert_eq!(store.symbol_stats(None).expect("stats"), stats, "sums stay");
    while store.enforce_retention(&keep(0), now_ms + DAY_MS).expect("retention") > 0 {}
    assert_eq!(store.latest_risk(None).expect("risk"), [metrics(34, "ACC-1", Some("1"))]);
    assert_eq!(store.symbol_stats(None).expect("stats"), stats, "sums stay");
    // A part that went is made again when it is needed.
    let again = store.apply(&ingested(0, 51)).expect("apply");
    assert_eq!((again.stored, again.duplicates), (4, 0));
    assert_eq!(
        store.apply(&ingested(0, 1)).expect("apply").stored,
        1,
        "the metrics are compared with their time's alone"
    );
    assert_eq!(store.symbol_stats(None).expect("stats")[0].fees, dec("95"));
}

#[test]
fn old_partitions_go_whole_and_what_stands_stays() {
    let Some(config) = on_postgres() else { return };
    old_parts_go_whole(&config, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'exec_reports'::regclass");
}

#[test]
fn on_timescaledb_old_chunks_go_whole_and_compressed_ones_are_read() {
    let Some((_server, config)) = on_timescale() else { return };
    old_parts_go_whole(
        &config,
        "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'exec_reports'",
    );
    let store = open(&config);
    let all = FillsQuery { limit: 100, ..FillsQuery::default() };
    let before = store.fills(&all).expect("fills");
    let compressed = Admin::of(&config).numbers(
        "SELECT count(compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass)) \
         FROM timescaledb_information.chunks WHERE hypertable_name IN ('exec_reports', 'alerts', 'pnl_curve')",
    );
    assert!(!before.is_empty() && compressed[0] > 0);
    assert_eq!(store.fills(&all).expect("fills"), before);
    assert_eq!(store.apply(&ingested(0, 71)).expect("apply").stored, 4, "a compressed part takes late rows");
    let policies = "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'";
    assert_eq!(Admin::of(&config).numbers(policies), [7]);
}

#[test]
fn on_timescaledb_compressed_explanations_are_found_by_id_list_and_chain() {
    let Some((_server, config)) = on_timescale() else { return };
    let store = open(&config);
    for (number, day) in (0_u64..).zip([0, 40, 80]) {
        let rows: Vec<_> = (number * 40..number * 40 + 40).map(explained).collect();
        let ingested_at_ms = START.millis() + day * DAY_MS;
        let kept = store.apply_explained(&ExplainedBatch { ingested_at_ms, ..batch_of(rows) });
        assert_eq!(kept.expect("apply"), [0_usize; 0]);
    }
    let all = ExplainedQuery { limit: 1_000, ..ExplainedQuery::default() };
    let of_symbol = ExplainedQuery { symbol: Some("ETHUSDT".into()), to: Some(at(60)), limit: 9, ..all.clone() };
    let ask = || {
        let lists = [&all, &of_symbol].map(|query| store.explanations(query).expect("explanations"));
        let ids = [3, 50, 119].map(|n| store.explained(&explained(n).decision_id).expect("a row"));
        let chain = store.chain(1, 10, 50).expect("a chain");
        (lists, ids, chain, store.last_of_symbols(0).expect("records"))
    };
    let before = ask();
    assert_eq!((before.0[0].len(), before.2.len()), (120, 50));
    let compressed = Admin::of(&config).numbers(
        "SELECT count(compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass)) \
         FROM timescaledb_information.chunks WHERE hypertable_name = 'forensics'",
    );
    assert_eq!(compressed, [3]);
    assert_eq!(ask(), before);
    let rule = [Retention { table: "forensics".into(), keep: Duration::from_secs(86_400) }];
    while store.enforce_retention(&rule, START.millis() + 75 * DAY_MS).expect("retention") > 0 {}
    assert_eq!(store.explanations(&all).expect("explanations").len(), 40, "compressed parts go whole");
    assert_eq!(store.chain_heads().expect("heads")[0].begins, Some((40, explained(78).hash)));
}

#[test]
fn on_timescaledb_policies_follow_the_rules_of_retention() {
    let Some((_server, config)) = on_timescale() else { return };
    let store = open(&config);
    let days = || {
        Admin::of(&config).numbers(
            "SELECT (extract(epoch FROM (config->>'drop_after')::interval) / 86400)::bigint \
             FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention' ORDER BY hypertable_name",
        )
    };
    store.enforce_retention(&keep(90), START.millis()).expect("retention");
    assert_eq!(days(), [90; 6], "of all but the forensics, whose chains have to be told");
    let mut rules = keep(30);
    rules.retain(|rule| rule.table != "exec_reports");
    store.enforce_retention(&rules, START.millis()).expect("retention");
    assert_eq!(days(), [30; 5], "what is kept for ever has no policy");
}

#[test]
fn a_partition_that_another_process_dropped_is_made_again() {
    let Some(config) = on_postgres() else { return };
    let (one, other) = (open(&config), open(&config));
    one.apply(&ingested(0, 1)).expect("apply");
    let now_ms = START.millis() + 400 * DAY_MS;
    while other.enforce_retention(&keep(1), now_ms).expect("retention") > 0 {}
    let Err(StoreError::Transient(text)) = one.apply(&ingested(0, 11)) else { panic!("tried again") };
    assert!(text.contains("no partition"), "{text}");
    assert_eq!(one.apply(&ingested(0, 11)).expect("apply").stored, 4);
}
