//! Tree ensembles, read from the files that XGBoost and LightGBM write, and exact
//! path-dependent SHAP values of what they predict.
//!
//! Not here: training, events, models kept by version (the role that decides), and
//! anything of the other crates of this project: this one stands alone.

mod tree;

pub use tree::{Ensemble, Missing, Node, NodeKind, OutputTree, Precision, Rule, Split, Tree};
