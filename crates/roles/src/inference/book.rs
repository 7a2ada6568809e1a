//! The intended book: of each symbol that this process decides on, the sum of what
//! was accepted, its last price, and its last minute closes. Inference does not
//! wait for fills, so its risk checks look at this.
//!
//! Not here: the limits (`risk`), and real positions, which are the paper broker's.

use std::collections::{BTreeMap, VecDeque};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Timestamp, decimal::Wide};

use super::features::float;

/// One-minute returns that a correlation looks at.
pub const CORRELATION_BARS: usize = 240;

/// With fewer returns in common two symbols have no correlation that means
/// anything: it would be off by 0.2 and more.
pub const LEAST_RETURNS: usize = 30;

const MINUTE_US: i64 = 60_000_000;

/// What is held of one symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holding {
    now: Now,
    /// The closes of the minutes that are over: minute since 1970, price.
    closes: VecDeque<(i64, f64)>,
    /// What changed since it was last kept.
    changed: (bool, bool),
}

/// The part of a holding that changes with every bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Now {
    /// The intended position, signed.
    quantity: Wide,
    /// The last price.
    mark: Wide,
    /// The minute that it is of.
    minute: i64,
}

impl Holding {
    /// The intended position, signed.
    pub fn quantity(&self) -> Decimal {
        self.now.quantity.0
    }

    /// The last price. A float, as shares and correlations are all it goes into.
    pub fn price(&self) -> f64 {
        float(self.now.mark.0)
    }

    /// Position times last price, signed.
    pub fn notional(&self) -> f64 {
        float(self.now.quantity.0) * self.price()
    }

    /// Takes the close of a bar that ended at this time.
    pub fn mark(&mut self, price: Decimal, end: Timestamp) {
        // A bar that ends with a minute is of that minute.
        let minute = (end.micros() - 1).div_euclid(MINUTE_US);
        let is_first = self.now.mark.0.is_zero();
        if minute > self.now.minute && !is_first {
            if self.closes.len() > CORRELATION_BARS {
                self.closes.pop_front();
            }
            self.closes.push_back((self.now.minute, float(self.now.mark.0)));
            self.changed.1 = true;
        }
        self.now.minute = if is_first { minute } else { minute.max(self.now.minute) };
        self.now.mark = Wide(price);
        self.changed.0 = true;
    }

    /// Adds a signed quantity that was accepted.
    pub fn add(&mut self, quantity: Decimal) {
        self.now.quantity = Wide(self.now.quantity.0.saturating_add(quantity));
        self.changed.0 = true;
    }

    /// The correlation of the one-minute returns of two symbols over the last
    /// [`CORRELATION_BARS`] minutes before the open one; a return is one between
    /// two neighbouring minutes that both have a close. None with fewer than
    /// [`LEAST_RETURNS`] in common, or where one of them never moved.
    pub fn correlation(&self, other: &Self) -> Option<f64> {
        let first = self.now.minute - CORRELATION_BARS as i64;
        let (ours, theirs) = (self.returns(first), other.returns(first));
        let mut theirs = theirs.peekable();
        let mut pairs = Vec::with_capacity(CORRELATION_BARS);
        for (minute, ours) in ours {
            while theirs.next_if(|(other, _)| *other < minute).is_some() {}
            if let Some((_, theirs)) = theirs.next_if(|(other, _)| *other == minute) {
                pairs.push((ours, theirs));
            }
        }
        correlation(&pairs)
    }

    /// Returns by the minute that they end in, from a minute on.
    fn returns(&self, first: i64) -> impl Iterator<Item = (i64, f64)> {
        let pairs = self.closes.iter().zip(self.closes.iter().skip(1));
        pairs
            .filter(move |((before, _), (minute, _))| *minute == before + 1 && *minute >= first)
            .map(|((_, before), (minute, close))| (*minute, close / before - 1.0))
    }
}

/// Pearson's correlation.
#[expect(clippy::cast_precision_loss, reason = "a few hundred pairs")]
fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < LEAST_RETURNS {
        return None;
    }
    let count = pairs.len() as f64;
    let (x, y) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let (mean_x, mean_y) = (x / count, y / count);
    let sums = pairs.iter().fold((0.0, 0.0, 0.0), |(xx, yy, xy), pair| {
        let (x, y) = (pair.0 - mean_x, pair.1 - mean_y);
        (xx + x * x, yy + y * y, xy + x * y)
    });
    let bound = libm::sqrt(sums.0) * libm::sqrt(sums.1);
    (bound > 0.0).then(|| (sums.2 / bound).clamp(-1.0, 1.0))
}

/// The holdings of a partition of the market, by symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    symbols: BTreeMap<String, Holding>,
}

impl Holdings {
    /// The holding of a symbol.
    pub fn get(&self, symbol: &str) -> Option<&Holding> {
        self.symbols.get(symbol)
    }

    /// The same, made where it is missing.
    pub fn of(&mut self, symbol: &str) -> &mut Holding {
        if !self.symbols.contains_key(symbol) {
            self.symbols.insert(symbol.to_owned(), Holding::default());
        }
        self.symbols.get_mut(symbol).expect("inserted where it was missing")
    }

    /// All of them, by symbol.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Holding)> {
        self.symbols.iter().map(|(symbol, holding)| (symbol.as_str(), holding))
    }

    /// What changed of a symbol since the last call: the position, and the minute
    /// closes, each as JSON.
    pub fn take_changed(&mut self, symbol: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let Some(holding) = self.symbols.get_mut(symbol) else { return (None, None) };
        let (now, closes) = std::mem::take(&mut holding.changed);
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("numbers and their texts");
        (now.then(|| json(serde_json::to_vec(&holding.now))), closes.then(|| json(serde_json::to_vec(&holding.closes))))
    }

    /// Takes a kept position.
    ///
    /// # Errors
    /// It is none that this code wrote.
    pub fn restore_position(&mut self, symbol: &str, kept: &[u8]) -> Result<(), String> {
        self.of(symbol).now = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Takes kept minute closes.
    ///
    /// # Errors
    /// They are none that this code wrote.
    pub fn restore_closes(&mut self, symbol: &str, kept: &[u8]) -> Result<(), String> {
        self.of(symbol).closes = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A holding with these closes, a minute each, and the last as its mark.
    pub(in crate::inference) fn holding(quantity: i64, closes: impl IntoIterator<Item = f64>) -> Holding {
        let mut holding = Holding::default();
        for (minute, close) in (1..).zip(closes) {
            let price = Decimal::try_from(close).expect("a price").round_dp(6);
            holding.mark(price, Timestamp::from_micros(minute * MINUTE_US));
        }
        holding.add(Decimal::from(quantity));
        holding
    }

    /// A price that goes up and down by a rule.
    pub(in crate::inference) fn walk(step: u64, minutes: u64) -> impl Iterator<Item = f64> {
        (0..minutes).map(move |n| 100.0 + (n * step % 17) as f64)
    }

    #[test]
    fn a_symbol_is_wholly_correlated_with_itself_and_opposed_to_its_mirror() {
        let one = holding(1, walk(7, 100));
        let mirror = holding(1, walk(7, 100).map(|price| 10_000.0 / price));
        assert!((one.correlation(&one).expect("enough returns") - 1.0).abs() < 1e-12);
        assert!(one.correlation(&mirror).expect("enough returns") < -0.98);
    }

    #[test]
    fn with_few_returns_in_common_there_is_no_correlation() {
        let (one, young) = (holding(1, walk(7, 100)), holding(1, walk(5, 20)));
        assert_eq!(one.correlation(&young), None);
        assert_eq!(one.correlation(&holding(1, (0..100).map(|_| 5.0))), None, "it never moved");
    }

    #[test]
    fn only_neighbouring_minutes_make_a_return() {
        let mut gaps = Holding::default();
        for n in 0..200 {
            gaps.mark(Decimal::from(100 + n % 7), Timestamp::from_micros(n * 2 * MINUTE_US));
        }
        assert_eq!(gaps.returns(0).count(), 0);
    }

    #[test]
    fn a_minute_closes_with_the_last_price_in_it() {
        let mut holding = Holding::default();
        for (second, price) in [(30, 1), (60, 2), (61, 3), (90, 4), (120, 5), (150, 6), (185, 7)] {
            holding.mark(Decimal::from(price), Timestamp::from_micros(second * 1_000_000));
        }
        assert_eq!(holding.closes, [(0, 2.0), (1, 5.0), (2, 6.0)]);
        assert!(holding.notional().abs() < 1e-12);
    }

    #[test]
    fn closes_are_no_more_than_a_correlation_looks_at() {
        let long = holding(0, walk(3, 1_000));
        assert_eq!(long.closes.len(), CORRELATION_BARS + 1);
        assert_eq!(long.returns(long.now.minute - CORRELATION_BARS as i64).count(), CORRELATION_BARS);
    }

    #[test]
    fn what_changed_is_kept_and_comes_back() {
        let mut holdings = Holdings::default();
        *holdings.of("A") = holding(3, walk(7, 300));
        let (now, closes) = holdings.take_changed("A");
        let mut restored = Holdings::default();
        restored.restore_position("A", &now.expect("it changed")).expect("it was just kept");
        restored.restore_closes("A", &closes.expect("they changed")).expect("they were just kept");
        assert_eq!(restored, holdings);
        assert_eq!(holdings.take_changed("A"), (None, None));
        // Within a minute the closes do not change.
        let end = Timestamp::from_micros(300 * MINUTE_US);
        holdings.of("A").mark(Decimal::ONE, end);
        assert!(matches!(holdings.take_changed("A"), (Some(_), None)));
    }
}
