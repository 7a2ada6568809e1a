//! Real servers for tests: those that all tests of a run share, servers of a test's
//! own that it may break, and a TCP proxy that injects faults.
//!
//! A server that cannot be had is `None`, with a line on stderr that says what is
//! skipped and how to get it; with `TAPEDECK_TEST_SERVERS=required` it fails the test.
//! The scripts beside the crates start and end everything.
//!
//! Not here: what is tested on them.

mod proxy;
mod scripts;
mod servers;
mod shared;

use std::{
    thread,
    time::{Duration, Instant},
};

pub use proxy::{Fault, Proxy};
pub use servers::{Cluster, Postgres, Timescale};
pub use shared::{kafka, kafka_of_three, name, postgres, registry, timescale, without_rights};

/// Looks until there is what is waited for, and returns it. `what` names it where it
/// does not come: the test fails then, for a state that nothing leads to must not hang it.
///
/// # Panics
/// When there is nothing after two minutes: more than any state here takes on a
/// machine whose cores others hold.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "waited two minutes in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
