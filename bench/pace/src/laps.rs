//! The times of many calls, each kept, so that percentiles are exact.
//!
//! Not here: taking them.

use std::time::Duration;

/// Times of calls, in nanoseconds.
#[derive(Debug, Default)]
pub struct Laps(Vec<u32>);

impl Laps {
    /// Room for so many, its pages touched, so that no call pays for them.
    pub fn with_room(calls: u64) -> Self {
        // Not zeros, which the system would hand out untouched.
        let mut laps = vec![1; calls as usize];
        laps.clear();
        Self(laps)
    }

    /// One more; beyond 4.2 s it counts as that.
    pub fn push(&mut self, lap: Duration) {
        self.0.push(u32::try_from(lap.as_nanos()).unwrap_or(u32::MAX));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The times that so large a share of the calls kept, for each share.
    pub fn percentiles<const N: usize>(&self, shares: [f64; N]) -> [Duration; N] {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        shares.map(|share| {
            let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
            Duration::from_nanos(sorted.get(index).copied().unwrap_or(0).into())
        })
    }

    /// One line: p50, p99, p99.9, the maximum, how many.
    #[expect(clippy::print_stdout, reason = "printing figures is its job")]
    pub fn print(&self, what: &str, beside: &str) {
        let [p50, p99, p999, max] = self.percentiles([0.5, 0.99, 0.999, 1.0]).map(show);
        println!("{what:<40} p50 {p50:>9}  p99 {p99:>9}  p99.9 {p999:>9}  max {max:>9}  n {}{beside}", self.len());
    }
}

/// A time in the unit that suits it, three digits.
pub fn show(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    let (value, unit) = match ns {
        ns if ns < 1e3 => return format!("{ns} ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_taken() {
        let mut laps = Laps::with_room(1_000);
        (1..=1_000).rev().for_each(|ns| laps.push(Duration::from_nanos(ns)));
        let [p50, p99, p999, max] = laps.percentiles([0.5, 0.99, 0.999, 1.0]).map(|time| time.as_nanos());
        assert_eq!([p50, p99, p999, max], [500, 990, 999, 1_000]);
        assert_eq!(Laps::default().percentiles([1.0]), [Duration::ZERO]);
    }

    #[test]
    fn times_are_shown_in_the_unit_that_suits_them() {
        let shown = [940, 1_040, 12_340, 999_999, 5_000_000_000].map(|ns| show(Duration::from_nanos(ns)));
        assert_eq!(shown, ["940 ns", "1.04 µs", "12.3 µs", "1000 µs", "5.00 s"]);
    }
}
