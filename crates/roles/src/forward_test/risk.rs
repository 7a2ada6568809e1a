//! Risk figures of an account: peaks and the falls from them, exposure, margin.
//!
//! Not here: VaR, the emergency stop, the event that carries the figures.

use std::collections::BTreeMap;

use jiff::{ToSpan, civil::Weekday, tz::TimeZone};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Timestamp, events::Drawdown};

use super::{
    account::Account,
    money::{self, Overflow, to_f64},
    state::{bits, exact},
    tape::Tape,
};

/// Leverage where there is no equity left: JSON has no infinity.
const NO_EQUITY_LEVERAGE: f64 = 999_999.0;

/// Highest equities, and when the next day and week begin in the risk zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Peaks {
    #[serde(with = "exact")]
    pub day: Decimal,
    #[serde(with = "exact")]
    pub week: Decimal,
    #[serde(with = "exact")]
    pub ever: Decimal,
    /// Lowest equity since the highest ever.
    #[serde(with = "exact")]
    pub trough: Decimal,
    /// The worst fall before the highest ever, percent.
    #[serde(with = "bits")]
    pub worst: f64,
    pub day_end: Timestamp,
    pub week_end: Timestamp,
}

impl Peaks {
    pub(super) fn new(equity: Decimal) -> Self {
        Self {
            day: equity,
            week: equity,
            ever: equity,
            trough: equity,
            worst: 0.0,
            day_end: Timestamp::default(),
            week_end: Timestamp::default(),
        }
    }

    /// Begins the day and week of `now` with the equity that is carried over.
    pub(super) fn roll(&mut self, now: Timestamp, equity: Decimal, zone: &TimeZone) {
        let (day_end, week_end) = boundaries(now, zone);
        self.day = equity;
        self.day_end = day_end;
        if now >= self.week_end {
            self.week = equity;
            self.week_end = week_end;
        }
    }

    pub(super) fn take(&mut self, equity: Decimal) {
        self.day = self.day.max(equity);
        self.week = self.week.max(equity);
        if equity > self.ever {
            self.worst = self.worst.max(fall(self.ever, self.trough));
            self.ever = equity;
            self.trough = equity;
        } else if equity < self.trough {
            self.trough = equity;
        }
    }

    pub(super) fn drawdown(&self, equity: Decimal) -> Drawdown {
        Drawdown { daily: fall(self.day, equity), weekly: fall(self.week, equity), max: self.max_drawdown() }
    }

    /// The worst ever, percent.
    pub(super) fn max_drawdown(&self) -> f64 {
        self.worst.max(fall(self.ever, self.trough))
    }
}

/// Percent of the peak, 0 to 100; all of it where equity is gone.
pub(super) fn fall(peak: Decimal, equity: Decimal) -> f64 {
    if equity >= peak {
        return 0.0;
    }
    if peak <= Decimal::ZERO {
        return 100.0;
    }
    let (peak, equity) = (to_f64(peak), to_f64(equity));
    (100.0 * (peak - equity) / peak).min(100.0)
}

/// The first midnight and the first Monday's midnight after `now` in a zone.
pub(super) fn boundaries(now: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
    // Beyond the years that a calendar knows a day is never over.
    let never = Timestamp::from_micros(jiff::Timestamp::MAX.as_microsecond());
    let Ok(instant) = jiff::Timestamp::from_microsecond(now.micros()) else { return (never, never) };
    let today = instant.to_zoned(zone.clone()).date();
    let days_to_monday = 7 - i64::from(today.weekday().since(Weekday::Monday));
    let start_of = |days: i64| {
        let date = today.checked_add(days.days()).ok()?;
        let start = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
        Some(Timestamp::from_micros(start.timestamp().as_microsecond()))
    };
    match (start_of(1), start_of(days_to_monday)) {
        (Some(day), Some(week)) => (day, week),
        _ => (never, never),
    }
}

/// Notionals at mark.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gross {
    pub long: Decimal,
    /// Unsigned.
    pub short: Decimal,
    pub margin: Decimal,
    pub by_venue: BTreeMap<String, Decimal>,
}

impl Gross {
    pub(super) fn of(account: &Account, tape: &Tape) -> Result<Self, Overflow> {
        let mut sums = Self::default();
        for position in account.positions.iter().filter(|position| !position.held.quantity.is_zero()) {
            let symbol = &tape.symbols[position.symbol];
            let size = position.value.abs();
            let side = if position.held.quantity.is_sign_positive() { &mut sums.long } else { &mut sums.short };
            *side += size;
            sums.margin += money::notional(size, symbol.terms.margin_rate)?;
            match sums.by_venue.get_mut(&symbol.venue) {
                Some(gross) => *gross += size,
                None => _ = sums.by_venue.insert(symbol.venue.clone(), size),
            }
        }
        Ok(sums)
    }

    pub(super) fn total(&self) -> Decimal {
        self.long + self.short
    }
}

/// Gross over equity.
pub(super) fn leverage(gross: Decimal, equity: Decimal) -> f64 {
    if gross.is_zero() {
        0.0
    } else if equity <= Decimal::ZERO {
        NO_EQUITY_LEVERAGE
    } else {
        to_f64(gross) / to_f64(equity)
    }
}

/// What an account would have open, and the margin it would need.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Projected {
    pub gross: Decimal,
    pub margin: Decimal,
}

/// What the account would have and need if the order and all open orders of its
/// side in each symbol were filled at `price` (others at their marks).
pub(super) fn projected(
    account: &Account,
    tape: &Tape,
    symbol: usize,
    signed: Decimal,
    price: Decimal,
) -> Result<Projected, Overflow> {
    // (symbol, held, open buys and sells), the order's own symbol first.
    let mut rows = vec![(symbol, account.quantity(symbol), Decimal::ZERO, Decimal::ZERO)];
    for position in account.positions.iter().filter(|p| p.symbol != symbol && !p.held.quantity.is_zero()) {
        rows.push((position.symbol, position.held.quantity, Decimal::ZERO, Decimal::ZERO));
    }
    let open = account.orders.iter().map(|order| (order.symbol, order.signed_leaves()));
    for (at, leaves) in open.chain([(symbol, signed)]) {
        let row = match rows.iter().position(|row| row.0 == at) {
            Some(row) => &mut rows[row],
            None => {
                rows.push((at, Decimal::ZERO, Decimal::ZERO, Decimal::ZERO));
                rows.last_mut().expect("a row was pushed")
            }
        };
        let side = if leaves.is_sign_positive() { &mut row.2 } else { &mut row.3 };
        *side = money::plus(*side, leaves)?;
    }
    let mut sums = Projected::default();
    for (at, held, buys, sells) in rows {
        let most = money::plus(held, buys)?.abs().max(money::plus(held, sells)?.abs());
        let symbol_state = &tape.symbols[at];
        let at_price = if at == symbol { price } else { symbol_state.state.mark.unwrap_or(price) };
        let gross = money::notional(most, at_price)?;
        sums.gross = money::plus(sums.gross, gross)?;
        sums.margin = money::plus(sums.margin, money::notional(gross, symbol_state.terms.margin_rate)?)?;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_day_and_a_week_begin_at_the_zones_midnight() {
        let zone = TimeZone::get("America/New_York").unwrap();
        // Saturday evening; the clocks go forward in the night to Sunday 2024-03-10.
        let (day, week) = boundaries(at("2024-03-10T04:59:59Z"), &zone);
        assert_eq!((day, week), (at("2024-03-10T05:00:00Z"), at("2024-03-11T04:00:00Z")));
        // Exactly midnight on Monday belongs to Monday.
        let (day, week) = boundaries(at("2024-03-11T04:00:00Z"), &zone);
        assert_eq!((day, week), (at("2024-03-12T04:00:00Z"), at("2024-03-18T04:00:00Z")));
    }

    #[test]
    fn the_worst_fall_is_never_forgotten() {
        let mut peaks = Peaks::new(Decimal::from(100));
        for equity in [120, 90, 130, 117] {
            peaks.take(Decimal::from(equity));
        }
        assert!((peaks.max_drawdown() - 25.0).abs() < 1e-9);
        assert!((peaks.drawdown(Decimal::from(117)).daily - 10.0).abs() < 1e-9);
        peaks.roll(at("2024-03-11T04:00:00Z"), Decimal::from(117), &TimeZone::UTC);
        assert!(peaks.drawdown(Decimal::from(117)).daily.abs() < 1e-9);
        assert!((peaks.max_drawdown() - 25.0).abs() < 1e-9);
    }
}
