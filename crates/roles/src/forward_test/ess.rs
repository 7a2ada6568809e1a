//! The emergency stop: ARMED → TRIPPED → COOLING → ARMED, in event time.
//!
//! Not here: canceling orders, which the broker does when it trips.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Timestamp, events::EssState};

use super::{
    config::EssConfig,
    money::{self, Overflow},
    state::{exact, exact_opt},
};

/// A symbol's price is stale after at least so long.
const STALE_AFTER_US: i64 = 5 * 60 * 1_000_000;

/// What trips.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trip {
    DailyDrawdown,
    LosingStreak,
    StaleData,
    Operator,
}

impl Trip {
    /// For machines.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::DailyDrawdown => "daily_drawdown",
            Self::LosingStreak => "losing_streak",
            Self::StaleData => "stale_data",
            Self::Operator => "operator",
        }
    }
}

/// The settings, with the drawdown as an exact factor.
#[derive(Clone)]
pub(super) struct EssLimits {
    pub daily_drawdown_pct: f64,
    /// What of the peak may be left; none is off.
    left_of_peak: Option<Decimal>,
    losing_streak: u32,
    stale_data: bool,
    hold_us: i64,
    cool_down_us: i64,
}

impl EssLimits {
    /// # Errors
    /// The percentage has more digits than a decimal holds.
    pub(super) fn new(config: &EssConfig) -> Result<Self, String> {
        let percent = config.daily_drawdown_pct;
        // The shortest text of the float is what the person wrote.
        let exact = Decimal::from_str_exact(&percent.to_string())
            .map_err(|error| format!("ess.daily_drawdown_pct: {percent}: {error}"))?;
        let micros = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Ok(Self {
            daily_drawdown_pct: percent,
            left_of_peak: (percent > 0.0).then(|| Decimal::ONE - exact / Decimal::ONE_HUNDRED),
            losing_streak: config.losing_streak,
            stale_data: config.stale_data,
            hold_us: micros(config.hold_s),
            cool_down_us: micros(config.cool_down_s),
        })
    }
}

/// How the emergency stop of an account stands, and what it is held against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct EssRecord {
    pub state: EssState,
    pub trip: Option<Trip>,
    pub reason: Option<String>,
    pub since: Option<Timestamp>,
    /// Highest equity since midnight, or since it was armed after a drawdown.
    #[serde(with = "exact")]
    peak: Decimal,
    /// Equity at which it trips.
    #[serde(with = "exact_opt")]
    floor: Option<Decimal>,
    /// Losing round trips in a row.
    streak: u32,
    /// Prices are fresh at least since then.
    fresh_from: Option<Timestamp>,
}

/// A step that time alone brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Cooling,
    Armed,
}

impl EssRecord {
    pub(super) fn new(equity: Decimal, limits: &EssLimits) -> Result<Self, Overflow> {
        let mut record = Self {
            state: EssState::Armed,
            trip: None,
            reason: None,
            since: None,
            peak: equity,
            floor: None,
            streak: 0,
            fresh_from: None,
        };
        record.new_peak(equity, limits)?;
        Ok(record)
    }

    /// A new day, or a new baseline.
    pub(super) fn new_peak(&mut self, equity: Decimal, limits: &EssLimits) -> Result<(), Overflow> {
        self.peak = equity;
        self.floor = limits.left_of_peak.map(|left| money::notional(equity, left)).transpose()?;
        Ok(())
    }

    pub(super) fn take_equity(&mut self, equity: Decimal, limits: &EssLimits) -> Result<(), Overflow> {
        if equity > self.peak { self.new_peak(equity, limits) } else { Ok(()) }
    }

    pub(super) fn take_trip(&mut self, net: Decimal) {
        self.streak = if net < Decimal::ZERO { self.streak + 1 } else { 0 };
    }

    /// What of the account itself trips now, if anything, and in words.
    pub(super) fn tripped_by(&self, equity: Decimal, limits: &EssLimits) -> Option<(Trip, String)> {
        if self.floor.is_some_and(|floor| equity <= floor && equity < self.peak) {
            let text = format!(
                "equity {} fell by {} % or more from the day's peak {}",
                equity.normalize(),
                limits.daily_drawdown_pct,
                self.peak.normalize()
            );
            return Some((Trip::DailyDrawdown, text));
        }
        if limits.losing_streak > 0 && self.streak >= limits.losing_streak {
            return Some((Trip::LosingStreak, format!("{} losing round trips in a row", self.streak)));
        }
        None
    }

    /// Whether a held symbol's last price is too old.
    pub(super) fn is_stale(&self, now: Timestamp, price: Timestamp, interval_us: i64, limits: &EssLimits) -> bool {
        let price = self.fresh_from.map_or(price, |fresh| fresh.max(price));
        limits.stale_data && now > price.plus_micros(interval_us.saturating_mul(3).max(STALE_AFTER_US))
    }

    pub(super) fn trip(&mut self, now: Timestamp, trip: Trip, text: &str) {
        self.state = EssState::Tripped;
        self.trip = Some(trip);
        self.reason = Some(format!("{}: {text}", trip.code()));
        self.since = Some(now);
    }

    /// Arms, with a new baseline for what tripped it.
    pub(super) fn arm(&mut self, now: Timestamp, equity: Decimal, limits: &EssLimits) -> Result<(), Overflow> {
        match self.trip.take() {
            Some(Trip::DailyDrawdown) => self.new_peak(equity, limits)?,
            Some(Trip::LosingStreak) => self.streak = 0,
            Some(Trip::StaleData) => self.fresh_from = Some(now),
            Some(Trip::Operator) | None => {}
        }
        self.state = EssState::Armed;
        self.reason = None;
        self.since = Some(now);
        Ok(())
    }

    /// The step that is due at `now`, if any; a long silence may bring two.
    pub(super) fn pass_time(
        &mut self,
        now: Timestamp,
        equity: Decimal,
        limits: &EssLimits,
    ) -> Result<Option<Passed>, Overflow> {
        if self.state == EssState::Armed {
            return Ok(None);
        }
        // A command may carry a clock's time while a replay is years behind it.
        let since = self.since.map_or(now, |since| since.min(now));
        self.since = Some(since);
        match self.state {
            EssState::Tripped if now >= since.plus_micros(limits.hold_us) => {
                self.state = EssState::Cooling;
                self.since = Some(since.plus_micros(limits.hold_us));
                Ok(Some(Passed::Cooling))
            }
            EssState::Cooling if now >= since.plus_micros(limits.cool_down_us) => {
                self.arm(now, equity, limits)?;
                Ok(Some(Passed::Armed))
            }
            _ => Ok(None),
        }
    }
}
