//! Servers that all tests of a run share, found by `scripts/servers.sh`.
//!
//! Not here: servers that a test may break.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{Timescale, scripts};

/// Bootstrap address of one broker. Tests take a prefix of their own: [`name`].
#[must_use]
pub fn kafka() -> Option<String> {
    shared("Kafka", "TAPEDECK_TEST_KAFKA")
}

/// Bootstrap addresses of three brokers: replication 3 is possible.
#[must_use]
pub fn kafka_of_three() -> Option<String> {
    shared("Kafka of three brokers", "TAPEDECK_TEST_KAFKA3")
}

/// URL of a new, empty database on a PostgreSQL that others use too; its user may do all.
#[must_use]
pub fn postgres() -> Option<String> {
    let server = shared("PostgreSQL", "TAPEDECK_TEST_POSTGRES")?;
    Some(scripts::run("postgres.sh", &["database".as_ref(), server.as_ref(), name("t").as_ref()]))
}

/// URL of the same database for a new user, who may connect and make nothing.
#[must_use]
pub fn without_rights(postgres: &str) -> String {
    scripts::run("postgres.sh", &["guest".as_ref(), postgres.as_ref(), name("guest").as_ref()])
}

/// URL of a schema registry, with its path: subjects want names of their own.
#[must_use]
pub fn registry() -> Option<String> {
    shared("schema registry", "TAPEDECK_TEST_REGISTRY")
}

/// A TimescaleDB of the test's own.
#[must_use]
pub fn timescale() -> Option<Timescale> {
    Timescale::start()
}

/// A name that no other call gets, in no other run either: `what`, an underline, and
/// lower-case letters and digits, fit for topics, groups, databases and schemas.
#[must_use]
pub fn name(what: &str) -> String {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    format!("{what}_{since:x}_{:x}_{:x}", process::id(), TAKEN.fetch_add(1, Ordering::Relaxed))
}

fn shared(what: &str, variable: &str) -> Option<String> {
    scripts::variable(variable).or_else(|| {
        scripts::skip(what, &format!("{variable} is not set; `scripts/servers.sh run cargo test …` starts one"))
    })
}
