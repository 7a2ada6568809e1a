//! Failures of brokers and of members under load: nothing that was promised is
//! lost, nothing is visible twice. Recovery times are printed (`--nocapture`).
//!
//! Not here: kills of our own process at its boundaries (`kills`), which need no
//! cluster. The long form (`make soak`) sets `TAPEDECK_TEST_LONG`.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![allow(clippy::print_stdout, reason = "recovery times are what a reader wants to see")]

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use common::rehearsal::{Rehearsal, sized};
use tapedeck_testbed::Cluster;

mod common;

/// Three brokers and a deck fill a small machine: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The log on these brokers; sessions are short, so that a dead member is soon replaced.
fn on_kafka(bootstrap: &str, replication: &str) -> String {
    format!(
        "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\nreplication = \"{replication}\"\n\
         session_timeout_ms = 3000\n"
    )
}

/// One broker after the other is killed, so that the leader of each partition was,
/// and comes back.
fn each_broker_killed_and_back(replication: &str) {
    let _alone = alone();
    let Some(cluster) = Cluster::start(3) else { return };
    let mut load = Rehearsal::start(&on_kafka(cluster.bootstrap(), replication), &[]);
    for round in 0..sized(1, 5) {
        for broker in 1..=3 {
            cluster.kill(broker);
            load.recovers(&format!("replication {replication}, round {round}, broker {broker} killed"));
            cluster.start_again(broker);
            load.recovers(&format!("replication {replication}, round {round}, broker {broker} back"));
        }
    }
    load.verdict();
}

#[test]
fn each_broker_killed_and_back_loses_nothing_with_three_replicas() {
    each_broker_killed_and_back("3");
}

#[test]
fn each_broker_killed_and_back_loses_nothing_with_two_replicas() {
    each_broker_killed_and_back("2");
}

#[test]
fn with_all_brokers_stopped_the_spool_takes_over_and_nothing_is_lost() {
    let _alone = alone();
    let Some(cluster) = Cluster::start(3) else { return };
    let mut load = Rehearsal::start(&on_kafka(cluster.bootstrap(), "3"), &[]);
    cluster.stop_all();
    let before = load.spooled();
    // The outage itself, long enough that batches fail and the spool takes over.
    thread::sleep(Duration::from_secs(sized(8, 60)));
    let after = load.spooled();
    let goes_on = |(key, n): (&String, &u64)| after[key] > *n;
    assert!(before.iter().all(goes_on), "posts with ack=spool did not go on: {before:?}, then {after:?}; {}", load.said());
    cluster.start_all();
    load.recovers("all brokers back");
    load.verdict();
}
