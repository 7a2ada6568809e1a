//! Sums of absolute contributions: what a batch adds to an hour is read, added to
//! in memory, and written again.
//!
//! Not here: what is summed.

use rusqlite::{Connection, OptionalExtension, params};
use tapedeck_contracts::Timestamp;

use super::{
    super::{failure::damaged, names::Names},
    Sets,
};
use crate::{
    ExplainedBatch, Importance, Result,
    common::explained::{add_up, bytes_of, sums_of, together},
};

/// Adds the sums of a batch.
pub(super) fn add(conn: &Connection, names: &mut Names, sets: &mut Sets, batch: &ExplainedBatch) -> Result<()> {
    let mut find = conn.prepare_cached(
        "SELECT decisions, sums FROM forensics_importance WHERE hour_us = ?1 AND symbol = ?2 AND feature_set = ?3",
    )?;
    let mut put = conn.prepare_cached(
        "INSERT OR REPLACE INTO forensics_importance (hour_us, symbol, feature_set, decisions, sums) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for more in together(batch)? {
        let symbol = names.intern(conn, &more.symbol)?;
        let (hour_us, set) = (more.hour.micros(), sets.number(conn, more.feature_set)?);
        let stored: Option<(u64, Vec<u8>)> =
            find.query_row(params![hour_us, symbol, set], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let sum = match stored {
            None => more,
            Some((decisions, bytes)) => {
                let sums = sums_of(&bytes).ok_or_else(|| damaged("sums"))?;
                let mut sum = Importance { decisions, sums, ..more.clone() };
                add_up(&mut sum, &more)?;
                sum
            }
        };
        put.execute(params![hour_us, symbol, set, sum.decisions, bytes_of(&sum.sums)])?;
    }
    Ok(())
}

/// Sums of the hours that begin in [from, to), oldest first, then by symbol.
pub(in crate::sqlite) fn importance(
    conn: &Connection,
    names: &mut Names,
    from: Timestamp,
    to: Timestamp,
    symbol: Option<&str>,
) -> Result<Vec<Importance>> {
    let Some(symbol) = names.filter(conn, symbol)? else { return Ok(Vec::new()) };
    let mut statement = conn.prepare_cached(
        "SELECT i.hour_us, i.symbol, s.id, i.decisions, i.sums FROM forensics_importance i \
         CROSS JOIN feature_sets s ON s.number = i.feature_set \
         WHERE i.hour_us >= ?1 AND i.hour_us < ?2 AND (?3 IS NULL OR i.symbol = ?3)",
    )?;
    let mut rows = statement.query(params![from.micros(), to.micros(), symbol])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(Importance {
            hour: Timestamp::from_micros(row.get(0)?),
            symbol: names.name(conn, row.get(1)?)?.to_string(),
            feature_set: row.get(2)?,
            decisions: row.get(3)?,
            sums: sums_of(row.get_ref(4)?.as_blob().unwrap_or_default()).ok_or_else(|| damaged("sums"))?,
        });
    }
    all.sort_by(|a, b| (a.hour, &a.symbol, a.feature_set).cmp(&(b.hour, &b.symbol, b.feature_set)));
    Ok(all)
}
