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
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next try: anything up to 50 ms, doubled with each
    /// failure before, at most 5 s.
    pub fn next_wait(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1_u32 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(random_share())
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
    fn waits_grow_to_a_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_wait() <= FIRST);
        let waits: Vec<Duration> = (0..200).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits.iter().any(|wait| *wait > FIRST), "none of 200 waits grew");
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST);
    }
}
