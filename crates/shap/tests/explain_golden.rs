//! The fast explanation beside what XGBoost and LightGBM say of their own models.
//!
//! Not here: random trees (`explain`), and the slow explanation of the same files
//! (`read_golden`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::golden::{model, npy};
use tapedeck_shap::{Ensemble, Explainer, Precision, Scratch, Width, additivity_error};

const SINGLE: f64 = 2e-5;
const DOUBLE: f64 = 1e-9;
/// Of each file; no round number, and no more than unoptimised code explains quickly.
const ROWS: usize = 77;

#[track_caller]
fn assert_near(ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        assert!((ours - theirs).abs() <= tolerance, "at {at}: {ours} and {theirs}");
    }
}

/// The model in `f32` and in `f64`, at every width, with how near it should come.
fn explainers(ensemble: &Ensemble) -> Vec<(Explainer, f64)> {
    let widths = Width::ALL.into_iter().filter(|width| width.is_supported());
    let double = if ensemble.precision == Precision::Double { DOUBLE } else { SINGLE };
    widths
        .flat_map(|width| {
            let with = |explainer: Explainer| explainer.with_width(width).unwrap();
            [(with(Explainer::new(ensemble).unwrap()), SINGLE), (with(Explainer::double(ensemble).unwrap()), double)]
        })
        .collect()
}

fn explained(explainer: &Explainer, rows: &[f64]) -> Vec<f64> {
    let rows: Vec<f32> = rows.iter().map(|&value| value as f32).collect();
    let mut out = vec![f64::NAN; rows.len() / explainer.features().len() * explainer.contributions()];
    explainer.explain(&rows, &mut Scratch::new(), &mut out).unwrap();
    out
}

#[test]
fn contributions_are_those_of_the_library_that_trained() {
    let models = [
        ("lgb_c_200x31.txt", "X_sample_2000.npy", "c_lgb_contribs.f64.npy"),
        ("small_xgb_mc3.json", "small_X_200.npy", "small_xgb_mc3_contribs.f32.npy"),
        ("small_lgb_reg.txt", "small_X_200.npy", "small_lgb_reg_contribs.f64.npy"),
        ("small_lgb_cat.txt", "small_X_200.npy", "small_lgb_cat_contribs.f64.npy"),
    ];
    for (name, rows, expected) in models {
        let Some(ensemble) = model(name) else { return };
        let (mut rows, mut expected) = (npy(rows).unwrap(), npy(expected).unwrap());
        rows.truncate(ROWS * 20);
        expected.truncate(ROWS * 21 * ensemble.outputs());
        for (explainer, tolerance) in explainers(&ensemble) {
            assert_near(&explained(&explainer, &rows), &expected, tolerance);
        }
    }
}

#[test]
fn contributions_to_model_a_are_the_exact_ones() {
    let Some(ensemble) = model("xgb_a_100x6.json") else { return };
    let (mut rows, mut expected) = (npy("X_sample_2000.npy").unwrap(), npy("a_exact.f64.npy").unwrap());
    rows.truncate(ROWS * 20);
    expected.truncate(ROWS * 20);
    for (explainer, tolerance) in explainers(&ensemble) {
        let ours = explained(&explainer, &rows);
        let ours: Vec<f64> = ours.chunks(21).flat_map(|row| row[..20].to_vec()).collect();
        assert_near(&ours, &expected, tolerance);
    }
}

#[test]
fn contributions_add_up_to_the_margins_of_large_models() {
    let models = [
        ("xgb_a_100x6.json", "a_margin.f32.npy"),
        ("xgb_b_500x8.json.gz", "b_margin.f32.npy"),
        ("lgb_c_200x31.txt", "c_margin.f64.npy"),
    ];
    for (name, expected) in models {
        let Some(ensemble) = model(name) else { return };
        let rows = npy("X_sample_2000.npy").unwrap()[..ROWS * 20].to_vec();
        for (explainer, tolerance) in explainers(&ensemble) {
            for (row, margin) in explained(&explainer, &rows).chunks(21).zip(npy(expected).unwrap()) {
                let error = additivity_error(row, margin);
                assert!(error <= tolerance, "{name}, {:?}: {error}", explainer.width());
            }
        }
    }
}

#[test]
fn margins_of_large_models_are_to_the_last_bit_those_of_one_row_after_the_other() {
    for name in ["xgb_a_100x6.json", "xgb_b_500x8.json.gz", "lgb_c_200x31.txt", "small_lgb_cat.txt"] {
        let Some(ensemble) = model(name) else { return };
        let rows = npy("X_sample_2000.npy").unwrap()[..ROWS * 20].to_vec();
        let mut expected = vec![0.0; ROWS];
        ensemble.margins(&rows, &mut expected).unwrap();
        for (explainer, _) in explainers(&ensemble) {
            let mut margins = vec![f64::NAN; ROWS];
            explainer.margins_f64(&rows, &mut Scratch::new(), &mut margins).unwrap();
            let same = margins.iter().zip(&expected).all(|(ours, theirs)| ours.to_bits() == theirs.to_bits());
            assert!(same, "{name}, {:?}", explainer.width());
        }
    }
}
