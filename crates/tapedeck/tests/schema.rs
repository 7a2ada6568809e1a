//! `tapedeck schema`, and a whole replay whose records are framed for a registry.
//!
//! Not here: frames, schemas and rules by themselves.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::Path;

use common::{bars, json, run, stderr, stdout, text};
use serde_json::Value;

mod common;

/// A config with a registry.
fn config(dir: &Path, url: &str, more: &str) -> std::path::PathBuf {
    let path = dir.join("tapedeck.toml");
    // A busy machine's registry takes its time with the first schema.
    std::fs::write(&path, format!("[registry]\nurl = \"{url}\"\nrequest_timeout_ms = 10000\n{more}")).unwrap();
    path
}

fn skip() {
    assert!(tapedeck_testbed::registry().is_none());
}

#[test]
fn the_schema_of_a_topic_is_shown_without_any_registry_in_both_forms() {
    let avro = json(&["schema", "show", "exec.reports.v1", "--format", "avro", "--json"]);
    assert_eq!((&avro["subject"], &avro["schema_type"]), (&"exec.reports.v1-value".into(), &"AVRO".into()));
    assert_eq!(avro["schema"]["name"], "ExecutionReport");
    let schema = json(&["schema", "show", "exec.reports.v1"]);
    assert_eq!((&schema["title"], &schema["type"]), (&"ExecutionReport".into(), &"object".into()));
}

#[test]
fn what_cannot_be_asked_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(&["schema", "list"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("set `url` in `[registry]`"), "{}", stderr(&output));
    let output = run(&["schema", "show", "nothing.v1"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("exec.reports.v1"), "{}", stderr(&output));
    let away = config(dir.path(), "http://127.0.0.1:9", "");
    let output = run(&["--config", text(&away), "schema", "check", "--all"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("http://127.0.0.1:9 does not answer"), "{}", stderr(&output));
    let output = run(&["schema", "check"]);
    assert_eq!(output.status.code(), Some(2), "a topic or --all");
    let wrong = config(dir.path(), "registry:8081", "topics = [\"alerts\"]\npassword = \"secret\"\n");
    let output = run(&["--config", text(&wrong), "config", "check"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("registry.password") && !stderr(&output).contains("secret\""),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_schema_is_checked_registered_and_listed() {
    let Some(url) = tapedeck_testbed::registry() else { return skip() };
    let dir = tempfile::tempdir().unwrap();
    // Its topics are named as on a cluster of its own.
    let prefix = format!("{}.", tapedeck_testbed::name("cli"));
    let more =
        format!("topics = [\"alerts.v1\", \"task-events\"]\n[log]\nkind = \"kafka\"\n[kafka]\nprefix = \"{prefix}\"\n");
    let config = config(dir.path(), &url, &more);
    let ask = |args: &[&str]| json(&[&["--config", text(&config), "--json"], args].concat());
    let states = |answer: &Value| -> Vec<String> {
        answer.as_array().unwrap().iter().map(|line| line["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&ask(&["schema", "list"])), ["new", "new"]);
    assert_eq!(states(&ask(&["schema", "register", "--all", "--dry-run"])), ["new", "new"]);
    assert_eq!(states(&ask(&["schema", "check", "alerts.v1"])), ["new"], "the dry run changed nothing");
    let registered = ask(&["schema", "register", "alerts.v1"]);
    assert_eq!(states(&registered), ["registered"]);
    assert_eq!(registered[0]["subject"], format!("{prefix}alerts.v1-value"));
    assert_eq!(states(&ask(&["schema", "list"])), ["registered", "new"]);
    let shown = ask(&["schema", "show", "alerts.v1", "--registered"]);
    assert_eq!((&shown["id"], &shown["version"]), (&registered[0]["id"], &1.into()));
    // The other form may not follow the first.
    let output = run(&["--config", text(&config), "schema", "show", "task-events", "--registered"]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    let avro = std::fs::read_to_string(&config).unwrap().replacen("[registry]\n", "[registry]\nformat = \"avro\"\n", 1);
    std::fs::write(&config, avro).unwrap();
    let output = run(&["--config", text(&config), "schema", "register", "--all"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("its newest version is JSON"), "{}", stdout(&output));
    assert_eq!(states(&ask(&["schema", "check", "task-events"])), ["new"], "and nothing else was registered");
}

#[test]
fn a_replay_through_avro_ends_with_the_same_executions() {
    let Some(url) = tapedeck_testbed::registry() else { return skip() };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA"], 1_000, 5);
    let config = config(dir.path(), &url, "format = \"avro\"\nwrite = true\nauto_register = true\n");
    let replay = |data: &Path, more: &[&str]| {
        let args = ["replay", text(&file), "--currency", "USD", "--json", "--data", text(data)];
        json(&[more, &args].concat())
    };
    let (bare, framed) = (dir.path().join("bare"), dir.path().join("framed"));
    let (one, two) = (replay(&bare, &[]), replay(&framed, &["--config", text(&config)]));
    assert!(one["fills"].as_u64().unwrap() > 30, "{one}");
    assert_eq!((&one["digest"], &one["pnl"]), (&two["digest"], &two["pnl"]));
    let first = |more: &[&str]| {
        let args = ["consume", "exec.reports.v1", "--data", text(&framed), "-n", "1", "--json"];
        json(&[more, &args].concat())
    };
    assert_eq!(first(&["--config", text(&config)])["value"]["exec_type"], "NEW");
    assert!(first(&[])["value"].as_str().unwrap().starts_with("AA"), "without the registry it is bytes, framed");
}
