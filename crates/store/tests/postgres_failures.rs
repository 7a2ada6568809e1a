//! PostgreSQL that is killed, restarted, slow, full, or cut off: nothing that was
//! acknowledged is lost, and nothing is there twice.
//!
//! Not here: what every store does.
#![expect(clippy::print_stdout, reason = "the ledger and the time of recovery are printed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tapedeck_store::{
    Applied, Batch, Explained, ExplainedBatch, Explanations, FillsQuery, PostgresConfig, PostgresStore, Store,
    StoreError,
    conformance::explained::{batch_of, explained},
    conformance::samples::{GROUP, TOPIC, moved, row, rows, trade},
};
use tapedeck_testbed::{Fault, Postgres, Proxy, until};

use self::postgres_servers::{Admin, of, on_postgres};

mod postgres_servers;

const BATCH: u64 = 200;

fn open(config: &PostgresConfig) -> Arc<PostgresStore> {
    PostgresStore::open(config).expect("a store")
}

fn place(store: &dyn Store) -> Option<u64> {
    store.resume(GROUP, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next
}

fn next_batch(expected: Option<u64>) -> Batch {
    let first = expected.unwrap_or(0);
    let trades = (first..first + BATCH).map(|n| row(n, trade(n + 1))).collect();
    Batch { offsets: vec![moved(expected, first + BATCH)], ..rows(trades) }
}

fn offsets(store: &dyn Store) -> Vec<u64> {
    let fills = store.fills(&FillsQuery { limit: 1_000_000, ..FillsQuery::default() }).expect("fills");
    fills.iter().rev().map(|fill| fill.key.offset).collect()
}

/// Goes on as a recorder does: tries again what may pass, and asks where it is
/// when another was there. Counts what was acknowledged.
fn record(config: &PostgresConfig, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let store = open(config);
    let mut at = place(&*store);
    while !stop.load(Ordering::Relaxed) {
        match store.apply(&next_batch(at)) {
            Ok(Applied { stored, duplicates }) => {
                assert_eq!((stored, duplicates), (200, 0));
                at = Some(at.unwrap_or(0) + BATCH);
                acknowledged.store(at.unwrap_or(0), Ordering::Release);
            }
            Err(StoreError::Transient(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Two recorders' worth of a server that ends again and again.
fn ends_and_comes_back(what: &str, end: impl Fn(&Postgres)) {
    let Some(server) = Postgres::start() else { return };
    let config = PostgresConfig { statement_timeout_ms: 3_000, ..of(server.url()) };
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| record(&config, &stop, &acknowledged));
        let more = |than: u64| {
            until("batches are applied", || Some(acknowledged.load(Ordering::Acquire)).filter(|now| *now > than))
        };
        let mut done = more(0);
        for _ in 0..3 {
            done = more(done + 2 * BATCH);
            end(&server);
            server.start_again();
            let back = Instant::now();
            done = more(done.max(acknowledged.load(Ordering::Acquire)));
            slowest = slowest.max(back.elapsed());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (store, acknowledged) = (open(&config), acknowledged.load(Ordering::Acquire));
    let stored = offsets(&*store);
    let lost = (0..acknowledged).filter(|offset| stored.binary_search(offset).is_err()).count();
    let twice = stored.windows(2).filter(|pair| pair[0] == pair[1]).count();
    println!(
        "PostgreSQL {what} 3 times: {acknowledged} acknowledged, {} stored, {lost} lost, {twice} twice; \
         the slowest recovery {} ms after the server was back",
        stored.len(),
        slowest.as_millis()
    );
    assert_eq!((lost, twice), (0, 0));
    assert_eq!(place(&*store), Some(u64::try_from(stored.len()).expect("a small number")), "rows and offsets agree");
    assert_eq!(store.symbol_stats(None).expect("stats")[0].fills, place(&*store).expect("a place"));
}

#[test]
fn a_server_killed_in_the_middle_of_batches_loses_nothing_and_keeps_nothing_twice() {
    ends_and_comes_back("killed", Postgres::kill);
}

#[test]
fn a_server_restarted_in_the_middle_of_batches_loses_nothing_and_keeps_nothing_twice() {
    ends_and_comes_back("restarted", Postgres::stop);
}

/// A proxy before the server of a config, and the config through it.
fn behind_a_proxy(config: &PostgresConfig) -> (Proxy, PostgresConfig) {
    let (front, place) = config.url.split_once('@').expect("a user");
    let (address, database) = place.split_once('/').expect("a database");
    let proxy = Proxy::before(address);
    let config = PostgresConfig { url: format!("{front}@{}/{database}", proxy.address()), ..config.clone() };
    (proxy, config)
}

/// Makes every COMMIT that moves offsets wait for whoever holds this lock.
fn commits_wait(admin: &Admin) {
    admin.run(
        "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER waits AFTER INSERT OR UPDATE ON consumer_offsets \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_here(); SELECT pg_advisory_lock(4711)",
    );
}

fn waits(admin: &Admin) {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    until("a commit waits", || (admin.numbers(sql)[0] > 0).then_some(()));
}

#[test]
fn a_commit_whose_answer_was_cut_off_is_known_to_have_been() {
    let Some(direct) = on_postgres() else { return };
    let store = open(&direct);
    store.apply(&next_batch(None)).expect("apply");
    let admin = Admin::of(&direct);
    commits_wait(&admin);
    let (proxy, config) = behind_a_proxy(&direct);
    let behind = open(&config);
    let applied = thread::scope(|scope| {
        let applying = scope.spawn(|| behind.apply(&next_batch(Some(BATCH))));
        waits(&admin);
        proxy.set(Fault::Cut);
        admin.run("SELECT pg_advisory_unlock(4711)");
        until("the commit is done", || (place(&*store) == Some(2 * BATCH)).then_some(()));
        proxy.set(Fault::None);
        applying.join().expect("no panic")
    });
    assert_eq!(applied.expect("apply"), Applied { stored: 200, duplicates: 0 }, "it is not taken for another's");
    assert_eq!(offsets(&*store), (0..2 * BATCH).collect::<Vec<_>>());
    behind.apply(&next_batch(Some(2 * BATCH))).expect("apply");
}

/// The next decisions, one chain, under a group of their own.
fn next_explained(expected: Option<u64>) -> ExplainedBatch {
    let first = expected.unwrap_or(0);
    let rows = (first..first + BATCH).map(|n| Explained { chain: 0, index: n, ..explained(n) }).collect();
    let offsets = vec![moved(expected, first + BATCH)];
    ExplainedBatch { group: "tapedeck.forensics".into(), offsets, ..batch_of(rows) }
}

#[test]
fn explanations_whose_commit_was_cut_off_are_known_to_have_been_kept() {
    let Some(direct) = on_postgres() else { return };
    let store = open(&direct);
    store.apply_explained(&next_explained(None)).expect("apply");
    let admin = Admin::of(&direct);
    commits_wait(&admin);
    let (proxy, config) = behind_a_proxy(&direct);
    let behind = open(&config);
    let records = || store.chain_heads().expect("heads")[0].records;
    let kept = thread::scope(|scope| {
        let applying = scope.spawn(|| behind.apply_explained(&next_explained(Some(BATCH))));
        waits(&admin);
        proxy.set(Fault::Cut);
        admin.run("SELECT pg_advisory_unlock(4711)");
        until("the commit is done", || (records() == 2 * BATCH).then_some(()));
        proxy.set(Fault::None);
        applying.join().expect("no panic")
    });
    assert_eq!(kept.expect("apply"), [0_usize; 0], "they are not taken for another's");
    assert_eq!(behind.apply_explained(&next_explained(Some(2 * BATCH))).expect("apply"), [0_usize; 0]);
    let indices = store.chain(0, 0, 10_000).expect("a chain").into_iter().map(|row| row.index);
    assert_eq!(indices.collect::<Vec<_>>(), (0..3 * BATCH).collect::<Vec<_>>());
}

#[test]
fn explanations_that_another_kept_while_our_commit_was_cut_off_are_not_taken_for_ours() {
    let Some(direct) = on_postgres() else { return };
    let store = open(&direct);
    store.apply_explained(&next_explained(None)).expect("apply");
    let admin = Admin::of(&direct);
    commits_wait(&admin);
    let (proxy, config) = behind_a_proxy(&direct);
    let behind = open(&config);
    // The same decisions and offsets, and another end of the chain.
    let mut others = next_explained(Some(BATCH));
    others.rows.last_mut().expect("rows").hash = [9; 32];
    others.heads[0].hash = [9; 32];
    let ours = thread::scope(|scope| {
        let applying = scope.spawn(|| behind.apply_explained(&next_explained(Some(BATCH))));
        waits(&admin);
        proxy.set(Fault::Cut);
        let waiting = "FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        admin.run(&format!("SELECT pg_terminate_backend(pid) {waiting}"));
        until("our commit is given up", || {
            (admin.numbers(&format!("SELECT count(*) {waiting}"))[0] == 0).then_some(())
        });
        admin.run("SELECT pg_advisory_unlock(4711)");
        let kept = store.apply_explained(&others);
        proxy.set(Fault::None);
        assert_eq!(kept.expect("apply"), [0_usize; 0]);
        applying.join().expect("no panic")
    });
    assert!(matches!(ours, Err(StoreError::Conflict { found: Some(400), .. })), "{ours:?}");
    assert_eq!(store.chain_heads().expect("heads")[0].hash, [9; 32]);
}

#[test]
fn a_batch_whose_commit_never_came_is_applied_once() {
    let Some(direct) = on_postgres() else { return };
    let store = open(&direct);
    let (proxy, config) = behind_a_proxy(&PostgresConfig { statement_timeout_ms: 700, ..direct.clone() });
    let behind = open(&config);
    behind.apply(&next_batch(None)).expect("apply");
    for fault in [Fault::HalfOpen, Fault::Garbage, Fault::Cut] {
        let at = place(&*store);
        proxy.set(fault);
        let Err(StoreError::Transient(text)) = behind.apply(&next_batch(at)) else { panic!("{fault:?}: not applied") };
        assert!(text.contains("PostgreSQL"), "{text}");
        proxy.set(Fault::None);
        // What the server still holds of the lost connection ends by itself.
        until("the batch is applied", || match behind.apply(&next_batch(at)) {
            Ok(applied) => Some(applied),
            Err(StoreError::Transient(_)) => None,
            Err(other) => panic!("{other}"),
        });
        assert_eq!(offsets(&*store), (0..at.unwrap_or(0) + BATCH).collect::<Vec<_>>(), "{fault:?}");
    }
}

#[test]
fn queries_end_and_go_on_over_a_link_that_is_silent_for_a_while() {
    let Some(direct) = on_postgres() else { return };
    let (proxy, config) = behind_a_proxy(&PostgresConfig { statement_timeout_ms: 700, ..direct });
    let store = open(&config);
    store.apply(&next_batch(None)).expect("apply");
    let count = || store.symbol_stats(None).map(|stats| stats[0].fills);
    assert_eq!(count().expect("stats"), BATCH);
    for fault in [Fault::HalfOpen, Fault::Garbage, Fault::Cut] {
        proxy.set(fault);
        assert!(matches!(count(), Err(StoreError::Transient(_))), "{fault:?}");
        proxy.set(Fault::None);
        assert_eq!(count().expect("stats"), BATCH, "{fault:?}: at once");
    }
    proxy.set(Fault::Delay(Duration::from_millis(20)));
    assert_eq!(count().expect("stats"), BATCH);
}

#[test]
fn many_who_ask_a_silent_server_are_all_refused_and_go_on_when_it_answers() {
    let Some(direct) = on_postgres() else { return };
    let (proxy, config) = behind_a_proxy(&PostgresConfig { read_timeout_ms: 400, ..direct });
    let store = open(&config);
    store.apply(&next_batch(None)).expect("apply");
    let count = || store.symbol_stats(None).map(|stats| stats[0].fills);
    assert_eq!(count().expect("stats"), BATCH);
    proxy.set(Fault::HalfOpen);
    thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(count)).collect();
        for answer in asked.into_iter().map(|asked| asked.join().expect("no panic")) {
            let Err(StoreError::Transient(why)) = answer else { panic!("answered") };
            assert!(why.contains("PostgreSQL"), "{why}");
        }
    });
    proxy.set(Fault::None);
    until("the server to be asked again", || count().ok());
}

#[test]
fn a_statement_that_takes_too_long_is_given_up_and_tried_again_later() {
    let Some(config) = on_postgres() else { return };
    let config = PostgresConfig { statement_timeout_ms: 300, ..config };
    let store = open(&config);
    store.apply(&next_batch(None)).expect("apply");
    let admin = Admin::of(&config);
    admin.run("BEGIN; UPDATE accounts SET as_of = as_of");
    let Err(StoreError::Transient(text)) = store.apply(&next_batch(Some(BATCH))) else { panic!("given up") };
    assert!(text.contains("statement timeout"), "{text}");
    assert_eq!(offsets(&*store).len(), 200, "queries go on");
    admin.run("ROLLBACK");
    assert_eq!(store.apply(&next_batch(Some(BATCH))).expect("apply").stored, 200);
}

#[test]
fn a_full_disk_passes_when_there_is_room_again() {
    let Some(config) = on_postgres() else { return };
    let store = open(&config);
    store.apply(&next_batch(None)).expect("apply");
    let admin = Admin::of(&config);
    admin.run(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON pnl_curve FOR EACH STATEMENT EXECUTE FUNCTION no_room()",
    );
    let Err(StoreError::Transient(text)) = store.apply(&next_batch(Some(BATCH))) else { panic!("it may pass") };
    assert!(text.contains("free some space"), "{text}");
    assert_eq!(place(&*store), Some(BATCH));
    assert_eq!(offsets(&*store).len(), 200, "nothing half done");
    admin.run("DROP TRIGGER full_disk ON pnl_curve");
    assert_eq!(store.apply(&next_batch(Some(BATCH))).expect("apply").stored, 200);
}

#[test]
fn connections_that_the_server_ended_are_made_again_unnoticed() {
    let Some(config) = on_postgres() else { return };
    let store = open(&config);
    store.apply(&next_batch(None)).expect("apply");
    assert_eq!(offsets(&*store).len(), 200);
    let admin = Admin::of(&config);
    let ended = admin.numbers(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'tapedeck'",
    );
    assert!(ended[0] >= 2, "one that writes and one that reads");
    assert_eq!(store.apply(&next_batch(Some(BATCH))).expect("apply").stored, 200);
    assert_eq!(offsets(&*store).len(), 400);
}

#[test]
fn a_server_that_takes_no_more_connections_is_waited_for() {
    let Some(config) = on_postgres() else { return };
    let config = PostgresConfig { statement_timeout_ms: 500, ..config };
    drop(open(&config));
    let admin = Admin::of(&config);
    let limit = |connections: i32| {
        let role = config.url.split("://").nth(1).and_then(|rest| rest.split('@').next()).expect("a user");
        // A superuser is not counted; the store comes as a role that is.
        let made = format!("{role}_{}", config.schema);
        admin.run(&format!("ALTER ROLE {made} CONNECTION LIMIT {connections}"));
    };
    let role = config.url.split("://").nth(1).and_then(|rest| rest.split('@').next()).expect("a user");
    let made = format!("{role}_{}", config.schema);
    admin.run(&format!(
        "CREATE ROLE {made} LOGIN PASSWORD 'secret' CONNECTION LIMIT 0; GRANT USAGE ON SCHEMA {schema} TO {made}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {made}",
        schema = config.schema
    ));
    let limited = PostgresConfig {
        url: config.url.replacen(&format!("://{role}@"), &format!("://{made}@"), 1),
        password: "secret".into(),
        ..config.clone()
    };
    let Err(StoreError::Transient(text)) = PostgresStore::open(&limited) else { panic!("it may pass") };
    assert!(text.contains("too many connections"), "{text}");
    limit(5);
    assert_eq!(open(&limited).accounts().expect("accounts"), []);
    admin.run(&format!("DROP OWNED BY {made}; DROP ROLE {made}"));
}

#[test]
fn an_unreachable_server_is_named_with_what_to_check() {
    let config = PostgresConfig {
        url: "postgres://tapedeck@127.0.0.1:1/tapedeck".into(),
        statement_timeout_ms: 200,
        ..PostgresConfig::default()
    };
    let Err(StoreError::Transient(text)) = PostgresStore::open(&config) else { panic!("it may come") };
    assert!(text.contains("127.0.0.1:1/tapedeck") && text.contains("Check that it runs"), "{text}");
}

#[test]
fn tls_is_as_strict_as_the_config_says() {
    let Some(server) = Postgres::start() else { return };
    let with = |tls: &str, ca_file: String| PostgresConfig { tls: tls.into(), ca_file, ..of(server.url()) };
    let (ours, none) = (server.ca_file().display().to_string(), String::new());
    for config in [with("verify", ours.clone()), with("require", none.clone()), with("prefer", none.clone())] {
        let store = open(&config);
        assert_eq!(place(&*store), None);
        let encrypted = Admin::of(&config).numbers(
            "SELECT count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) \
             WHERE s.ssl AND a.application_name = 'tapedeck'",
        );
        assert!(encrypted[0] > 0, "{}", config.tls);
    }
    let Err(StoreError::Fatal(text)) = PostgresStore::open(&with("verify", none.clone())) else { panic!("a stranger") };
    assert!(text.contains("ca_file") && text.contains("certificate"), "{text}");
    drop(open(&with("disable", none)));
}
