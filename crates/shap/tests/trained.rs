//! More than two hundred small models that the real xgboost and lightgbm train while
//! this runs, over random parameters: objectives, boosters, categories, missing values,
//! weights, classes, early stopping. Their margins and contributions beside ours, on
//! rows that lie on thresholds, are denormal, negative zero or missing.
//!
//! Not here: the training (`trained.py`), and models kept as files (`read_golden`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "who runs tests sees what was left out")]

mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::golden::numbers;
use serde_json::Value;
use tapedeck_shap::{Ensemble, Explainer, Precision, Scratch, Trees, reference};

/// XGBoost sums in `f32`; LightGBM in `f64`.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Single => 2e-5,
        Precision::Double => 1e-9,
    }
}

/// The script's word for a part that is missing on this machine.
const CANNOT: i32 = 3;

#[test]
fn margins_and_contributions_of_freshly_trained_models_are_those_of_their_libraries() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let trained = Command::new(python).arg(here("tests/trained.py")).arg(folder.path()).output().unwrap();
    assert!(trained.status.success(), "{}", text(&trained));
    let index: Value = serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
    let models = index["models"].as_array().unwrap();
    assert!(models.len() >= 200, "{} models were trained", models.len());
    let wrong: Vec<String> = models.iter().filter_map(|model| compare(folder.path(), model).err()).collect();
    let versions = format!("xgboost {}, lightgbm {}", index["xgboost"], index["lightgbm"]);
    assert!(wrong.is_empty(), "{versions}: {} of {} models\n{}", wrong.len(), models.len(), wrong.join("\n"));
}

/// Compares a model, or says which and where it differs.
fn compare(folder: &Path, model: &Value) -> Result<(), String> {
    let name = model["name"].as_str().unwrap();
    let says = |what: String| format!("{name}: {what}; {}", model["params"].as_str().unwrap());
    let file = |file: &Value| fs::read(folder.join(file.as_str().unwrap())).unwrap();
    let array = |what: &str| numbers(&fs::read(folder.join(format!("{name}.{what}.npy"))).unwrap());
    let files = model["files"].as_array().unwrap();
    let ensemble = Ensemble::read(&file(&files[0])).map_err(|error| says(error.to_string()))?;
    for other in &files[1..] {
        if Ensemble::read(&file(other)).as_ref() != Ok(&ensemble) {
            return Err(says(format!("{other} is not the same model")));
        }
    }
    let rows = array("rows");
    let tolerance = tolerance(ensemble.precision);
    near(&margins(&ensemble, &rows), &array("margins"), ensemble.outputs(), tolerance)
        .map_err(|what| says(format!("margins, {what}")))?;
    let all = Ensemble::read_trees(&file(&files[0]), Trees::All).unwrap();
    near(&margins(&all, &rows), &array("everything"), ensemble.outputs(), tolerance)
        .map_err(|what| says(format!("margins of all trees, {what}")))?;
    let contributions = array("contributions");
    for (how, ours, tolerance) in explained(&ensemble, &rows) {
        near(&ours, &contributions[..ours.len()], ensemble.features.len() + 1, tolerance)
            .map_err(|what| says(format!("contributions {how}, {what}")))?;
    }
    Ok(())
}

/// The contributions in each way there is, and how near to the library's each is.
fn explained(ensemble: &Ensemble, rows: &[f64]) -> Vec<(&'static str, Vec<f64>, f64)> {
    let (fast, double) = (Explainer::new(ensemble).unwrap(), Explainer::double(ensemble).unwrap());
    let mut scratch = Scratch::new();
    let out = || vec![0.0; rows.len() / ensemble.features.len() * fast.contributions()];
    let exact = tolerance(ensemble.precision);
    let mut ways =
        vec![("leaf by leaf", slowly(ensemble, rows), exact), ("fast", out(), exact), ("in f64", out(), exact)];
    fast.explain_f64(rows, &mut scratch, &mut ways[1].1).unwrap();
    double.explain_f64(rows, &mut scratch, &mut ways[2].1).unwrap();
    let narrow: Vec<f32> = rows.iter().map(|value| *value as f32).collect();
    if narrow.iter().zip(rows).all(|(narrow, wide)| f64::from(*narrow).total_cmp(wide).is_eq()) {
        ways.push(("of f32 rows", out(), tolerance(Precision::Single)));
        fast.explain(&narrow, &mut scratch, &mut ways[3].1).unwrap();
    }
    ways
}

/// A few of the rows: it takes its time.
fn slowly(ensemble: &Ensemble, rows: &[f64]) -> Vec<f64> {
    rows.chunks(ensemble.features.len()).take(4).flat_map(|row| reference::by_leaves(ensemble, row)).collect()
}

fn margins(ensemble: &Ensemble, rows: &[f64]) -> Vec<f64> {
    let mut margins = vec![0.0; rows.len() / ensemble.features.len() * ensemble.outputs()];
    ensemble.margins(rows, &mut margins).unwrap();
    margins
}

/// Compares groups of so many numbers; the tolerance is relative to a group's largest
/// where that is above 1.
fn near(ours: &[f64], theirs: &[f64], group: usize, tolerance: f64) -> Result<(), String> {
    if ours.len() != theirs.len() {
        return Err(format!("{} numbers and {}", ours.len(), theirs.len()));
    }
    for (nth, (ours, theirs)) in ours.chunks(group).zip(theirs.chunks(group)).enumerate() {
        let scale = theirs.iter().fold(1.0_f64, |most, number| most.max(number.abs()));
        let off = |(ours, theirs): (&f64, &f64)| (ours - theirs).abs() > tolerance * scale || !theirs.is_finite();
        if let Some(at) = ours.iter().zip(theirs).position(off) {
            return Err(format!("{nth} at {at}: {} and theirs {}", ours[at], theirs[at]));
        }
    }
    Ok(())
}

/// The interpreter of the real libraries. Where there is none the test is skipped, with
/// a line, unless real parts are required.
#[expect(clippy::disallowed_methods, reason = "whether parts may be missing is said by who runs the tests")]
fn python() -> Option<PathBuf> {
    let made = Command::new("sh").arg(here("../../scripts/python.sh")).arg("venv").output().unwrap();
    if made.status.success() {
        return Some(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()));
    }
    assert!(made.status.code() == Some(CANNOT), "{}", text(&made));
    assert!(env::var_os("TAPEDECK_TEST_SERVERS").is_none_or(|said| said != "required"), "{}", text(&made));
    println!("skipped: {}", text(&made).trim());
    None
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
