//! Retention: parts whose whole ingest is long enough ago are dropped; in the
//! part that the limit lies in, and among closed orders, a bounded number of
//! rows a call. What rows were summed into stays, and so do the ids, the newest
//! metrics and the last point of a curve, which lie apart.
//!
//! Not here: how often it is called.

use super::{
    codec::{Time, get},
    connect::{Session, quoted},
    forensics,
    partitions::{self, DAY_MS, Layout, PARTITIONED, Partitioned},
};
use crate::{Result, Retention, StoreError};

/// Rows that one call deletes at most: it must not hold up a batch for long.
const ROWS_A_CALL: i64 = 2_000;

/// How long a part waits to be dropped behind those who read its table: those
/// who come later wait behind it.
const LOCK_TIMEOUT_MS: u32 = 1_000;

/// Deletes by ingest time; see the trait. Of a dropped part the server's own
/// estimate of its rows is counted.
pub(super) fn enforce(
    session: &mut Session,
    schema: &str,
    layout: Layout,
    rules: &[Retention],
    now_ms: i64,
) -> Result<u64> {
    if layout == Layout::Timescale {
        policies(session, schema, rules)?;
    }
    let mut left = ROWS_A_CALL;
    let mut dropped = 0;
    for rule in rules {
        let keep_ms = i64::try_from(rule.keep.as_millis()).unwrap_or(i64::MAX);
        let before_ms = now_ms.saturating_sub(keep_ms);
        if rule.table == "orders" {
            left -= trim_orders(session, before_ms, left)?;
            continue;
        }
        let tables = tables_of(&rule.table)?;
        for table in tables {
            for part in parts(session, schema, layout, table)? {
                if part.end_ms <= before_ms {
                    dropped += drop_part(session, schema, layout, table, &part)?;
                } else if part.start_ms < before_ms && !part.is_compressed {
                    left -= match table.name {
                        FORENSICS => forensics::trim(session, &part.name, before_ms, left)?,
                        _ => trim(session, &part.name, before_ms, left)?,
                    };
                }
            }
        }
    }
    Ok(dropped + (ROWS_A_CALL - left).unsigned_abs())
}

/// What goes of it cuts chains, which has to be noted: nobody else may drop it.
const FORENSICS: &str = "forensics";

fn tables_of(rule: &str) -> Result<Vec<&'static Partitioned>> {
    let names = if rule == "pnl_curve" { vec!["pnl_curve", "unrealized_curve"] } else { vec![rule] };
    let found: Vec<_> = PARTITIONED.iter().filter(|table| names.contains(&table.name)).collect();
    if found.is_empty() || rule == "unrealized_curve" {
        return Err(StoreError::Fatal(format!(
            "there is no retention for a table `{rule}`: it is exec_reports, alerts, signals, risk_metrics, orders, \
             pnl_curve or forensics"
        )));
    }
    Ok(found)
}

/// Has TimescaleDB drop by itself what these rules let go, also while nobody
/// calls; where there is no rule (any more), nothing is dropped.
fn policies(session: &mut Session, schema: &str, rules: &[Retention]) -> Result<()> {
    if !partitions::has_policies(session)? {
        return Ok(());
    }
    let functions = quoted(&partitions::timescale(session)?.unwrap_or_default());
    let sql = "SELECT extract(epoch FROM (config->>'drop_after')::interval)::bigint FROM timescaledb_information.jobs \
               WHERE proc_name = 'policy_retention' AND hypertable_schema = $1 AND hypertable_name = $2";
    for table in PARTITIONED.iter().filter(|table| table.name != FORENSICS) {
        let rule = if table.name == "unrealized_curve" { "pnl_curve" } else { table.name };
        let keep_s = rules.iter().find(|of| of.table == rule).map(|of| of.keep.as_secs());
        // A policy runs once a day: what is kept for less is left to our own calls.
        let wanted = keep_s.and_then(|keep_s| i64::try_from(keep_s).ok()).filter(|keep_s| *keep_s >= DAY_MS / 1_000);
        let found: Option<i64> =
            session.query_opt(sql, &[&schema, &table.name])?.map(|row| get(&row, 0)).transpose()?;
        if found == wanted {
            continue;
        }
        let hypertable = format!("'{}.{}'", quoted(schema).replace('\'', "''"), table.name);
        session.transaction("BEGIN", |session| {
            session.batch(&format!("SELECT {functions}.remove_retention_policy({hypertable}, if_exists => true)"))?;
            match wanted {
                None => Ok(()),
                Some(keep_s) => session.batch(&format!(
                    "SELECT {functions}.add_retention_policy({hypertable}, drop_after => interval '{keep_s} seconds')"
                )),
            }
        })?;
    }
    Ok(())
}

/// A part of a table.
struct Part {
    /// As SQL takes it.
    name: String,
    start_ms: i64,
    end_ms: i64,
    /// Rows of a compressed part go with it, not one by one.
    is_compressed: bool,
}

/// The parts of a table, oldest first.
fn parts(session: &mut Session, schema: &str, layout: Layout, table: &Partitioned) -> Result<Vec<Part>> {
    let mut parts = match layout {
        Layout::Declarative => own_parts(session, schema, table)?,
        Layout::Timescale => chunks(session, schema, table)?,
    };
    parts.sort_by_key(|part| part.start_ms);
    Ok(parts)
}

fn own_parts(session: &mut Session, schema: &str, table: &Partitioned) -> Result<Vec<Part>> {
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
               JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace \
               WHERE n.nspname = $1 AND p.relname = $2";
    let mut parts = Vec::new();
    for row in session.query(sql, &[&schema, &table.name])? {
        let name: &str = get(&row, 0)?;
        // One that we did not make is its maker's.
        let Some(number) = partitions::part_number(table, name) else { continue };
        parts.push(Part {
            name: format!("{}.{}", quoted(schema), quoted(name)),
            start_ms: number * table.days * DAY_MS,
            end_ms: (number + 1) * table.days * DAY_MS,
            is_compressed: false,
        });
    }
    Ok(parts)
}

fn chunks(session: &mut Session, schema: &str, table: &Partitioned) -> Result<Vec<Part>> {
    let sql = "SELECT chunk_schema::text, chunk_name::text, range_start, range_end, coalesce(is_compressed, false) \
               FROM timescaledb_information.chunks WHERE hypertable_schema = $1 AND hypertable_name = $2";
    let rows = session.query(sql, &[&schema, &table.name])?;
    rows.iter()
        .map(|row| {
            Ok(Part {
                name: format!("{}.{}", quoted(get(row, 0)?), quoted(get(row, 1)?)),
                start_ms: get::<Time>(row, 2)?.0.div_euclid(1_000),
                end_ms: get::<Time>(row, 3)?.0.div_euclid(1_000),
                is_compressed: get(row, 4)?,
            })
        })
        .collect()
}

/// Drops a part; returns about how many rows it had.
fn drop_part(session: &mut Session, schema: &str, layout: Layout, table: &Partitioned, part: &Part) -> Result<u64> {
    let sql = "SELECT reltuples::bigint FROM pg_class WHERE oid = $1::text::regclass";
    let rows: i64 = session.query_opt(sql, &[&part.name])?.map_or(Ok(0), |row| get(&row, 0))?;
    session.transaction("BEGIN", |session| {
        session.batch(&format!("SET LOCAL lock_timeout TO {LOCK_TIMEOUT_MS}"))?;
        if table.name == FORENSICS {
            forensics::cut(session, &part.name)?;
        }
        match layout {
            Layout::Declarative => session.batch(&format!("DROP TABLE IF EXISTS {}", part.name)),
            Layout::Timescale => {
                let functions = partitions::timescale(session)?.unwrap_or_default();
                let sql = format!(
                    "SELECT {}.drop_chunks($1::text::regclass, older_than => $2::timestamptz)",
                    quoted(&functions)
                );
                let hypertable = format!("{}.{}", quoted(schema), table.name);
                session.query(&sql, &[&hypertable, &Time(part.end_ms * 1_000)]).map(drop)
            }
        }
    })?;
    Ok(rows.max(1).unsigned_abs())
}

/// The rows of a part that are old enough.
fn trim(session: &mut Session, part: &str, before_ms: i64, limit: i64) -> Result<i64> {
    let sql =
        format!("DELETE FROM {part} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {part} WHERE ingested_at < $1 LIMIT $2))");
    counted(session.execute(&sql, &[&Time(before_ms.saturating_mul(1_000)), &limit]))
}

/// Closed orders; open ones stay however old they are. Orders that a batch is
/// writing to are passed over: nothing is waited for here, so nobody waits in a
/// circle.
fn trim_orders(session: &mut Session, before_ms: i64, limit: i64) -> Result<i64> {
    let sql = "DELETE FROM orders WHERE ctid = ANY(ARRAY(SELECT ctid FROM orders WHERE NOT open AND ingested_at < $1 \
               LIMIT $2 FOR UPDATE SKIP LOCKED))";
    counted(session.execute(sql, &[&Time(before_ms.saturating_mul(1_000)), &limit]))
}

fn counted(rows: Result<u64>) -> Result<i64> {
    rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX))
}
