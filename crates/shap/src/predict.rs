//! What an ensemble says of rows: which way each split sends a value, and the margins.
//!
//! Not here: why it says so (`explain`), and turning margins into probabilities.

use thiserror::Error;

use crate::{Ensemble, Missing, NodeKind, Precision, Rule, Split, Tree};

/// Up to here LightGBM takes a number for zero: its `kZeroThreshold`, an `f32`.
const ZERO: f64 = 1e-35_f32 as f64;

/// Rows that go through one tree after the other, so that a tree is read once for all of
/// them; few enough that they stay near: 20 features are 40 KB. The sum of a row adds its
/// trees in their order, whatever rows it comes with.
const NEAR_ROWS: usize = 256;

/// Why rows cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// The numbers do not make whole rows.
    #[error("{numbers} numbers make no rows of the model's {features} features")]
    Width {
        /// How many numbers there are.
        numbers: usize,
        /// How many a row has.
        features: usize,
    },
    /// A value is infinite in the arithmetic of the model's library.
    #[error("row {row}: feature {feature} (`{name}`) is infinite{}", if *.too_large { " once it is rounded to f32" } else { "" })]
    Infinite {
        /// Index of the row.
        row: usize,
        /// Column of the feature.
        feature: usize,
        /// Its name.
        name: String,
        /// Whether it is finite in `f64` and too large for the model's `f32`.
        too_large: bool,
    },
    /// The place for what comes out does not fit.
    #[error("{rows} rows of {each} numbers do not fit {place} places")]
    Output {
        /// How many rows there are.
        rows: usize,
        /// How many numbers come out for each.
        each: usize,
        /// How many fit.
        place: usize,
    },
}

impl Ensemble {
    /// The margins of row-major `rows`: [`outputs`](Self::outputs) numbers a row, one row
    /// after the other, in margin space (log-odds where the objective is logistic).
    /// NaN is a missing value. Takes no memory.
    ///
    /// # Errors
    /// As [`check_rows`](Self::check_rows), and when `margins` has not one place for each number.
    pub fn margins<T: Copy + Into<f64>>(&self, rows: &[T], margins: &mut [f64]) -> Result<(), RowError> {
        let count = self.check_rows(rows)?;
        if margins.len() != count * self.outputs() {
            return Err(RowError::Output { rows: count, each: self.outputs(), place: margins.len() });
        }
        let (wide, outputs) = (self.features.len(), self.outputs());
        margins.chunks_exact_mut(outputs).for_each(|margins| margins.copy_from_slice(&self.base_margins));
        for (rows, margins) in rows.chunks(wide * NEAR_ROWS).zip(margins.chunks_mut(outputs * NEAR_ROWS)) {
            for tree in &self.trees {
                for (row, margins) in rows.chunks_exact(wide).zip(margins.chunks_exact_mut(outputs)) {
                    margins[tree.output] += tree.tree.value(row, self.precision);
                }
            }
        }
        Ok(())
    }

    /// How many rows these row-major numbers are.
    ///
    /// # Errors
    /// When they make no whole rows, and when a value is infinite: XGBoost refuses
    /// those as well.
    pub fn check_rows<T: Copy + Into<f64>>(&self, rows: &[T]) -> Result<usize, RowError> {
        self.precision.check_rows(rows, &self.features)
    }
}

impl Precision {
    /// [`Ensemble::check_rows`] for a model with these names of features.
    pub(crate) fn check_rows<T: Copy + Into<f64>>(self, rows: &[T], names: &[String]) -> Result<usize, RowError> {
        let features = names.len();
        if features == 0 || !rows.len().is_multiple_of(features) {
            return Err(RowError::Width { numbers: rows.len(), features });
        }
        match rows.iter().position(|value| self.round((*value).into()).is_infinite()) {
            None => Ok(rows.len() / features),
            Some(at) => Err(RowError::Infinite {
                row: at / features,
                feature: at % features,
                name: names[at % features].clone(),
                too_large: rows[at].into().is_finite(),
            }),
        }
    }
}

impl Tree {
    /// The value of the leaf that a row reaches. The row is as wide as the model.
    pub fn value<T: Copy + Into<f64>>(&self, row: &[T], precision: Precision) -> f64 {
        let mut node = 0;
        loop {
            match &self.nodes[node].kind {
                NodeKind::Leaf { value } => return *value,
                NodeKind::Split(split) => node = split.child(row[split.feature].into(), precision),
            }
        }
    }
}

impl Split {
    /// The child that a value of the split's feature goes to.
    pub fn child(&self, value: f64, precision: Precision) -> usize {
        if self.goes_left(value, precision) { self.left } else { self.right }
    }

    /// Whether a value of the split's feature goes left, by the rules of the library
    /// that made the model. NaN is a missing value.
    pub fn goes_left(&self, value: f64, precision: Precision) -> bool {
        let value = match precision {
            Precision::Double if value.abs() <= ZERO => 0.0,
            _ => precision.round(value),
        };
        match self.missing {
            Missing::Zero if value.is_nan() || value.abs() <= ZERO => return self.missing_left,
            Missing::Nan if value.is_nan() => return self.missing_left,
            _ => {}
        }
        match &self.rule {
            Rule::Less(threshold) => zero_for_nan(value) < precision.round(*threshold),
            Rule::LessOrEqual(threshold) => zero_for_nan(value) <= precision.round(*threshold),
            Rule::Categories { set, member_left } => {
                let least = if *member_left { value.trunc() } else { value };
                // The cast cuts the fraction off; NaN fails the comparison.
                let category = (0.0..=f64::from(u32::MAX)).contains(&least).then_some(value as u32);
                category.is_some_and(|category| set.binary_search(&category).is_ok()) == *member_left
            }
        }
    }
}

impl Precision {
    /// A number as this arithmetic holds it.
    pub(crate) fn round(self, value: f64) -> f64 {
        match self {
            Self::Single => f64::from(value as f32),
            Self::Double => value,
        }
    }
}

fn zero_for_nan(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}
