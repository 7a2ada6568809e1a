//! Shapley values the slow way, to check fast ones against: once by their
//! definition over all subsets, once leaf by leaf in polynomial time.
//!
//! Both speak of the path-dependent game: `v(S)` is what a tree says when the
//! features in `S` are known and a split on any other goes both ways, weighted by
//! the training data that went there (Lundberg et al., "From local explanations to
//! global understanding with explainable AI for trees", Nature Machine Intelligence 2,
//! 2020, algorithm 1). Both are in `f64`, take memory, and trust that rows are as
//! wide as the model and without infinities.
//!
//! Not here: anything for use in earnest (`explain`).

use crate::{Ensemble, NodeKind, Precision, Split, Tree};

/// Contributions by the definition: `phi_i` is the sum over the sets `S` without `i` of
/// `|S|! (n - |S| - 1)! / n!` times `v(S + i) - v(S)`. An output has one number a feature
/// and then the bias, one output after the other. Time doubles with each feature.
///
/// # Panics
/// When the model has more than 20 features: it would never end.
pub fn by_subsets(ensemble: &Ensemble, row: &[f64]) -> Vec<f64> {
    let features = ensemble.features.len();
    assert!(features <= 20, "2 to the power of {features} subsets are too many");
    let mut out = biases(ensemble);
    for of in &ensemble.trees {
        let worth: Vec<f64> = (0..1_usize << features)
            .map(|known| worth(&of.tree, 0, &|feature| known >> feature & 1 == 1, row, ensemble.precision))
            .collect();
        let phi = &mut out[of.output * (features + 1)..][..=features];
        phi[features] += worth[0];
        for (feature, phi) in phi[..features].iter_mut().enumerate() {
            let without = (0..worth.len()).filter(|set| set >> feature & 1 == 0);
            *phi += without
                .map(|set| share(set.count_ones() as usize, features) * (worth[set | 1 << feature] - worth[set]))
                .sum::<f64>();
        }
    }
    out
}

/// Contributions leaf by leaf, laid out as those [`by_subsets`]: a leaf is a product
/// over the features of its path, of which one that is known counts 1 or 0 (the row
/// goes the leaf's way at its splits, or does not) and one that is not counts the
/// share of training data that did. Sums of products of the others, by how many of them
/// are known, give the Shapley value; nothing is subtracted or divided, so deep trees
/// lose no digits. Time grows with leaves × depth³.
pub fn by_leaves(ensemble: &Ensemble, row: &[f64]) -> Vec<f64> {
    let features = ensemble.features.len();
    let mut out = biases(ensemble);
    for of in &ensemble.trees {
        let phi = &mut out[of.output * (features + 1)..][..=features];
        let mut paths = vec![(0, Vec::<Step>::new())];
        while let Some((node, path)) = paths.pop() {
            match &of.tree.nodes[node].kind {
                NodeKind::Leaf { value } => add_leaf(*value, &path, phi),
                NodeKind::Split(split) => {
                    let goes = split.child(row[split.feature], ensemble.precision);
                    for (child, share) in shares(&of.tree, split) {
                        paths.push((child, extended(&path, split.feature, share, child == goes)));
                    }
                }
            }
        }
    }
    out
}

/// A feature of a path: all its splits on it together.
#[derive(Debug, Clone, Copy)]
struct Step {
    feature: usize,
    /// Product of the shares of training data that went the path's way.
    share: f64,
    /// Whether the row goes the path's way at all of them.
    holds: bool,
}

fn extended(path: &[Step], feature: usize, share: f64, holds: bool) -> Vec<Step> {
    let mut path = path.to_vec();
    match path.iter_mut().find(|step| step.feature == feature) {
        Some(step) => {
            step.share *= share;
            step.holds &= holds;
        }
        None => path.push(Step { feature, share, holds }),
    }
    path
}

fn add_leaf(value: f64, path: &[Step], phi: &mut [f64]) {
    let bias = phi.len() - 1;
    phi[bias] += value * path.iter().map(|step| step.share).product::<f64>();
    for (at, step) in path.iter().enumerate() {
        // products[k]: over the others, summed over which k of them are known.
        let mut products = vec![1.0];
        for (_, other) in path.iter().enumerate().filter(|(nth, _)| *nth != at) {
            products.push(0.0);
            for known in (0..products.len()).rev() {
                let one_more = if known > 0 && other.holds { products[known - 1] } else { 0.0 };
                products[known] = products[known] * other.share + one_more;
            }
        }
        let weighted: f64 = products.iter().enumerate().map(|(known, sum)| share(known, path.len()) * sum).sum();
        phi[step.feature] += value * (f64::from(u8::from(step.holds)) - step.share) * weighted;
    }
}

/// What the tree says below a node when these features are known.
fn worth(tree: &Tree, node: usize, known: &dyn Fn(usize) -> bool, row: &[f64], precision: Precision) -> f64 {
    match &tree.nodes[node].kind {
        NodeKind::Leaf { value } => *value,
        NodeKind::Split(split) if known(split.feature) => {
            worth(tree, split.child(row[split.feature], precision), known, row, precision)
        }
        NodeKind::Split(split) => shares(tree, split)
            .into_iter()
            .map(|(child, share)| share * worth(tree, child, known, row, precision))
            .sum(),
    }
}

/// The children and the share of training data that went to each.
fn shares(tree: &Tree, split: &Split) -> [(usize, f64); 2] {
    let [left, right] = [split.left, split.right].map(|child| tree.nodes[child].cover);
    let share = if left + right > 0.0 { left / (left + right) } else { 0.5 };
    [(split.left, share), (split.right, 1.0 - share)]
}

/// `known! (players - known - 1)! / players!`: how often, of all orders of the
/// players, just these `known` come before a given other.
fn share(known: usize, players: usize) -> f64 {
    let mut orders = players as f64;
    for nth in 1..=known {
        orders *= (players - nth) as f64 / nth as f64;
    }
    1.0 / orders
}

fn biases(ensemble: &Ensemble) -> Vec<f64> {
    let width = ensemble.features.len() + 1;
    let mut out = vec![0.0; width * ensemble.outputs()];
    for (output, base) in ensemble.base_margins.iter().enumerate() {
        out[output * width + width - 1] = *base;
    }
    out
}
