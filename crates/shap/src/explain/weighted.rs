//! Several models of the same features, each with a weight that differs by row.
//!
//! Contributions are linear in the model: those of `Σ wₖ fₖ` are `Σ wₖ φₖ`, exactly.
//!
//! Not here: where weights come from (the role that decides).

use thiserror::Error;

use super::{Explainer, Rows, Scratch, kernel::MANY_ROWS, margin};
use crate::RowError;

/// Why models cannot be explained together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MismatchError {
    /// There are none.
    #[error("an ensemble of no models explains nothing")]
    None,
    /// They are not models of the same rows.
    #[error("model {member} has other features than model 0: {what}")]
    Features {
        /// Index of the model.
        member: usize,
        /// The first difference.
        what: String,
    },
    /// They do not speak of the same thing.
    #[error("model {member} has {its} outputs, model 0 has {first}")]
    Outputs {
        /// Index of the model.
        member: usize,
        /// How many it has.
        its: usize,
        /// How many the first has.
        first: usize,
    },
}

/// Why rows cannot be explained by weighted models.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WeightedError {
    /// The rows themselves, or the place for what comes out.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// Not one weight for each model and row.
    #[error("{weights} weights for {rows} rows of {members} models")]
    Weights {
        /// How many there are.
        weights: usize,
        /// How many rows.
        rows: usize,
        /// How many models.
        members: usize,
    },
    /// A weight that is no number.
    #[error("row {row}: the weight of model {member} is not finite")]
    NotFinite {
        /// Index of the row.
        row: usize,
        /// Index of the model.
        member: usize,
    },
}

/// Models explained together.
///
/// ```
/// # use tapedeck_shap::*;
/// # let leaf = |value| Node { cover: 1.0, kind: NodeKind::Leaf { value } };
/// # let split = Split { feature: 0, rule: Rule::Less(0.5), missing: Missing::Nan, missing_left: true, left: 1, right: 2 };
/// # let nodes = vec![Node { cover: 2.0, kind: NodeKind::Split(split) }, leaf(-1.0), leaf(1.0)];
/// # let ensemble = Ensemble {
/// #     features: vec!["rsi_14".into()], base_margins: vec![0.0], trees: vec![OutputTree { output: 0, tree: Tree { nodes } }],
/// #     precision: Precision::Single, objective: String::new(), origin: Origin::default(), averaged_over: None,
/// # };
/// let models = Weighted::new(vec![Explainer::new(&ensemble)?, Explainer::new(&ensemble)?])?;
/// let (mut contributions, mut margins) = (vec![0.0; 2], vec![0.0; 2]);
/// models.explain(&[0.9], &[0.75, 0.25], &mut Scratch::new(), &mut contributions, &mut margins)?;
/// assert_eq!(margins, [1.0, 1.0]);
/// assert_eq!(contributions, [1.0, 0.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Weighted {
    members: Vec<Explainer>,
}

impl Weighted {
    /// Puts models of the same features and outputs together.
    ///
    /// # Errors
    /// When there are none, or they differ in the names or the order of features or in
    /// the number of outputs.
    pub fn new(members: Vec<Explainer>) -> Result<Self, MismatchError> {
        let first = members.first().ok_or(MismatchError::None)?;
        for (member, other) in members.iter().enumerate() {
            if other.features() != first.features() {
                let pairs = other.features().iter().zip(first.features()).enumerate();
                let what = pairs
                    .filter(|(_, (its, first))| its != first)
                    .map(|(nth, (its, first))| format!("feature {nth} is `{its}`, not `{first}`"));
                let count = || format!("{} and not {}", other.features().len(), first.features().len());
                let what = what.into_iter().next().unwrap_or_else(count);
                return Err(MismatchError::Features { member, what });
            }
            if other.outputs() != first.outputs() {
                return Err(MismatchError::Outputs { member, its: other.outputs(), first: first.outputs() });
            }
        }
        Ok(Self { members })
    }

    /// The models.
    pub fn members(&self) -> &[Explainer] {
        &self.members
    }

    /// Explains rows by `Σ wₖ fₖ`; `weights` has one number for each model of the first
    /// row, then of the second, and so on. `contributions` is filled as by
    /// [`Explainer::explain`]; `margins` gets for each row and model the margin of each
    /// output, which times its weight is the model's part of the whole.
    ///
    /// # Errors
    /// As [`Explainer::explain`]; when there is not one finite weight for each model
    /// and row, and when `margins` has not one place for each.
    pub fn explain(
        &self,
        rows: &[f32],
        weights: &[f64],
        scratch: &mut Scratch,
        contributions: &mut [f64],
        margins: &mut [f64],
    ) -> Result<(), WeightedError> {
        self.check(rows, weights, contributions, margins)?;
        self.add_up(Rows::Single(rows), weights, scratch, contributions, margins);
        Ok(())
    }

    /// [`explain`](Self::explain) for rows of `f64`.
    ///
    /// # Errors
    /// The same.
    pub fn explain_f64(
        &self,
        rows: &[f64],
        weights: &[f64],
        scratch: &mut Scratch,
        contributions: &mut [f64],
        margins: &mut [f64],
    ) -> Result<(), WeightedError> {
        self.check(rows, weights, contributions, margins)?;
        self.add_up(Rows::Double(rows), weights, scratch, contributions, margins);
        Ok(())
    }

    fn check<R: Copy + Into<f64>>(
        &self,
        rows: &[R],
        weights: &[f64],
        contributions: &[f64],
        margins: &[f64],
    ) -> Result<(), WeightedError> {
        let members = self.members.len();
        for member in &self.members {
            member.check(rows, member.contributions(), contributions)?;
        }
        let count = contributions.len() / self.members[0].contributions();
        if weights.len() != count * members {
            return Err(WeightedError::Weights { weights: weights.len(), rows: count, members });
        }
        if let Some(at) = weights.iter().position(|weight| !weight.is_finite()) {
            return Err(WeightedError::NotFinite { row: at / members, member: at % members });
        }
        let each = members * self.members[0].outputs();
        if margins.len() != count * each {
            return Err(RowError::Output { rows: count, each, place: margins.len() }.into());
        }
        Ok(())
    }

    fn add_up(
        &self,
        rows: Rows<'_>,
        weights: &[f64],
        scratch: &mut Scratch,
        contributions: &mut [f64],
        margins: &mut [f64],
    ) {
        let first = &self.members[0];
        let (members, outputs, each) = (self.members.len(), first.outputs(), first.contributions());
        let wide = first.features().len() + 1;
        contributions.fill(0.0);
        let mut own = std::mem::take(&mut scratch.member);
        for (nth, contributions) in contributions.chunks_mut(MANY_ROWS * each).enumerate() {
            let (from, count) = (nth * MANY_ROWS, contributions.len() / each);
            let rows = rows.slice(from, count, first.features().len());
            own.resize(own.len().max(count * each), 0.0);
            for (index, member) in self.members.iter().enumerate() {
                member.run(rows, scratch, &mut own[..count * each]);
                for (row, (sum, own)) in contributions.chunks_exact_mut(each).zip(own.chunks_exact(each)).enumerate() {
                    let at = (from + row) * members + index;
                    for (sum, own) in sum.iter_mut().zip(own) {
                        *sum += weights[at] * own;
                    }
                    for (margin_of, own) in margins[at * outputs..][..outputs].iter_mut().zip(own.chunks_exact(wide)) {
                        *margin_of = margin(own);
                    }
                }
            }
        }
        scratch.member = own;
    }
}
