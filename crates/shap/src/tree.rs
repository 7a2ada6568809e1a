//! What every model file becomes: trees of splits and leaves, in the words of
//! neither library, with each library's rule for going left kept exactly.
//!
//! Not here: reading files (`read`), walking rows (`predict`), and the compact
//! form that explaining works on (`explain`).

/// An additive ensemble of decision trees.
///
/// The margin of output `k` for a row is `base_margins[k]` plus the values of the
/// leaves that the row reaches in the trees of that output.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    /// Names of the features, in the order of a row's columns. Made up (`f0`, `f1`, …)
    /// where the file holds none.
    pub features: Vec<String>,
    /// The margin of each output before any tree: one for regression and binary
    /// classification, one a class for several classes. In margin space (log-odds
    /// where the objective is logistic).
    pub base_margins: Vec<f64>,
    /// The trees, in the file's order, each with the output that it adds to.
    pub trees: Vec<OutputTree>,
    /// How wide the arithmetic of the library is that trained it: thresholds and
    /// features are compared so.
    pub precision: Precision,
    /// The objective as the file has it (`binary:logistic`, `binary sigmoid:1`); empty
    /// where it has none.
    pub objective: String,
    /// Who wrote the file.
    pub origin: Origin,
    /// Set where the library divides the sum of the trees by this many before it
    /// turns it into a prediction (LightGBM's random forests). Margins and
    /// contributions are the undivided sums, as the library's own are.
    pub averaged_over: Option<usize>,
}

/// Which library wrote a model's file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `XGBoost` or `LightGBM`; empty for trees made by hand.
    pub library: String,
    /// Its version as the file has it: XGBoost's own (`3.2.0`), LightGBM's of the format (`v4`).
    pub version: String,
    /// How many trees of the file were left out, since they came after the best iteration.
    pub left_out_trees: usize,
}

/// A tree and the output it adds to.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputTree {
    /// Index into `base_margins`.
    pub output: usize,
    /// The tree.
    pub tree: Tree,
}

/// The width in which a library compares a feature with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// XGBoost: both are rounded to `f32` first.
    Single,
    /// LightGBM: `f64`.
    Double,
}

/// One tree. Node 0 is the root; a child's index is larger than its parent's, so
/// there is no cycle; every node but the root has exactly one parent. The readers
/// see to it (theirs are breadth-first, and at most [`MAX_DEPTH`] deep), and nothing
/// else makes trees outside of tests.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A node: how much training data passed through it, and what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Training weight that passed (XGBoost's `sum_hessian`, LightGBM's counts): finite, ≥ 0.
    /// Only the shares of siblings are used; where both are 0 each has one half. XGBoost
    /// itself divides by the parent's, an `f32` that was rounded apart from its children's:
    /// shares differ by up to 1e-7, contributions of some 1 by 1e-8.
    pub cover: f64,
    /// A leaf or a split.
    pub kind: NodeKind,
}

/// What a node does with a row.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// Adds its value, weights of dropped trees and the like multiplied in. Finite.
    Leaf {
        /// What it adds to the margin.
        value: f64,
    },
    /// Sends it on.
    Split(Split),
}

/// A question about one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Column of the feature.
    pub feature: usize,
    /// What goes left.
    pub rule: Rule,
    /// What counts as missing.
    pub missing: Missing,
    /// Where a missing value goes.
    pub missing_left: bool,
    /// Index of the left child.
    pub left: usize,
    /// Index of the right child.
    pub right: usize,
}

/// Which values that are not missing go left.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// `x < threshold` (XGBoost). Finite or infinite, never NaN.
    Less(f64),
    /// `x <= threshold` (LightGBM); `|x| <= 1e-35` counts as 0.
    LessOrEqual(f64),
    /// The category (the value cut to a whole number) is one of the set.
    Categories {
        /// The categories of the file, sorted, each once.
        set: Box<[u32]>,
        /// Whether one of the set goes left (LightGBM) or right (XGBoost). What is
        /// in no set, negative or beyond `u32` goes the other way. Negative is what
        /// is below 0 before it is cut (XGBoost) or -1 and below (LightGBM).
        member_left: bool,
    },
}

/// Which values are missing, for one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// None: NaN counts as 0.0 (LightGBM's missing type 0; at a split by category
    /// NaN is in no set).
    None,
    /// NaN, and zeros up to 1e-35 (LightGBM's missing type 1).
    Zero,
    /// NaN (XGBoost always; LightGBM's missing type 2).
    Nan,
}

/// The most splits on a path from a root to a leaf: some five times what a thousand
/// leaves grown by loss reach in practice, and little enough to walk a tree by
/// recursion on the smallest stack of a thread.
pub const MAX_DEPTH: usize = 512;

impl Ensemble {
    /// How many numbers a margin has: 1, or one a class.
    pub fn outputs(&self) -> usize {
        self.base_margins.len()
    }
}
