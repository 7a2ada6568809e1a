//! `tapedeck model`: what a person gets who has a file of trees and rows for it.
//!
//! Not here: whether SHAP values are right (`tapedeck-shap` compares them with others').

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::Path;

use common::{json, run, stderr, stdout, text};
use serde_json::Value;

mod common;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/sideways_specialist/v1.txt");

/// Rows of all features in the reverse of the model's order, beside an id; every seventh value is missing.
fn rows(path: &Path, count: usize) -> Vec<String> {
    let features: Vec<String> = json(&["model", "inspect", MODEL, "--json"])["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["name"].as_str().unwrap().to_owned())
        .collect();
    let reversed: Vec<&str> = features.iter().rev().map(String::as_str).collect();
    let mut csv = format!("trade,{}\n", reversed.join(","));
    for row in 0..count {
        let value = |at: usize| match (row + at) % 7 {
            0 => String::new(),
            step => format!("{}", (step as f64 - 3.5) / 100.0 * (at as f64 + 1.0)),
        };
        let values: Vec<String> = (0..features.len()).map(value).collect();
        csv.push_str(&format!("T-{row},{}\n", values.join(",")));
    }
    std::fs::write(path, csv).unwrap();
    features
}

#[test]
fn explained_rows_keep_their_order_and_ids_and_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    // More than one block.
    let features = rows(&csv, 2_500);
    let with = |command: &str, more: &[&str]| {
        let output = run(&[&["model", command, MODEL, "--rows", text(&csv), "--keep", "trade"], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        (stdout(&output), stderr(&output))
    };
    let (ndjson, said) = with("explain", &["--format", "ndjson"]);
    assert!(said.contains("2,500 rows explained"), "{said}");
    let (predicted, _) = with("predict", &[]);
    let mut predicted = predicted.lines().skip(1);
    let explained: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(explained.len(), 2_500);
    for (at, line) in explained.iter().enumerate() {
        let margin = line["margin"].as_f64().unwrap();
        let shap: f64 = features.iter().map(|feature| line["shap"][feature].as_f64().unwrap()).sum();
        assert!((line["base_value"].as_f64().unwrap() + shap - margin).abs() < 1e-5, "{line}");
        assert_eq!(
            (line["row"].as_u64(), line["kept"]["trade"].as_str()),
            (Some(at as u64 + 1), Some(&*format!("T-{at}")))
        );
        assert_eq!(predicted.next(), Some(&*format!("{},T-{at},{margin}", at + 1)));
    }
    assert!(explained.windows(2).any(|pair| pair[0]["margin"] != pair[1]["margin"]));
}

#[test]
fn rows_before_a_bad_one_come_out_and_the_bad_one_is_named_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    rows(&csv, 5);
    let good = std::fs::read_to_string(&csv).unwrap();
    std::fs::write(&csv, good.replace("T-3,", "T-3,many")).unwrap();
    let output = run(&["model", "predict", MODEL, "--rows", text(&csv), "--keep", "trade"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("line 5") && stderr(&output).contains("`many"), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1 + 3);
}

#[test]
fn an_infinite_value_is_named_by_its_line_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    rows(&csv, 5);
    let good = std::fs::read_to_string(&csv).unwrap();
    let header: Vec<&str> = good.lines().next().unwrap().split(',').collect();
    let column = header.iter().position(|name| *name == "rsi").unwrap();
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    let mut cells: Vec<&str> = lines[3].split(',').collect();
    cells[column] = "inf";
    lines[3] = cells.join(",");
    std::fs::write(&csv, lines.join("\n")).unwrap();
    let output = run(&["model", "explain", MODEL, "--rows", text(&csv), "--keep", "trade"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(said.contains(&format!("line 4, column {} (`rsi`): the value is infinite", column + 1)), "{said}");
}

#[test]
fn one_row_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    rows(&csv, 1);
    let said = stderr(&run(&["model", "explain", MODEL, "--rows", text(&csv), "--keep", "trade"]));
    assert!(said.contains("1 row explained;"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    rows(&csv, 1);
    let csv_text = text(&csv).to_owned();
    let says = |args: &[&str], words: &str| {
        let output = run(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{args:?} does not say `{words}`: {}", stderr(&output));
    };
    says(&["model", "predict", MODEL, "--rows", &csv_text], "--keep NAME");
    says(&["model", "inspect", &csv_text], "no model of a known format");
    says(&["model", "inspect", "/nowhere/v1.json"], "cannot read /nowhere/v1.json");
    let cut = dir.path().join("cut.txt");
    let whole = std::fs::read(MODEL).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    says(&["model", "inspect", text(&cut)], "broken model file");
    std::fs::write(&csv, "rsi\n1\n").unwrap();
    says(&["model", "explain", MODEL, "--rows", &csv_text], "the header has no column for `return_");
}
