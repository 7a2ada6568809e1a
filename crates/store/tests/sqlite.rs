//! What only SQLite has: its file, its locks, and what is left of a process
//! that was killed in the middle.
//!
//! Not here: what every store does.
#![expect(clippy::print_stdout, reason = "a child tells its parent how far it is")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use rusqlite::Connection;
use tapedeck_store::{
    Batch, Explained, ExplainedBatch, Explanations, FillsQuery, SqliteConfig, SqliteStore, Store, StoreError,
    conformance::explained::{batch_of, explained, the_last_of_a_symbol_outlives_an_upgrade},
    conformance::samples::{GROUP, TOPIC, moved, reports, row, rows, trade},
};

const BATCH: u64 = 400;
/// Marks the folder that a child may write into.
const CHILDS_PLACE: &str = "of-a-child";
/// What a child does at most, should nobody kill it.
const MOST_BATCHES: u64 = 500;

fn open(path: &Path) -> Arc<SqliteStore> {
    SqliteStore::open(path, SqliteConfig::default()).expect("a store")
}

fn place(store: &dyn Store) -> Option<u64> {
    store.resume(GROUP, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next
}

fn next_batch(expected: Option<u64>) -> Batch {
    let first = expected.unwrap_or(0);
    let trades = (first..first + BATCH).map(|n| row(n, trade(n + 1))).collect();
    Batch { offsets: vec![moved(expected, first + BATCH)], ..rows(trades) }
}

#[test]
fn a_kill_in_the_middle_leaves_each_batch_whole_or_absent() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(CHILDS_PLACE), "").expect("a mark");
    let mut before = 0;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--ignored", "--exact", "a_child_that_applies_until_it_is_killed", "--nocapture"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let applied = lines.map_while(Result::ok).filter(|line| line.contains("applied")).take(2 + round).count();
        child.kill().expect("kill");
        child.wait().expect("its end");
        assert_eq!(applied, 2 + round, "the child was at work when it was killed");

        let store = open(folder.path());
        let next = place(&*store).expect("a place");
        assert!(next > before && next.is_multiple_of(BATCH));
        before = next;
        let fills = store.fills(&FillsQuery { limit: 1_000_000, ..FillsQuery::default() }).expect("fills");
        let offsets: Vec<u64> = fills.iter().rev().map(|fill| fill.key.offset).collect();
        assert_eq!(offsets, (0..next).collect::<Vec<_>>(), "rows and offsets are of one act");
        assert_eq!(store.symbol_stats(None).expect("stats")[0].fills, next);

        let explained_to = store.resume(FORENSICS, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next;
        let chain = store.chain(0, 0, 1_000_000).expect("a chain");
        let head = store.chain_heads().expect("heads")[0];
        assert_eq!((Some(head.records), Some(head.records)), (explained_to, Some(chain.len() as u64)));
        assert!(chain.iter().zip(0..).all(|(row, n)| row.index == n), "its records and its head are of one act");
        assert_eq!(chain.last().map(|row| row.hash), Some(head.hash));
        for row in chain.iter().step_by(97) {
            assert_eq!(store.explained(&row.decision_id).expect("a row").as_ref(), Some(row));
        }
        let again = ExplainedBatch { offsets: Vec::new(), ..next_explained(head.records.checked_sub(BATCH)) };
        let all: Vec<usize> = (0..again.rows.len()).collect();
        assert_eq!(store.apply_explained(&again).expect("an answer"), all, "every id is known");
    }
}

const FORENSICS: &str = "tapedeck.forensics";

/// The next decisions, one chain, under a group of their own.
fn next_explained(expected: Option<u64>) -> ExplainedBatch {
    let first = expected.unwrap_or(0);
    let rows = (first..first + BATCH).map(|n| Explained { chain: 0, index: n, ..explained(n) }).collect();
    let offsets = vec![moved(expected, first + BATCH)];
    ExplainedBatch { group: FORENSICS.into(), offsets, ..batch_of(rows) }
}

#[test]
#[ignore = "is run as a child of the test above, in a folder of its own"]
fn a_child_that_applies_until_it_is_killed() {
    if !Path::new(CHILDS_PLACE).exists() {
        return;
    }
    let store = open(Path::new("store.db"));
    for _ in 0..MOST_BATCHES {
        let batch = next_batch(place(&*store));
        store.apply(&batch).expect("apply");
        let at = store.resume(FORENSICS, &[(Arc::from(TOPIC), 0)]).expect("resume")[0].next;
        assert_eq!(store.apply_explained(&next_explained(at)).expect("apply"), [0_usize; 0]);
        println!("\napplied");
    }
}

#[test]
fn two_that_open_a_new_file_at_once_both_find_it_whole() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().expect("a folder");
        let start = Barrier::new(4);
        thread::scope(|scope| {
            let openers: Vec<_> = (0..4_u64)
                .map(|n| {
                    let (start, folder) = (&start, &folder);
                    scope.spawn(move || {
                        start.wait();
                        let store = open(folder.path());
                        store.apply(&rows(vec![row(n, trade(n))])).expect("apply").stored
                    })
                })
                .collect();
            let stored: usize = openers.into_iter().map(|opener| opener.join().expect("no panic")).sum();
            assert_eq!(stored, 4);
        });
    }
}

#[test]
fn a_file_of_the_first_version_gets_the_new_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let conn = Connection::open(&path).expect("the file");
    conn.execute_batch(include_str!("../migrations/sqlite/0001_first.sql")).expect("the tables");
    conn.execute_batch(
        "PRAGMA user_version = 1; INSERT INTO names (name) VALUES ('ACC-1'), ('BINANCE'), ('BTCUSDT'), ('USDT');
         INSERT INTO exec_reports VALUES (1, 5, 0, 0, 1, 2, 3, NULL, 1, 'E1', 'D1', 'O1', 'C1', 0, 0, 1, NULL, 0, 2, 1, 0,
         1, 'F1', 1, 1, 1, 0, NULL, 0, 4, NULL, 0, 0, NULL);
         INSERT INTO orders VALUES (1, 1, 2, 3, 'O1', 5, 0, 0, 5, 0, 'C1', 0, 0, 1, NULL, 0, 2, 1, 0, 1, 'D1', NULL)",
    )
    .expect("a fill and its order");
    drop(conn);
    let store = open(folder.path());
    assert_eq!(store.apply_explained(&batch_of(vec![explained(0)])).expect("apply"), [0_usize; 0]);
    assert_eq!(store.explained(&explained(0).decision_id).expect("a row"), Some(explained(0)));
    assert_eq!(store.fills_of("D1", 9).expect("fills")[0].fill_id, "F1");
    let orders = store.orders_of("D1", 9).expect("orders");
    assert_eq!((orders[0].order_id.as_str(), &orders[0].reason), ("O1", &None));
}

#[test]
fn a_file_with_one_last_record_of_all_accounts_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let downgrade = || {
        let conn = Connection::open(folder.path().join("store.db")).expect("the file");
        conn.execute_batch(
            "CREATE TABLE before (chain INTEGER NOT NULL, symbol INTEGER NOT NULL, seq INTEGER NOT NULL,
                 PRIMARY KEY (chain, symbol)) STRICT, WITHOUT ROWID;
             INSERT INTO before SELECT chain, symbol, max(seq) FROM forensics_symbols GROUP BY chain, symbol;
             DROP TABLE forensics_symbols;
             ALTER TABLE before RENAME TO forensics_symbols;
             PRAGMA user_version = 3",
        )
        .expect("the third version");
    };
    the_last_of_a_symbol_outlives_an_upgrade(&|| open(folder.path()), downgrade);
}

#[test]
fn a_file_of_a_newer_version_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let conn = Connection::open(folder.path().join("store.db")).expect("the file");
    conn.pragma_update(None, "user_version", 99).expect("a version");
    let refused = SqliteStore::open(folder.path(), SqliteConfig::default()).err().expect("a refusal");
    let StoreError::Fatal(text) = refused else { panic!("{refused:?}") };
    assert!(text.contains("newer tapedeck (schema 99") && text.contains("start that version"), "{text}");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let garbage = "not a database, but somebody's notes ".repeat(200);
    std::fs::write(&path, &garbage).expect("a file");
    let refused = SqliteStore::open(&path, SqliteConfig::default()).err().expect("a refusal");
    let StoreError::Fatal(text) = refused else { panic!("{refused:?}") };
    assert!(text.contains("store.db") && text.contains("backup"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), garbage);
}

#[test]
fn a_lock_that_stays_is_transient_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let store =
        SqliteStore::open(folder.path(), SqliteConfig { busy_timeout: Duration::from_millis(20) }).expect("a store");
    let other = Connection::open(store.path()).expect("another process");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let batch = next_batch(None);
    assert!(matches!(store.apply(&batch), Err(StoreError::Transient(_))));
    assert_eq!(place(&*store), None, "readers go on");
    other.execute_batch("ROLLBACK").expect("the lock is gone");
    store.apply(&batch).expect("apply");
    assert_eq!(place(&*store), Some(BATCH));
}

#[test]
fn readers_see_whole_batches_while_they_are_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let batches = 20;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < batches * BATCH {
                        let stats = store.symbol_stats(None).expect("stats");
                        let fills = stats.first().map_or(0, |stats| stats.fills);
                        assert!(fills >= seen && fills.is_multiple_of(BATCH), "{fills} after {seen}");
                        seen = fills;
                    }
                })
            })
            .collect();
        let mut expected = None;
        for _ in 0..batches {
            store.apply(&next_batch(expected)).expect("apply");
            expected = Some(expected.unwrap_or(0) + BATCH);
        }
        readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
    });
}

#[test]
fn a_name_first_seen_in_a_refused_batch_is_not_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let mut stranger = trade(1);
    stranger.account = "STRANGER".into();
    let mut conflicting = trade(1);
    conflicting.account = "STRANGER".into();
    conflicting.event_id = "another".into();
    conflicting.order.order_id = "another".into();
    assert!(matches!(store.apply(&reports([stranger.clone(), conflicting])), Err(StoreError::Poison { index: 1, .. })));
    let mut other = trade(2);
    other.account = "OTHER".into();
    store.apply(&reports([other, stranger])).expect("apply");
    let fills = store.fills(&FillsQuery { account: Some("STRANGER".into()), limit: 9, ..FillsQuery::default() });
    assert_eq!(fills.expect("fills")[0].fill_id, "F1");
}
