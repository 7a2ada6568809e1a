//! `tapedeck replay --decisions`: what another model would have decided, as a person asks
//! the real program, of a folder that nobody holds and of one that a process holds.
//!
//! Not here: the mathematics, which the role's tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::{Path, PathBuf};

use common::{Deck, bars, json, run, stderr, stdout, text};
use serde_json::{Value, json};

mod common;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
const MINUTES: u64 = 400;
const SYMBOLS: [&str; 3] = ["AAA", "BBB", "CCC"];
const SECOND: &str = "bull_specialist@v2";

/// A folder in which a file was replayed by the demo's specialists, and the config of who
/// asks, where the bull has a second version: the file of the bear.
fn replayed(dir: &Path) -> (PathBuf, PathBuf) {
    let (file, config, data, models) = (dir.join("bars.csv"), dir.join("t.toml"), dir.join("data"), dir.join("models"));
    bars(&file, &SYMBOLS, MINUTES, 23);
    for (from, to) in [
        ("bull_specialist/v1.json", "bull_specialist/v1.json"),
        ("bear_specialist/v1.ubj", "bear_specialist/v1.ubj"),
        ("sideways_specialist/v1.txt", "sideways_specialist/v1.txt"),
    ] {
        let to = models.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(MODELS).join(from), to).unwrap();
    }
    let section = format!("[inference]\nband = 0.01\nlot = \"0.001\"\nmodels = {{ dir = \"{}\" }}\n", text(&models));
    let session = "[[sessions]]\nid = \"d\"\naccount = \"D\"\nmarket_source = \"replay\"\nsource = \"decisions\"\n\n";
    std::fs::write(&config, format!("{session}{section}")).unwrap();
    json(&["replay", text(&file), "--currency", "USD", "--config", text(&config), "--data", text(&data), "--json"]);
    let bear = models.join("bear_specialist/v1.ubj");
    std::fs::copy(bear, models.join("bull_specialist/v2.ubj")).unwrap();
    let asking = dir.join("asking.toml");
    std::fs::write(&asking, section).unwrap();
    (data, asking)
}

/// A whole number of an answer.
fn count(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field}: {value}"))
}

#[test]
fn a_second_model_is_told_where_it_would_have_differed_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = replayed(dir.path());
    let base = ["replay", "--decisions", "--config", text(&config), "--data", text(&data)];
    let asked = |more: &[&str]| json(&[&base[..], more].concat());
    let all = MINUTES * SYMBOLS.len() as u64;

    // The version that decided decides the same: the folder, the config and the models are those of then.
    let same = asked(&["--model", "bull_specialist@v1", "--json"]);
    let figures =
        ["decisions", "same", "other_action", "other_quantity", "other_config"].map(|name| count(&same, name));
    assert_eq!(figures, [all, all, 0, 0, 0], "{same}");

    let other = asked(&["--model", SECOND, "--json", "--top", "5"]);
    let differ = count(&other, "other_action");
    assert!(differ > 5 && count(&other, "decisions") == all, "{other}");
    assert_eq!(differ + count(&other, "same") + count(&other, "other_quantity"), all);
    let changes: u64 = other["changes"].as_array().unwrap().iter().map(|change| count(change, "decisions")).sum();
    assert_eq!(changes, differ);
    let items = other["items"].as_array().unwrap();
    let apart =
        |item: &Value| (item["after"]["margin"].as_f64().unwrap() - item["before"]["margin"].as_f64().unwrap()).abs();
    let moves: Vec<f64> = items.iter().map(apart).collect();
    assert!(moves.len() == 5 && moves.is_sorted_by(|more, less| more >= less), "{moves:?}");
    assert!(items.iter().all(|item| item["moved"].as_array().unwrap().len() == 3), "{items:?}");

    // Every one of them as a line, the sums for a person beside it.
    let output = run(&[&base[..], &["--model", SECOND, "--ndjson"]].concat());
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, differ, "{}", stderr(&output));
    assert!(lines.iter().all(|line| line["before"]["action"] != line["after"]["action"]));
    assert!(stderr(&output).contains("another action") && stderr(&output).contains("were recorded"));

    // A part of it, of a process that holds the folder.
    let deck = Deck::start(&["up", "--roles", "api", "--config", text(&config), "--data", text(&data)]);
    let part = asked(&["--model", SECOND, "--symbol", "BBB", "--json"]);
    assert_eq!(count(&part, "decisions"), MINUTES);
    let of_symbol = lines.iter().filter(|line| line["symbol"] == "BBB").count() as u64;
    assert_eq!(count(&part, "other_action"), of_symbol);
    let body = json!({"model": {"bull_specialist": "v2"}, "limit": 7}).to_string();
    let (status, page) = deck.post("/api/v1/forensics/re-decide", "application/json", &body);
    assert_eq!((status, count(&page, "decisions")), (200, 7), "{page}");
    assert!(page["next_cursor"].is_string());
    let said = stdout(&run(&[&base[..], &["--model", SECOND]].concat()));
    assert!(said.contains("decided again by bull_specialist v2") && said.contains("margin "), "{said}");
}

#[test]
fn what_cannot_be_decided_again_is_refused_with_what_can() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = replayed(dir.path());
    let says = |more: &[&str], code: i32, words: &str| {
        let output =
            run(&[&["replay", "--decisions", "--config", text(&config), "--data", text(&data)], more].concat());
        assert_eq!(output.status.code(), Some(code), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{more:?} does not say `{words}`: {}", stderr(&output));
    };
    says(&["--model", "bull_specialist@v9"], 3, "versions there are: v1, v2");
    says(&["--model", "crab_specialist@v1"], 3, "there is no specialist `crab_specialist`; there are bull_specialist");
    says(&["--model", SECOND, "--from", "2030-01-01T00:00:00Z"], 3, "no explained decision lies in the range");
    says(&["--model", SECOND, "--from", "yesterday"], 2, "such as 2026-01-01T00:00:00Z");
    says(&["--model", SECOND, "--model", "bull_specialist@v1"], 3, "given twice");
    says(&["--model", "bull_specialist"], 2, "bull_specialist@v2");
    says(&[], 2, "--model");
    // A file that is none of our models; it is not the newest, which is always read.
    let models = dir.path().join("models/bull_specialist");
    std::fs::write(models.join("v0.json"), "{}").unwrap();
    says(&["--model", "bull_specialist@v0"], 3, "bull_specialist v0 cannot be had");
}
