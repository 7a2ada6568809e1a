//! Tables in parts by the time of their ingest: hypertables where TimescaleDB is
//! there, else partitions that are made ahead of need.
//!
//! Not here: dropping them, which is retention.

use std::collections::HashSet;

use super::{
    codec::Time,
    connect::{Session, quoted},
};
use crate::{Result, StoreError};

/// How the tables of a schema are partitioned; settled when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Hypertables of TimescaleDB.
    Timescale,
    /// PostgreSQL's own partitions.
    Declarative,
}

impl Layout {
    pub(super) fn of(word: &str) -> Option<Self> {
        match word {
            "timescale" => Some(Self::Timescale),
            "declarative" => Some(Self::Declarative),
            _ => None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Timescale => "timescale",
            Self::Declarative => "declarative",
        }
    }
}

/// A table in parts.
pub(super) struct Partitioned {
    pub(super) name: &'static str,
    /// The version of the schema that brought it.
    pub(super) since: usize,
    /// Length of a part. A query looks into every part that it cannot rule out,
    /// so tables that are kept for years have longer ones: 7 years are 86.
    pub(super) days: i64,
    /// What rows of one compressed batch have in common, and how they lie in it.
    compress_by: (&'static str, &'static str),
}

/// The tables in parts, in the order in which they are locked.
pub(super) const PARTITIONED: &[Partitioned] = &[
    Partitioned { name: "exec_reports", since: 1, days: 30, compress_by: ("account, symbol", "time DESC, place DESC") },
    Partitioned { name: "pnl_curve", since: 1, days: 30, compress_by: ("account, symbol", "time DESC, reports DESC") },
    Partitioned {
        name: "unrealized_curve",
        since: 1,
        days: 30,
        compress_by: ("account, symbol", "time DESC, place DESC"),
    },
    Partitioned { name: "risk_metrics", since: 1, days: 7, compress_by: ("account", "time DESC, place DESC") },
    Partitioned { name: "alerts", since: 1, days: 7, compress_by: ("severity", "time DESC, place DESC") },
    Partitioned { name: "signals", since: 1, days: 7, compress_by: ("symbol", "time DESC, place DESC") },
    // The time is there for its least and its greatest, by which lists leave out what they do not need.
    Partitioned { name: "forensics", since: 2, days: 30, compress_by: ("chain, list", "chain_index, time") },
];

/// Parts are compressed when so much time has passed since their end: nothing
/// is written to them any more.
const COMPRESS_AFTER_DAYS: i64 = 7;

pub(super) const DAY_MS: i64 = 86_400_000;

/// The schema that holds TimescaleDB's functions, where the database has it.
pub(super) fn timescale(session: &mut Session) -> Result<Option<String>> {
    let sql = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
               WHERE e.extname = 'timescaledb'";
    Ok(session.query_opt(sql, &[])?.map(|row| row.get(0)))
}

/// Whether the extension's licence has compression and policies.
pub(super) fn has_policies(session: &mut Session) -> Result<bool> {
    let licence = session.query_opt("SELECT current_setting('timescaledb.license', true)", &[])?;
    Ok(licence.is_some_and(|row| row.get::<_, Option<&str>>(0) == Some("timescale")))
}

/// Makes the partitioned tables that came after a version hypertables, with compression where the
/// extension's licence has it.
pub(super) fn make_hypertables(session: &mut Session, schema: &str, after: usize) -> Result<()> {
    let functions = timescale(session)?.ok_or_else(|| StoreError::Fatal("TimescaleDB is gone".into()))?;
    let functions = quoted(&functions);
    let compresses = has_policies(session)?;
    for Partitioned { name, days, compress_by: (segment, order), .. } in
        PARTITIONED.iter().filter(|table| table.since > after)
    {
        let table = format!("'{}.{name}'", quoted(schema).replace('\'', "''"));
        session.batch(&format!(
            "SELECT {functions}.create_hypertable({table}, 'ingested_at', \
             chunk_time_interval => interval '{days} days', create_default_indexes => false)"
        ))?;
        if compresses {
            session.batch(&format!(
                "ALTER TABLE {name} SET (timescaledb.compress, timescaledb.compress_segmentby = '{segment}', \
                 timescaledb.compress_orderby = '{order}'); SELECT {functions}.add_compression_policy({table}, \
                 compress_after => interval '{COMPRESS_AFTER_DAYS} days')"
            ))?;
        }
    }
    if !compresses {
        tracing::warn!("this TimescaleDB has no compression (its licence is not `timescale`): tables stay as they are");
    }
    Ok(())
}

/// The partitions that are known to be there, by table and place of the part.
#[derive(Default)]
pub(super) struct Known(HashSet<(&'static str, i64)>);

impl Known {
    /// Makes the partitions that hold this time, and those after them, so that
    /// the end of a part finds the next one there. Before any transaction that
    /// writes: each is made in one of its own, which blocks nobody.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) fn make(&mut self, session: &mut Session, schema: &str, ingested_ms: i64) -> Result<()> {
        for table in PARTITIONED {
            let part = ingested_ms.div_euclid(table.days * DAY_MS);
            if !self.0.contains(&(table.name, part)) {
                attach(session, schema, table, part)?;
                attach(session, schema, table, part + 1)?;
                self.0.insert((table.name, part));
            }
        }
        Ok(())
    }

    /// Forgets all: another process may have dropped some.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Makes a partition beside its table and then attaches it, which unlike CREATE
/// TABLE … PARTITION OF waits for no reader and no writer.
fn attach(session: &mut Session, schema: &str, table: &Partitioned, part: i64) -> Result<()> {
    let name = part_name(table, part);
    session.transaction("BEGIN", |session| {
        session.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", &[&format!("tapedeck.{schema}")])?;
        let sql = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 \
                   AND c.relname = $2";
        if session.query_opt(sql, &[&schema, &name])?.is_some() {
            return Ok(());
        }
        let parent = table.name;
        let [from, to] = [part, part + 1].map(|part| Time(part * table.days * DAY_MS * 1_000));
        let bounds = session.query("SELECT $1::timestamptz::text, $2::timestamptz::text", &[&from, &to])?;
        let [from, to]: [&str; 2] = [bounds[0].get(0), bounds[0].get(1)];
        session.batch(&format!(
            "CREATE TABLE {name} (LIKE {parent} INCLUDING ALL); \
             ALTER TABLE {parent} ATTACH PARTITION {name} FOR VALUES FROM ('{from}') TO ('{to}')"
        ))
    })
}

/// Numbered from 1970 on, in lengths of the table's parts.
fn part_name(table: &Partitioned, part: i64) -> String {
    let before = if part < 0 { "before_" } else { "" };
    format!("{}_p{before}{}", table.name, part.unsigned_abs())
}

/// The number of a part that [`part_name`] named.
pub(super) fn part_number(table: &Partitioned, name: &str) -> Option<i64> {
    let number = name.strip_prefix(table.name)?.strip_prefix("_p")?;
    match number.strip_prefix("before_") {
        Some(before) => before.parse().ok().map(|number: i64| -number),
        None => number.parse().ok(),
    }
}
