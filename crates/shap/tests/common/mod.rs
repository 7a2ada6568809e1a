//! What the tests of this crate share: ensembles made at random, of every rule.
//!
//! Not here: models that the real libraries trained (`trained`).

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "who runs tests sees what was left out")]

pub(crate) mod files;
pub(crate) mod golden;

use proptest::prelude::*;
use tapedeck_shap::{Ensemble, Missing, Node, NodeKind, Origin, OutputTree, Precision, Rule, Split, Tree};

/// Numbers that splits and rows share, so that rows meet thresholds exactly.
pub(crate) const VALUES: [f64; 10] = [-3.0, -1.0, -0.5, -0.0, 0.0, 1e-40, 0.1, 1.0, 2.0, 40.0];

/// Ensembles of a few small trees over so many features.
pub(crate) fn ensembles(features: usize) -> impl Strategy<Value = Ensemble> {
    let precision = prop_oneof![Just(Precision::Single), Just(Precision::Double)];
    (1_usize..=3, precision).prop_flat_map(move |(outputs, precision)| {
        let trees = prop::collection::vec((0..outputs, trees(features)), 0..5);
        let base_margins = prop::collection::vec(-2.0..2.0, outputs);
        (trees, base_margins).prop_map(move |(trees, base_margins)| Ensemble {
            features: (0..features).map(|nth| format!("f{nth}")).collect(),
            base_margins,
            trees: trees.into_iter().map(|(output, tree)| OutputTree { output, tree }).collect(),
            precision,
            objective: String::new(),
            origin: Origin::default(),
            averaged_over: None,
        })
    })
}

/// Rows of numbers that are splits' thresholds, others, and missing ones.
pub(crate) fn rows(features: usize) -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![4 => prop::sample::select(VALUES.as_slice()), 1 => Just(f64::NAN), 2 => -50.0..50.0];
    prop::collection::vec(value, features)
}

fn trees(features: usize) -> impl Strategy<Value = Tree> {
    let split = (0.0..1.0, 0..features, rules(), missing_kinds(), any::<bool>(), 0_u8..4, -2.0..2.0);
    prop::collection::vec(split, 0..12).prop_map(|splits| {
        let mut nodes = vec![leaf(100.0, 0.5)];
        for (which, feature, rule, missing, missing_left, quarters, value) in splits {
            let leaves: Vec<usize> =
                (0..nodes.len()).filter(|node| matches!(nodes[*node].kind, NodeKind::Leaf { .. })).collect();
            let node = leaves[(which * leaves.len() as f64) as usize];
            let (left, right) = (nodes.len(), nodes.len() + 1);
            let cover = nodes[node].cover;
            nodes[node].kind = NodeKind::Split(Split { feature, rule, missing, missing_left, left, right });
            // A quarter of none is a child that no training data reached.
            let share = f64::from(quarters) / 4.0;
            nodes.push(leaf(cover * share, value));
            nodes.push(leaf(cover * (1.0 - share), -value / 3.0));
        }
        Tree { nodes }
    })
}

fn leaf(cover: f64, value: f64) -> Node {
    Node { cover, kind: NodeKind::Leaf { value } }
}

fn rules() -> impl Strategy<Value = Rule> {
    let threshold = || prop::sample::select(VALUES.as_slice());
    let set = prop::collection::btree_set(0_u32..50, 0..6);
    prop_oneof![
        threshold().prop_map(Rule::Less),
        threshold().prop_map(Rule::LessOrEqual),
        (set, any::<bool>())
            .prop_map(|(set, member_left)| Rule::Categories { set: set.into_iter().collect(), member_left }),
    ]
}

fn missing_kinds() -> impl Strategy<Value = Missing> {
    prop_oneof![Just(Missing::None), Just(Missing::Zero), Just(Missing::Nan)]
}
