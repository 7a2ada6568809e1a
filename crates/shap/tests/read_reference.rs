//! The slow explanations, against each other and against what Shapley values are.
//!
//! Not here: the fast explanation (`explain`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::{ensembles, rows};
use proptest::prelude::*;
use tapedeck_shap::reference::{by_leaves, by_subsets};

const FEATURES: usize = 5;

proptest! {
    #[test]
    fn leaf_by_leaf_is_what_the_definition_over_subsets_gives(ensemble in ensembles(FEATURES), row in rows(FEATURES)) {
        let slowest = by_subsets(&ensemble, &row);
        for (at, (ours, theirs)) in by_leaves(&ensemble, &row).iter().zip(&slowest).enumerate() {
            prop_assert!((ours - theirs).abs() < 1e-12, "{at}: {ours} and {theirs}");
        }
    }

    #[test]
    fn contributions_and_bias_add_up_to_the_margin(ensemble in ensembles(FEATURES), row in rows(FEATURES)) {
        let mut margins = vec![0.0; ensemble.outputs()];
        ensemble.margins(&row, &mut margins).unwrap();
        for (margin, phi) in margins.iter().zip(by_leaves(&ensemble, &row).chunks(FEATURES + 1)) {
            prop_assert!((margin - phi.iter().sum::<f64>()).abs() < 1e-12);
        }
    }
}
