//! How long to wait before the next try: exponential, with full jitter, so that
//! many who failed at once do not come back at once.
//!
//! Not here: waiting.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The longest wait after the first failure; short, since most failures are gone
/// with the next try.
const FIRST: Duration = Duration::from_millis(50);
/// The longest wait ever: a store that is back is used again within so long.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that grow with each failure in a row.
#[derive(Clone, Debug)]
pub struct Backoff {
    failures: u32,
    first: Duration,
    longest: Duration,
    /// Waits are cut at random.
    jitter: bool,
}

/// For what is away and comes back: anything up to 50 ms, doubled with each
/// failure before, at most 5 s.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(FIRST, LONGEST)
    }
}

impl Backoff {
    /// The wait after the first failure is up to `first`, none is over `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { failures: 0, first, longest, jitter: true }
    }

    /// So many waits that are a time together, each twice the one before: for something that
    /// comes within that time or never. Nothing is asked of others, so none is cut.
    pub fn spread(total: Duration, waits: u32) -> Self {
        let parts = 2_u32.saturating_pow(waits.clamp(1, 16)) - 1;
        Self { failures: 0, first: total / parts, longest: total, jitter: false }
    }

    /// The wait before the next try: anything up to the first, doubled with each
    /// failure before, up to the longest.
    pub fn next_wait(&mut self) -> Duration {
        let longest = self.first.saturating_mul(1_u32 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        if self.jitter { longest.mul_f64(random_share()) } else { longest }
    }

    /// It worked: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random number from 0 to 1. The keys of a hash map are the only randomness
/// that the standard library hands out, and jitter needs no better.
fn random_share() -> f64 {
    RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_are_spread_over_a_time_are_that_time_together() {
        let mut backoff = Backoff::spread(Duration::from_secs(60), 4);
        let waits: Vec<u64> = (0..4).map(|_| backoff.next_wait().as_secs()).collect();
        assert_eq!(waits, [4, 8, 16, 32]);
    }

    #[test]
    fn waits_grow_to_a_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_wait() <= FIRST);
        let waits: Vec<Duration> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits.iter().any(|wait| *wait > FIRST), "none of 200 waits grew");
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST);
    }

    #[test]
    fn waits_keep_to_the_bounds_they_were_given() {
        let mut backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(6));
        assert!(backoff.next_wait() <= Duration::from_millis(2));
        assert!((0..200).all(|_| backoff.next_wait() <= Duration::from_millis(6)));
    }
}
