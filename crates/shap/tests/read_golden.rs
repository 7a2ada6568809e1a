//! Models of the real libraries: what is read of them, and their margins and
//! contributions beside the libraries' own.
//!
//! Not here: models trained while testing (`trained`), and broken ones (`broken`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::golden::{model, npy};
use tapedeck_shap::{Ensemble, Precision, reference};

const SINGLE: f64 = 2e-5;
const DOUBLE: f64 = 1e-9;

#[track_caller]
fn assert_near(ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= tolerance, "at {at}: {ours} and {theirs}");
    }
}

fn margins(ensemble: &Ensemble, rows: &[f64]) -> Vec<f64> {
    let mut margins = vec![0.0; rows.len() / ensemble.features.len() * ensemble.outputs()];
    ensemble.margins(rows, &mut margins).unwrap();
    margins
}

/// The first rows explained the slow way.
fn contributions(ensemble: &Ensemble, rows: &[f64], count: usize) -> Vec<f64> {
    let rows = rows.chunks(ensemble.features.len()).take(count);
    rows.flat_map(|row| reference::by_leaves(ensemble, row)).collect()
}

#[test]
fn margins_of_binary_models_are_those_of_their_libraries() {
    let models = [
        ("xgb_a_100x6.json", "a_margin.f32.npy", SINGLE, Precision::Single),
        ("xgb_b_500x8.json.gz", "b_margin.f32.npy", SINGLE, Precision::Single),
        ("lgb_c_200x31.txt", "c_margin.f64.npy", DOUBLE, Precision::Double),
    ];
    for (name, expected, tolerance, precision) in models {
        let Some(ensemble) = model(name) else { return };
        assert_eq!(ensemble.precision, precision);
        assert_near(&margins(&ensemble, &npy("X_sample_2000.npy").unwrap()), &npy(expected).unwrap(), tolerance);
    }
}

#[test]
fn slow_contributions_are_those_of_xgboost() {
    let Some(ensemble) = model("xgb_a_100x6.json") else { return };
    let ours = contributions(&ensemble, &npy("X_sample_2000.npy").unwrap(), 10);
    let ours: Vec<f64> = ours.chunks(21).flat_map(|row| row[..20].to_vec()).collect();
    // Theirs divides a child's cover by its parent's, which was rounded to f32 apart
    // from the children's; ours by the children's sum.
    assert_near(&ours, &npy("a_exact.f64.npy").unwrap()[..200], 1e-7);
}

#[test]
fn slow_contributions_are_those_of_small_models() {
    let models = [
        ("lgb_c_200x31.txt", "X_sample_2000.npy", "c_lgb_contribs.f64.npy", DOUBLE),
        ("small_xgb_mc3.json", "small_X_200.npy", "small_xgb_mc3_contribs.f32.npy", SINGLE),
        ("small_lgb_reg.txt", "small_X_200.npy", "small_lgb_reg_contribs.f64.npy", DOUBLE),
        ("small_lgb_cat.txt", "small_X_200.npy", "small_lgb_cat_contribs.f64.npy", DOUBLE),
    ];
    for (name, rows, expected, tolerance) in models {
        let Some(ensemble) = model(name) else { return };
        let ours = contributions(&ensemble, &npy(rows).unwrap(), 20);
        assert_near(&ours, &npy(expected).unwrap()[..ours.len()], tolerance);
    }
}

#[test]
fn a_model_tells_its_facts() {
    let Some(ensemble) = model("small_lgb_cat.txt") else { return };
    let facts = ensemble.facts();
    assert_eq!((facts.origin.library.as_str(), facts.origin.version.as_str()), ("LightGBM", "v4"));
    assert_eq!((facts.outputs, facts.features, facts.trees), (1, 20, ensemble.trees.len()));
    assert_eq!(facts.nodes, 2 * facts.leaves - facts.trees);
    assert!(facts.categorical_splits > 0 && facts.used_features.contains(&19), "{facts:?}");
    let facts = model("xgb_a_100x6.json").unwrap().facts();
    assert_eq!((facts.origin.version.as_str(), facts.objective.as_str()), ("3.2.0", "binary:logistic"));
    assert_eq!((facts.trees, facts.depth), (100, 6));
}
