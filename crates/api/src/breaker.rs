//! A breaker before the store: when it has failed a few times in a row,
//! requests are refused at once instead of queueing up behind it.
//!
//! Not here: a clock; the caller says what time it is.

use std::time::{Duration, Instant};

/// So many failures in a row open it: one may be chance, five are not.
const FAILURES: u32 = 5;
/// How long it stays open; the next call after it tries the store.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// How long to stay away, where it is open. When the time is over one call
    /// passes, and the others wait for how it ends.
    pub(crate) fn refuse(&mut self, now: Instant) -> Option<Duration> {
        let until = self.open_until?;
        if now < until {
            return Some(until - now);
        }
        self.open_until = Some(now + OPEN_FOR);
        None
    }

    /// A call worked.
    pub(crate) fn success(&mut self) {
        *self = Self::default();
    }

    /// A call failed.
    pub(crate) fn failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.open_until = Some(now + OPEN_FOR);
        }
    }

    /// Whether calls are refused.
    pub(crate) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_for_five_seconds() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            breaker.failure(start);
            assert_eq!(breaker.refuse(start), None);
        }
        breaker.failure(start);
        assert_eq!(breaker.refuse(start), Some(OPEN_FOR));
        assert_eq!(breaker.refuse(start + OPEN_FOR), None, "one probe passes");
        assert!(breaker.refuse(start + OPEN_FOR).is_some(), "the others wait for it");
        breaker.success();
        assert_eq!(breaker.refuse(start + OPEN_FOR), None);
    }

    #[test]
    fn a_success_starts_the_count_again() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            breaker.failure(now);
        }
        breaker.success();
        breaker.failure(now);
        assert_eq!(breaker.refuse(now), None);
    }
}
