//! What small models of every spelling say: files of old, early stopping, dropout,
//! forests, zeros and missing values, and rows that do not fit.
//!
//! Not here: broken models (`broken`), and large ones (`read_golden`, `trained`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::files::{LIGHTGBM, ubjson, xgboost};
use serde_json::{Value, json};
use tapedeck_shap::{Ensemble, Precision, RowError, Trees};

const NAN: f64 = f64::NAN;

fn read(model: &Value) -> Ensemble {
    Ensemble::read(model.to_string().as_bytes()).unwrap()
}

/// The margin of one row of a model with one output.
fn margin(ensemble: &Ensemble, row: [f64; 3]) -> f64 {
    let mut margins = [0.0];
    ensemble.margins(&row, &mut margins).unwrap();
    margins[0]
}

#[track_caller]
fn assert_margin(ensemble: &Ensemble, row: [f64; 3], expected: f64) {
    let margin = margin(ensemble, row);
    assert!((margin - expected).abs() < 1e-12, "{row:?} has {margin}, not {expected}");
}

#[test]
fn a_row_of_xgboost_goes_left_below_the_threshold_and_right_in_the_set() {
    let model = read(&xgboost());
    // The tree of one leaf adds 0.25 to each.
    for (row, expected) in [
        ([0.4, 0.0, 0.0], -1.0),
        ([NAN, 0.0, 1.0], -1.0),
        ([0.5, 0.0, 1.0], 3.0),
        ([0.5, 0.0, 4.9], 3.0),
        ([0.5, 0.0, 2.0], 2.0),
        ([0.5, 0.0, -1.0], 2.0),
        ([0.5, 0.0, 1e9], 2.0),
        ([0.5, 0.0, NAN], 3.0),
        // Rounded to f32 it is the threshold.
        ([0.5 - 1e-12, 0.0, 1.0], 3.0),
    ] {
        assert_margin(&model, row, expected + 0.25);
    }
}

#[test]
fn a_row_of_lightgbm_goes_left_up_to_the_threshold_and_in_the_set() {
    let model = Ensemble::read(LIGHTGBM.as_bytes()).unwrap();
    for (row, expected) in [
        ([0.5, 0.0, 0.0], -1.0),
        ([NAN, 0.0, 0.0], -1.0),
        ([0.5 + 1e-12, 0.0, 1.0], 2.0),
        ([0.6, 0.0, 4.9], 2.0),
        ([0.6, 0.0, 0.0], 3.0),
        ([0.6, 0.0, NAN], 3.0),
        ([0.6, 0.0, 1e12], 3.0),
    ] {
        assert_margin(&model, row, expected + 0.25);
    }
    // Zero as missing, which goes right: so does what LightGBM takes for zero.
    let zero = Ensemble::read(LIGHTGBM.replace("decision_type=10 1", "decision_type=4 1").as_bytes()).unwrap();
    for (row, expected) in
        [([0.0, 0.0, 1.0], 2.0), ([-1e-36, 0.0, 1.0], 2.0), ([-1e-34, 0.0, 1.0], -1.0), ([NAN, 0.0, 1.0], 2.0)]
    {
        assert_margin(&zero, row, expected + 0.25);
    }
    // Nothing as missing: NaN is zero.
    let none = Ensemble::read(LIGHTGBM.replace("decision_type=10 1", "decision_type=0 1").as_bytes()).unwrap();
    assert_margin(&none, [NAN, 0.0, 1.0], -0.75);
}

#[test]
fn a_file_of_an_old_xgboost_says_the_same() {
    let mut old = xgboost();
    let learner = &mut old["learner"];
    learner["learner_model_param"] = json!({"base_score": "5E-1", "num_class": "0", "num_feature": "3"});
    learner.as_object_mut().unwrap().remove("feature_names");
    let model = &mut learner["gradient_booster"]["model"];
    model.as_object_mut().unwrap().remove("iteration_indptr");
    let tree = &mut model["trees"][1];
    tree["default_left"] = json!([false]);
    for since in ["split_type", "categories", "categories_nodes", "categories_segments", "categories_sizes"] {
        tree.as_object_mut().unwrap().remove(since);
    }
    let (old, new) = (read(&old), read(&xgboost()));
    assert_eq!(old.features, ["f0", "f1", "f2"]);
    assert_eq!((old.trees, old.base_margins), (new.trees, new.base_margins));
}

#[test]
fn a_start_score_becomes_a_margin_by_its_objective() {
    for (objective, base_score, expected) in [
        ("binary:logistic", "[2.5E-1]", (1.0_f64 / 3.0).ln()),
        ("binary:logitraw", "2.5E-1", 0.25),
        ("count:poisson", "[2E0]", 2.0_f64.ln()),
        ("reg:gamma", "2", 2.0_f64.ln()),
        ("reg:squarederror", "[-2E0]", -2.0),
    ] {
        let mut model = xgboost();
        model["learner"]["objective"]["name"] = json!(objective);
        model["learner"]["learner_model_param"]["base_score"] = json!(base_score);
        assert!((read(&model).base_margins[0] - expected).abs() < 1e-12, "{objective}");
    }
    let mut classes = xgboost();
    classes["learner"]["objective"]["name"] = json!("multi:softprob");
    classes["learner"]["learner_model_param"]["num_class"] = json!("2");
    classes["learner"]["learner_model_param"]["base_score"] = json!("[1E0,-1E0]");
    classes["learner"]["gradient_booster"]["model"]["tree_info"] = json!([0, 1]);
    let classes = read(&classes);
    assert_eq!(classes.base_margins, [1.0, -1.0]);
    assert_eq!(classes.trees.iter().map(|tree| tree.output).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn trees_after_the_best_iteration_are_left_out_unless_asked_for() {
    let mut model = xgboost();
    model["learner"]["attributes"] = json!({"best_iteration": "0", "best_score": "0.1"});
    let bytes = model.to_string().into_bytes();
    let best = Ensemble::read(&bytes).unwrap();
    assert_eq!((best.trees.len(), best.origin.left_out_trees), (1, 1));
    assert_eq!(Ensemble::read_trees(&bytes, Trees::All).unwrap().trees.len(), 2);
    // Both trees are of one iteration: side by side in a forest, in files before 2.0.
    model["learner"]["gradient_booster"]["model"].as_object_mut().unwrap().remove("iteration_indptr");
    model["learner"]["gradient_booster"]["model"]["gbtree_model_param"]["num_parallel_tree"] = json!("2");
    assert_eq!(read(&model).trees.len(), 2);
}

#[test]
fn weights_of_dropout_multiply_the_leaves_in_old_files_and_new() {
    let mut new = xgboost();
    new["learner"]["gradient_booster"]["model"]["weight_drop"] = json!([0.5, 2.0]);
    let mut old = xgboost();
    let model = old["learner"]["gradient_booster"]["model"].take();
    old["learner"]["gradient_booster"] =
        json!({"name": "dart", "gbtree": {"name": "gbtree", "model": model}, "weight_drop": [0.5, 2.0]});
    for model in [read(&new), read(&old), Ensemble::read(&ubjson(&old)).unwrap()] {
        assert_margin(&model, [0.4, 0.0, 0.0], -0.5 + 0.5);
    }
}

#[test]
fn margins_of_a_forest_are_sums_and_the_divisor_is_told() {
    let forest = LIGHTGBM.replace("objective=", "average_output\nobjective=");
    let forest = Ensemble::read(forest.as_bytes()).unwrap();
    assert_eq!(forest.averaged_over, Some(2));
    assert_margin(&forest, [0.5, 0.0, 0.0], -0.75);
}

#[test]
fn words_for_numbers_that_json_has_not_are_read() {
    let words = xgboost().to_string().replace(r#""base_weights":[0.0]"#, r#""base_weights":[NaN,-Infinity]"#);
    assert!(words.contains("NaN"));
    assert_eq!(Ensemble::read(words.as_bytes()).unwrap(), read(&xgboost()));
    let mut named = xgboost();
    named["learner"]["feature_names"] = json!(["NaN", "a\"-Infinity", "Infinity\\"]);
    assert_eq!(read(&named).features, ["NaN", "a\"-Infinity", "Infinity\\"]);
    let unbounded = xgboost().to_string().replace("[0.5,", "[Infinity,");
    assert_margin(&Ensemble::read(unbounded.as_bytes()).unwrap(), [3e38, 0.0, 0.0], -0.75);
}

#[test]
fn rows_that_do_not_fit_are_refused_with_their_place() {
    let (single, double) = (read(&xgboost()), Ensemble::read(LIGHTGBM.as_bytes()).unwrap());
    let mut margins = [0.0; 2];
    assert_eq!(single.margins(&[0.0_f32; 5], &mut margins), Err(RowError::Width { numbers: 5, features: 3 }));
    assert_eq!(single.margins(&[0.0; 3], &mut margins), Err(RowError::Output { rows: 1, each: 1, place: 2 }));
    let infinite = single.margins(&[0.0, 0.0, 0.0, 0.0, f64::NEG_INFINITY, 0.0], &mut margins).unwrap_err();
    assert_eq!(infinite.to_string(), "row 1: feature 1 (`b`) is infinite");
    let large = [0.0, 0.0, 0.0, 0.0, 0.0, 1e39];
    assert!(single.margins(&large, &mut margins).unwrap_err().to_string().contains("(`c`) is infinite once"));
    assert_eq!(double.margins(&large, &mut margins), Ok(()));
    assert_eq!((single.precision, double.precision), (Precision::Single, Precision::Double));
    let rows: [f32; 6] = [0.4, 0.0, 0.0, 0.5, 0.0, 1.0];
    assert_eq!(single.margins(&rows, &mut margins), Ok(()));
    assert!((margins[0] + 0.75).abs() < 1e-12 && (margins[1] - 3.25).abs() < 1e-12, "{margins:?}");
}
