//! The file: tables, settings, opening, and what SQLite's errors mean here.
//!
//! Space that deleted batches leave goes to SQLite's free list and is used again
//! by later ones; the file does not shrink. A log's size is steady, and moving
//! pages to shrink it would cost more than it gives.
//!
//! Not here: writing and reading batches.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::shared::{Partition, Span, Topic, View};
use crate::{LogError, Result, TopicConfig, TopicPartition};

/// The file's format; a larger one was written by a newer program.
const FORMAT: i64 = 1;
/// Bits of a batch's row id that hold its base offset; those above hold the
/// partition's number. 2^44 is five years of 100,000 records a second.
const OFFSET_BITS: u32 = 44;
/// How long to wait for another connection's lock. Only a person's `sqlite3`
/// shell takes one.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        partitions INTEGER NOT NULL,
        retention_ms INTEGER,
        retention_bytes INTEGER,
        remove_old INTEGER NOT NULL,
        compact INTEGER NOT NULL
    ) STRICT;
    -- counted_bytes is the size of the batches below counted_to.
    CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic_id INTEGER NOT NULL REFERENCES topics (id),
        partition INTEGER NOT NULL,
        start_offset INTEGER NOT NULL DEFAULT 0,
        counted_bytes INTEGER NOT NULL DEFAULT 0,
        counted_to INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic_id, partition)
    ) STRICT;
    -- id = partition id * 2^44 + base offset, so that a partition lies together
    -- and no second index is needed.
    CREATE TABLE batches (
        id INTEGER PRIMARY KEY,
        last_offset INTEGER NOT NULL,
        max_timestamp_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        data BLOB NOT NULL
    ) STRICT;
    CREATE TABLE committed (
        group_name TEXT NOT NULL,
        partition_id INTEGER NOT NULL REFERENCES partitions (id),
        next_offset INTEGER NOT NULL,
        PRIMARY KEY (group_name, partition_id)
    ) STRICT, WITHOUT ROWID;
";

/// What a file held when it was opened.
pub(crate) struct Loaded {
    pub(crate) topics: Vec<Topic>,
    pub(crate) view: View,
}

/// The row id of a batch.
pub(crate) fn row_id(partition_id: i64, base: u64) -> i64 {
    (partition_id << OFFSET_BITS) | i64::try_from(base).expect("an offset is below 2^44")
}

/// The largest row id that a partition can have.
pub(crate) fn last_row_id(partition_id: i64) -> i64 {
    ((partition_id + 1) << OFFSET_BITS) - 1
}

/// The base offset in a row id.
pub(crate) fn base_of(row_id: i64) -> u64 {
    (row_id & ((1 << OFFSET_BITS) - 1)) as u64
}

/// Opens the file to write, makes the tables where it is new.
pub(crate) fn open_to_write(file: &Path, max_disk_bytes: u64) -> Result<Connection> {
    let failed = |error| failure(file, error);
    let connection = Connection::open(file).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if format > FORMAT {
        return Err(LogError::Fatal(format!(
            "{} was written by a newer tapedeck (format {format}, this one knows {FORMAT}): use that version",
            file.display()
        )));
    }
    set_up(&connection, format == 0, max_disk_bytes).map_err(failed)?;
    Ok(connection)
}

/// Opens the file to read.
pub(crate) fn open_to_read(file: &Path) -> Result<Connection> {
    let failed = |error| failure(file, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    prepare(&connection).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn set_up(connection: &Connection, new: bool, max_disk_bytes: u64) -> rusqlite::Result<()> {
    if new {
        connection.pragma_update(None, "page_size", 8192)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // 32 MB of 8 KB pages: a checkpoint costs two more fsyncs, so not often;
    // and a log that is opened after a crash reads at most about as much.
    connection.pragma_update(None, "wal_autocheckpoint", 4096)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    if max_disk_bytes > 0 {
        let page: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from((max_disk_bytes / page).max(1)).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    if new {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    }
    Ok(())
}

/// Reads topics, ends and committed offsets.
pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let mut view = View::default();
    let mut topics = Vec::new();
    let mut statement = connection.prepare(
        "SELECT id, name, partitions, retention_ms, retention_bytes, remove_old, compact FROM topics ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let config = TopicConfig {
            name: Arc::from(row.get_ref(1)?.as_str()?),
            partitions: row.get(2)?,
            retention: row.get::<_, Option<u64>>(3)?.map(Duration::from_millis),
            retention_bytes: row.get(4)?,
            delete: row.get(5)?,
            compact: row.get(6)?,
        };
        topics.push(load_topic(connection, row.get(0)?, config, &mut view)?);
    }
    view.committed = load_committed(connection, &topics)?;
    Ok(Loaded { topics, view })
}

/// Reads a topic's partitions and appends their spans.
pub(crate) fn load_topic(
    connection: &Connection,
    id: i64,
    config: TopicConfig,
    view: &mut View,
) -> rusqlite::Result<Topic> {
    let mut partitions = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT id, partition, start_offset, counted_bytes, counted_to FROM partitions
         WHERE topic_id = ?1 ORDER BY partition",
    )?;
    let mut rows = statement.query([id])?;
    while let Some(row) = rows.next()? {
        let partition_id: i64 = row.get(0)?;
        let (start, counted, counted_to): (u64, u64, u64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let (last, newer) = (last_offset(connection, partition_id)?, bytes_from(connection, partition_id, counted_to)?);
        let end = last.map_or(start, |last| start.max(last + 1));
        partitions.push(Arc::new(Partition {
            id: partition_id,
            index: view.spans.len(),
            name: TopicPartition::new(Arc::clone(&config.name), row.get(1)?),
            newest: Mutex::new(VecDeque::new()),
        }));
        view.spans.push(Span { start, end, bytes: counted + newer });
    }
    Ok(Topic { id, name: Arc::clone(&config.name), config: RwLock::new(config), partitions })
}

fn last_offset(connection: &Connection, partition_id: i64) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT last_offset FROM batches WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1")?
        .query_row([row_id(partition_id, 0), last_row_id(partition_id)], |row| row.get(0))
        .optional()
}

fn bytes_from(connection: &Connection, partition_id: i64, offset: u64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM batches WHERE id BETWEEN ?1 AND ?2")?
        .query_row([row_id(partition_id, offset), last_row_id(partition_id)], |row| row.get(0))
}

fn load_committed(
    connection: &Connection,
    topics: &[Topic],
) -> rusqlite::Result<HashMap<Arc<str>, BTreeMap<TopicPartition, u64>>> {
    let names: HashMap<i64, &TopicPartition> =
        topics.iter().flat_map(|topic| &topic.partitions).map(|partition| (partition.id, &partition.name)).collect();
    let mut committed: HashMap<Arc<str>, BTreeMap<TopicPartition, u64>> = HashMap::new();
    let mut statement = connection.prepare("SELECT group_name, partition_id, next_offset FROM committed")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let group = Arc::from(row.get_ref(0)?.as_str()?);
        if let Some(name) = names.get(&row.get(1)?) {
            committed.entry(group).or_default().insert((*name).clone(), row.get(2)?);
        }
    }
    Ok(committed)
}

/// What an error of SQLite means for a person.
pub(crate) fn failure(file: &Path, error: rusqlite::Error) -> LogError {
    let file = file.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => LogError::Transient(format!(
            "disk full in {file}: free space, and writing goes on; nothing that was acknowledged is lost"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LogError::Transient(format!(
            "{file} is locked by another program (a sqlite3 shell?): close it, and writing goes on"
        )),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => LogError::Fatal(format!(
            "{file} is damaged ({error}); nothing was changed. Stop tapedeck, copy the folder, then restore a backup \
             or try `sqlite3 {file} .recover`"
        )),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            LogError::Fatal(format!("{file} cannot be opened for writing ({error}): check its owner and its rights"))
        }
        Some(ErrorCode::SystemIoFailure) => LogError::Fatal(format!(
            "the disk under {file} failed ({error}); writing has stopped, what was acknowledged before is kept. \
             Check the disk, then start again"
        )),
        _ => LogError::Fatal(format!("{file}: {error}")),
    }
}
