//! Kafka does what every log must do: each case on one broker, and all of them
//! once more on three with every record on each.
//!
//! Not here: what only Kafka does. Where the servers cannot be had, that is printed.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

mod sweep;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
};

use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::conformance;
use tapedeck_testbed as testbed;

/// The case that waits until a member that does nothing has lost its seat. The
/// others keep theirs while a busy broker takes its time.
const WAITS_FOR_A_SESSION: &str = "a_stalled_member_is_fenced";

fn config(bootstrap: String, case: &str) -> KafkaConfig {
    let (session_timeout_ms, max_poll_interval_ms) =
        if case == WAITS_FOR_A_SESSION { (1_000, 2_000) } else { (10_000, 300_000) };
    KafkaConfig {
        bootstrap_servers: bootstrap,
        prefix: format!("{}.", testbed::name("conformance")),
        session_timeout_ms,
        max_poll_interval_ms,
        topic_properties: BTreeMap::from(sweep::TOPIC_PROPERTIES.map(|(key, value)| (key.into(), value.into()))),
        // Brokers of a busy machine take their time.
        delivery_timeout_ms: 30_000,
        request_timeout_ms: 30_000,
        ..KafkaConfig::default()
    }
}

fn subject(bootstrap: String, case: &str) -> conformance::Subject {
    let config = config(bootstrap, case);
    let open: Arc<Mutex<Weak<KafkaLog>>> = Arc::default();
    let opened = Arc::clone(&open);
    let sweeper = sweep::Sweeper::new(&config);
    conformance::Subject {
        open: Box::new(move || {
            let log = KafkaLog::connect(&config).unwrap();
            *opened.lock().unwrap() = Arc::downgrade(&log);
            log
        }),
        sweep: Box::new(move |now_ms| sweeper.sweep(&open.lock().unwrap().upgrade().unwrap(), now_ms)),
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            if let Some(bootstrap) = testbed::kafka() {
                conformance::run(stringify!($name), &subject(bootstrap, stringify!($name)));
            }
        })*

        #[test]
        fn every_case_is_run_by_its_name() {
            let names: Vec<_> = conformance::CASES.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

cases! {
    records_of_a_key_keep_their_order
    a_record_comes_back_as_it_was_written
    acknowledged_records_are_there_after_a_reopen
    a_key_goes_to_the_partition_that_kafka_gives_it
    a_record_for_nowhere_is_named
    a_time_finds_its_offset
    a_poll_respects_its_limits_and_serves_all
    a_waiting_reader_gets_what_is_written
    a_topic_keeps_its_number_of_partitions
    a_lone_member_owns_all_and_goes_on_where_it_was
    members_share_and_none_gets_what_another_has
    what_a_member_leaves_goes_to_the_others
    a_stalled_member_is_fenced
    a_step_is_seen_whole_or_not_at_all
    paused_partitions_bring_nothing_until_resumed
    a_seek_moves_the_place
    offsets_of_a_group_with_members_cannot_be_reset
    a_seat_on_one_topic_commits_positions_of_others
    lag_counts_records_and_time
    old_records_go_and_reading_them_says_so
    a_partition_keeps_about_its_bytes
    compaction_keeps_the_newest_of_each_key
    a_position_moves_over_compacted_offsets
}

#[test]
fn three_brokers_with_three_copies_do_the_same() {
    if let Some(bootstrap) = testbed::kafka_of_three() {
        for (case, _) in conformance::CASES {
            conformance::run(case, &subject(bootstrap.clone(), case));
        }
    }
}
