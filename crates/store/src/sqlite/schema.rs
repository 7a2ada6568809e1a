//! Opening the file: settings of a connection, and migrations, each in a
//! transaction of its own that also writes the version, so that a file is
//! never between two versions.
//!
//! Not here: the tables; they are in `migrations/sqlite/`.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use crate::{Result, StoreError};

/// Version n is reached by the n-th file. A file that was released never changes.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_first.sql"),
    include_str!("../../migrations/sqlite/0002_explained.sql"),
    include_str!("../../migrations/sqlite/0003_orders_of_decisions.sql"),
    include_str!("../../migrations/sqlite/0004_last_of_accounts.sql"),
];

/// Statements kept prepared: all of this crate's, with room.
const STATEMENTS: usize = 128;

/// Opens the connection that writes, and migrates.
pub(super) fn open_writer(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let mut conn = Connection::open(path).map_err(|error| located(path, error.into()))?;
    conn.busy_timeout(busy_timeout)?;
    use_wal(&conn, busy_timeout).map_err(|error| located(path, error))?;
    // NORMAL: a power cut may take the last batches, with their offsets, so they are read again.
    // 64 MB of pages: the right edges of all indexes and a good part of the ids.
    // Ids are looked for all over their table: through the mapping, half the time of a read.
    // The log of pages is folded in every 16,384 pages (64 MB), since a batch touches thousands
    // of pages of ids and folding merges what several batches touched.
    conn.execute_batch(
        "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY; \
         PRAGMA wal_autocheckpoint = 16384; PRAGMA journal_size_limit = 134217728; PRAGMA mmap_size = 1073741824;",
    )?;
    keep_plans(&conn)?;
    migrate(&mut conn).map_err(|error| located(path, error))?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy_timeout)?;
    // 16 MB each: a page of answers touches some hundred pages. The rest comes from the
    // system's cache through the mapping, without a copy.
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -16384; PRAGMA mmap_size = 1073741824;")?;
    keep_plans(&conn)?;
    Ok(conn)
}

/// Two processes that open a new file at once may find it locked: SQLite does
/// not wait for this change by itself.
fn use_wal(conn: &Connection, busy_timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + busy_timeout;
    loop {
        match conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(StoreError::Fatal(format!(
                    "the file system keeps the store from its write-ahead log (journal mode `{mode}`): \
                     put the data folder on a local disk"
                )));
            }
            Err(error) => match StoreError::from(error) {
                StoreError::Transient(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                error => return Err(error),
            },
        }
    }
}

/// A plan never depends on what is bound: without this, SQLite plans a statement
/// anew whenever a value of it changes, which costs more than most queries.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Brings the tables to this version. The write lock makes two openers take
/// turns; the second finds nothing to do.
fn migrate(conn: &mut Connection) -> Result<()> {
    loop {
        let step = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i64 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = MIGRATIONS.len();
        let Some(done) = usize::try_from(version).ok().filter(|done| *done <= known) else {
            return Err(StoreError::Fatal(format!(
                "the data folder was written by a newer tapedeck (schema {version}, this one knows {known}): \
                 start that version, or use another folder"
            )));
        };
        let Some(migration) = MIGRATIONS.get(done) else { return Ok(()) };
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", version + 1)?;
        step.commit()?;
    }
}

fn located(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Fatal(text) => StoreError::Fatal(format!("{}: {text}", path.display())),
        StoreError::Transient(text) => StoreError::Transient(format!("{}: {text}", path.display())),
        other => other,
    }
}
