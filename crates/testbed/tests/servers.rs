//! Servers of a test's own start, break as told and come back where they were.
//!
//! Not here: the proxy; what our clients make of it.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
};

use tapedeck_testbed::{Cluster, Postgres, Timescale, name, postgres, until};

fn listens(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_cluster_loses_and_regains_brokers_at_their_addresses() {
    let Some(cluster) = Cluster::start(3) else { return };
    let addresses: Vec<String> = (1..=3).map(|broker| cluster.address(broker)).collect();
    assert_eq!(cluster.bootstrap(), addresses.join(","));
    cluster.kill(2);
    assert!(!listens(&addresses[1]) && listens(&addresses[2]));
    cluster.start_again(2);
    cluster.pause(3);
    cluster.resume(3);
    cluster.stop_all();
    assert!(addresses.iter().all(|address| !listens(address)));
    cluster.start_all();
    assert!(addresses.iter().all(|address| listens(address)));
    drop(cluster);
    assert!(addresses.iter().all(|address| !listens(address)));
}

#[test]
fn a_secured_cluster_says_its_listeners_and_secrets() {
    let Some(cluster) = Cluster::start_secure() else { return };
    assert_eq!(cluster.bootstrap(), cluster.secret("SASL_SSL"));
    for listener in ["SASL_SSL", "SSL", "TLS", "SASL", "INTERNAL"] {
        assert!(listens(&cluster.secret(listener)), "{listener}");
    }
    let pem = std::fs::read_to_string(cluster.secret("EXPIRED_CERTIFICATE_FILE")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_ne!(cluster.secret("ADMIN_PASSWORD"), cluster.secret("DECK_PASSWORD"));
}

#[test]
fn brokers_behind_proxies_are_reached_through_them() {
    let Some(cluster) = Cluster::start_behind_proxies(1) else { return };
    assert_eq!(cluster.bootstrap(), cluster.proxy(1).address());
    assert_ne!(cluster.bootstrap(), cluster.address(1));
    // ApiVersions, version 0: length, key 18, version, correlation id, no client id.
    let mut stream = TcpStream::connect(cluster.bootstrap()).unwrap();
    stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).unwrap();
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[4..], [0, 0, 0, 7], "the answer to our question");
}

/// A PostgreSQL server answers a request for TLS with one letter.
fn answers(address: &str, letter: u8) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    (answer[0] == letter).then_some(())
}

#[test]
fn a_killed_postgresql_comes_back_at_its_address() {
    let Some(server) = Postgres::start() else { return };
    let address = server.address().to_owned();
    answers(&address, b'S').expect("it speaks TLS");
    assert!(server.ca_file().is_file());
    server.kill();
    assert!(!listens(&address));
    server.start_again();
    until("PostgreSQL answers again", || answers(&address, b'S'));
    server.stop();
    assert!(!listens(&address));
}

#[test]
fn a_timescaledb_answers_and_ends_with_the_test() {
    let Some(server) = Timescale::start() else { return };
    let address = server.url.split(['@', '/']).nth(3).unwrap().to_owned();
    answers(&address, b'N').expect("it speaks no TLS");
    drop(server);
    assert!(!listens(&address));
}

#[test]
fn each_call_gets_a_database_of_its_own() {
    let (Some(one), Some(other)) = (postgres(), postgres()) else { return };
    assert_ne!(one, other);
}

#[test]
fn no_name_is_given_twice_and_each_can_name_a_topic_or_a_database() {
    let names: HashSet<String> = (0..1000).map(|_| name("orders")).collect();
    assert_eq!(names.len(), 1000);
    let fit = |name: &String| name.len() < 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    assert!(names.iter().all(fit));
}
