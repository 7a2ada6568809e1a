//! What wrong input gets from the command line: the place, the remedy, and an
//! exit code.
//!
//! Not here: wrong requests, which the api's own tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::path::Path;

use common::{Deck, bars, eventually, run, stderr, text};

mod common;

fn refused(args: &[&str], code: i32, words: &[&str]) {
    let output = run(args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} does not say `{word}`: {said}");
    }
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_wrong_config_is_refused_with_line_key_and_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(dir.path(), "t.toml", "[api]\n\nlissten = \"127.0.0.1:1\"\n");
    refused(&["config", "check", "--config", &config], 3, &["t.toml:3", "api.lissten", "did you mean `listen`"]);
    let config =
        file(dir.path(), "s.toml", "[[strategies]]\nid = \"a\"\nkind = \"breakout\"\nsession_id = \"nobody\"\n");
    refused(&["config", "check", "--config", &config], 3, &["strategies `a`", "session_id `nobody` is no session"]);
    let config = file(dir.path(), "open.toml", "[api]\nlisten = \"0.0.0.0:7380\"\n");
    let data = dir.path().join("data");
    refused(&["up", "--config", &config, "--data", text(&data)], 3, &["api.listen", "0.0.0.0:7380", "127.0.0.1"]);
}

#[test]
fn a_strategy_on_another_source_than_its_sessions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let strategy = "[[strategies]]\nid = \"a\"\nkind = \"breakout\"\nsession_id = \"s\"\nsource = \"other\"\n";
    let session = "[[sessions]]\nid = \"s\"\naccount = \"A\"\nmarket_source = \"own\"\n";
    let config = file(dir.path(), "t.toml", &format!("{strategy}{session}"));
    refused(&["config", "check", "--config", &config], 3, &["source `other`", "session `s` listens to (`own`)"]);
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &str, &[&str]); 6] = [
        ("noprice.csv", "timestamp,volume\n2024-01-01T00:00:00Z,1\n", &["noprice.csv", "price", "--columns"]),
        (
            "highlow.csv",
            "timestamp,open,high,low,close,volume\n2024-01-01T00:00:00Z,10,9,11,10,1\n",
            &["highlow.csv", "2", "high"],
        ),
        (
            "back.csv",
            "timestamp,price,volume\n2024-01-01T00:00:10Z,10,1\n2024-01-01T00:00:09Z,10,1\n",
            &["back.csv", "3", "backwards"],
        ),
        ("abc.csv", "timestamp,price,volume\n2024-01-01T00:00:10Z,abc,1\n", &["abc.csv", "2", "price", "abc"]),
        ("cross.csv", "timestamp,bid,ask\n2024-01-01T00:00:10Z,11,10\n", &["cross.csv", "2", "bid", "ask"]),
        ("empty.csv", "", &["empty.csv"]),
    ];
    for (name, content, words) in cases {
        let path = file(dir.path(), name, content);
        let data = dir.path().join(format!("{name}.data"));
        let output = run(&["replay", &path, "--symbol", "S", "--currency", "USD", "--data", text(&data)]);
        let said = stderr(&output);
        assert!(!output.status.success(), "{name}: {said}");
        for word in words {
            assert!(said.contains(word), "{name} does not say `{word}`: {said}");
        }
    }
}

#[test]
fn a_replay_without_a_currency_or_a_file_says_which_flag_helps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bars.csv");
    bars(&path, &["AAA"], 10, 1);
    refused(&["replay", text(&path)], 3, &["--currency"]);
    refused(&["replay", "nowhere.csv", "--currency", "USD"], 3, &["nowhere.csv"]);
    refused(&["replay", text(&path), "--currency", "USD", "--speed", "fast"], 3, &["--speed", "max"]);
}

#[test]
fn a_second_process_on_the_folder_is_refused_and_the_first_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = text(dir.path());
    let deck = Deck::start(&["up", "--data", data]);
    refused(&["up", "--data", data], 4, &[data, &deck.url, "--data"]);
    eventually("the first to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
}

#[test]
fn a_replay_in_the_folder_of_a_deck_is_refused_whether_the_deck_runs_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let prices = dir.path().join("bars.csv");
    bars(&prices, &["AAA"], 10, 1);
    let data = dir.path().join("data");
    let replay = ["replay", text(&prices), "--currency", "USD", "--data", text(&data)];
    let deck = Deck::start(&["up", "--data", text(&data)]);
    refused(&replay, 4, &["another tapedeck works in", text(&data), &deck.url, "another folder"]);
    eventually("the deck to be ready", || (deck.ask("/health/ready").0 == 200).then_some(()));
    assert_eq!(deck.terminate(), 0);
    refused(&replay, 3, &["data folder of `up`", text(&data), "another folder"]);
}

#[test]
fn on_a_cluster_neither_replay_nor_demo_takes_the_folder_of_a_deck_and_no_deck_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let prices = dir.path().join("bars.csv");
    bars(&prices, &["AAA"], 10, 1);
    // Nothing listens there: what is refused is refused before it is asked.
    let config = file(dir.path(), "t.toml", "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap_servers = \"127.0.0.1:9\"\n");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // What every deck leaves behind.
    std::fs::write(data.join("member"), "host-1a2b3c4d").unwrap();
    let on = ["--config", &config, "--data", text(&data)];
    let of_up = ["data folder of `up`", text(&data), "another folder"];
    refused(&[&["replay", text(&prices), "--currency", "USD"], &on[..]].concat(), 3, &of_up);
    refused(&[&["demo"], &on[..]].concat(), 3, &of_up);
    assert!(!data.join("cluster.json").exists(), "the deck's folder has names that are not its own");

    let names = r#"{"prefix":"demo-1a2b3c4d.","schema":"tapedeck_demo_1a2b3c4d","what":"demo"}"#;
    std::fs::write(data.join("cluster.json"), names).unwrap();
    refused(&[&["up"], &on[..]].concat(), 3, &["folder of a demo", "demo-1a2b3c4d.", "--roles api"]);
    refused(&[&["replay", text(&prices), "--currency", "USD"], &on[..]].concat(), 3, &["folder of a demo"]);
}

#[test]
fn a_wrong_filter_of_dead_letters_is_named_by_its_flag() {
    let dir = tempfile::tempdir().unwrap();
    let _deck = Deck::start(&["up", "--data", text(dir.path())]);
    refused(
        &["dlq", "replay", "--class", "odd", "--data", text(dir.path())],
        3,
        &["tapedeck: --class: expected one of"],
    );
}

#[test]
fn a_port_in_use_is_named_with_the_key_that_moves_it() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = file(dir.path(), "t.toml", &format!("[api]\nlisten = \"{address}\"\n"));
    let data = dir.path().join("data");
    refused(&["up", "--config", &config, "--data", text(&data)], 3, &[&address, "listen"]);
}

#[test]
fn a_folder_of_a_newer_version_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    Deck::start(&["up", "--data", text(dir.path())]).terminate();
    for name in ["store.db", "log.db"] {
        let path = dir.path().join(name);
        // The user version of a SQLite file: four bytes at 60, big endian.
        let before = std::fs::read(&path).unwrap();
        let mut newer = before.clone();
        newer[60..64].copy_from_slice(&9_999_u32.to_be_bytes());
        std::fs::write(&path, &newer).unwrap();
        refused(&["up", "--data", text(dir.path())], 4, &["newer"]);
        assert_eq!(std::fs::read(&path).unwrap(), newer, "{name} was touched");
        std::fs::write(&path, &before).unwrap();
    }
}

#[test]
fn an_unknown_topic_is_refused_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let _deck = Deck::start(&["up", "--data", text(dir.path())]);
    let events = file(dir.path(), "e.ndjson", "{}\n");
    refused(&["produce", "exec.report.v1", &events, "--data", text(dir.path())], 3, &["exec.reports.v1"]);
}
