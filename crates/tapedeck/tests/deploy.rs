//! The files under `deploy/` as far as parsers go: nothing of it is started here,
//! since that takes a container engine and a systemd.
//!
//! Not here: the servers themselves; the tests of log and store start real ones.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{collections::BTreeSet, fs, path::Path};

use saphyr::{LoadableYamlNode, Yaml};

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)).unwrap()
}

/// A key of a mapping; `<<` brings those of another one.
fn get<'a>(node: &'a Yaml<'a>, key: &str) -> Option<&'a Yaml<'a>> {
    node.as_mapping_get(key).or_else(|| node.as_mapping_get("<<").and_then(|merged| merged.as_mapping_get(key)))
}

fn text(node: &Yaml<'_>) -> String {
    node.as_str().map(str::to_owned).or_else(|| node.as_integer().map(|n| n.to_string())).unwrap()
}

fn names(node: &Yaml<'_>) -> BTreeSet<String> {
    node.as_mapping().unwrap().keys().map(text).collect()
}

#[test]
fn the_compose_file_is_yaml_whose_services_name_what_there_is() {
    let text_of_file = file("compose.yaml");
    let documents = Yaml::load_from_str(&text_of_file).unwrap();
    let compose = &documents[0];
    let services = get(compose, "services").unwrap();
    let all = names(services);
    let expected = ["console", "kafka-1", "kafka-2", "kafka-3", "redpanda", "timescaledb"];
    assert_eq!(all, expected.map(str::to_owned).into());
    let volumes = names(get(compose, "volumes").unwrap());
    for name in &all {
        let service = get(services, name).unwrap();
        let image = text(get(service, "image").unwrap());
        assert!(image.split_once(':').is_some_and(|(_, tag)| tag != "latest"), "{name}: {image} is not one version");
        let profiles = get(service, "profiles").unwrap().as_vec().unwrap();
        assert!(profiles.iter().all(|profile| ["redpanda", "kafka"].contains(&text(profile).as_str())));
        for port in get(service, "ports").and_then(|ports| ports.as_vec()).into_iter().flatten() {
            assert!(text(port).starts_with("127.0.0.1:"), "{name} can be reached from other machines");
        }
        for volume in get(service, "volumes").and_then(|volumes| volumes.as_vec()).into_iter().flatten() {
            let volume = text(volume);
            assert!(volumes.contains(volume.split(':').next().unwrap()), "{name}: {volume} is not declared");
        }
        if let Some(others) = get(service, "depends_on") {
            assert!(names(others).is_subset(&all), "{name} waits for nobody");
        }
    }
}

#[test]
fn three_brokers_of_the_compose_file_keep_three_copies_of_offsets_and_transactions() {
    let text_of_file = file("compose.yaml");
    let documents = Yaml::load_from_str(&text_of_file).unwrap();
    let services = get(&documents[0], "services").unwrap();
    let mut nodes = BTreeSet::new();
    for n in 1..=3 {
        let environment = get(get(services, &format!("kafka-{n}")).unwrap(), "environment").unwrap();
        let value = |key: &str| text(get(environment, key).unwrap_or_else(|| panic!("kafka-{n} has no {key}")));
        for key in [
            "DEFAULT_REPLICATION_FACTOR",
            "OFFSETS_TOPIC_REPLICATION_FACTOR",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
        ] {
            assert_eq!(value(&format!("KAFKA_{key}")), "3");
        }
        assert_eq!(
            (value("KAFKA_MIN_INSYNC_REPLICAS"), value("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR")),
            ("2".into(), "2".into())
        );
        assert_eq!(value("KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"), "false");
        nodes.insert(value("KAFKA_NODE_ID"));
        let outside = format!("OUTSIDE://127.0.0.1:2909{}", n + 1);
        assert!(value("KAFKA_ADVERTISED_LISTENERS").contains(&outside));
        assert!(text_of_file.lines().any(|line| line.contains("bootstrap_servers") && line.contains(&outside[10..])));
    }
    assert_eq!(nodes.len(), 3);
}

#[test]
fn the_unit_ends_in_order_and_does_not_start_again_what_cannot_work() {
    let unit = file("tapedeck.service");
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the unit has no {key}")).to_owned()
    };
    assert!(value("ExecStart").contains(" up ") && value("ExecStartPre").contains("config check"));
    // SIGTERM to the end takes 10 s at most.
    assert!(value("TimeoutStopSec").parse::<u64>().unwrap() > 10);
    assert_eq!((value("KillSignal"), value("RestartPreventExitStatus")), ("SIGTERM".into(), "2 3 4".into()));
}
