//! Questions about groups while their coordinators move from broker to broker.
//!
//! Not here: members of groups, and anything under load.

use std::sync::Arc;

use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{GroupOffset, Log as _, TopicConfig, TopicPartition};
use tapedeck_testbed::{Cluster, until};

const BROKERS: u32 = 3;
/// Enough that each broker coordinates some.
const GROUPS: u64 = 8;

fn connect(cluster: &Cluster) -> Arc<KafkaLog> {
    let config = KafkaConfig {
        bootstrap_servers: cluster.bootstrap().to_owned(),
        request_timeout_ms: 4_000,
        ..KafkaConfig::default()
    };
    until("the cluster", || KafkaLog::connect(&config).ok())
}

/// What group `n` has committed.
fn offset(n: u64) -> GroupOffset {
    GroupOffset { partition: TopicPartition::new(Arc::from("read"), 0), next: n }
}

/// Groups that have committed, each another offset.
fn groups_with_offsets(log: &KafkaLog) {
    let topic = TopicConfig {
        name: "read".into(),
        partitions: 1,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };
    until("a topic", || log.create_topics(std::slice::from_ref(&topic)).ok());
    for n in 0..GROUPS {
        until("offsets of a group", || log.reset_offsets(&format!("group-{n}"), &[offset(n)]).ok());
    }
}

/// Waits until what each group has committed is answered.
fn all_answer(log: &KafkaLog) {
    for n in 0..GROUPS {
        let answered = until("a group's offsets", || log.committed(&format!("group-{n}")).ok());
        assert_eq!(answered, [offset(n)], "group-{n}");
    }
}

#[test]
fn a_broker_that_lives_and_is_no_longer_the_coordinator_is_asked_no_more() {
    let Some(cluster) = Cluster::start(BROKERS) else { return };
    let log = connect(&cluster);
    groups_with_offsets(&log);
    for broker in 1..=BROKERS {
        all_answer(&log);
        // It has been away for so long that others coordinate its groups when it awakes,
        // and its connections are still open.
        cluster.pause(broker);
        all_answer(&connect(&cluster));
        cluster.resume(broker);
        all_answer(&log);
    }
}

#[test]
fn while_a_broker_is_dead_its_groups_are_answered_for_by_the_others() {
    let Some(cluster) = Cluster::start(BROKERS) else { return };
    let log = connect(&cluster);
    groups_with_offsets(&log);
    for broker in 1..=BROKERS {
        all_answer(&log);
        cluster.kill(broker);
        // Once the cluster has given it up, so does librdkafka when it hears of topics.
        all_answer(&connect(&cluster));
        until("the topics", || log.topics().ok());
        all_answer(&log);
        cluster.start_again(broker);
    }
}
