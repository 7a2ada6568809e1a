//! Topics and groups on real brokers: made, changed, added to, deleted, and never
//! more than was asked for.
//!
//! Not here: what goes through them.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    GroupOffset, Headers, Log as _, LogError, Record, Replication, TopicConfig, TopicInfo, TopicPartition,
};
use tapedeck_testbed as testbed;

fn config(bootstrap: String) -> KafkaConfig {
    KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("topics")),
        // Brokers of a busy machine take their time.
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        ..KafkaConfig::default()
    }
}

fn topic(name: &str, partitions: u32) -> TopicConfig {
    TopicConfig { name: name.into(), partitions, retention: None, retention_bytes: None, delete: true, compact: false }
}

fn record(topic: &str, partition: u32) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"k")),
        value: Some(Bytes::from_static(b"v")),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn found(log: &KafkaLog, name: &str) -> Option<TopicInfo> {
    log.topics().unwrap().into_iter().find(|info| &*info.config.name == name)
}

fn fatal<T>(result: tapedeck_log::Result<T>) -> String {
    match result {
        Err(LogError::Fatal(text)) => text,
        Err(other) => panic!("not fatal: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

/// A topic's properties, by a client that is not ours.
fn properties(config: &KafkaConfig, topic: &str) -> BTreeMap<String, Option<String>> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &config.bootstrap_servers).create().unwrap();
    let name = format!("{}{topic}", config.prefix);
    let wanted = [ResourceSpecifier::Topic(&name)];
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(30)));
    let answers = futures_executor::block_on(admin.describe_configs(&wanted, &options)).unwrap();
    let resource = answers.into_iter().next().unwrap().unwrap();
    resource.entries.into_iter().map(|entry| (entry.name, entry.value)).collect()
}

#[test]
fn retention_and_clean_up_follow_the_config_and_nothing_else_is_touched() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let topic_properties = [("segment.ms".to_owned(), "3600000".to_owned())].into();
    let config = KafkaConfig { topic_properties, ..config(bootstrap) };
    let log = KafkaLog::connect(&config).unwrap();
    let day = TopicConfig { retention: Some(Duration::from_secs(86_400)), ..topic("aged", 3) };
    log.create_topics(std::slice::from_ref(&day)).unwrap();
    assert_eq!(found(&log, "aged").unwrap().config, day);
    // As somebody else made it: with a segment size of its own.
    let both = TopicConfig { compact: true, retention: None, retention_bytes: Some(1 << 20), ..day };
    let other = KafkaConfig { topic_properties: BTreeMap::new(), ..config.clone() };
    let log = KafkaLog::connect(&other).unwrap();
    log.create_topics(std::slice::from_ref(&both)).unwrap();
    testbed::until("the change is known", || (found(&log, "aged")?.config == both).then_some(()));
    let now = properties(&config, "aged");
    assert_eq!(now["segment.ms"].as_deref(), Some("3600000"), "what was not named stays");
    assert_eq!(now["retention.ms"].as_deref(), Some("-1"));
}

#[test]
fn another_number_of_partitions_stops_everything_before_anything_is_done() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("two", 2), topic("four", 4)]).unwrap();
    let text = fatal(log.create_topics(&[topic("new", 1), topic("two", 3)]));
    assert!(text.contains("has 2 partitions and should have 3") && text.contains("adds partitions"), "{text}");
    let text = fatal(log.create_topics(&[topic("new", 1), topic("four", 3)]));
    assert!(text.contains("has 4 partitions and should have 3") && text.contains("takes no partitions away"), "{text}");
    assert!(found(&log, "new").is_none());
}

#[test]
fn more_copies_than_brokers_are_refused_and_nothing_is_made() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&KafkaConfig { replication: "2".into(), ..config(bootstrap) }).unwrap();
    for text in [fatal(log.create_topics(&[topic("copied", 1)])), fatal(log.wanted_replication())] {
        assert!(text.contains("kafka.replication is 2") && text.contains("has 1 broker that is up"), "{text}");
    }
    assert!(found(&log, "copied").is_none());
}

#[test]
fn three_brokers_keep_three_copies_or_as_many_as_are_asked_for() {
    let Some(bootstrap) = testbed::kafka_of_three() else { return };
    for (replication, expected) in
        [("auto", Replication { factor: 3, min_in_sync: 2 }), ("2", Replication { factor: 2, min_in_sync: 1 })]
    {
        let log =
            KafkaLog::connect(&KafkaConfig { replication: replication.into(), ..config(bootstrap.clone()) }).unwrap();
        assert_eq!(log.wanted_replication().unwrap(), Some(expected));
        log.create_topics(&[topic("copied", 3)]).unwrap();
        assert_eq!(found(&log, "copied").unwrap().replication, Some(expected));
        log.append((0..3).map(|partition| record("copied", partition)).collect()).unwrap();
    }
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("grown", 2)]).unwrap();
    let beyond = || log.append(vec![record("grown", 2)]);
    assert!(matches!(beyond(), Err(LogError::Poison { index: 0, .. })));
    log.add_partitions("grown", 3).unwrap();
    log.add_partitions("grown", 3).unwrap();
    assert_eq!(beyond().unwrap()[0].partition, 2);
    assert_eq!(found(&log, "grown").unwrap().config.partitions, 3);
    assert!(fatal(log.add_partitions("grown", 2)).contains("takes none away"));
    assert!(fatal(log.add_partitions("nowhere", 2)).contains("no topic `nowhere`"));
}

#[test]
fn topics_are_deleted_all_or_none() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("one", 1), topic("two", 1)]).unwrap();
    assert!(fatal(log.delete_topics(&["one".into(), "nowhere".into()])).contains("nothing was deleted"));
    assert!(found(&log, "one").is_some());
    log.delete_topics(&["one".into(), "two".into()]).unwrap();
    assert!(log.topics().unwrap().is_empty());
    assert!(log.bounds(&TopicPartition::new("one", 0)).is_err());
}

#[test]
fn decks_with_other_prefixes_share_a_cluster_and_see_nothing_of_each_other() {
    let Some(bootstrap) = testbed::kafka() else { return };
    let logs = [KafkaLog::connect(&config(bootstrap.clone())).unwrap(), KafkaLog::connect(&config(bootstrap)).unwrap()];
    for (partitions, log) in (1..).zip(&logs) {
        log.create_topics(&[topic("same", partitions)]).unwrap();
        log.append(vec![record("same", 0); partitions as usize]).unwrap();
        let next = u64::from(partitions);
        log.reset_offsets("group", &[GroupOffset { partition: TopicPartition::new("same", 0), next }]).unwrap();
    }
    for (partitions, log) in (1..).zip(&logs) {
        let topics = log.topics().unwrap();
        assert_eq!(
            topics.iter().map(|info| (&*info.config.name, info.config.partitions)).collect::<Vec<_>>(),
            [("same", partitions)]
        );
        assert_eq!(topics[0].partitions[0].end, u64::from(partitions));
        let groups = log.groups().unwrap();
        assert_eq!(
            groups.iter().map(|info| (&*info.group, info.offsets[0].next)).collect::<Vec<_>>(),
            [("group", u64::from(partitions))]
        );
    }
}

#[test]
fn the_ends_of_many_partitions_are_told_at_once() {
    let Some(bootstrap) = testbed::kafka_of_three() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    let names: Vec<Arc<str>> = (0..25).map(|n| format!("t{n:02}").into()).collect();
    log.create_topics(&names.iter().map(|name| topic(name, 6)).collect::<Vec<_>>()).unwrap();
    let records = names.iter().enumerate().flat_map(|(n, name)| vec![record(name, n as u32 % 6); n]).collect();
    log.append(records).unwrap();
    let topics = log.topics().unwrap();
    assert_eq!(topics.iter().map(|info| &info.config.name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    for (n, info) in topics.iter().enumerate() {
        let ends: Vec<_> = info.partitions.iter().map(|it| (it.start, it.end)).collect();
        let expected: Vec<_> = (0..6).map(|it| (0, if it == n % 6 { n as u64 } else { 0 })).collect();
        assert_eq!(ends, expected, "{}", info.config.name);
    }
}

#[test]
fn figures_tell_how_each_broker_does() {
    let Some(bootstrap) = testbed::kafka_of_three() else { return };
    let log = KafkaLog::connect(&config(bootstrap)).unwrap();
    log.create_topics(&[topic("told", 3)]).unwrap();
    log.append((0..3).map(|partition| record("told", partition)).collect()).unwrap();
    testbed::until("statistics came", || {
        let figures = log.figures();
        let sum = |name: &str| figures.iter().filter(|it| it.name == name).map(|it| it.value).sum::<f64>();
        (sum("kafka_broker_up") >= 3.0 && sum("kafka_produced_records") >= 3.0).then_some(())
    });
}
