//! The `[kafka]` section, and what librdkafka is told of it.
//!
//! Not here: defaults with their reasons for people, which `default.toml` of the
//! binary shows.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::security::is_secret;

/// The `[kafka]` section.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// Brokers to ask first, `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Stands before the name of each topic, group and transactional id, so that
    /// two decks share a cluster; empty for none.
    pub prefix: String,
    /// Makes missing topics of the catalogue at start; never changes one that is there.
    pub create_topics: bool,
    /// `auto` (the least of 3 and the brokers), or a number.
    pub replication: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    pub security_protocol: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub sasl_mechanism: String,
    /// Who this is.
    pub sasl_username: String,
    /// The password, already read from where the config refers to; never shown.
    pub sasl_password: String,
    /// PEM file of the authorities that are trusted; the system's where empty.
    pub ca_file: String,
    /// PEM file of the client's certificate, where brokers ask for one.
    pub certificate_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// The key's password, where it has one; never shown.
    pub key_password: String,
    /// `none`, `lz4`, `zstd`, `snappy` or `gzip`.
    pub compression: String,
    /// How long a record waits for company.
    pub linger_ms: u64,
    /// Bytes of a batch to one partition at most.
    pub batch_bytes: u64,
    /// Bytes that wait for brokers at most; beyond them a call waits or fails.
    pub queue_bytes: u64,
    /// Bytes fetched ahead by a member or reader at most.
    pub fetch_bytes: u64,
    /// A record that is not acknowledged within so long has failed.
    pub delivery_timeout_ms: u64,
    /// A member that is not heard of for so long loses its seat.
    pub session_timeout_ms: u64,
    /// A member that does not poll for so long loses its seat.
    pub max_poll_interval_ms: u64,
    /// A transaction that is not ended within so long is aborted by the broker.
    pub transaction_timeout_ms: u64,
    /// How long one question to the cluster may take.
    pub request_timeout_ms: u64,
    /// librdkafka's properties by their names, over all of the above.
    pub properties: BTreeMap<String, String>,
    /// What topics made here get beside partitions, retention, clean-up and
    /// replication, by Kafka's names (`segment.bytes`); topics that are there keep theirs.
    pub topic_properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".into(),
            prefix: String::new(),
            create_topics: true,
            replication: "auto".into(),
            security_protocol: "plaintext".into(),
            sasl_mechanism: "SCRAM-SHA-512".into(),
            sasl_username: String::new(),
            sasl_password: String::new(),
            ca_file: String::new(),
            certificate_file: String::new(),
            key_file: String::new(),
            key_password: String::new(),
            compression: "lz4".into(),
            linger_ms: 5,
            batch_bytes: 1 << 20,
            queue_bytes: 128 << 20,
            fetch_bytes: 64 << 20,
            delivery_timeout_ms: 5_000,
            session_timeout_ms: 45_000,
            max_poll_interval_ms: 300_000,
            transaction_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            properties: BTreeMap::new(),
            topic_properties: BTreeMap::new(),
        }
    }
}

/// All keys with their values, passwords masked.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = |value: &str| if value.is_empty() { "" } else { "***" };
        let shown = |(key, value): (&String, &String)| {
            (key.clone(), if is_secret(key) { masked(value).to_owned() } else { value.clone() })
        };
        let shown = Self {
            sasl_password: masked(&self.sasl_password).to_owned(),
            key_password: masked(&self.key_password).to_owned(),
            properties: self.properties.iter().map(shown).collect(),
            ..self.clone()
        };
        // Serde knows all the keys; a derived Debug would show what is masked here.
        let text = serde_json::to_string(&shown).map_err(|_| fmt::Error)?;
        write!(f, "KafkaConfig {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let config = KafkaConfig {
            sasl_password: "hunter2".into(),
            key_password: "hunter3".into(),
            properties: BTreeMap::from([("ssl.keystore.password".into(), "hunter4".into())]),
            ..KafkaConfig::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter") && shown.contains("127.0.0.1:9092"), "{shown}");
    }
}
