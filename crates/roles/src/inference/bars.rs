//! The final bars of a symbol: as the market sends them or, where it sends quotes
//! and trades, gathered over intervals of event time that begin at whole multiples
//! of their length since 1970. A gathered bar closes with the symbol's first event
//! at or past its end; empty bars are not invented, and a price that comes after its
//! bar was closed is left out.
//!
//! Not here: what is made of a bar.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Timestamp,
    events::{MarketData, MarketKind, market::interval_micros},
};

use super::features::{Bar, float};
use crate::{
    price::price_of,
    strategy::bars::{Added, Gatherer},
};

/// A final bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FinalBar {
    /// What features see of it.
    pub bar: Bar,
    /// Its last price, exactly.
    pub close: Decimal,
    /// When it ended.
    pub end: Timestamp,
    /// Its length in minutes.
    pub minutes: f64,
}

/// Makes bars of a symbol's events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    gatherer: Gatherer,
    /// Of the open bar.
    #[serde(default)]
    volume: f64,
}

impl Bars {
    /// Takes an event; gives the final bar that it is, or that it closes.
    pub fn take(&mut self, data: &MarketData, interval_us: i64) -> Option<FinalBar> {
        if data.kind() == MarketKind::Bar {
            let bar = Bar::of(data)?;
            self.gatherer.bars_are_sent();
            let length_us = data.interval.as_deref().and_then(interval_micros).unwrap_or(interval_us);
            let close = data.close.unwrap_or(data.price).0;
            return Some(FinalBar { bar, close, end: data.timestamp, minutes: minutes(length_us) });
        }
        let now_us = data.timestamp.micros();
        let end_us = self.gatherer.end_us();
        let closed = self.gatherer.close(now_us).zip(end_us).map(|(bar, end_us)| FinalBar {
            bar: Bar { high: float(bar.high), low: float(bar.low), close: float(bar.close), volume: self.volume },
            close: bar.close,
            end: Timestamp::from_micros(end_us),
            minutes: minutes(interval_us),
        });
        // Sizes of quotes are offers, not trades.
        let volume = if data.kind() == MarketKind::Trade { float(data.volume.0) } else { 0.0 };
        match self.gatherer.add(now_us, price_of(data), interval_us) {
            Added::ToNewBar { .. } => self.volume = volume,
            Added::ToOpenBar => self.volume += volume,
            Added::TooLate => {}
        }
        closed
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most a century")]
fn minutes(length_us: i64) -> f64 {
    length_us as f64 / 6e7
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::Dec;

    use super::*;

    const MINUTE_US: i64 = 60_000_000;

    fn event(second: i64, price: i64) -> MarketData {
        let time = Timestamp::from_micros(second * 1_000_000);
        MarketData::new("A", Dec(Decimal::from(price)), Dec(Decimal::TWO), time, "s")
    }

    #[test]
    fn trades_become_a_bar_that_closes_with_the_first_event_past_its_end() {
        let mut bars = Bars::default();
        for (second, price) in [(5, 10), (20, 12), (59, 9)] {
            assert_eq!(bars.take(&event(second, price), MINUTE_US), None);
        }
        let bar = bars.take(&event(60, 50), MINUTE_US).expect("the minute is over");
        assert_eq!(bar.bar, Bar { high: 12.0, low: 9.0, close: 9.0, volume: 6.0 });
        assert_eq!((bar.end.micros(), bar.minutes), (MINUTE_US, 1.0));
        // Nothing happened for two minutes: there are no bars of them.
        let bar = bars.take(&event(200, 7), MINUTE_US).expect("the minute is over");
        assert_eq!((bar.close, bar.end.micros()), (Decimal::from(50), 2 * MINUTE_US));
    }

    #[test]
    fn a_price_that_comes_after_its_bar_was_closed_is_left_out() {
        let mut bars = Bars::default();
        bars.take(&event(5, 10), MINUTE_US);
        assert!(bars.take(&event(61, 20), MINUTE_US).is_some());
        assert_eq!(bars.take(&event(59, 1), MINUTE_US), None);
        let bar = bars.take(&event(120, 20), MINUTE_US).expect("the second minute is over");
        assert_eq!(bar.bar, Bar { high: 20.0, low: 20.0, close: 20.0, volume: 2.0 });
    }

    #[test]
    fn a_market_that_sends_bars_is_not_gathered_and_bars_that_are_not_final_are_none() {
        let mut bars = Bars::default();
        let bar = MarketData { kind: Some(MarketKind::Bar), interval: Some("30s".into()), ..event(60, 10) };
        let open = MarketData { is_final: Some(false), ..bar.clone() };
        assert_eq!(bars.take(&open, MINUTE_US), None);
        assert_eq!(bars.take(&bar, MINUTE_US).map(|bar| bar.minutes), Some(0.5));
        assert_eq!(bars.take(&event(61, 10), MINUTE_US), None);
        assert_eq!(bars.take(&event(600, 10), MINUTE_US), None);
    }

    #[test]
    fn an_open_bar_that_was_kept_goes_on() {
        let mut bars = Bars::default();
        bars.take(&event(5, 10), MINUTE_US);
        let kept = serde_json::to_vec(&bars).expect("numbers");
        let mut restored: Bars = serde_json::from_slice(&kept).expect("it was just kept");
        assert_eq!(restored.take(&event(61, 3), MINUTE_US), bars.take(&event(61, 3), MINUTE_US));
    }
}
