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

use common::{
    eventually,
    rehearsal::{Rehearsal, sized},
};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_testbed::{Cluster, kafka_of_three, postgres};
use tempfile::NamedTempFile;

mod common;

/// Three brokers and a deck fill a small machine: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A dead member is soon replaced; and each death of a broker costs the seats that it
/// kept, since the cluster takes longer to put another in its place.
const SHORT_SESSION_MS: u32 = 3_000;
/// Seats outlast the death of the broker that keeps them, as with the default.
const LONG_SESSION_MS: u32 = 20_000;

/// The log on these brokers.
fn on_kafka(bootstrap: &str, replication: &str, session_ms: u32) -> String {
    format!(
        "[log]\nkind = \"kafka\"\n[kafka]\nbootstrap_servers = \"{bootstrap}\"\nreplication = \"{replication}\"\n\
         session_timeout_ms = {session_ms}\n"
    )
}

/// One broker after the other is killed, so that the leader of each partition was,
/// and comes back.
fn each_broker_killed_and_back(replication: &str, session_ms: u32) {
    let _alone = alone();
    let Some(cluster) = Cluster::start(3) else { return };
    let bootstrap_servers = cluster.bootstrap().to_owned();
    let log = KafkaLog::connect(&KafkaConfig { bootstrap_servers, ..KafkaConfig::default() }).unwrap();
    let mut load = Rehearsal::start(&on_kafka(cluster.bootstrap(), replication, session_ms), &[]);
    for round in 0..sized(1, 5) {
        for broker in 1..=3 {
            cluster.kill(broker);
            load.recovers(&format!("replication {replication}, round {round}, broker {broker} killed"));
            cluster.start_again(broker);
            load.recovers(&format!("replication {replication}, round {round}, broker {broker} back"));
            // The next one may go once this one has all that it missed.
            eventually("all copies to be in sync", || (log.out_of_sync().ok()? == 0).then_some(()));
        }
    }
    load.verdict();
}

#[test]
fn each_broker_killed_and_back_loses_nothing_with_three_replicas() {
    each_broker_killed_and_back("3", LONG_SESSION_MS);
}

#[test]
fn each_broker_killed_and_back_loses_nothing_with_two_replicas() {
    each_broker_killed_and_back("2", SHORT_SESSION_MS);
}

#[test]
fn with_all_brokers_stopped_the_spool_takes_over_and_nothing_is_lost() {
    let _alone = alone();
    let Some(cluster) = Cluster::start(3) else { return };
    let mut load = Rehearsal::start(&on_kafka(cluster.bootstrap(), "3", SHORT_SESSION_MS), &[]);
    cluster.stop_all();
    let before = load.spooled();
    // The outage itself, long enough that batches fail and the spool takes over.
    thread::sleep(Duration::from_secs(sized(8, 60)));
    let after = load.spooled();
    let goes_on = |(key, n): (&String, &u64)| after[key] > *n;
    assert!(
        before.iter().all(goes_on),
        "posts with ack=spool did not go on: {before:?}, then {after:?}; {}",
        load.said()
    );
    cluster.start_all();
    load.recovers("all brokers back");
    load.verdict();
}

/// Log and store on servers that several recorders share, and the file with the
/// password that the config refers to.
fn on_kafka_and_postgres() -> Option<(String, NamedTempFile)> {
    let (kafka, url) = (kafka_of_three()?, postgres()?);
    let (who, at) = url.split_once('@').unwrap();
    let (scheme_and_user, password) = who.rsplit_once(':').unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), password).unwrap();
    let postgres = format!("url = \"{scheme_and_user}@{at}\"\npassword = \"file:{}\"\n", file.path().display());
    Some((
        format!("{}[store]\nkind = \"postgres\"\n[postgres]\n{postgres}", on_kafka(&kafka, "3", SHORT_SESSION_MS)),
        file,
    ))
}

#[test]
fn recorders_that_join_and_leave_lose_nothing_and_write_nothing_twice() {
    let _alone = alone();
    let Some((config, _password)) = on_kafka_and_postgres() else { return };
    let mut load = Rehearsal::start(&config, &["--no-trading"]);
    for turn in 0..sized(2, 25) {
        let second = load.second("recorder");
        eventually("two recorders to share the partitions", || (load.recorders_at_work() == Some(2)).then_some(()));
        load.recovers(&format!("turn {turn}, a second recorder joined"));
        // One leaves in order, the next one does not.
        if turn % 2 == 0 {
            second.leave()
        } else {
            second.kill()
        }
        eventually("one recorder to own all partitions", || (load.recorders_at_work() == Some(1)).then_some(()));
        load.recovers(&format!("turn {turn}, it left"));
    }
    load.verdict();
}

#[test]
fn a_recorder_that_was_stopped_past_its_session_shows_nothing_late() {
    let _alone = alone();
    let Some((config, _password)) = on_kafka_and_postgres() else { return };
    let mut load = Rehearsal::start(&config, &["--no-trading"]);
    for turn in 0..sized(1, 10) {
        let mut second = load.second("recorder");
        eventually("two recorders to share the partitions", || (load.recorders_at_work() == Some(2)).then_some(()));
        load.recovers(&format!("turn {turn}, a second recorder joined"));
        second.pause();
        eventually("the other recorder to own all partitions", || (load.recorders_at_work() == Some(1)).then_some(()));
        load.recovers(&format!("turn {turn}, it was stopped where it stood, and its session is over"));
        second.resume();
        eventually("the awakened one to own partitions again", || (load.recorders_at_work() == Some(2)).then_some(()));
        assert!(second.lives());
        load.recovers(&format!("turn {turn}, it awoke"));
        second.leave();
    }
    load.verdict();
}
