//! The newest rows of several lists that are each newest first: what lets one
//! index by account, symbol and venue answer every set of these filters. Each
//! list costs a seek, and every further index costs each report an insert.
//!
//! Not here: the queries, and which lists there are.

use std::collections::BinaryHeap;

use crate::Result;

/// Rows read ahead of a list: fewer are not worth the way to them, and more
/// would mostly be read for nothing.
const READ_AHEAD: (usize, usize) = (4, 128);

/// A row of a list: its time and place, which order it, and what is read of it.
pub(crate) type Found<T> = ((i64, i64), T);

/// The newest `limit` rows before a (time, place), newest first. `read` is told
/// which lists (by their index), before which (time, place) each, and how many
/// rows of each at most; it gives their rows in that order.
pub(crate) fn newest<T>(
    lists: usize,
    before: (i64, i64),
    limit: usize,
    mut read: impl FnMut(&[(usize, (i64, i64))], usize) -> Result<Vec<Vec<Found<T>>>>,
) -> Result<Vec<Found<T>>> {
    let ahead = (limit / lists.max(1)).clamp(READ_AHEAD.0, READ_AHEAD.1);
    let all: Vec<_> = (0..lists).map(|list| (list, before)).collect();
    let mut rows: Vec<_> = read(&all, ahead)?.into_iter().map(Vec::into_iter).collect();
    // A list that is read again holds more of the newest than the others: twice as much is asked for.
    let mut aheads = vec![ahead; lists];
    let mut heads = Vec::with_capacity(lists);
    let mut order = BinaryHeap::with_capacity(lists);
    for (list, of_list) in rows.iter_mut().enumerate() {
        let head = of_list.next();
        order.extend(head.as_ref().map(|(key, _)| (*key, list)));
        heads.push(head);
    }
    let mut found = Vec::with_capacity(limit.min(1_000));
    while found.len() < limit
        && let Some((key, list)) = order.pop()
    {
        found.extend(heads[list].take());
        if found.len() == limit {
            break;
        }
        if rows[list].len() == 0 {
            aheads[list] = (aheads[list] * 2).min(READ_AHEAD.1);
            let more = read(&[(list, key)], aheads[list])?;
            rows[list] = more.into_iter().flatten().collect::<Vec<_>>().into_iter();
        }
        heads[list] = rows[list].next();
        order.extend(heads[list].as_ref().map(|(key, _)| (*key, list)));
    }
    Ok(found)
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
            let mut all: Vec<Found<i64>> = Vec::new();
            for (number, (list, time_us)) in (0_i64..).zip(times) {
                // A place is met once.
                let row = ((time_us, number * 7 % 1_000), number);
                lists[list].push(row);
                all.push(row);
            }
            lists.iter_mut().for_each(|list| list.sort_unstable_by(|a, b| b.cmp(a)));
            all.sort_unstable_by(|a, b| b.cmp(a));
            let found = newest(lists.len(), (before, 0), limit, |wanted, most| {
                let rows = |(list, before): &(usize, (i64, i64))| {
                    lists[*list].iter().filter(|(key, _)| key < before).take(most).copied().collect()
                };
                Ok(wanted.iter().map(rows).collect())
            }).unwrap();
            let expected = all.iter().filter(|(key, _)| *key < (before, 0)).take(limit);
            prop_assert_eq!(found, expected.copied().collect::<Vec<_>>());
        }
    }
}
