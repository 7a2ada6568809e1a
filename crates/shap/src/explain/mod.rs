//! Exact SHAP values of a tree ensemble, many rows at a time.
//!
//! # The mathematics
//!
//! The game is the path-dependent one of Lundberg et al. ("From local explanations to
//! global understanding with explainable AI for trees", Nature Machine Intelligence 2,
//! 2020): a split on a known feature sends the row one way, any other both ways, by the
//! shares of training data. A leaf of worth v then counts `v Π_f (p_f a_f + (1 - p_f) b_f)`,
//! a product over the features of its path: p is 1 where f is known and 0 where not,
//! a is 1 if the row meets all conditions on f and else 0, and b is the product of the
//! shares of data that met them. This is linear in each p, so Shapley values are the
//! gradient along the diagonal (Owen, "Multilinear extensions of games", Management
//! Science 18, 1972):
//!
//! `φ_f = ∫₀¹ Σ_leaves v (a_f - b_f) Π_{g ≠ f} (t a_g + (1 - t) b_g) dt`.
//!
//! The integrand is a polynomial in t of one degree less than the most features of a
//! path, so that points of a Gauss rule, half as many, give the integral exactly ("Quadrature
//! TreeSHAP", arXiv 2605.04497). Here they are those of Radau's rule, which has t = 0 among its
//! points: nothing is known there, so that no row changes what it adds, one constant a node (but
//! where no data holds a condition whose feature is asked for again: there Gauss's rule), and
//! with an odd number of features one point less is left than without (Abramowitz and Stegun,
//! "Handbook of Mathematical Functions", 25.4.31). At each other point t a tree is passed
//! once down and once up.
//! Let P be the product of what the path to a node counts, the point's weight included;
//! z the share of data that goes from it to its first child; A and B what the children
//! are worth, a sum over their leaves of v and the factors below; and δ = \[row goes to the
//! first child\] - z. The children's factors sum to that of their parent, so one of them
//! is enough. For a feature that is new on its path:
//!
//! | | |
//! | --- | --- |
//! | factor of the first child | `r = z + t δ` |
//! | what the children's paths count | `P r` and `P - P r` |
//! | what the node is worth | `B + r (A - B)` |
//! | what is added to the feature | `δ Σ P (A - B)` over the points |
//!
//! If the feature was asked for above, what it counted there, `F = t a + (1 - t) b`, has to
//! be divided out. If a is 0, r is z and there is nothing to add: leaves below differ only by
//! what does not depend on the feature. If a is 1, working out
//! `(F₁ / F) ((a₁ - b₁) / F₁ - (a - b) / F)` gives `b δ / F²`, and `F₁ / F = z + t δ / F`. So the same four
//! lines hold with δ set to 0 where a is 0, with `t / F` in the place of t and with `b / F²` as a
//! further weight of each point; both depend on the tree alone and are worked out beforehand.
//! Nothing is divided when rows come, and all factors are between 0 and 1, so that no digits
//! are lost in deep trees.
//!
//! # The digits
//!
//! In `f32`, errors are some 1e-7 of what the trees say, far below what the libraries'
//! own differ by; in `f64` some 1e-14. They depend on [`Width`]: with AVX2 and AVX-512
//! products are added before they are rounded, in portable code after. A row gets the
//! same digits alone as in any batch.
//!
//! ```
//! use tapedeck_shap::{Ensemble, Explainer, Scratch, additivity_error};
//!
//! let model = br#"{"learner": {"attributes": {}, "feature_names": ["rsi_14"], "feature_types": ["float"],
//!   "gradient_booster": {"model": {"gbtree_model_param": {"num_trees": "1", "num_parallel_tree": "1"},
//!     "tree_info": [0], "trees": [{
//!       "left_children": [1, -1, -1], "right_children": [2, -1, -1], "parents": [2147483647, 0, 0],
//!       "split_indices": [0, 0, 0], "split_conditions": [30.0, 0.5, -0.5], "default_left": [0, 0, 0],
//!       "sum_hessian": [4.0, 1.0, 3.0], "base_weights": [0.0, 0.5, -0.5], "loss_changes": [1.0, 0.0, 0.0],
//!       "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
//!       "split_type": [0, 0, 0], "id": 0,
//!       "tree_param": {"num_deleted": "0", "num_feature": "1", "num_nodes": "3", "size_leaf_vector": "1"}}]},
//!     "name": "gbtree"},
//!   "learner_model_param": {"base_score": "0E0", "num_class": "0", "num_feature": "1", "num_target": "1"},
//!   "objective": {"name": "reg:squarederror"}}, "version": [3, 2, 0]}"#;
//! let ensemble = Ensemble::read(model)?;
//! let explainer = Explainer::new(&ensemble)?;
//!
//! // Two rows; made once, used for all that follow.
//! let (mut scratch, mut out) = (Scratch::new(), vec![0.0; 2 * explainer.contributions()]);
//! explainer.explain(&[20.0, 70.0], &mut scratch, &mut out)?;
//!
//! // The mean over the training data is -0.25; an RSI of 20 adds 0.75 to it.
//! assert_eq!(out, [0.75, -0.25, -0.25, -0.25]);
//! assert!(additivity_error(&out[..2], 0.5) < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: the slow ways to the same numbers (`reference`), and reading models.

mod columns;
mod compile;
mod kernel;
mod lanes;
mod margins;
mod program;
mod quadrature;
mod transpose;
mod weighted;
mod width;

use thiserror::Error;

use self::{margins::Margins, program::Program, transpose::Rows};
pub use self::{
    weighted::{MismatchError, Weighted, WeightedError},
    width::{Scratch, Width},
};
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
    programs: Programs,
    margins: AnyMargins,
}

/// A model prepared for its margins.
#[derive(Debug, Clone)]
enum AnyMargins {
    /// It works in `f32`, and all its leaves are.
    Single(Margins<f32>),
    Double(Margins<f64>),
}

/// A model prepared for the arithmetic that its rows need.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "one for a model, in no collection")]
enum Programs {
    Single(Program<f32>),
    Double(Program<f64>),
    /// The one for rows of `f32`, the other for rows of `f64`.
    Both(Program<f32>, Program<f64>),
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
        let single: Program<f32> = compile::compile(ensemble)?;
        Ok(match ensemble.precision {
            Precision::Single => Self::of(ensemble, single.biases.clone(), Programs::Single(single)),
            Precision::Double => {
                Self::of(ensemble, single.biases.clone(), Programs::Both(single, compile::compile(ensemble)?))
            }
        })
    }

    /// Prepares a model to be explained in `f64` arithmetic throughout, at about a
    /// third of the speed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn double(ensemble: &Ensemble) -> Result<Self, InvalidEnsemble> {
        let double: Program<f64> = compile::compile(ensemble)?;
        Ok(Self::of(ensemble, double.biases.clone(), Programs::Double(double)))
    }

    fn of(ensemble: &Ensemble, biases: Vec<f64>, programs: Programs) -> Self {
        let features = ensemble.features.clone();
        let single = if ensemble.precision == Precision::Single { margins::compile(ensemble) } else { None };
        let double = || margins::compile(ensemble).expect("every leaf is an f64");
        let margins = single.map_or_else(|| AnyMargins::Double(double()), AnyMargins::Single);
        Self { features, precision: ensemble.precision, width: Width::widest(), biases, programs, margins }
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
        self.check(rows, self.contributions(), out)?;
        self.run(Rows::Single(rows), scratch, out);
        Ok(())
    }

    /// [`explain`](Self::explain) for rows of `f64`.
    ///
    /// # Errors
    /// The same; a number that is infinite once rounded to `f32` is, too, if the model
    /// works in `f32`.
    pub fn explain_f64(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) -> Result<(), RowError> {
        self.check(rows, self.contributions(), out)?;
        self.run(Rows::Double(rows), scratch, out);
        Ok(())
    }

    /// The margins of row-major `rows`: what [`Ensemble::margins`] gives, to the last bit,
    /// a vector of rows at a time.
    ///
    /// # Errors
    /// As [`explain`](Self::explain), with one place for each of a row's [`outputs`](Self::outputs).
    pub fn margins(&self, rows: &[f32], scratch: &mut Scratch, out: &mut [f64]) -> Result<(), RowError> {
        self.check(rows, self.outputs(), out)?;
        self.sum(Rows::Single(rows), scratch, out);
        Ok(())
    }

    /// [`margins`](Self::margins) for rows of `f64`.
    ///
    /// # Errors
    /// The same.
    pub fn margins_f64(&self, rows: &[f64], scratch: &mut Scratch, out: &mut [f64]) -> Result<(), RowError> {
        self.check(rows, self.outputs(), out)?;
        self.sum(Rows::Double(rows), scratch, out);
        Ok(())
    }

    /// Margins of rows that were checked.
    fn sum(&self, rows: Rows<'_>, scratch: &mut Scratch, out: &mut [f64]) {
        match &self.margins {
            AnyMargins::Single(margins) => width::margins(self.width, margins, scratch, rows, out),
            AnyMargins::Double(margins) => width::margins_double(self.width, margins, scratch, rows, out),
        }
    }

    /// Explains rows that were checked.
    fn run(&self, rows: Rows<'_>, scratch: &mut Scratch, out: &mut [f64]) {
        match (&self.programs, rows) {
            (Programs::Single(single) | Programs::Both(single, _), Rows::Single(_)) | (Programs::Single(single), _) => {
                width::explain(self.width, single, scratch, rows, out);
            }
            (Programs::Double(double) | Programs::Both(_, double), _) => {
                width::explain_double(self.width, double, scratch, rows, out);
            }
        }
    }

    fn check<R: Copy + Into<f64>>(&self, rows: &[R], each: usize, out: &[f64]) -> Result<(), RowError> {
        let count = self.precision.check_rows(rows, &self.features)?;
        if out.len() != count * each {
            return Err(RowError::Output { rows: count, each, place: out.len() });
        }
        Ok(())
    }
}

/// The margin that contributions of one output and their bias make.
pub fn margin(contributions: &[f64]) -> f64 {
    contributions.iter().sum()
}

/// How far contributions of one output and their bias are from the margin that the
/// model itself gave: what rounding did, below 1e-5 for margins of a few units.
pub fn additivity_error(contributions: &[f64], of_model: f64) -> f64 {
    (margin(contributions) - of_model).abs()
}
