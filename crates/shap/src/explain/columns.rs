//! What is made of a row before any tree sees it: columns of which a split needs
//! to ask only `column < threshold`.
//!
//! A missing value becomes an infinity, below or above every threshold, so that a
//! split's default direction is only which column it reads. A split by category has
//! a column to itself with its answer, worked out once a row.
//!
//! Not here: reading rows side by side (`transpose`).

use std::collections::HashMap;

use super::lanes::Number;
use crate::{Ensemble, Missing, Precision, Rule, Split};

/// Up to here LightGBM takes a number for zero.
const ZERO: f64 = 1e-35_f32 as f64;

/// What is made of rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// How many numbers a row has.
    pub(super) features: usize,
    /// Rows are rounded to `f32` before anything else.
    pub(super) rounds: bool,
    /// What is made of the features of each row.
    pub(super) columns: Vec<Column>,
}

/// How a column comes from a feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) feature: usize,
    pub(super) source: Source,
}

/// What the column holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// The feature, and an infinity where it is missing.
    Number(Fill),
    /// 0 where the split sends the feature left, 1 where right.
    Answer(Box<Split>, Precision),
}

/// What becomes of missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) missing: Missing,
    /// Missing values are below all thresholds.
    pub(super) below: bool,
}

impl Column {
    /// The column's number for a row whose feature has this value, which is rounded
    /// as the model's library rounds it.
    #[inline(always)]
    pub(super) fn of<T: Number>(&self, value: T) -> T {
        match &self.source {
            Source::Number(fill) => fill.of(value),
            Source::Answer(split, precision) => {
                if split.goes_left(value.to_f64(), *precision) {
                    T::ZERO
                } else {
                    T::from_f64(1.0)
                }
            }
        }
    }
}

impl Fill {
    #[inline(always)]
    pub(super) fn of<T: Number>(self, value: T) -> T {
        let zero = T::from_f64(ZERO);
        let is_nan = value.partial_cmp(&value).is_none();
        let is_missing = match self.missing {
            Missing::None => return if is_nan { T::ZERO } else { value },
            Missing::Nan => is_nan,
            Missing::Zero => is_nan || (value <= zero && T::from_f64(-ZERO) <= value),
        };
        let infinity = if self.below { T::from_f64(f64::NEG_INFINITY) } else { T::INFINITY };
        if is_missing { infinity } else { value }
    }
}

/// A number as LightGBM sees it.
#[inline(always)]
pub(super) fn flushed<T: Number>(value: T) -> T {
    if value <= T::from_f64(ZERO) && T::from_f64(-ZERO) <= value { T::ZERO } else { value }
}

/// The columns of a program while it grows.
#[derive(Debug, Default)]
pub(super) struct Columns {
    list: Vec<Column>,
    /// Those that are there already, by feature.
    known: HashMap<usize, Vec<u32>>,
}

impl Columns {
    /// The column that a split reads.
    pub(super) fn of(&mut self, split: &Split, precision: Precision) -> u32 {
        let source = match split.rule {
            Rule::Categories { .. } => {
                Source::Answer(Box::new(Split { left: 0, right: 0, ..split.clone() }), precision)
            }
            _ => Source::Number(Fill {
                missing: split.missing,
                below: split.missing_left && split.missing != Missing::None,
            }),
        };
        let known = self.known.entry(split.feature).or_default();
        if let Some(&same) = known.iter().find(|&&column| self.list[column as usize].source == source) {
            return same;
        }
        let next = self.list.len() as u32;
        known.push(next);
        self.list.push(Column { feature: split.feature, source });
        next
    }

    /// What is made of rows of this ensemble.
    pub(super) fn table(self, ensemble: &Ensemble) -> Table {
        Table { features: ensemble.features.len(), rounds: ensemble.precision == Precision::Single, columns: self.list }
    }
}

/// What a split's column has to be below for the row to go left.
pub(super) fn threshold<T: Number>(split: &Split, precision: Precision) -> T {
    let below = match &split.rule {
        Rule::Categories { .. } => return T::from_f64(0.5),
        Rule::Less(threshold) => T::at_least(precision.round(*threshold)),
        Rule::LessOrEqual(threshold) => T::above(precision.round(*threshold)),
    };
    // No number is below -∞, and a missing one, which is -∞ where it goes left, has to be.
    if below <= T::from_f64(f64::NEG_INFINITY) { T::LOWEST } else { below }
}
