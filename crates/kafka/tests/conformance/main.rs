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
        if case == WAITS_FOR_A_SESSION { (6_000, 6_000) } else { (10_000, 300_000) };
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
    };
}

tapedeck_log::each_case!(cases);

#[test]
fn three_brokers_with_three_copies_do_the_same() {
    if let Some(bootstrap) = testbed::kafka_of_three() {
        for (case, _) in conformance::CASES {
            conformance::run(case, &subject(bootstrap.clone(), case));
        }
    }
}
