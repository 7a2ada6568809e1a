//! Tree ensembles, read from the files that XGBoost and LightGBM write, and exact
//! path-dependent SHAP values of what they predict.
//!
//! Not here: training, events, models kept by version (the role that decides), and
//! anything of the other crates of this project: this one stands alone.

pub mod explain;
mod model;
mod predict;
mod read;
pub mod reference;
mod tree;

pub use explain::{
    Explainer, InvalidEnsemble, MismatchError, Scratch, Weighted, WeightedError, Width, additivity_error, margin,
};
pub use model::Facts;
pub use predict::RowError;
pub use read::{ModelError, Trees};
pub use tree::{Ensemble, MAX_DEPTH, Missing, Node, NodeKind, Origin, OutputTree, Precision, Rule, Split, Tree};
