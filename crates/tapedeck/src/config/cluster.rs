//! What the sections of a cluster must be, and which keys of the embedded parts
//! do nothing beside them.
//!
//! Not here: whether the cluster is there.

use tapedeck_kafka::KafkaConfig;
use tapedeck_store::PostgresConfig;

use super::{Config, LogKind, StoreKind};

const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];
const CODECS: [&str; 5] = ["none", "lz4", "zstd", "snappy", "gzip"];
const TLS: [&str; 4] = ["disable", "prefer", "require", "verify"];
const TIMESCALE: [&str; 3] = ["auto", "yes", "no"];
const BULK: [&str; 2] = ["copy", "arrays"];
/// Kafka's own limit of a topic's name is 249 bytes; ours take up to 60 of them.
const PREFIX_BYTES: usize = 128;
/// PostgreSQL's limit of a name.
const SCHEMA_BYTES: usize = 63;

/// What is wrong, each text with its key first and its remedy.
pub(super) fn check(config: &Config) -> Vec<String> {
    let mut wrong = Vec::new();
    if config.log.kind == LogKind::Kafka {
        wrong.extend(kafka(&config.kafka_section));
        wrong.extend(kafka_ranges(&config.kafka_section));
    }
    if config.store.kind == StoreKind::Postgres {
        wrong.extend(postgres(&config.postgres_section));
    }
    wrong
}

/// Keys that were set and do nothing with the log and the store that were chosen.
pub(super) fn idle(config: &Config) -> Vec<String> {
    let of_embedded =
        [("log.compression", "kafka.compression"), ("log.session_timeout_ms", "kafka.session_timeout_ms")];
    let is_set = |key: &str| config.places.is_set(key);
    let mut idle = Vec::new();
    if config.log.kind == LogKind::Kafka {
        let set = of_embedded.iter().filter(|(key, _)| is_set(key));
        idle.extend(set.map(|(key, instead)| {
            format!("{key} is of the embedded log and does nothing with log.kind = \"kafka\": set {instead}, or leave it out")
        }));
    } else if is_set("kafka") {
        idle.push(
            "kafka does nothing with log.kind = \"embedded\": set log.kind = \"kafka\" to use the cluster".into(),
        );
    }
    if config.store.kind == StoreKind::Postgres {
        if is_set("store.busy_timeout_ms") {
            idle.push("store.busy_timeout_ms is of SQLite and does nothing with store.kind = \"postgres\": set postgres.statement_timeout_ms, or leave it out".into());
        }
    } else if is_set("postgres") {
        idle.push(
            "postgres does nothing with store.kind = \"sqlite\": set store.kind = \"postgres\" to use the server"
                .into(),
        );
    }
    idle
}

fn one_of(key: &str, value: &str, words: &[&str]) -> Option<String> {
    (!words.contains(&value)).then(|| format!("{key} is \"{value}\": it must be one of {}", words.join(", ")))
}

fn kafka(kafka: &KafkaConfig) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(one_of("kafka.security_protocol", &kafka.security_protocol, &PROTOCOLS));
    wrong.extend(one_of("kafka.sasl_mechanism", &kafka.sasl_mechanism, &MECHANISMS));
    wrong.extend(one_of("kafka.compression", &kafka.compression, &CODECS));
    for server in kafka.bootstrap_servers.split(',') {
        let is_address =
            |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0);
        if !server.trim().rsplit_once(':').is_some_and(is_address) {
            wrong.push(format!(
                "kafka.bootstrap_servers: `{server}` is no broker: expected host:port, such as kafka-1:9092"
            ));
        }
    }
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if kafka.prefix.len() > PREFIX_BYTES || !is_name(&kafka.prefix) {
        wrong.push(format!(
            "kafka.prefix is \"{}\": it must be at most {PREFIX_BYTES} letters, digits, `.`, `_` or `-`",
            kafka.prefix
        ));
    }
    if kafka.replication != "auto" && !kafka.replication.parse().is_ok_and(|factor: u32| (1..=32).contains(&factor)) {
        wrong.push(format!(
            "kafka.replication is \"{}\": it must be \"auto\" or a number of brokers, such as \"3\"",
            kafka.replication
        ));
    }
    if kafka.security_protocol.starts_with("sasl") {
        for (key, value) in
            [("kafka.sasl_username", &kafka.sasl_username), ("kafka.sasl_password", &kafka.sasl_password)]
        {
            if value.is_empty() {
                wrong.push(format!(
                    "{key} is empty: kafka.security_protocol = \"{}\" needs it",
                    kafka.security_protocol
                ));
            }
        }
    }
    if kafka.certificate_file.is_empty() != kafka.key_file.is_empty() {
        wrong.push("kafka.certificate_file and kafka.key_file belong together: give both, or neither".into());
    }
    let files =
        [("ca_file", &kafka.ca_file), ("certificate_file", &kafka.certificate_file), ("key_file", &kafka.key_file)];
    for (key, path) in files.into_iter().filter(|(_, path)| !path.is_empty()) {
        if kafka.security_protocol.ends_with("ssl") && !std::path::Path::new(path).is_file() {
            wrong.push(format!("kafka.{key} is \"{path}\", which is no file"));
        }
    }
    if kafka.max_poll_interval_ms < kafka.session_timeout_ms {
        wrong.push(format!(
            "kafka.max_poll_interval_ms is {}: it cannot be shorter than kafka.session_timeout_ms = {}",
            kafka.max_poll_interval_ms, kafka.session_timeout_ms
        ));
    }
    if kafka.linger_ms > kafka.delivery_timeout_ms {
        wrong.push(format!(
            "kafka.linger_ms is {}: a record would have failed (kafka.delivery_timeout_ms = {}) before it is sent",
            kafka.linger_ms, kafka.delivery_timeout_ms
        ));
    }
    wrong
}

fn kafka_ranges(kafka: &KafkaConfig) -> impl Iterator<Item = String> {
    const ANY: u64 = u64::MAX;
    let ranges = [
        ("linger_ms", kafka.linger_ms, 0, 1_000, "a record waits so long before it is sent"),
        ("batch_bytes", kafka.batch_bytes, 1_024, 1 << 30, "a request holds some records"),
        ("queue_bytes", kafka.queue_bytes, 1 << 20, 2 << 30, "it holds what waits for a broker, in memory"),
        ("fetch_bytes", kafka.fetch_bytes, 1 << 20, 1 << 30, "it holds what is read ahead, in memory"),
        (
            "delivery_timeout_ms",
            kafka.delivery_timeout_ms,
            100,
            600_000,
            "a broker needs some time, and waiting must end",
        ),
        ("session_timeout_ms", kafka.session_timeout_ms, 500, 1_800_000, "a seat is kept between two heartbeats"),
        ("max_poll_interval_ms", kafka.max_poll_interval_ms, 1_000, 86_400_000, "a batch is handled between two polls"),
        (
            "transaction_timeout_ms",
            kafka.transaction_timeout_ms,
            1_000,
            900_000,
            "brokers take no longer ones, and others wait for it",
        ),
        ("request_timeout_ms", kafka.request_timeout_ms, 100, ANY, "a broker needs some time"),
    ];
    ranges.into_iter().filter(|(_, value, least, most, _)| !(least..=most).contains(&value)).map(
        |(key, value, least, most, why)| {
            format!("kafka.{key} is {value}: it must be between {least} and {most}, since {why}")
        },
    )
}

fn postgres(postgres: &PostgresConfig) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(one_of("postgres.tls", &postgres.tls, &TLS));
    wrong.extend(one_of("postgres.timescale", &postgres.timescale, &TIMESCALE));
    wrong.extend(one_of("postgres.bulk", &postgres.bulk, &BULK));
    let is_address = postgres.url.starts_with("postgres://")
        || postgres.url.starts_with("postgresql://")
        || postgres.url.contains("host=");
    if !is_address {
        wrong.push(
            "postgres.url is no address: expected postgres://user@host:5432/database, or host=… user=… dbname=…".into(),
        );
    }
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let schema = &postgres.schema;
    let begins = schema.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !begins || schema.len() > SCHEMA_BYTES || !schema.bytes().all(word) {
        wrong.push(format!(
            "postgres.schema is \"{schema}\": it must be lower-case letters, digits and `_`, at most {SCHEMA_BYTES}"
        ));
    }
    let ranges = [
        (
            "read_connections",
            postgres.read_connections as u64,
            0,
            64,
            "each is a process of the server; 0 asks through the one that writes",
        ),
        (
            "statement_timeout_ms",
            postgres.statement_timeout_ms,
            100,
            600_000,
            "a statement needs some time, and waiting must end",
        ),
        (
            "read_timeout_ms",
            postgres.read_timeout_ms,
            100,
            600_000,
            "a query needs some time, and whoever asked waits for it",
        ),
        (
            "connect_timeout_ms",
            postgres.connect_timeout_ms,
            100,
            600_000,
            "a server needs some time, and waiting must end",
        ),
    ];
    for (key, value, least, most, why) in ranges {
        if !(least..=most).contains(&value) {
            wrong.push(format!("postgres.{key} is {value}: it must be between {least} and {most}, since {why}"));
        }
    }
    wrong
}
