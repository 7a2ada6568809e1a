//! A breaker before something that may be away: when it has failed a few times
//! in a row, calls are refused at once, until one call has found it back.
//!
//! Not here: a clock; the caller says what time it is.

use std::time::{Duration, Instant};

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One call is on its way to find out; the others are refused.
    HalfOpen,
}

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub struct Breaker {
    most_failures: u32,
    open_for: Duration,
    failures: u32,
    state: BreakerState,
    /// When the next probe may pass, where it is not closed.
    next_probe: Option<Instant>,
}

impl Breaker {
    /// Closed; opens after so many failures in a row (at least one), for so long.
    pub fn new(most_failures: u32, open_for: Duration) -> Self {
        let most_failures = most_failures.max(1);
        Self { most_failures, open_for, failures: 0, state: BreakerState::Closed, next_probe: None }
    }

    /// Asks for a call: none lets it pass, else how long to stay away. When the
    /// time is over one call passes as the probe; the others wait for how it
    /// ends, but no longer than the breaker stays open, lest a probe that is
    /// never told of shut it for good.
    pub fn refuse(&mut self, now: Instant) -> Option<Duration> {
        let next_probe = self.next_probe?;
        if now < next_probe {
            return Some(next_probe - now);
        }
        self.state = BreakerState::HalfOpen;
        self.next_probe = Some(now + self.open_for);
        None
    }

    /// A call worked.
    pub fn success(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
        self.next_probe = None;
    }

    /// A call failed. While it is open this moves nothing: calls that began
    /// before do not put off the probe.
    pub fn failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            BreakerState::Closed => self.failures >= self.most_failures,
            BreakerState::HalfOpen => true,
            BreakerState::Open => false,
        };
        if opens {
            self.state = BreakerState::Open;
            self.next_probe = Some(now + self.open_for);
        }
    }

    /// How it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Before this time no call passes; none where calls do.
    pub fn shut_until(&self) -> Option<Instant> {
        self.next_probe
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(5);

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_passes_when_the_time_is_over() {
        let (mut breaker, start) = (Breaker::new(5, OPEN_FOR), Instant::now());
        for _ in 0..4 {
            breaker.failure(start);
            assert_eq!(breaker.refuse(start), None);
        }
        breaker.failure(start);
        assert_eq!(breaker.refuse(start), Some(OPEN_FOR));
        assert_eq!(breaker.refuse(start + OPEN_FOR), None, "one probe passes");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.refuse(start + OPEN_FOR).is_some(), "the others wait for it");
        breaker.success();
        assert_eq!(breaker.refuse(start + OPEN_FOR), None);
    }

    #[test]
    fn a_success_starts_the_count_again() {
        let (mut breaker, now) = (Breaker::new(5, OPEN_FOR), Instant::now());
        for _ in 0..4 {
            breaker.failure(now);
        }
        breaker.success();
        breaker.failure(now);
        assert_eq!(breaker.refuse(now), None);
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        Pass(u64),
        Ask,
        Succeed,
        Fail,
    }

    /// What happened so far says how it must stand: the failures since the last
    /// success, and the last time that it was opened or probed.
    #[derive(Default)]
    struct Model {
        failures: u32,
        shut_at: Option<u64>,
        probing: bool,
    }

    proptest! {
        #[test]
        fn it_does_what_the_history_of_calls_demands(
            most in 1_u32..7,
            acts in prop::collection::vec(prop_oneof![
                (0_u64..9_000).prop_map(Act::Pass), Just(Act::Ask), Just(Act::Succeed), Just(Act::Fail), Just(Act::Fail),
            ], 0..80),
        ) {
            let (mut breaker, start) = (Breaker::new(most, OPEN_FOR), Instant::now());
            let (mut model, mut now_ms) = (Model::default(), 0_u64);
            for act in acts {
                let now = start + Duration::from_millis(now_ms);
                match act {
                    Act::Pass(ms) => now_ms += ms,
                    Act::Ask => {
                        let wait = model.shut_at.map(|at| (at + 5_000).saturating_sub(now_ms)).filter(|ms| *ms > 0);
                        prop_assert_eq!(breaker.refuse(now), wait.map(Duration::from_millis));
                        if wait.is_none() && model.shut_at.is_some() {
                            model.shut_at = Some(now_ms);
                            model.probing = true;
                        }
                    }
                    Act::Succeed => {
                        breaker.success();
                        model = Model::default();
                    }
                    Act::Fail => {
                        breaker.failure(now);
                        model.failures += 1;
                        if model.probing || (model.shut_at.is_none() && model.failures >= most) {
                            model.shut_at = Some(now_ms);
                            model.probing = false;
                        }
                    }
                }
                let state = match (model.shut_at, model.probing) {
                    (None, _) => BreakerState::Closed,
                    (Some(_), true) => BreakerState::HalfOpen,
                    (Some(_), false) => BreakerState::Open,
                };
                prop_assert_eq!(breaker.state(), state);
                prop_assert_eq!(breaker.failures(), model.failures);
                let shut_until = model.shut_at.map(|at| start + Duration::from_millis(at) + OPEN_FOR);
                prop_assert_eq!(breaker.shut_until(), shut_until);
            }
        }
    }
}
