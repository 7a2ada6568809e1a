//! The series that reports were ever kept of: the lists that a query merges.
//!
//! Not here: merging them.

use rusqlite::{Connection, params};

use super::reports::Series;
use crate::Result;

pub(super) const SERIES: &str = "SELECT account, venue, symbol FROM symbol_stats WHERE (?1 IS NULL OR account = ?1) \
     AND (?2 IS NULL OR symbol = ?2) AND (?3 IS NULL OR venue = ?3) ORDER BY account, venue, symbol";

/// The series that reports were ever kept of, by these filters.
pub(super) fn series(
    conn: &Connection,
    account: Option<i64>,
    symbol: Option<i64>,
    venue: Option<i64>,
) -> Result<Vec<Series>> {
    let mut statement = conn.prepare_cached(SERIES)?;
    let rows = statement.query_map(params![account, symbol, venue], |row| {
        Ok(Series { account: row.get(0)?, venue: row.get(1)?, symbol: row.get(2)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
