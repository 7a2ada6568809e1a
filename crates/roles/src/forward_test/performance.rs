//! How well an account traded: daily returns, round trips.
//!
//! A day is one that had events; its return is that of the equity carried over
//! its end in the risk zone. Deviations are of the sample (n − 1) for Sharpe and
//! of the returns below 0 over all n for Sortino; the risk-free rate is 0.
//!
//! Not here: drawdown.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    money::to_f64,
    state::{bits, exact},
};

/// Fewer daily returns than these say nothing.
const MIN_DAYS: u64 = 20;

/// Running sums; each takes O(1) and forgets nothing that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Performance {
    /// Equity at the end of the day before.
    #[serde(with = "exact")]
    before: Decimal,
    days: u64,
    #[serde(with = "bits")]
    mean: f64,
    /// Σ (r − mean)², kept by Welford's recurrence.
    #[serde(with = "bits")]
    squares: f64,
    /// Σ min(r, 0)².
    #[serde(with = "bits")]
    downside: f64,
    /// Round trips.
    pub trips: u64,
    /// Round trips that made money after fees.
    pub wins: u64,
}

impl Performance {
    pub(super) fn new(start: Decimal) -> Self {
        Self { before: start, days: 0, mean: 0.0, squares: 0.0, downside: 0.0, trips: 0, wins: 0 }
    }

    /// A day with events is over.
    pub(super) fn close_day(&mut self, equity: Decimal) {
        if self.before > Decimal::ZERO {
            let change = to_f64(equity) / to_f64(self.before) - 1.0;
            self.days += 1;
            let off = change - self.mean;
            self.mean += off / self.days as f64;
            self.squares += off * (change - self.mean);
            self.downside += change.min(0.0) * change.min(0.0);
        }
        self.before = equity;
    }

    /// A position went from flat to flat, or flipped.
    pub(super) fn close_trip(&mut self, net: Decimal) {
        self.trips += 1;
        self.wins += u64::from(net > Decimal::ZERO);
    }

    /// Percent of round trips that made money after fees.
    pub(super) fn win_rate(&self) -> Option<f64> {
        (self.trips > 0).then(|| 100.0 * self.wins as f64 / self.trips as f64)
    }

    /// Annualised; none under 20 days or without any deviation.
    pub(super) fn sharpe(&self, days_per_year: u32) -> Option<f64> {
        self.annualised((self.squares / (self.days.max(2) - 1) as f64).sqrt(), days_per_year)
    }

    /// As Sharpe, over the deviation of losses alone.
    pub(super) fn sortino(&self, days_per_year: u32) -> Option<f64> {
        self.annualised((self.downside / self.days.max(1) as f64).sqrt(), days_per_year)
    }

    fn annualised(&self, deviation: f64, days_per_year: u32) -> Option<f64> {
        let known = self.days >= MIN_DAYS && deviation > 0.0;
        known.then(|| self.mean / deviation * f64::from(days_per_year).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharpe_and_sortino_follow_their_definitions() {
        let mut performance = Performance::new(Decimal::from(1_000));
        let equities: Vec<i64> = (1..=20).map(|day| 1_000 + day * 10 + if day % 3 == 0 { -25 } else { 0 }).collect();
        for (day, &equity) in equities.iter().enumerate() {
            assert_eq!(performance.sharpe(365), None, "after {day} days");
            performance.close_day(Decimal::from(equity));
        }
        let mut before = 1_000.0;
        let returns: Vec<f64> =
            equities.iter().map(|&e| (e as f64 / std::mem::replace(&mut before, e as f64)) - 1.0).collect();
        let mean = returns.iter().sum::<f64>() / 20.0;
        let deviation = (returns.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / 19.0).sqrt();
        let downside = (returns.iter().map(|r| r.min(0.0) * r.min(0.0)).sum::<f64>() / 20.0).sqrt();
        let year = 365.0_f64.sqrt();
        assert!((performance.sharpe(365).unwrap() - mean / deviation * year).abs() < 1e-9);
        assert!((performance.sortino(365).unwrap() - mean / downside * year).abs() < 1e-9);
    }
}
