//! The newest rows of several lists that are each newest first: what lets one
//! index by account, symbol and venue answer every set of these filters. Each
//! list costs a seek, and every further index costs each report an insert.
//!
//! Not here: the queries, and which lists there are.

use std::collections::BinaryHeap;

use rusqlite::{Connection, params};

use super::reports::Series;
use crate::Result;

/// Keys read ahead of a list: fewer are not worth the way to them, and more
/// would mostly be read for nothing.
const READ_AHEAD: (usize, usize) = (4, 128);

/// Time, place and number of a row: newest last.
pub(super) type Key = (i64, i64, i64);

/// The numbers of the newest `limit` rows before a (time, place), newest first.
/// `read` gives at most so many keys of a list before a (time, place).
pub(super) fn newest<T>(
    lists: &[T],
    before: (i64, i64),
    limit: usize,
    mut read: impl FnMut(&T, (i64, i64), usize) -> Result<Vec<Key>>,
) -> Result<Vec<i64>> {
    let ahead = (limit / lists.len().max(1)).clamp(READ_AHEAD.0, READ_AHEAD.1);
    let mut keys = Vec::with_capacity(lists.len());
    let mut heads = BinaryHeap::with_capacity(lists.len());
    for (at, list) in lists.iter().enumerate() {
        let mut of_list = read(list, before, ahead)?.into_iter();
        heads.extend(of_list.next().map(|key| (key, at)));
        keys.push(of_list);
    }
    let mut numbers = Vec::with_capacity(limit.min(1_000));
    while numbers.len() < limit
        && let Some(((time_us, place, number), at)) = heads.pop()
    {
        numbers.push(number);
        if keys[at].len() == 0 {
            keys[at] = read(&lists[at], (time_us, place), ahead)?.into_iter();
        }
        heads.extend(keys[at].next().map(|key| (key, at)));
    }
    Ok(numbers)
}

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn merged_lists_are_as_one_sorted_list(
            times in prop::collection::vec((0..6_usize, 0..400_i64), 0..300),
            before in 0..450_i64,
            limit in 0..400_usize,
        ) {
            let mut lists = vec![Vec::new(); 6];
            let mut all: Vec<Key> = Vec::new();
            for (number, (list, time_us)) in (0_i64..).zip(times) {
                // A place is met once.
                let key = (time_us, number * 7 % 1_000, number);
                lists[list].push(key);
                all.push(key);
            }
            lists.iter_mut().for_each(|list| list.sort_unstable_by(|a, b| b.cmp(a)));
            all.sort_unstable_by(|a, b| b.cmp(a));
            let found = newest(&lists, (before, 0), limit, |list, before, most| {
                Ok(list.iter().filter(|key| (key.0, key.1) < before).take(most).copied().collect())
            }).unwrap();
            let expected = all.iter().filter(|key| (key.0, key.1) < (before, 0)).take(limit);
            prop_assert_eq!(found, expected.map(|key| key.2).collect::<Vec<_>>());
        }
    }
}
