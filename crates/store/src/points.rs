//! The points of a PnL curve, from the last rows of its buckets: which buckets
//! are asked for, the sum of several symbols' curves, and realised beside
//! unrealised. Pure: every store finds its rows in its own way and gives the
//! same points.
//!
//! Not here: finding the rows.

use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, Timestamp};

use crate::{PnlPoint, PnlQuery};

/// At most so many points come of one call: the newest.
pub(crate) const MAX_POINTS: usize = 10_000;

/// What is asked for, in buckets.
pub(crate) struct Stretch {
    pub(crate) interval_us: i64,
    /// Where the first bucket begins.
    pub(crate) first_us: i64,
    /// Where the last bucket ends.
    pub(crate) end_us: i64,
}

impl Stretch {
    pub(crate) fn of(query: &PnlQuery) -> Self {
        let mut stretch = Self { interval_us: query.interval_us.max(1), first_us: 0, end_us: 0 };
        stretch.first_us = stretch.bucket(query.from.micros());
        stretch.end_us = stretch.bucket(query.to.micros()).saturating_add(stretch.interval_us);
        stretch
    }

    /// Where the bucket of a time begins.
    pub(crate) fn bucket(&self, time_us: i64) -> i64 {
        time_us.div_euclid(self.interval_us).saturating_mul(self.interval_us)
    }
}

/// Beginnings of buckets, newest first, each with realised PnL and fees at its
/// last row; behind the stretch one more: what stood before it.
pub(crate) type Curve = Vec<(i64, (Decimal, Decimal))>;

/// One curve of several: in each bucket the sum of the newest row of each up to
/// it, and one more from before the stretch.
pub(crate) fn summed(mut curves: Vec<Curve>, first_us: i64) -> Curve {
    if curves.len() == 1 {
        return curves.remove(0);
    }
    let mut heads = vec![0; curves.len()];
    let mut sums = Curve::new();
    loop {
        let standing = |(curve, head): (&Curve, &usize)| curve.get(*head).copied();
        let newest = curves.iter().zip(&heads).filter_map(standing).map(|(start, _)| start).max();
        let Some(newest) = newest else { return sums };
        let (mut realized, mut fees) = (Decimal::ZERO, Decimal::ZERO);
        for (_, row) in curves.iter().zip(&heads).filter_map(standing) {
            (realized, fees) = (realized + row.0, fees + row.1);
        }
        sums.push((newest, (realized, fees)));
        if newest < first_us || sums.len() > MAX_POINTS {
            return sums;
        }
        for (curve, head) in curves.iter().zip(&mut heads) {
            *head += usize::from(curve.get(*head).is_some_and(|(start, _)| *start == newest));
        }
    }
}

/// The points of two lists that are newest first, oldest first. Where one has
/// no row in a bucket of the other, its newest before that stands.
pub(crate) fn side_by_side(
    sums: &[(i64, (Decimal, Decimal))],
    held: &[(i64, Decimal)],
    first_us: i64,
) -> Vec<PnlPoint> {
    let (mut sums, mut held) = (sums.iter().peekable(), held.iter().peekable());
    let mut points = Vec::with_capacity(MAX_POINTS.min(sums.len() + held.len()));
    while points.len() < MAX_POINTS {
        let newest = sums.peek().map(|(start, _)| *start).max(held.peek().map(|(start, _)| *start));
        let Some(start_us) = newest.filter(|start| *start >= first_us) else { break };
        let (realized, fees) = sums.peek().map_or((Decimal::ZERO, Decimal::ZERO), |(_, sums)| *sums);
        points.push(PnlPoint {
            timestamp: Timestamp::from_micros(start_us),
            realized: Dec(realized),
            unrealized: Dec(held.peek().map_or(Decimal::ZERO, |(_, unrealized)| *unrealized)),
            fees: Dec(fees),
        });
        sums.next_if(|(start, _)| *start == start_us);
        held.next_if(|(start, _)| *start == start_us);
    }
    points.reverse();
    points
}
