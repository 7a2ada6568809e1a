//! Bringing the tables to this version, in one transaction under a lock, so that
//! a schema is never between two versions; and telling apart the schemas that
//! are not ours to touch.
//!
//! Not here: the tables; they are in `migrations/postgres/`. Nor their partitions.

use super::{
    connect::{Session, quoted},
    partitions::{self, Layout, PARTITIONED},
};
use crate::{Result, StoreError};

/// Version n is reached by the n-th file. A file that was released never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_first.sql"),
    include_str!("../../migrations/postgres/0002_explained.sql"),
    include_str!("../../migrations/postgres/0003_orders_of_decisions.sql"),
    include_str!("../../migrations/postgres/0004_last_of_accounts.sql"),
];

/// What the migrations say where a table is partitioned.
const PARTITIONED_BY: &str = " PARTITION BY RANGE (ingested_at)";

/// Tables that are not partitioned, by the version that brought them.
const STANDING: &[&[&str]] = &[
    &[
        "consumer_offsets",
        "event_ids",
        "fill_ids",
        "orders",
        "pnl_totals",
        "unrealized_totals",
        "symbol_stats",
        "symbol_fees",
        "accounts",
        "risk_latest",
    ],
    &[
        "forensics_lists",
        "feature_sets",
        "forensics_ids",
        "forensics_chains",
        "forensics_symbols",
        "forensics_importance",
    ],
];

/// Brings the tables to this version and says how they are partitioned.
///
/// # Errors
/// Fatal where the schema is of a newer version, is there in part, cannot be
/// made, or is not partitioned as `timescale` demands; nothing is changed then.
pub(super) fn migrate(session: &mut Session, schema: &str, timescale: &str) -> Result<Layout> {
    if let Some((version, layout)) = stored(session, schema)?
        && is_whole(session, schema, version)?
    {
        return demanded(layout, schema, timescale);
    }
    session.transaction("BEGIN", |session| {
        let lock = format!("tapedeck.{schema}");
        session.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&lock])?;
        let found = stored(session, schema)?;
        let layout = match found {
            Some((version, layout)) if is_whole(session, schema, version)? => {
                return demanded(layout, schema, timescale);
            }
            Some((_, layout)) => layout,
            None => begin(session, schema, timescale)?,
        };
        let done = found.map_or(0, |(version, _)| version);
        for migration in &MIGRATIONS[done..] {
            match layout {
                Layout::Timescale => session.batch(&migration.replace(PARTITIONED_BY, ""))?,
                Layout::Declarative => session.batch(migration)?,
            }
        }
        if layout == Layout::Timescale {
            partitions::make_hypertables(session, schema, done)?;
        }
        let (version, word) = (i64::try_from(MIGRATIONS.len()).unwrap_or_default(), layout.word());
        session.execute("UPDATE tapedeck_schema SET version = $1, partitions = $2", &[&version, &word])?;
        demanded(layout, schema, timescale)
    })
}

/// Whether the schema has our tables.
///
/// # Errors
/// Those of [`migrate`], also where they are not there and this user may not make them.
pub(super) fn is_there(session: &mut Session, schema: &str) -> Result<bool> {
    if let Some((version, _)) = stored(session, schema)? {
        return is_whole(session, schema, version).map(|_| true);
    }
    if let Some(table) = of_ours(session, schema, MIGRATIONS.len(), true)?.first() {
        return Err(halfway(schema, &format!("its version, though the table `{table}` is there")));
    }
    let sql = "SELECT COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1), \
               has_database_privilege(current_database(), 'CREATE'))";
    let may_make = session.query_opt(sql, &[&schema])?.is_some_and(|row| row.get(0));
    match may_make {
        true => Ok(false),
        false => Err(making(schema, StoreError::Fatal("this role may not CREATE there".into()))),
    }
}

/// Version and layout of the schema, where it has any.
fn stored(session: &mut Session, schema: &str) -> Result<Option<(usize, Layout)>> {
    if !exists(session, schema, "tapedeck_schema")? {
        return Ok(None);
    }
    let sql = format!("SELECT version, partitions FROM {}.tapedeck_schema", quoted(schema));
    let row = session.query_opt(&sql, &[])?.ok_or_else(|| halfway(schema, "its version"))?;
    let (version, word): (i64, &str) = (row.get(0), row.get(1));
    match (usize::try_from(version).ok().filter(|known| *known <= MIGRATIONS.len()), Layout::of(word)) {
        (Some(version), Some(layout)) => Ok(Some((version, layout))),
        _ => Err(StoreError::Fatal(format!(
            "schema `{schema}` was written by a newer tapedeck (version {version}, {word}; this one knows {}): start \
             that version, or name another schema in [postgres] schema",
            MIGRATIONS.len()
        ))),
    }
}

/// Whether nothing is left to do; an error where a table is missing that should be there.
fn is_whole(session: &mut Session, schema: &str, version: usize) -> Result<bool> {
    let missing = of_ours(session, schema, version, false)?;
    match missing.first() {
        Some(table) => Err(halfway(schema, &format!("the table `{table}`"))),
        None => Ok(version == MIGRATIONS.len()),
    }
}

/// A schema that has nothing of ours yet.
fn begin(session: &mut Session, schema: &str, timescale: &str) -> Result<Layout> {
    let has_schema = session.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema])?.is_some();
    if !has_schema {
        session.batch(&format!("CREATE SCHEMA {}", quoted(schema))).map_err(|error| making(schema, error))?;
    }
    if let Some(table) = of_ours(session, schema, MIGRATIONS.len(), true)?.first() {
        return Err(halfway(schema, &format!("its version, though the table `{table}` is there")));
    }
    let made = "CREATE TABLE tapedeck_schema (version bigint NOT NULL, partitions text NOT NULL); \
                INSERT INTO tapedeck_schema VALUES (0, 'declarative')";
    session.batch(made).map_err(|error| making(schema, error))?;
    match (timescale, partitions::timescale(session)?) {
        ("no", _) | ("auto", None) => Ok(Layout::Declarative),
        (_, Some(_)) => Ok(Layout::Timescale),
        (_, None) => Err(no_extension()),
    }
}

fn demanded(layout: Layout, schema: &str, timescale: &str) -> Result<Layout> {
    match (layout, timescale) {
        (Layout::Timescale, "no") => Err(StoreError::Fatal(format!(
            "the tables of schema `{schema}` are hypertables, and [postgres] timescale is no: set it to auto, or name \
             another schema"
        ))),
        (Layout::Declarative, "yes") => Err(StoreError::Fatal(format!(
            "the tables of schema `{schema}` were made without TimescaleDB, and [postgres] timescale is yes: set it to \
             auto, or name another schema and move over with `tapedeck migrate`"
        ))),
        _ => Ok(layout),
    }
}

fn exists(session: &mut Session, schema: &str, table: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
               AND c.relname = $2";
    Ok(session.query_opt(sql, &[&schema, &table])?.is_some())
}

/// Our tables of a version that are in the schema, or those that are not.
fn of_ours(session: &mut Session, schema: &str, version: usize, there: bool) -> Result<Vec<String>> {
    let in_parts = PARTITIONED.iter().filter(|table| table.since <= version).map(|table| table.name);
    let ours: Vec<&str> = STANDING.iter().take(version).copied().flatten().copied().chain(in_parts).collect();
    let sql = "SELECT name FROM unnest($1::text[]) name WHERE $3 = EXISTS (SELECT FROM pg_class c JOIN pg_namespace n \
               ON n.oid = c.relnamespace WHERE n.nspname = $2 AND c.relname = name AND c.relkind IN ('r', 'p'))";
    let rows = session.query(sql, &[&ours, &schema, &there])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn halfway(schema: &str, missing: &str) -> StoreError {
    StoreError::Fatal(format!(
        "schema `{schema}` is there in part: {missing} is missing, so it was restored or changed by hand. Nothing was \
         touched. Restore it whole from a backup, or drop it, or name another in [postgres] schema: what the log still \
         holds is read into a new one"
    ))
}

fn making(schema: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Fatal(said) => StoreError::Fatal(format!(
            "the tables cannot be made in schema `{schema}`: {said}. An administrator makes the schema once: `CREATE \
             SCHEMA {} AUTHORIZATION role`",
            quoted(schema)
        )),
        other => other,
    }
}

fn no_extension() -> StoreError {
    StoreError::Fatal(
        "[postgres] timescale is yes, and the database does not have the extension: `CREATE EXTENSION timescaledb` as an \
         administrator (the server must load it: shared_preload_libraries), or set timescale to auto or no"
            .into(),
    )
}
