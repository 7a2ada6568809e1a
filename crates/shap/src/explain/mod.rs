//! Exact SHAP values of a tree ensemble, many rows at a time.
//!
//! Not here: the slow ways to the same numbers (`reference`), and reading models.

mod columns;
mod compile;
mod kernel;
mod lanes;
mod program;
mod quadrature;
mod width;

use thiserror::Error;

pub use self::width::{Scratch, Width};
use self::{kernel::Rows, program::Program};
use crate::{Ensemble, Precision, RowError};

/// Why an ensemble cannot be explained: its nodes make no tree.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "tree {tree} is none: a child that is out of range, not below its parent or shared, or a feature or output that the model has not"
)]
pub struct InvalidEnsemble {
    /// Index of the tree.
    pub tree: usize,
}

/// Explains what an ensemble predicts.
#[derive(Debug, Clone)]
pub struct Explainer {
    features: Vec<String>,
    precision: Precision,
    width: Width,
    biases: Vec<f64>,
    single: Option<Program<f32>>,
    double: Option<Program<f64>>,
}

impl Explainer {
    /// Prepares a model; rows of `f32` are then explained in `f32` arithmetic within
    /// a tree and `f64` across trees. So are rows of `f64` if the model itself rounds
    /// them to `f32` (XGBoost); else (LightGBM) in `f64` throughout, because rounding
    /// could move a row across a threshold.
    ///
    /// # Errors
    /// When the nodes of a tree make none.
    pub fn new(ensemble: &Ensemble) -> Result<Self, InvalidEnsemble> {
        let single = compile::compile(ensemble)?;
        let double = if ensemble.precision == Precision::Double { Some(compile::compile(ensemble)?) } else { None };
        Ok(Self::of(ensemble, single.biases.clone(), Some(single), double))
    }

    /// Prepares a model to be explained in `f64` arithmetic throughout, at about a
    /// third of the speed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn double(ensemble: &Ensemble) -> Result<Self, InvalidEnsemble> {
        let double: Program<f64> = compile::compile(ensemble)?;
        Ok(Self::of(ensemble, double.biases.clone(), None, Some(double)))
    }

    fn of(ensemble: &Ensemble, biases: Vec<f64>, single: Option<Program<f32>>, double: Option<Program<f64>>) -> Self {
        let features = ensemble.features.clone();
        Self { features, precision: ensemble.precision, width: Width::widest(), biases, single, double }
    }

    /// The same with vectors of another width, to compare them. None where the
    /// processor has not got it.
    #[must_use]
    pub fn with_width(self, width: Width) -> Option<Self> {
        width.is_supported().then_some(Self { width, ..self })
    }

    /// What it explains with.
    pub fn width(&self) -> Width {
        self.width
    }

    /// Names of the features, in the order of a row.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// How many numbers a margin has: 1, or one a class.
    pub fn outputs(&self) -> usize {
        self.biases.len()
    }

    /// The mean margin of each output over the training data: what a row of which
    /// nothing is known would get.
    pub fn biases(&self) -> &[f64] {
        &self.biases
    }

    /// How many numbers come out for a row: for each output one a feature, and the bias.
    pub fn contributions(&self) -> usize {
        self.biases.len() * (self.features.len() + 1)
    }

    /// Explains row-major `rows`, one or many. NaN is a missing value. For each row and
    /// output, `out` gets the contribution of each feature and then the bias; together
    /// they are the margin (log-odds where the objective is logistic, not a probability).
    ///
    /// # Errors
    /// When the numbers make no whole rows, when a value is infinite, and when `out` has
    /// not one place for each number.
    pub fn explain(&self, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) -> Result<(), RowError> {
        self.check(rows, out)?;
        match (&self.single, &self.double) {
            (Some(single), _) => width::explain(self.width, single, scratch, Rows::Single(rows), out),
            (None, Some(double)) => width::explain_double(self.width, double, scratch, Rows::Single(rows), out),
            (None, None) => {}
        }
        Ok(())
    }

    /// [`explain`](Self::explain) for rows of `f64`.
    ///
    /// # Errors
    /// The same; a number that is infinite once rounded to `f32` is, too, if the model
    /// works in `f32`.
    pub fn explain_f64(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) -> Result<(), RowError> {
        self.check(rows, out)?;
        match (&self.single, &self.double) {
            (_, Some(double)) => width::explain_double(self.width, double, scratch, Rows::Double(rows), out),
            (Some(single), None) => width::explain(self.width, single, scratch, Rows::Double(rows), out),
            (None, None) => {}
        }
        Ok(())
    }

    fn check<R: Copy + Into<f64>>(&self, rows: &[R], out: &[f64]) -> Result<(), RowError> {
        let count = self.precision.check_rows(rows, &self.features)?;
        let each = self.contributions();
        if out.len() != count * each {
            return Err(RowError::Output { rows: count, each, place: out.len() });
        }
        Ok(())
    }
}
