//! When a strategy wants to be long, short or flat: one bar at a time, in
//! decimals, each rule with the memory that it needs and no more.
//!
//! Not here: quantities and signals (`core`), and the bars themselves.

use std::{cmp::Ordering, collections::VecDeque};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Dec, decimal::Wide};

use super::bars::Bar;

mod breakout;
mod rsi;
mod sma;

pub(super) use self::{breakout::Breakout, rsi::Rsi, sma::Sma};

/// Where a strategy stands, or wants to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stance {
    /// No position.
    #[default]
    Flat,
    /// Bought.
    Long,
    /// Sold.
    Short,
}

/// A stance that a rule wants, and why, for people.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) stance: Stance,
    pub(super) reason: String,
}

/// A rule with its settings and its memory of the bars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    Sma(Sma),
    Rsi(Rsi),
    Breakout(Breakout),
}

impl Rule {
    /// Takes a bar; a wish where the rule wants another stance than `held`.
    pub(super) fn take(&mut self, bar: Bar, held: Stance, long_only: bool) -> Option<Wish> {
        match self {
            Self::Sma(sma) => sma.take(bar, held, long_only),
            Self::Rsi(rsi) => rsi.take(bar, held, long_only),
            Self::Breakout(breakout) => breakout.take(bar, held, long_only),
        }
    }

    /// Whether kept memory can belong to a rule with the settings of `fresh`.
    pub(super) fn continues(&self, fresh: &Self) -> bool {
        match (self, fresh) {
            (Self::Sma(kept), Self::Sma(fresh)) => kept.continues(fresh),
            (Self::Rsi(kept), Self::Rsi(fresh)) => kept.continues(fresh),
            (Self::Breakout(kept), Self::Breakout(fresh)) => kept.continues(fresh),
            _ => false,
        }
    }
}

/// The stance that is allowed in place of the one wanted; a wish where it
/// differs from the one held. The reason is made only then.
fn wish(wanted: Stance, held: Stance, long_only: bool, reason: impl FnOnce() -> String) -> Option<Wish> {
    let stance = if long_only && wanted == Stance::Short { Stance::Flat } else { wanted };
    (stance != held).then(|| Wish { stance, reason: reason() })
}

/// A figure as a reason shows it.
fn shown(value: Decimal) -> Dec {
    Dec(value.round_dp(8))
}
