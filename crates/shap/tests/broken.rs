//! Model files that are broken, or hold what cannot be explained: each a reason that
//! names the place, whatever the bytes are.
//!
//! Not here: models that are sound (`read_golden`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::files::{LIGHTGBM, ubjson, xgboost};
use proptest::prelude::*;
use serde_json::{Value, json};
use tapedeck_shap::{Ensemble, MAX_DEPTH, ModelError, reference};

const TREE: &str = "/learner/gradient_booster/model/trees/0";

/// XGBoost's model with one value changed.
fn xgboost_with(pointer: &str, value: Value) -> Value {
    let mut model = xgboost();
    *model.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there")) = value;
    model
}

#[track_caller]
fn assert_refused(bytes: &[u8], words: &str) {
    let error = Ensemble::read(bytes).map(|ensemble| ensemble.facts()).unwrap_err().to_string();
    assert!(error.contains(words), "`{error}` does not say `{words}`");
}

/// Both of XGBoost's formats.
#[track_caller]
fn assert_xgboost_refused(model: &Value, words: &str) {
    assert_refused(model.to_string().as_bytes(), words);
    assert_refused(&ubjson(model), words);
}

#[track_caller]
fn assert_tree_refused(field: &str, value: Value, words: &str) {
    assert_xgboost_refused(&xgboost_with(&format!("{TREE}/{field}"), value), words);
}

#[track_caller]
fn assert_lightgbm_refused(line: &str, with: &str, words: &str) {
    assert!(LIGHTGBM.contains(line), "{line}");
    assert_refused(LIGHTGBM.replacen(line, with, 1).as_bytes(), words);
}

#[test]
fn the_files_that_are_broken_here_are_sound_before() {
    let json = Ensemble::read(xgboost().to_string().as_bytes()).unwrap();
    assert_eq!(Ensemble::read(&ubjson(&xgboost())).unwrap(), json);
    let text = Ensemble::read(LIGHTGBM.as_bytes()).unwrap();
    assert_eq!((json.facts().nodes, text.facts().nodes), (6, 6));
    assert_eq!(Ensemble::read(LIGHTGBM.replace('\n', "\r\n").as_bytes()).unwrap(), text);
}

#[test]
fn a_tree_that_is_no_tree_is_refused_with_its_node() {
    for (children, words) in [
        (json!([1, -1, 0, -1, -1]), "tree 0, node 2: its child, node 0, has another parent"),
        (json!([1, -1, 2, -1, -1]), "tree 0, node 2: its child, node 2, has another parent"),
        (json!([1, -1, 1, -1, -1]), "tree 0, node 2: its child, node 1, has another parent"),
        (json!([1, -1, 5, -1, -1]), "tree 0, node 2: its child is outside"),
        (json!([1, -1, -2, -1, -1]), "tree 0, node 2: its child is outside"),
        (json!([1, -1, i64::MAX, -1, -1]), "tree 0, node 2: its child is outside"),
        (json!([1, -1, -1, -1, -1]), "tree 0: no split leads to 2 of its 5 nodes"),
    ] {
        assert_tree_refused("left_children", children, words);
    }
    for (children, words) in [
        ("left_child=0 -2", "tree 0, node 0: its child, node 0, has another parent"),
        ("left_child=-1 -1", "tree 0, node 1: its child, leaf 0, has another parent"),
        ("left_child=-1 2", "tree 0, node 1: its child is outside"),
        ("left_child=-1 -9", "tree 0, node 1: its child is outside"),
        ("left_child=-1 -9223372036854775808", "tree 0, node 1: its child is outside"),
    ] {
        assert_lightgbm_refused("left_child=-1 -2", children, words);
    }
}

#[test]
fn numbers_that_are_none_are_refused_with_their_node() {
    let mut model = ubjson(&xgboost());
    let threshold = [b"d".as_slice(), &0.5_f32.to_be_bytes()].concat();
    let at = model.windows(5).position(|bytes| bytes == threshold).unwrap();
    model[at + 1..at + 5].copy_from_slice(&f32::NAN.to_be_bytes());
    assert_refused(&model, "tree 0, node 0: its threshold is NaN");
    let json = xgboost().to_string().replace("[0.5,-1.0,", "[NaN,-1.0,");
    assert_refused(json.as_bytes(), "tree 0, node 0: its threshold is NaN");
    assert_tree_refused("split_conditions", json!([null, -1, 0, 2, 3]), "trees[0].split_conditions[0]");
    assert_tree_refused("sum_hessian", json!([10, -4, 6, 1, 5]), "tree 0, node 1: -4 is no weight");
    let infinite = xgboost_with(&format!("{TREE}/split_conditions"), json!([0.5, 1e39, 0, 2, 3]));
    assert_xgboost_refused(&infinite, "tree 0, node 1: its value is inf");
    assert_tree_refused("split_conditions", json!([0.5, "-Infinity", 0, 2, 3]), "node 1: its value is -inf");
    assert_lightgbm_refused("threshold=0.5", "threshold=nan", "tree 0, node 0: its threshold is NaN");
    assert_lightgbm_refused("leaf_value=-1 2", "leaf_value=-1 inf", "tree 0, leaf 1: its value is inf");
    assert_lightgbm_refused("leaf_count=4", "leaf_count=nan", "tree 0, leaf 0: NaN is no weight");
    assert_lightgbm_refused("threshold=0.5", "threshold=x", "tree 0, threshold: `x` at 0");
}

#[test]
fn lists_of_the_wrong_length_are_refused() {
    assert_tree_refused("right_children", json!([2, -1, 4, -1]), "tree 0: `right_children` has 4 numbers");
    assert_tree_refused("split_type", json!([0, 0, 1]), "tree 0: `split_type` has 3 numbers");
    assert_tree_refused("tree_param/num_nodes", json!("4"), "tree 0: `left_children` has 5 numbers");
    assert_tree_refused("tree_param/num_nodes", json!("x"), "num_nodes: `x` is no count");
    assert_xgboost_refused(&xgboost_with("/learner/gradient_booster/model/tree_info", json!([0])), "tree_info");
    assert_lightgbm_refused("leaf_count=4 1 5", "leaf_count=4 1", "tree 0, leaf_count: 2 numbers; 3 should");
    assert_lightgbm_refused("num_leaves=3", "num_leaves=99999999999", "tree 0, leaf_value: 3 numbers");
    assert_lightgbm_refused("internal_count=10 6\n", "", "tree 0, internal_count: it is missing");
    assert_lightgbm_refused("tree_sizes=300 100", "tree_sizes=300", "tree_sizes: there are 2 trees");
    assert_lightgbm_refused("num_cat=1\n", "num_cat=1\nnum_cat=1\n", "tree 0, num_cat: it is there twice");
    assert_lightgbm_refused("Tree=1", "Tree=2", "tree 1: tree 1 should follow, not `2`");
}

#[test]
fn features_and_outputs_that_do_not_fit_are_refused() {
    let param = "/learner/learner_model_param";
    assert_tree_refused("split_indices", json!([3, 0, 2, 0, 0]), "tree 0, node 0: it splits on feature 3");
    assert_tree_refused("split_indices", json!([-1, 0, 2, 0, 0]), "tree 0, node 0: it splits on feature -1");
    assert_xgboost_refused(&xgboost_with(&format!("{param}/num_feature"), json!("4")), "3 names for 4 features");
    assert_xgboost_refused(&xgboost_with(&format!("{param}/num_feature"), json!("4000000000")), "features");
    assert_xgboost_refused(&xgboost_with(&format!("{param}/num_feature"), json!("0")), "0 features");
    assert_xgboost_refused(&xgboost_with(&format!("{param}/num_class"), json!("4000000000")), "outputs");
    assert_xgboost_refused(
        &xgboost_with(&format!("{param}/base_score"), json!("[5E-1,5E-1]")),
        "2 numbers for 1 outputs",
    );
    assert_xgboost_refused(&xgboost_with(&format!("{param}/base_score"), json!("[1]")), "`1` is no start score");
    let outputs = xgboost_with("/learner/gradient_booster/model/tree_info", json!([0, 1]));
    assert_xgboost_refused(&outputs, "tree 1: it is of output 1");
    assert_lightgbm_refused("split_feature=0 2", "split_feature=0 3", "tree 0, node 1: it splits on feature 3");
    assert_lightgbm_refused("max_feature_idx=2", "max_feature_idx=3", "feature_names: 3 names");
    assert_lightgbm_refused("max_feature_idx=2", "max_feature_idx=18446744073709551615", "features");
    assert_lightgbm_refused("num_tree_per_iteration=1", "num_tree_per_iteration=0", "0 trees an iteration");
    assert_lightgbm_refused("num_tree_per_iteration=1", "num_tree_per_iteration=3", "3 an iteration");
}

#[test]
fn categories_that_do_not_fit_are_refused() {
    assert_tree_refused("categories", json!([1]), "tree 0, node 2: its 2 categories from 0 on");
    assert_tree_refused("categories", json!([1, -4]), "tree 0, node 2: -4 is no category");
    assert_tree_refused("categories_nodes", json!([1]), "tree 0, node 2: its categories are not the next");
    assert_tree_refused("categories_sizes", json!([]), "tree 0: 1 splits are by category");
    assert_tree_refused("categories_sizes", json!([i64::MAX]), "tree 0, node 2: its 9223372036854775807");
    assert_lightgbm_refused("threshold=0.5 0", "threshold=0.5 1", "tree 0, node 1: its set of categories, 1");
    assert_lightgbm_refused("threshold=0.5 0", "threshold=0.5 0.5", "tree 0, node 1: its set of categories, 0.5");
    assert_lightgbm_refused("decision_type=10 1", "decision_type=10 2", "num_cat: it is 1, and 0 splits");
    assert_lightgbm_refused("decision_type=10 1", "decision_type=14 1", "tree 0, node 0: its decision type 14");
    assert_lightgbm_refused("cat_boundaries=0 1", "cat_boundaries=2 1", "tree 0, node 1: its set of categories, 0");
    assert_lightgbm_refused("cat_boundaries=0 1", "cat_boundaries=0 9", "cat_threshold: 1 numbers; 9 should");
}

#[test]
fn models_that_are_no_sum_of_plain_trees_are_refused_with_the_reason() {
    let booster = "/learner/gradient_booster";
    let linear = json!({"name": "gblinear", "model": {"weights": [1, 2, 3, 4], "boosted_rounds": 2}});
    assert_xgboost_refused(&xgboost_with(booster, linear), "it is linear (`gblinear`)");
    assert_xgboost_refused(&xgboost_with(&format!("{booster}/name"), json!("gbforest")), "`gbforest` is unknown");
    assert_tree_refused("tree_param/size_leaf_vector", json!("2"), "the leaves of tree 0 hold vectors");
    assert_xgboost_refused(&xgboost_with("/learner/objective/name", json!("mine")), "the objective `mine` is unknown");
    assert_lightgbm_refused("is_linear=0", "is_linear=1", "the leaves of tree 0 are linear functions");
    assert!(matches!(Ensemble::read(b""), Err(ModelError::Unknown(_))));
    assert!(matches!(Ensemble::read(b"binf\0\0"), Err(ModelError::Unknown(_))));
    assert!(matches!(Ensemble::read(b"treeless"), Err(ModelError::Unknown(_))));
    assert_refused(b"{}", "missing field `learner`");
    assert_refused(br#"{"name":"tree","version":"v4"}"#, "LightGBM's `dump_model`");
}

#[test]
fn files_that_were_cut_off_are_refused_wherever_it_was() {
    let json = xgboost().to_string().into_bytes();
    for whole in [json, ubjson(&xgboost())] {
        for end in 0..whole.len() {
            Ensemble::read(&whole[..end]).unwrap_err();
        }
    }
    let end_of_trees = LIGHTGBM.find("end of trees").unwrap();
    for end in 0..end_of_trees {
        Ensemble::read(&LIGHTGBM.as_bytes()[..end]).unwrap_err();
    }
    assert_refused(&LIGHTGBM.as_bytes()[..end_of_trees], "end of trees: this line is missing");
}

#[test]
fn what_is_nested_or_long_beyond_reason_is_refused() {
    for deep in [&b"{\"a\":"[..], b"{\"learner\":[", b"{i\x01a", b"{i\x01a[", b"{\"learner\":{\"a\":"] {
        Ensemble::read(&deep.repeat(100_000)).unwrap_err();
    }
    let count = i64::MAX.to_be_bytes();
    for start in [&b"{#L"[..], b"{L", b"{i\x07learner[$Z#L", b"{i\x07learner[$d#L", b"{i\x07learnerSL", b"{i\x01a[#L"] {
        assert!(Ensemble::read(&[start, &count].concat()).is_err());
    }
    // A chain: each split's left child is a leaf, its right one the next split.
    let splits = i64::try_from(MAX_DEPTH).unwrap() + 1;
    let chain = |of: &dyn Fn(i64) -> i64| {
        let inner = (0..splits).flat_map(|split| [of(split), -1]);
        Value::from(inner.chain([-1]).collect::<Vec<_>>())
    };
    let zeros = Value::from(vec![0; 2 * splits as usize + 1]);
    let mut tree = xgboost().pointer(TREE).unwrap().clone();
    tree["left_children"] = chain(&|split| 2 * split + 1);
    tree["right_children"] = chain(&|split| 2 * split + 2);
    for field in ["split_indices", "split_conditions", "sum_hessian", "default_left", "split_type"] {
        tree[field] = zeros.clone();
    }
    for field in ["categories", "categories_nodes", "categories_segments", "categories_sizes"] {
        tree[field] = json!([]);
    }
    tree["tree_param"]["num_nodes"] = json!((2 * splits + 1).to_string());
    assert_xgboost_refused(&xgboost_with(TREE, tree), "a path of more than 512 splits");
}

proptest! {
    #[test]
    fn changed_bytes_are_refused_or_give_a_sound_model(
        format in 0..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = match format {
            0 => xgboost().to_string().into_bytes(),
            1 => ubjson(&xgboost()),
            _ => LIGHTGBM.as_bytes().to_vec(),
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(ensemble) = Ensemble::read(&bytes) {
            let row = vec![f64::NAN; ensemble.features.len()];
            let mut margins = vec![0.0; ensemble.outputs()];
            ensemble.margins(&row, &mut margins).unwrap();
            prop_assert!(margins.iter().all(|margin| margin.is_finite()));
            prop_assert!(reference::by_leaves(&ensemble, &row).iter().all(|phi| phi.is_finite()));
        }
    }
}
