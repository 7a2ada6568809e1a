//! When a group's lag in a topic will be gone: from how fast it took records and
//! how fast they were written over the last half minute. Pure: time is handed in.
//!
//! Not here: reading offsets.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

/// How far back rates look: long enough to even out batches, short enough that
/// what changed a minute ago does not count.
const WINDOW_MS: u64 = 30_000;
/// How often a place is kept; asking more often keeps no more.
pub(crate) const STEP_MS: u64 = 5_000;
/// Two looks that are closer say more of the clock than of the group.
const LEAST_MS: u64 = 1_000;
/// A lag that the group takes in so many seconds is what is under way.
const UNDER_WAY_S: f64 = 1.0;
/// Places kept of one group and topic: those of the window and the one before it.
const MAX_PLACES: usize = (WINDOW_MS / STEP_MS) as usize + 1;

/// Where a group and the end of its topic stood, summed over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// When, in ms of a clock that never goes back.
    pub(crate) at_ms: u64,
    /// Offsets that the group has behind it.
    pub(crate) taken: u64,
    /// Offsets that were written.
    pub(crate) end: u64,
}

impl Place {
    fn lag(self) -> u64 {
        self.end.saturating_sub(self.taken)
    }
}

/// Where a group's lag is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trend {
    /// Nothing waits.
    Clear,
    /// What waits is what the group takes within a second.
    KeepingUp,
    /// It will be gone.
    Falling,
    /// At this rate never.
    NotFalling,
    /// Not looked at for long enough.
    Unknown,
}

/// What becomes of a lag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outlook {
    pub(crate) trend: Trend,
    /// Until nothing waits; none where that is never, or not known.
    pub(crate) clear_in_seconds: Option<f64>,
    /// Records a second that the group took; none until it was seen for a while.
    pub(crate) taken_per_s: Option<f64>,
    /// Records a second that were written.
    pub(crate) written_per_s: Option<f64>,
}

/// Where a group stood in the last half minute.
#[derive(Debug, Default)]
pub(crate) struct Course(VecDeque<Place>);

impl Course {
    /// Takes over where it stands now, and says what will become of the lag.
    pub(crate) fn observe(&mut self, now: Place) -> Outlook {
        if self.0.back().is_some_and(|last| now.taken < last.taken || now.end < last.end) {
            // The group was moved back, or the topic is another one: nothing
            // before it tells how fast it is.
            self.0.clear();
        }
        while self.0.get(1).is_some_and(|next| now.at_ms.saturating_sub(next.at_ms) >= WINDOW_MS) {
            self.0.pop_front();
        }
        let outlook = self.outlook(now);
        if self.0.back().is_none_or(|last| now.at_ms.saturating_sub(last.at_ms) >= STEP_MS) {
            if self.0.len() == MAX_PLACES {
                self.0.pop_front();
            }
            self.0.push_back(now);
        }
        outlook
    }

    fn outlook(&self, now: Place) -> Outlook {
        let then = self.0.front().filter(|then| now.at_ms.saturating_sub(then.at_ms) >= LEAST_MS);
        #[expect(clippy::cast_precision_loss, reason = "offsets and ms are far below 2^52")]
        let (lag, rates) = (
            now.lag() as f64,
            then.map(|then| {
                let seconds = (now.at_ms - then.at_ms) as f64 / 1e3;
                ((now.taken - then.taken) as f64 / seconds, (now.end - then.end) as f64 / seconds)
            }),
        );
        let (trend, clear_in_seconds) = match rates {
            _ if now.lag() == 0 => (Trend::Clear, Some(0.0)),
            None => (Trend::Unknown, None),
            Some((taken, _)) if lag <= taken * UNDER_WAY_S => (Trend::KeepingUp, Some(lag / taken)),
            Some((taken, written)) if taken > written => (Trend::Falling, Some(lag / (taken - written))),
            Some(_) => (Trend::NotFalling, None),
        };
        Outlook {
            trend,
            clear_in_seconds,
            taken_per_s: rates.map(|(taken, _)| taken),
            written_per_s: rates.map(|(_, written)| written),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The outlook after looks at these places: (seconds, taken, end).
    fn after(looks: &[(u64, u64, u64)]) -> Outlook {
        let mut course = Course::default();
        let places = looks.iter().map(|(at_s, taken, end)| Place { at_ms: at_s * 1_000, taken: *taken, end: *end });
        places.map(|place| course.observe(place)).last().expect("looks")
    }

    #[test]
    fn a_lag_that_falls_is_gone_after_its_size_over_its_speed() {
        let outlook = after(&[(0, 0, 10_000), (10, 3_000, 11_000)]);
        assert_eq!((outlook.trend, outlook.clear_in_seconds), (Trend::Falling, Some(40.0)));
        assert_eq!((outlook.taken_per_s, outlook.written_per_s), (Some(300.0), Some(100.0)));
    }

    #[test]
    fn a_lag_that_grows_or_stands_is_never_gone_at_this_rate() {
        let never = |looks: &[(u64, u64, u64)]| {
            let outlook = after(looks);
            assert_eq!((outlook.trend, outlook.clear_in_seconds), (Trend::NotFalling, None), "{looks:?}");
        };
        never(&[(0, 0, 10_000), (10, 1_000, 12_000)]);
        never(&[(0, 5, 10), (10, 5, 10)]);
        never(&[(0, 0, 10_000), (10, 1_000, 11_000)]);
    }

    #[test]
    fn where_nothing_waits_it_is_gone_at_once_from_the_first_look_on() {
        let outlook = after(&[(0, 7, 7)]);
        assert_eq!((outlook.trend, outlook.clear_in_seconds), (Trend::Clear, Some(0.0)));
    }

    #[test]
    fn until_a_second_look_the_outlook_is_unknown() {
        assert_eq!(after(&[(0, 0, 10)]).trend, Trend::Unknown);
        assert_eq!(after(&[(0, 0, 10), (0, 5, 10)]).trend, Trend::Unknown, "both looks at the same time");
    }

    #[test]
    fn what_is_taken_within_a_second_is_under_way_and_no_lag_to_worry_about() {
        let outlook = after(&[(0, 0, 0), (10, 9_900, 10_000)]);
        assert_eq!(outlook.trend, Trend::KeepingUp);
    }

    #[test]
    fn what_is_longer_ago_than_the_window_does_not_count() {
        let outlook = after(&[(0, 0, 100_000), (5, 90_000, 100_000), (40, 90_000, 100_000)]);
        assert_eq!(outlook.trend, Trend::NotFalling, "{outlook:?}");
    }

    #[test]
    fn a_group_that_was_moved_back_begins_anew() {
        assert_eq!(after(&[(0, 0, 100), (10, 90, 100), (15, 10, 100)]).trend, Trend::Unknown);
        assert_eq!(after(&[(0, 0, 100), (10, 90, 100), (15, 10, 100), (20, 60, 100)]).clear_in_seconds, Some(4.0));
    }

    #[test]
    fn however_often_it_is_asked_it_keeps_no_more_than_the_window() {
        let mut course = Course::default();
        for at_ms in (0..600_000).step_by(100) {
            course.observe(Place { at_ms, taken: at_ms, end: at_ms * 2 });
            assert!(course.0.len() <= MAX_PLACES);
        }
        let span = course.0.back().expect("places").at_ms - course.0.front().expect("places").at_ms;
        assert!((WINDOW_MS - STEP_MS..=WINDOW_MS).contains(&span), "{span}");
    }

    proptest! {
        #[test]
        fn at_steady_rates_the_lag_is_gone_when_it_says(
            lag in 0..1_000_000_u64, taken_per_s in 0..20_000_u64, written_per_s in 0..20_000_u64, looks in 2..40_u64,
        ) {
            let mut course = Course::default();
            let place = |at_s: u64| {
                let end = lag + at_s * written_per_s;
                Place { at_ms: at_s * 1_000, taken: (at_s * taken_per_s).min(end), end }
            };
            let outlook = (0..looks).map(|at_s| course.observe(place(at_s))).last().expect("looks");
            let last = place(looks - 1);
            match outlook.trend {
                Trend::Clear => prop_assert_eq!(last.lag(), 0),
                Trend::KeepingUp => prop_assert!(last.lag() <= taken_per_s),
                Trend::Falling => {
                    prop_assert!(taken_per_s > written_per_s);
                    let clear_in_s = outlook.clear_in_seconds.expect("it falls");
                    let gone = (taken_per_s - written_per_s) as f64 * clear_in_s;
                    prop_assert!((gone - last.lag() as f64).abs() <= 1e-6 * gone, "{outlook:?}");
                }
                Trend::NotFalling => prop_assert!(taken_per_s <= written_per_s),
                Trend::Unknown => prop_assert!(false, "it was looked at twice"),
            }
        }
    }
}
