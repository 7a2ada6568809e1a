//! Risk checks of a decision against the intended book: position limit,
//! concentration, correlation.
//!
//! What brings a position nearer to flat passes them all: a limit must never hold
//! a position fast. The broker checks hard limits again on the real positions.
//!
//! Not here: the book itself.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, prelude::FromPrimitive};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_contracts::{Dec, events::decision::CheckNumbers};

use super::{book::Holding, features::float};

/// The check of the position's size.
pub const POSITION: &str = "position_limit_ok";
/// The check of the symbol's share of the book.
pub const CONCENTRATION: &str = "concentration_ok";
/// The check of how much the book moves as one.
pub const CORRELATION: &str = "correlation_ok";

/// What the intended book may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest position of a symbol, unsigned, in its own unit; a symbol may
    /// have its own in `sizes`.
    pub position: Dec,
    /// The largest share of a symbol's notional in gross, 0 to 1. A book of one
    /// symbol alone is not held against it: its share is always 1.
    pub concentration: f64,
    /// The largest correlation with the rest of the book, −1 to 1.
    pub correlation: f64,
}

impl Default for Limits {
    fn default() -> Self {
        // Ten full sizes of 1; with two symbols one may outweigh the other four to
        // one; and what moves nearly as one with the book is no new bet.
        Self { position: Dec(Decimal::TEN), concentration: 0.8, correlation: 0.95 }
    }
}

impl Limits {
    /// Everything that is wrong with them.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.position.0 <= Decimal::ZERO {
            wrong.push(format!("limits.position: expected a decimal over 0, found {}", self.position));
        }
        if !(self.concentration > 0.0 && self.concentration <= 1.0) {
            wrong.push(format!("limits.concentration: expected 0 < x ≤ 1, found {}", self.concentration));
        }
        if !(-1.0..=1.0).contains(&self.correlation) {
            wrong.push(format!("limits.correlation: expected -1 to 1, found {}", self.correlation));
        }
        wrong
    }

    /// As a risk decision names them; `position` is that of the symbol.
    pub(super) fn named(&self, position: Decimal) -> BTreeMap<String, Value> {
        [
            ("position", json!(Dec(position.normalize()))),
            ("concentration", json!(self.concentration)),
            ("correlation", json!(self.correlation)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// What the checks found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    /// Each check and whether it passed.
    pub checks: BTreeMap<String, bool>,
    /// The reason of each that did not, in the order of the checks.
    pub reasons: Vec<String>,
    /// What was measured of each that did not, and what it may be.
    pub failed: BTreeMap<String, CheckNumbers>,
}

/// Checks that all pass: where nothing is to be traded.
pub fn nothing_to_check() -> Checks {
    checks([true; 3], |_| CheckNumbers { value: Dec::ZERO, limit: Dec::ZERO })
}

/// Checks a signed quantity of a symbol. `own` is its holding, at its last price;
/// `others` are the rest of the book, in a fixed order.
pub fn check<'a>(
    limits: &Limits,
    position_limit: Decimal,
    quantity: Decimal,
    own: &Holding,
    others: impl Iterator<Item = &'a Holding>,
) -> Checks {
    let before = own.quantity();
    let after = before.saturating_add(quantity);
    if after.abs() <= before.abs() {
        return nothing_to_check();
    }
    let notional = (own.price() * float(after)).abs();
    let (mut gross, mut mean) = (0.0, 0.0);
    // The direction that the position has afterwards.
    let side = if after.is_sign_positive() { 1.0 } else { -1.0 };
    for other in others.filter(|other| !other.quantity().is_zero()) {
        let theirs = other.notional();
        gross += theirs.abs();
        // Unknown counts as 0: as much as nothing in common.
        mean += own.correlation(other).unwrap_or(0.0) * theirs * side;
    }
    let is_alone = gross <= 0.0;
    let (share, likeness) = (notional / (notional + gross), mean / gross);
    let passed = [
        after.abs() <= position_limit,
        is_alone || share <= limits.concentration,
        is_alone || likeness <= limits.correlation,
    ];
    checks(passed, |check| match check {
        POSITION => CheckNumbers { value: Dec(after.abs().normalize()), limit: Dec(position_limit.normalize()) },
        CONCENTRATION => CheckNumbers { value: ratio(share), limit: ratio(limits.concentration) },
        _ => CheckNumbers { value: ratio(likeness), limit: ratio(limits.correlation) },
    })
}

/// Nine decimals of a ratio: more than any limit is told apart by.
fn ratio(value: f64) -> Dec {
    Dec(Decimal::from_f64(value).unwrap_or_default().round_dp(9).normalize())
}

fn checks(passed: [bool; 3], numbers: impl Fn(&str) -> CheckNumbers) -> Checks {
    let names = [(POSITION, "position_limit"), (CONCENTRATION, "concentration"), (CORRELATION, "correlation")];
    let mut found = Checks::default();
    for ((check, reason), passed) in names.into_iter().zip(passed) {
        found.checks.insert(check.to_owned(), passed);
        if !passed {
            found.reasons.push(reason.to_owned());
            found.failed.insert(check.to_owned(), numbers(check));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::book::tests::{holding, walk},
        *,
    };

    fn reasons(quantity: i64, own: &Holding, others: &[Holding]) -> Vec<String> {
        let limits = Limits { concentration: 0.6, correlation: 0.9, ..Limits::default() };
        check(&limits, Decimal::TEN, Decimal::from(quantity), own, others.iter()).reasons
    }

    #[test]
    fn a_position_beyond_its_limit_is_refused_and_one_at_it_is_not() {
        let own = holding(8, walk(7, 50));
        assert!(reasons(2, &own, &[]).is_empty());
        assert_eq!(reasons(3, &own, &[]), ["position_limit"]);
        assert_eq!(reasons(-19, &own, &[]), ["position_limit"], "short counts as long");
    }

    #[test]
    fn what_brings_a_position_nearer_to_flat_always_passes() {
        let own = holding(50, walk(7, 50));
        let others = [holding(1, walk(7, 50))];
        assert!(reasons(-10, &own, &others).is_empty());
        assert!(reasons(-100, &own, &others).is_empty(), "as far on the other side is no further");
    }

    #[test]
    fn a_symbol_may_not_be_more_than_its_share_of_gross_unless_it_is_alone() {
        let others = [holding(4, walk(5, 20)), holding(-4, walk(3, 20))];
        let own = holding(0, walk(7, 20));
        assert!(reasons(10, &own, &others).is_empty(), "some 55 %");
        assert_eq!(reasons(10, &own, &others[..1]), ["concentration"], "some 70 %");
        assert!(reasons(10, &own, &[]).is_empty());
    }

    #[test]
    fn the_same_bet_twice_is_refused_and_its_hedge_is_not() {
        let own = holding(0, walk(7, 100));
        let others = [holding(9, walk(7, 100).map(|price| price * 2.0)), holding(1, walk(3, 100))];
        assert_eq!(reasons(1, &own, &others), ["correlation"]);
        assert!(reasons(-1, &own, &others).is_empty());
        let short = [holding(-9, walk(7, 100))];
        assert!(reasons(1, &own, &short).is_empty());
        assert_eq!(reasons(-1, &own, &short), ["correlation"]);
    }

    #[test]
    fn several_checks_can_fail_at_once_and_are_named_in_order() {
        let own = holding(0, walk(7, 100));
        let found = check(
            &Limits { concentration: 0.6, correlation: 0.9, ..Limits::default() },
            Decimal::TEN,
            Decimal::from(50),
            &own,
            [holding(9, walk(7, 100))].iter(),
        );
        assert_eq!(found.reasons, ["position_limit", "concentration", "correlation"]);
        assert!(found.checks.values().all(|passed| !passed));
        let numbers = |check: &str| (found.failed[check].value.to_string(), found.failed[check].limit.to_string());
        assert_eq!(numbers(POSITION), ("50".to_owned(), "10".to_owned()));
        assert_eq!(numbers(CONCENTRATION).1, "0.6");
        assert_eq!(numbers(CORRELATION), ("1".to_owned(), "0.9".to_owned()));
    }

    #[test]
    fn limits_that_are_none_are_named() {
        let limits = Limits { position: Dec::ZERO, concentration: 0.0, correlation: f64::NAN };
        assert_eq!(limits.wrong().len(), 3);
        assert!(Limits::default().wrong().is_empty());
    }
}
