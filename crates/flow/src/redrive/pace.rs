//! How many a second: when the next chunk may go. Pure; the caller waits.
//!
//! Not here: waiting, and the size of chunks.

use std::time::Duration;

/// An even pace since a beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_s: u32,
    sent: u64,
}

impl Pace {
    pub(super) fn new(per_s: u32) -> Self {
        Self { per_s: per_s.max(1), sent: 0 }
    }

    /// So many at a time, that four chunks make a second: progress moves, and an
    /// end that is asked for comes soon.
    pub(super) fn chunk(self, most: usize) -> usize {
        (self.per_s as usize / 4).clamp(1, most)
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// How long to wait before the next chunk.
    pub(super) fn wait(self, elapsed: Duration) -> Duration {
        let micros = u128::from(self.sent) * 1_000_000 / u128::from(self.per_s);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).saturating_sub(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate_and_a_chunk(per_s in 1_u32..100_000, chunks in 1_usize..200) {
            let (mut pace, mut clock) = (Pace::new(per_s), Duration::ZERO);
            for _ in 0..chunks {
                clock += pace.wait(clock);
                pace.sent(pace.chunk(500));
                let allowed = clock.as_secs_f64() * f64::from(per_s) + pace.chunk(500) as f64 + 1.0;
                prop_assert!(pace.sent as f64 <= allowed, "{} > {allowed}", pace.sent);
            }
        }
    }
}
