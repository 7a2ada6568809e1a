//! Means that are moved by a share of each new value, seeded by the simple mean of
//! the first n: the exponential one and Wilder's. An error in them shrinks with
//! every value.
//!
//! Not here: what is smoothed.

/// Such a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Smoothed {
    period: u32,
    /// What a new value counts.
    share: f64,
    /// Values seen, up to the period.
    seen: u32,
    /// The sum of the first values, from then on the mean.
    value: f64,
}

impl Smoothed {
    /// The exponential moving average of n: a new value counts 2 / (n + 1).
    pub(super) fn exponential(period: u32) -> Self {
        Self { period, share: 2.0 / (f64::from(period) + 1.0), seen: 0, value: 0.0 }
    }

    /// Wilder's: a new value counts 1 / n (J. Welles Wilder, "New Concepts in
    /// Technical Trading Systems", 1978).
    pub(super) fn wilder(period: u32) -> Self {
        Self { period, share: 1.0 / f64::from(period), seen: 0, value: 0.0 }
    }

    pub(super) fn push(&mut self, value: f64) {
        if self.seen < self.period {
            self.seen += 1;
            self.value += value;
            if self.seen == self.period {
                self.value /= f64::from(self.period);
            }
        } else {
            self.value += (value - self.value) * self.share;
        }
    }

    /// What has to be kept of it: its digits depend on all that it has seen.
    pub(super) fn kept(&self) -> (u32, f64) {
        (self.seen, self.value)
    }

    /// Goes on from what was kept.
    pub(super) fn restored(mut self, (seen, value): (u32, f64)) -> Self {
        self.seen = seen.min(self.period);
        self.value = value;
        self
    }

    /// The mean, once it is seeded.
    pub(super) fn get(&self) -> Option<f64> {
        (self.seen == self.period).then_some(self.value)
    }
}
