//! The conformance suite on PostgreSQL, and again on TimescaleDB.
//!
//! Not here: what only PostgreSQL has (its connections, its rights, its crashes).
#![expect(clippy::print_stdout, reason = "what ran where is printed")]

use std::{cell::Cell, sync::Arc};

use tapedeck_store::{PostgresConfig, PostgresStore, Store, conformance};

use self::postgres_servers::{on_postgres, on_timescale};

mod postgres_servers;

/// Runs the suite, each behaviour in a schema of its own; each opening is a restart on it.
fn run_all(server: &str, config: &PostgresConfig) {
    let opened = Cell::new(0);
    for (name, behaviour) in conformance::ALL {
        let schema = tapedeck_testbed::name("suite");
        behaviour(&|| -> Arc<dyn Store> {
            opened.set(opened.get() + 1);
            let config = PostgresConfig { schema: schema.clone(), ..config.clone() };
            PostgresStore::open(&config).unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        println!("{server}: {name}");
    }
    assert!(opened.get() >= conformance::ALL.len());
    println!("{server}: {} behaviours of {} hold", conformance::ALL.len(), conformance::ALL.len());
}

#[test]
fn the_suite_holds_on_postgresql() {
    let Some(config) = on_postgres() else { return };
    run_all("PostgreSQL with COPY", &config);
}

#[test]
fn the_suite_holds_on_postgresql_over_one_connection_and_without_copy() {
    let Some(config) = on_postgres() else { return };
    let config = PostgresConfig { bulk: "arrays".into(), read_connections: 0, ..config };
    run_all("PostgreSQL with arrays, one connection", &config);
}

#[test]
fn the_suite_holds_on_timescaledb() {
    let Some((_server, config)) = on_timescale() else { return };
    run_all("TimescaleDB", &config);
}
