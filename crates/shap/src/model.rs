//! What can be said of an ensemble without a row: how large it is, what it uses.
//!
//! Not here: what it predicts (`predict`).

use crate::{Ensemble, NodeKind, Origin, Precision, Rule, Tree};

/// The facts of a model, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who wrote it.
    pub origin: Origin,
    /// The objective as the file has it.
    pub objective: String,
    /// The width of its arithmetic.
    pub precision: Precision,
    /// How many numbers a margin has.
    pub outputs: usize,
    /// How many columns a row has.
    pub features: usize,
    /// The columns that a split looks at, ascending.
    pub used_features: Vec<usize>,
    /// How many trees there are.
    pub trees: usize,
    /// How many splits and leaves.
    pub nodes: usize,
    /// How many leaves.
    pub leaves: usize,
    /// How many splits are by category.
    pub categorical_splits: usize,
    /// The most splits between a root and a leaf.
    pub depth: usize,
}

impl Ensemble {
    /// Counts what there is.
    pub fn facts(&self) -> Facts {
        let mut used = vec![false; self.features.len()];
        let (mut nodes, mut leaves, mut categorical_splits) = (0, 0, 0);
        for node in self.trees.iter().flat_map(|of| &of.tree.nodes) {
            nodes += 1;
            match &node.kind {
                NodeKind::Leaf { .. } => leaves += 1,
                NodeKind::Split(split) => {
                    used[split.feature] = true;
                    categorical_splits += usize::from(matches!(split.rule, Rule::Categories { .. }));
                }
            }
        }
        Facts {
            origin: self.origin.clone(),
            objective: self.objective.clone(),
            precision: self.precision,
            outputs: self.outputs(),
            features: self.features.len(),
            used_features: (0..used.len()).filter(|feature| used[*feature]).collect(),
            trees: self.trees.len(),
            nodes,
            leaves,
            categorical_splits,
            depth: self.trees.iter().map(|of| of.tree.depth()).max().unwrap_or(0),
        }
    }
}

impl Tree {
    /// The most splits between the root and a leaf.
    pub fn depth(&self) -> usize {
        let mut depths = vec![0; self.nodes.len()];
        // A child's index is larger than its parent's.
        for (at, node) in self.nodes.iter().enumerate() {
            if let NodeKind::Split(split) = &node.kind {
                depths[split.left] = depths[at] + 1;
                depths[split.right] = depths[at] + 1;
            }
        }
        depths.into_iter().max().unwrap_or(0)
    }
}
