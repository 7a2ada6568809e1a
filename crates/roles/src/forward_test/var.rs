//! Value at risk: one day, 95 %, by historical simulation of the positions as
//! they are over the last 1,440 one-minute simple returns; nearest rank; scaled
//! by the root of the minutes of a day.
//!
//! A minute closes at the first event of its source in a later one; what a
//! symbol is marked at then is its minute mark, and a symbol that did not move
//! has the return 0. Only the marks of minutes that follow each other give a
//! return: a minute after one without any event of the source gives none, so
//! neither a night nor bars of an hour pass for minutes, and a symbol of longer
//! bars has no VaR.
//! The closes are kept in the state in blocks of 60, so that a minute writes
//! one block and not the window.
//!
//! Not here: when it is asked for.

use std::collections::VecDeque;

use rust_decimal::Decimal;

use super::money::{Overflow, from_f64, to_f64};

/// Returns in the window: the minutes of a day.
const WINDOW: usize = 1_440;
/// Fewer returns than these say nothing.
const MIN_RETURNS: usize = 100;
/// Closes in one key of the state.
pub(super) const BLOCK: u64 = 60;

/// The number of the first of some closes, and the closes.
pub(super) type Block = (u64, Vec<Option<Decimal>>);

/// The last minute closes of a symbol and the returns between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Returns {
    /// Number of the first close that is still here, from 0.
    first: u64,
    /// None where minutes without a mark lie between.
    closes: VecDeque<Option<Decimal>>,
    returns: VecDeque<f64>,
    /// The same returns, smallest first.
    sorted: Vec<f64>,
    /// The first block that the state does not have as it is here.
    dirty_from: Option<u64>,
    /// Blocks that left the window since they were last asked for: from, to.
    gone: Option<(u64, u64)>,
}

impl Returns {
    /// Takes the last mark of a minute that is over; `last` says that the minute
    /// after it has none.
    pub(super) fn close_minute(&mut self, close: Decimal, last: bool) {
        let alone = !matches!(self.closes.back(), Some(Some(_)));
        // A mark between two holes gives no return.
        if !(alone && last) {
            self.add(Some(close));
            if last {
                self.add(None);
            }
        }
    }

    /// The symbol has no minute marks now.
    pub(super) fn skip_minute(&mut self) {
        if let Some(Some(_)) = self.closes.back() {
            self.add(None);
        }
    }

    fn add(&mut self, close: Option<Decimal>) {
        let number = self.first + self.closes.len() as u64;
        self.push(close);
        self.dirty_from.get_or_insert(number / BLOCK);
    }

    fn push(&mut self, close: Option<Decimal>) {
        let before = self.closes.back().copied().flatten();
        self.closes.push_back(close);
        if let Some((before, close)) = before.zip(close) {
            let change = simple_return(before, close);
            self.returns.push_back(change);
            let at = self.sorted.partition_point(|r| r.total_cmp(&change).is_lt());
            self.sorted.insert(at, change);
        }
        while self.returns.len() > WINDOW {
            self.drop_first();
        }
    }

    /// Forgets the first close, and the return that begins with it.
    fn drop_first(&mut self) {
        let first = self.closes.pop_front().flatten();
        let gave_return = first.is_some() && self.closes.front().copied().flatten().is_some();
        if gave_return && let Some(oldest) = self.returns.pop_front() {
            let at = self.sorted.partition_point(|r| r.total_cmp(&oldest).is_lt());
            self.sorted.remove(at);
        }
        self.first += 1;
        if self.first.is_multiple_of(BLOCK) {
            let block = self.first / BLOCK;
            self.gone = Some((self.gone.map_or(block - 1, |(from, _)| from), block));
        }
    }

    /// The blocks that changed since the last call, each with the number of its
    /// first close, and the blocks that are gone.
    pub(super) fn take_changed(&mut self) -> (Vec<Block>, std::ops::Range<u64>) {
        let mut changed = Vec::new();
        let end = self.first + self.closes.len() as u64;
        if let Some(from) = self.dirty_from.take() {
            let mut start = (from * BLOCK).max(self.first);
            while start < end {
                let stop = ((start / BLOCK + 1) * BLOCK).min(end);
                let closes = (start..stop).map(|n| self.closes[(n - self.first) as usize]).collect();
                changed.push((start, closes));
                start = stop;
            }
        }
        let (from, to) = self.gone.take().unwrap_or_default();
        (changed, from..to)
    }

    /// Takes back blocks, in order of their first close.
    pub(super) fn restore(blocks: Vec<Block>) -> Self {
        // The first block may begin before the window: what lies there leaves it again.
        let first = blocks.first().map_or(0, |(start, _)| *start);
        let mut restored = Self { first, ..Self::default() };
        blocks.into_iter().flat_map(|(_, closes)| closes).for_each(|close| restored.push(close));
        restored.gone = None;
        restored
    }

    pub(super) fn len(&self) -> usize {
        self.returns.len()
    }
}

fn simple_return(before: Decimal, after: Decimal) -> f64 {
    if before == after || before.is_zero() {
        return 0.0;
    }
    to_f64(after) / to_f64(before) - 1.0
}

/// VaR of values held (signed, at mark) in symbols with these returns, in one
/// fixed order. None while any of them has too few returns.
pub(super) fn value_at_risk(held: &[(Decimal, &Returns)]) -> Result<Option<Decimal>, Overflow> {
    let count = held.iter().map(|(_, returns)| returns.len()).min().unwrap_or(0);
    if count < MIN_RETURNS {
        return Ok(None);
    }
    // Nearest rank: the smallest loss that 95 % of the losses do not exceed.
    let rank = (95 * count).div_ceil(100);
    let loss = match held {
        // The returns lie sorted; a long loses at the low end, a short at the high one.
        [(value, returns)] => {
            let value = to_f64(*value);
            -value * if value >= 0.0 { returns.sorted[count - rank] } else { returns.sorted[rank - 1] }
        }
        _ => {
            let mut losses = vec![0.0_f64; count];
            for (value, returns) in held {
                let value = to_f64(*value);
                let newest = returns.returns.iter().skip(returns.len() - count);
                for (loss, change) in losses.iter_mut().zip(newest) {
                    *loss -= value * change;
                }
            }
            *losses.select_nth_unstable_by(rank - 1, f64::total_cmp).1
        }
    };
    from_f64((loss * (WINDOW as f64).sqrt()).max(0.0)).map(Some)
}

/// Whether so many returns are enough for a figure.
pub(super) fn enough(returns: usize) -> bool {
    returns >= MIN_RETURNS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(closes: impl Iterator<Item = u32>) -> Returns {
        let mut returns = Returns::default();
        closes.for_each(|close| returns.close_minute(Decimal::from(close), false));
        returns
    }

    #[test]
    fn var_is_the_nearest_rank_of_the_losses_times_the_root_of_a_day() {
        // 100 returns: 94 zeros, then six falls of 1 %, 2 %, … 6 %, each from a round price.
        let mut returns = window((0..95).map(|_| 10_000));
        for percent in 1..=6_u32 {
            returns.returns.push_back(-f64::from(percent) / 100.0);
            returns.sorted.insert(0, -f64::from(percent) / 100.0);
        }
        assert_eq!(returns.len(), 100);
        // The 95th of 100 losses, smallest first: 94 zeros, then 1 %.
        let long = value_at_risk(&[(Decimal::from(1_000), &returns)]).unwrap().unwrap();
        assert_eq!(long, Decimal::from_str_exact("379.47331922").unwrap());
        // A short gains from falls: its 95th loss is zero.
        assert_eq!(value_at_risk(&[(Decimal::from(-1_000), &returns)]).unwrap(), Some(Decimal::ZERO));
        // Held twice by halves it goes through the simulation, and comes to the same.
        let half = Decimal::from(500);
        assert_eq!(value_at_risk(&[(half, &returns), (half, &returns)]).unwrap(), Some(long));
    }

    #[test]
    fn under_a_hundred_returns_there_is_no_var() {
        let returns = window(1..=100);
        assert_eq!(returns.len(), 99);
        assert_eq!(value_at_risk(&[(Decimal::ONE, &returns)]), Ok(None));
    }

    #[test]
    fn only_minutes_that_follow_each_other_give_a_return() {
        let mut hourly = Returns::default();
        (1..=500).for_each(|close: u32| hourly.close_minute(Decimal::from(close), true));
        assert_eq!((hourly.len(), hourly.closes.len()), (0, 0));
        let mut days = Returns::default();
        for close in 1..=10_u32 {
            // Two minutes and a night.
            days.close_minute(Decimal::from(100), false);
            days.close_minute(Decimal::from(100 + close), true);
        }
        assert_eq!(days.len(), 10);
        assert!(days.returns.iter().all(|change| *change > 0.0), "no fall over night is among them");
        days.skip_minute();
        days.close_minute(Decimal::from(50), false);
        days.skip_minute();
        days.close_minute(Decimal::from(40), false);
        assert_eq!(days.len(), 10);
    }

    #[test]
    fn a_window_with_holes_is_restored_from_its_blocks() {
        let mut returns = Returns::default();
        let mut kept = std::collections::BTreeMap::new();
        for i in 0..9_000_u32 {
            returns.close_minute(Decimal::from(1_000 + (i * 7919) % 101), i % 7 == 3 || i % 11 == 0);
            if i % 97 == 0 {
                let (blocks, gone) = returns.take_changed();
                kept.extend(blocks.into_iter().map(|(start, closes)| (start / BLOCK, (start, closes))));
                gone.for_each(|block| _ = kept.remove(&block));
                assert_eq!(Returns::restore(kept.values().cloned().collect()), returns, "minute {i}");
            }
        }
        assert_eq!(returns.len(), 1_440);
        assert!(returns.closes.len() < 3 * 1_441);
    }

    #[test]
    fn the_window_slides_and_its_blocks_restore_it() {
        let mut returns = window((0..4_000).map(|i| 1_000 + (i * 7919) % 101));
        assert_eq!((returns.len(), returns.closes.len(), returns.sorted.len()), (1_440, 1_441, 1_440));
        assert!(returns.sorted.is_sorted());
        let (blocks, gone) = returns.take_changed();
        assert_eq!(gone, 0..(4_000 - 1_441) / 60);
        assert_eq!(Returns::restore(blocks), returns);
        returns.close_minute(Decimal::from(7), false);
        let (blocks, _) = returns.take_changed();
        assert_eq!(blocks.len(), 1, "a minute writes one block");
        assert!(blocks[0].1.len() <= BLOCK as usize);
    }
}
