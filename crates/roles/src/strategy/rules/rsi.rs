//! RSI mean reversion. Wilder's index over n bars: gains and losses from close
//! to close, their means seeded by the simple mean of the first n and then
//! moved by 1/n of each new one; RSI = 100 · gain / (gain + loss). No loss makes
//! 100, neither makes 50. (J. Welles Wilder, "New Concepts in Technical Trading
//! Systems", 1978.)
//!
//! Long when it crosses up through `oversold`, short when down through
//! `overbought`, flat at 50.
//!
//! Not here: what it trades.

use super::{Bar, Decimal, Deserialize, Serialize, Stance, Wide, Wish, shown, wish};

/// Decimals that a mean keeps, half to even, so that it is as long after a
/// year as after an hour, and the same when it was written and read between.
const MEAN_DECIMALS: u32 = 18;

/// Wilder's relative strength index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::strategy) struct Rsi {
    period: usize,
    oversold: Wide,
    overbought: Wide,
    close: Option<Wide>,
    /// Changes that were seen, up to `period`.
    changes: usize,
    /// The sum of the gains up to `period` changes, from then on their mean.
    gain: Wide,
    /// The same of the losses, unsigned.
    loss: Wide,
    /// The index at the bar before.
    rsi: Option<Wide>,
}

impl Rsi {
    pub(in crate::strategy) fn new(period: usize, oversold: Decimal, overbought: Decimal) -> Self {
        let (oversold, overbought) = (Wide(oversold.normalize()), Wide(overbought.normalize()));
        let zero = Wide::default();
        Self { period, oversold, overbought, close: None, changes: 0, gain: zero, loss: zero, rsi: None }
    }

    pub(super) fn take(&mut self, bar: Bar, held: Stance, long_only: bool) -> Option<Wish> {
        let rsi = self.push(bar.close)?;
        let before = self.rsi.replace(Wide(rsi))?.0;
        let (oversold, overbought) = (self.oversold.0, self.overbought.0);
        let entry = if before <= oversold && rsi > oversold {
            Stance::Long
        } else if before >= overbought && rsi < overbought {
            Stance::Short
        } else {
            held
        };
        // A jump from one side over the middle enters nothing.
        let middle = Decimal::from(50);
        let done = match entry {
            Stance::Long => rsi >= middle,
            Stance::Short => rsi <= middle,
            Stance::Flat => false,
        };
        let wanted = if done { Stance::Flat } else { entry };
        wish(wanted, held, long_only, || {
            let (before, rsi) = (shown(before), shown(rsi));
            match wanted {
                Stance::Long => format!("RSI went from {before} to {rsi}, up through {oversold}"),
                Stance::Short => format!("RSI went from {before} to {rsi}, down through {overbought}"),
                Stance::Flat => format!("RSI went from {before} to {rsi}, back to the middle"),
            }
        })
    }

    /// The index after a close; none before `period` changes.
    fn push(&mut self, close: Decimal) -> Option<Decimal> {
        let before = self.close.replace(Wide(close))?.0;
        let gain = (close - before).max(Decimal::ZERO);
        let loss = (before - close).max(Decimal::ZERO);
        let period = Decimal::from(self.period);
        if self.changes < self.period {
            self.changes += 1;
            let seed = if self.changes == self.period { period } else { Decimal::ONE };
            self.gain = mean(self.gain.0 + gain, seed);
            self.loss = mean(self.loss.0 + loss, seed);
        } else {
            let kept = period - Decimal::ONE;
            self.gain = mean(self.gain.0 * kept + gain, period);
            self.loss = mean(self.loss.0 * kept + loss, period);
        }
        (self.changes == self.period).then(|| index(self.gain.0, self.loss.0))
    }

    pub(super) fn continues(&self, fresh: &Self) -> bool {
        let settings = |rsi: &Self| (rsi.period, rsi.oversold, rsi.overbought);
        settings(self) == settings(fresh) && self.changes <= self.period
    }
}

fn mean(sum: Decimal, count: Decimal) -> Wide {
    Wide((sum / count).round_dp(MEAN_DECIMALS).normalize())
}

fn index(gain: Decimal, loss: Decimal) -> Decimal {
    match (gain.is_zero(), loss.is_zero()) {
        (true, true) => Decimal::from(50),
        (false, true) => Decimal::ONE_HUNDRED,
        _ => (Decimal::ONE_HUNDRED * gain / (gain + loss)).round_dp(MEAN_DECIMALS).normalize(),
    }
}
