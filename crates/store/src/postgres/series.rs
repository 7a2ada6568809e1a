//! The series that reports were ever kept of, which are the lists that a query
//! merges; the answers of several lists taken apart; and how queries begin.
//!
//! Not here: merging them.

use tokio_postgres::{Row, types::ToSql};

use super::{codec::Time, codec::get, connect::Session, failure::damaged};
use crate::{Result, merge::Found};

/// What a statement is given.
pub(super) type Param<'a> = dyn ToSql + Sync + 'a;

/// How queries begin: one snapshot for all of them, and indexes alone. A planner that
/// has not counted a table yet takes it for small, and would read the whole of it.
pub(super) const AT_ONCE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan TO off; \
     SET LOCAL enable_bitmapscan TO off";

/// Who, where, what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) account: String,
    pub(super) venue: String,
    pub(super) symbol: String,
}

/// A row a series, and they are few: the table in its order.
pub(super) const SERIES: &str = "SELECT account, venue, symbol FROM symbol_stats WHERE ($1::text IS NULL \
     OR account = $1) AND ($2::text IS NULL OR symbol = $2) AND ($3::text IS NULL OR venue = $3) \
     ORDER BY account, venue, symbol";

/// The series that reports were ever kept of, by these filters.
pub(super) fn of_filters(
    session: &mut Session,
    account: Option<&str>,
    symbol: Option<&str>,
    venue: Option<&str>,
) -> Result<Vec<Series>> {
    let rows = session.query(SERIES, &[&account, &symbol, &venue])?;
    rows.iter().map(|row| Ok(Series { account: get(row, 0)?, venue: get(row, 1)?, symbol: get(row, 2)? })).collect()
}

/// Rows by the number of their list, which stands in a column; each begins with
/// its time and place. A server gives them list by list, each newest first, but
/// promises neither.
pub(super) fn by_list<T>(
    rows: &[Row],
    lists: usize,
    column: usize,
    read: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<Vec<Found<T>>>> {
    let mut all: Vec<Vec<Found<T>>> = (0..lists).map(|_| Vec::new()).collect();
    for row in rows {
        let list = usize::try_from(get::<i64>(row, column)?).ok().and_then(|list| all.get_mut(list));
        let at = (get::<Time>(row, 0)?.0, get(row, 1)?);
        list.ok_or_else(|| damaged("the number of a list"))?.push((at, read(row)?));
    }
    all.iter_mut().for_each(|list| list.sort_by_key(|(at, _)| std::cmp::Reverse(*at)));
    Ok(all)
}
