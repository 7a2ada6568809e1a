//! From a folder to a cluster, on real servers: all that was there is there and
//! answers as it did, whatever was killed on the way; a deck goes on from it; and
//! what cannot take it is left as it is.
//!
//! Not here: gaps and mapped offsets, which the move's own tests hold.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use common::{Deck, Dice, bars, cluster, eventually, json, run, stderr, tapedeck, text};
use serde_json::Value;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Headers, Log, PollLimits, Record, TopicConfig, TopicPartition};

mod common;

const MARKET: &str = "market-data-updates";
/// What a deck writes of its own while it trades.
const TRADED: [&str; 3] = [MARKET, "strategy-signals", "exec.reports.v1"];
/// Where a move says where it goes to.
const MIGRATION: &str = "migration.json";

/// A folder in which something was traded.
fn filled(dir: &Path, minutes: u64) -> PathBuf {
    let (file, data) = (dir.join("bars.csv"), dir.join("data"));
    bars(&file, &["AAA", "BBB"], minutes, 51);
    let replayed = json(&["replay", text(&file), "--currency", "USD", "--json", "--data", text(&data)]);
    assert!(replayed["fills"].as_u64().unwrap() > 20, "{replayed}");
    data
}

fn migrate(data: &Path, config: &Path, more: &[&str]) -> Value {
    json(&[&["migrate", "--json", "--to", text(config), "--data", text(data)][..], more].concat())
}

/// What is served of a folder, or of the cluster of a config.
fn answers(data: &Path, config: Option<&Path>) -> Vec<(String, Value)> {
    let mut args = vec!["up", "--roles", "api", "--data", text(data)];
    if let Some(config) = config {
        args.extend(["--config", text(config)]);
    }
    let deck = Deck::start(&args).unheard();
    let answers = cluster::answers(&deck);
    // In order, since nobody moves a folder in which something waits to be sent.
    assert_eq!(deck.terminate(), 0);
    answers
}

fn assert_same(wanted: &[(String, Value)], found: &[(String, Value)]) {
    for ((path, ours), (_, theirs)) in wanted.iter().zip(found) {
        assert_eq!(ours, theirs, "{path}");
    }
}

/// The log of a cluster's config, to look at.
fn log_of(kafka: &str, prefix: &str) -> Arc<KafkaLog> {
    let config = KafkaConfig { bootstrap_servers: kafka.into(), prefix: prefix.into(), ..KafkaConfig::default() };
    KafkaLog::connect(&config).unwrap()
}

/// The ids of a topic's records, and how often each is there.
fn ids(log: &dyn Log, topic: &str) -> BTreeMap<String, u32> {
    let limits = PollLimits { max_records: 5_000, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };
    let partitions = log.topics().unwrap().iter().find(|info| &*info.config.name == topic).unwrap().config.partitions;
    let mut ids = BTreeMap::new();
    for partition in 0..partitions {
        let place = TopicPartition::new(topic, partition);
        let (start, end) = log.bounds(&place).unwrap();
        let mut reader = log.reader().unwrap();
        reader.assign(&[(place.clone(), start)]).unwrap();
        while reader.position(&place).is_none_or(|next| next < end) {
            for record in reader.poll(limits).unwrap() {
                *ids.entry(record.headers.text("ce_id").unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
    }
    ids
}

#[test]
fn a_moved_folder_holds_the_same_and_answers_as_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = cluster::config(dir.path(), "moved", "") else { return };
    let data = filled(dir.path(), 600);
    let before = answers(&data, None);
    let planned = migrate(&data, &config, &["--dry-run"]);
    assert!(planned["records"].as_u64().unwrap() > 1_200 && !data.join(MIGRATION).exists(), "{planned}");
    let moved = migrate(&data, &config, &[]);
    assert_eq!((&moved["equal"], &moved["records"]), (&Value::Bool(true), &planned["records"]), "{moved}");
    let topics = moved["topics"].as_array().unwrap();
    let records: u64 = topics.iter().map(|topic| topic["found"].as_u64().unwrap()).sum();
    assert_eq!(Some(records), moved["records"].as_u64());
    for compared in topics.iter().chain(moved["answers"].as_array().unwrap()) {
        assert_eq!(compared["digest_source"], compared["digest_target"], "{compared}");
    }
    assert_same(&before, &answers(&dir.path().join("there"), Some(&config)));
    assert_same(&before, &answers(&data, None));
    let again = run(&["migrate", "--to", text(&config), "--data", text(&data)]);
    assert_eq!(again.status.code(), Some(3));
    assert!(stderr(&again).contains("was moved to"), "{}", stderr(&again));
}

#[test]
fn a_deck_goes_on_after_a_move_as_if_there_had_been_none() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kafka), Some(postgres)) = (tapedeck_testbed::kafka(), tapedeck_testbed::postgres()) else { return };
    let prefix = format!("{}.", tapedeck_testbed::name("moved"));
    let file = dir.path().join("bars.csv");
    bars(&file, &["AAA", "BBB"], 1_500, 52);
    // About 10 s of it, so that there is a middle to stop in.
    let roles = format!(
        "[broker]\njoin_wait_ms = 60000\n\n[[sources]]\nid = \"bars\"\nkind = \"file\"\npath = {file:?}\nspeed = \
         \"9000x\"\n\n[[strategies]]\nid = \"sma\"\nkind = \"sma_crossover\"\nsession_id = \"s\"\nfast = 5\nslow = 15\n\n\
         [[sessions]]\nid = \"s\"\naccount = \"MOVED\"\nmarket_source = \"bars\"\n"
    );
    let here = dir.path().join("here.toml");
    fs::write(&here, &roles).unwrap();
    let there = cluster::config_of(dir.path(), "there", (&kafka, &prefix), &postgres, &roles);
    let (whole, half) = (dir.path().join("whole"), dir.path().join("half"));

    let fast = dir.path().join("fast.toml");
    fs::write(&fast, roles.replace("9000x", "max")).unwrap();
    let deck = Deck::start(&["up", "--config", text(&fast), "--data", text(&whole)]).unheard();
    let wanted = finished(&deck, None);
    assert_eq!(deck.terminate(), 0);

    let deck = Deck::start(&["up", "--config", text(&here), "--data", text(&half)]).unheard();
    eventually("a third of it", || (deck.all("/api/fills").len() > fills(&wanted) / 3).then_some(()));
    assert_eq!(deck.terminate(), 0);
    let stopped_at = answers(&half, None);
    assert!(fills(&stopped_at) < fills(&wanted), "it was over before it was stopped");

    assert_eq!(migrate(&half, &there, &[])["equal"], true);
    let deck = Deck::start(&["up", "--config", text(&there), "--data", text(&dir.path().join("there"))]).unheard();
    assert_same(&wanted, &finished(&deck, Some(fills(&wanted))));
    assert_eq!(deck.terminate(), 0);
    let (ours, theirs) = (EmbeddedLog::open(&whole, EmbeddedConfig::default()).unwrap(), log_of(&kafka, &prefix));
    for topic in TRADED {
        let ours = ids(&*ours, topic);
        assert!(ours.values().all(|times| *times == 1) && ours.len() > 20, "{topic}: {}", ours.len());
        assert_eq!(ours, ids(&*theirs, topic), "{topic}");
    }
}

/// What a deck answers once it has traded all of its file: no group has anything
/// before it, and nothing is added any more.
fn finished(deck: &Deck, fills: Option<usize>) -> Vec<(String, Value)> {
    let behind = |group: &Value| group["lag_records"].as_u64().unwrap_or(1);
    let state = || {
        let groups = deck.get("/api/admin/groups")["items"].as_array().unwrap().clone();
        let market = deck.get("/api/admin/topics")["items"].as_array().unwrap().clone();
        (groups.iter().map(behind).sum::<u64>(), deck.all("/api/fills").len(), market)
    };
    eventually("all to be traded", || {
        let (lag, found, topics) = state();
        let is_enough = fills.map_or(found > 20, |wanted| found >= wanted);
        // Lags are told once a second: two looks that far apart see the same.
        let stays = || {
            std::thread::sleep(Duration::from_secs(2));
            state() == (0, found, topics.clone())
        };
        (lag == 0 && is_enough && stays()).then_some(())
    });
    cluster::answers(deck)
}

fn fills(answers: &[(String, Value)]) -> usize {
    answers[0].1.as_array().unwrap().len()
}

#[test]
fn a_move_killed_at_any_stage_and_given_again_ends_as_if_nothing_had_happened() {
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = cluster::config(dir.path(), "killed", "") else { return };
    let data = filled(dir.path(), 400);
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    for file in fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        fs::copy(&file, other.join(file.file_name().unwrap())).unwrap();
    }
    let before = answers(&data, None);
    let mut dice = Dice::new(53);
    let mut kills = 0;
    for stage in ["copying the log", "copying the log", "copying the store", "comparing the store", "comparing the log"]
    {
        let mut child = tapedeck(&["migrate", "--to", text(&config), "--data", text(&data)])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said: Vec<String> = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map(|line| line.unwrap())
            .inspect(|line| assert!(!line.starts_with("error"), "{line}"))
            .take_while(|line| !line.contains(stage))
            .collect();
        // A random moment of the stage is what is tested here.
        std::thread::sleep(Duration::from_millis(dice.below(120)));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it had ended before {stage}: {said:?}");
        if stage != "copying the log" {
            // What is half there is nobody else's to add to.
            let refused = run(&["migrate", "--to", text(&config), "--data", text(&other)]);
            assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
            assert!(stderr(&refused).contains("not empty"), "{}", stderr(&refused));
        }
        refuse_to_start(&dir.path().join("there"), &config);
    }
    assert!(kills > 2, "{kills}");
    let moved = migrate(&data, &config, &[]);
    assert_eq!(moved["equal"], true, "{moved}");
    assert_same(&before, &answers(&dir.path().join("there"), Some(&config)));
}

/// Whoever starts on half of it, or adds to it, is told how to go on, and has changed nothing, as the move's end shows.
fn refuse_to_start(data: &Path, config: &Path) {
    let file = data.with_extension("ndjson");
    fs::write(&file, "{}\n").unwrap();
    let adds: [&[&str]; 4] = [
        &["up", "--roles", "api"],
        &["up", "--roles", "recorder,strategy,api"],
        &["produce", "exec.reports.v1", text(&file)],
        &["dlq", "replay", "--topic", "exec.reports.v1"],
    ];
    for adds in adds {
        let refused = run(&[adds, &["--config", text(config), "--data", text(data)]].concat());
        assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
        for words in ["half moved", "was begun at 20", "tapedeck migrate --to", "give it up"] {
            assert!(stderr(&refused).contains(words), "{words}: {}", stderr(&refused));
        }
    }
}

/// A config of the same log with another store, or of the same store with another log.
fn other_half(dir: &Path, name: &str, config: &Path, from: &str, to: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, fs::read_to_string(config).unwrap().replace(from, to)).unwrap();
    path
}

#[test]
fn either_half_of_an_unfinished_move_is_refused_alone() {
    let dir = tempfile::tempdir().unwrap();
    let Some(config) = cluster::config(dir.path(), "halves", "") else { return };
    let data = filled(dir.path(), 200);
    let mut child = tapedeck(&["migrate", "--to", text(&config), "--data", text(&data)])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("copying the log")));
    child.kill().unwrap();
    child.wait().unwrap();
    let log_alone = other_half(dir.path(), "log.toml", &config, "\"postgres\"", "\"sqlite\"");
    refuse_to_start(&dir.path().join("log"), &log_alone);
    let store_alone = other_half(dir.path(), "store.toml", &config, "\"kafka\"", "\"embedded\"");
    refuse_to_start(&dir.path().join("store"), &store_alone);
    assert_eq!(migrate(&data, &config, &[])["equal"], true);
    answers(&dir.path().join("there"), Some(&config));
}

#[test]
fn a_target_that_cannot_take_a_move_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (Some(kafka), Some(postgres)) = (tapedeck_testbed::kafka(), tapedeck_testbed::postgres()) else { return };
    let data = filled(dir.path(), 200);
    let refused = |what: &str, prefix: &str, postgres: &str| {
        let log = log_of(&kafka, prefix);
        let before = log.topics().unwrap();
        let config = cluster::config_of(dir.path(), "refused", (&kafka, prefix), postgres, "");
        for dry_run in [&["--dry-run"][..], &[]] {
            let args = [&["migrate", "--to", text(&config), "--data", text(&data)][..], dry_run].concat();
            let output = run(&args);
            assert!(matches!(output.status.code(), Some(1 | 3)), "{what}: {}", stderr(&output));
            assert!(stderr(&output).contains(what), "{what}: {}", stderr(&output));
            assert_eq!(log.topics().unwrap(), before, "{what}");
            assert!(!data.join(MIGRATION).exists(), "{what}");
        }
    };
    let prefix = || format!("{}.", tapedeck_testbed::name("refused"));
    let topic = |name: &str, partitions| TopicConfig {
        name: name.into(),
        partitions,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };

    let with_records = prefix();
    let log = log_of(&kafka, &with_records);
    log.create_topics(&[topic("alerts.v1", Catalogue::get().topic("alerts.v1").unwrap().partitions)]).unwrap();
    let record = Record {
        topic: "alerts.v1".into(),
        partition: Some(0),
        key: None,
        value: Some("theirs".into()),
        headers: Headers::new(),
        timestamp_ms: None,
    };
    log.append(vec![record]).unwrap();
    refused("alerts.v1/0 holds 1 offsets", &with_records, &postgres);

    let with_partitions = prefix();
    log_of(&kafka, &with_partitions).create_topics(&[topic(MARKET, 2)]).unwrap();
    refused("market-data-updates has 2 partitions on the target", &with_partitions, &postgres);

    let guest = tapedeck_testbed::without_rights(&postgres);
    refused("CREATE SCHEMA", &prefix(), &guest);

    // Another folder moves into that database, and this one is given its schema.
    fs::create_dir(dir.path().join("other")).unwrap();
    let other = filled(&dir.path().join("other"), 200);
    let taken = cluster::config_of(dir.path(), "taken", (&kafka, &prefix()), &postgres, "");
    assert_eq!(migrate(&other, &taken, &[])["equal"], true);
    refused("the target's store is not empty", &prefix(), &postgres);
}
