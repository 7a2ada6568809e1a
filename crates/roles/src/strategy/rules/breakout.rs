//! Breakout: long when the close is above the highest high of the `entry` bars
//! before, flat when it is below the lowest low of the `exit` bars before;
//! shorts mirrored.
//!
//! The extremes of a moving window are kept in a queue of those bars that can
//! still become one: each bar enters and leaves it once, so a bar costs the same
//! on average however long the window.
//!
//! Not here: what it trades.

use super::{Bar, Decimal, Deserialize, Serialize, Stance, VecDeque, Wide, Wish, shown, wish};

/// Highest highs and lowest lows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::strategy) struct Breakout {
    entry: u64,
    exit: u64,
    /// Bars so far.
    bars: u64,
    entry_high: Extreme,
    entry_low: Extreme,
    exit_high: Extreme,
    exit_low: Extreme,
}

impl Breakout {
    pub(in crate::strategy) fn new(entry: usize, exit: usize) -> Self {
        let none = Extreme::default;
        let (entry, exit) = (entry as u64, exit as u64);
        Self { entry, exit, bars: 0, entry_high: none(), entry_low: none(), exit_high: none(), exit_low: none() }
    }

    pub(super) fn take(&mut self, bar: Bar, held: Stance, long_only: bool) -> Option<Wish> {
        let wish = self.wish(bar.close, held, long_only);
        // Lows are kept negated, so that one queue serves both.
        for (extreme, value, window) in [
            (&mut self.entry_high, bar.high, self.entry),
            (&mut self.entry_low, -bar.low, self.entry),
            (&mut self.exit_high, bar.high, self.exit),
            (&mut self.exit_low, -bar.low, self.exit),
        ] {
            extreme.push(self.bars, value, window);
        }
        self.bars += 1;
        wish
    }

    /// What the bars before say of a close.
    fn wish(&self, close: Decimal, held: Stance, long_only: bool) -> Option<Wish> {
        let (entry, exit) = (self.entry, self.exit);
        let high = |extreme: &Extreme, window| extreme.highest().filter(|_| self.bars >= window);
        let low = |extreme: &Extreme, window| high(extreme, window).map(|value| -value);
        let above = |level: Option<Decimal>| level.filter(|level| close > *level);
        let below = |level: Option<Decimal>| level.filter(|level| close < *level);
        let close = shown(close);
        if let Some(level) = above(high(&self.entry_high, entry)) {
            return wish(Stance::Long, held, long_only, || {
                format!("close {close} is above {}, the highest high of {entry} bars", shown(level))
            });
        }
        if let Some(level) = below(low(&self.entry_low, entry)) {
            return wish(Stance::Short, held, long_only, || {
                format!("close {close} is below {}, the lowest low of {entry} bars", shown(level))
            });
        }
        match held {
            Stance::Long => below(low(&self.exit_low, exit)).map(|level| Wish {
                stance: Stance::Flat,
                reason: format!("close {close} is below {}, the lowest low of {exit} bars", shown(level)),
            }),
            Stance::Short => above(high(&self.exit_high, exit)).map(|level| Wish {
                stance: Stance::Flat,
                reason: format!("close {close} is above {}, the highest high of {exit} bars", shown(level)),
            }),
            Stance::Flat => None,
        }
    }

    pub(super) fn continues(&self, fresh: &Self) -> bool {
        let fits = |extreme: &Extreme, window| extreme.0.len() as u64 <= window;
        (self.entry, self.exit) == (fresh.entry, fresh.exit)
            && [&self.entry_high, &self.entry_low].into_iter().all(|extreme| fits(extreme, self.entry))
            && [&self.exit_high, &self.exit_low].into_iter().all(|extreme| fits(extreme, self.exit))
    }
}

/// The bars of a window that are higher than all after them, by number: the
/// first is the highest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Extreme(VecDeque<(u64, Wide)>);

impl Extreme {
    fn highest(&self) -> Option<Decimal> {
        self.0.front().map(|(_, value)| value.0)
    }

    fn push(&mut self, bar: u64, value: Decimal, window: u64) {
        while self.0.back().is_some_and(|(_, last)| last.0 <= value) {
            self.0.pop_back();
        }
        self.0.push_back((bar, Wide(value.normalize())));
        while self.0.front().is_some_and(|(first, _)| first + window <= bar) {
            self.0.pop_front();
        }
    }
}
