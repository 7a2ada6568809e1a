//! When an event is due: event time against the clock, at a multiple of it.
//!
//! Not here: waiting for the log.

use std::time::{Duration, Instant};

use tapedeck_contracts::Timestamp;
use tapedeck_flow::Stop;

use super::config::Speed;

/// What a source knows of the time now.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// Microseconds on a clock that never goes back.
    fn monotonic_us(&self) -> i64;
    /// Waits until the time is out or somebody asks to stop; says whether
    /// somebody asked.
    fn wait(&self, stop: &Stop, timeout: Duration) -> bool;
}

/// The clocks of the machine.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
    }

    fn monotonic_us(&self) -> i64 {
        i64::try_from(self.0.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn wait(&self, stop: &Stop, timeout: Duration) -> bool {
        stop.wait(timeout)
    }
}

/// The pace of one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    times: f64,
    /// This event time is at this moment of the clock.
    origin: Option<(Timestamp, i64)>,
}

impl Pace {
    /// None at full speed. `live` is an event time that is also a time of day:
    /// then a source that was away catches up; else its first event is due now.
    pub(super) fn new(speed: Speed, live: Option<Timestamp>, clock: &dyn Clock) -> Option<Self> {
        let Speed::Times(times) = speed else { return None };
        let origin = live.map(|live| (live, clock.monotonic_us() - (clock.now().micros() - live.micros())));
        Some(Self { times, origin })
    }

    /// How long an event is not due yet.
    pub(super) fn due_in(&mut self, event_time: Timestamp, clock: &dyn Clock) -> Duration {
        let now = clock.monotonic_us();
        let (from, at) = *self.origin.get_or_insert((event_time, now));
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a wait, not money")]
        let passed = ((event_time.micros() - from.micros()) as f64 / self.times) as i64;
        let wait = at.saturating_add(passed).saturating_sub(now);
        Duration::from_micros(u64::try_from(wait).unwrap_or(0))
    }
}
