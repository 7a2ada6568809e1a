//! Who we are to the brokers, and who they must be to us: what librdkafka is told
//! of TLS and SASL, and the checks that need no broker.
//!
//! Not here: why a broker refused, which `diagnose` finds out.

use std::path::Path;

use rdkafka::ClientConfig;
use tapedeck_log::{LogError, Result};

use crate::KafkaConfig;

const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The config, as far as it can be wrong without a broker.
///
/// # Errors
/// Fatal: the key, what is wrong with it and what may stand there.
pub(crate) fn check(config: &KafkaConfig) -> Result<()> {
    let fatal = |text: String| Err(LogError::Fatal(text));
    let protocol = config.security_protocol.to_lowercase();
    if !PROTOCOLS.contains(&protocol.as_str()) {
        return fatal(format!(
            "kafka.security_protocol is `{}`; it may be {}",
            config.security_protocol,
            PROTOCOLS.join(", ")
        ));
    }
    if uses_sasl(config) {
        if !MECHANISMS.contains(&config.sasl_mechanism.as_str()) {
            return fatal(format!(
                "kafka.sasl_mechanism is `{}`; it may be {}",
                config.sasl_mechanism,
                MECHANISMS.join(", ")
            ));
        }
        for (key, value) in [("sasl_username", &config.sasl_username), ("sasl_password", &config.sasl_password)] {
            if value.is_empty() {
                return fatal(format!("kafka.{key} is empty, and kafka.security_protocol `{protocol}` needs it"));
            }
        }
    }
    if config.certificate_file.is_empty() != config.key_file.is_empty() {
        return fatal("kafka.certificate_file and kafka.key_file go together: one of them is empty".into());
    }
    for (key, file) in
        [("ca_file", &config.ca_file), ("certificate_file", &config.certificate_file), ("key_file", &config.key_file)]
    {
        if uses_tls(config) && !file.is_empty() {
            readable_pem(key, Path::new(file))?;
        }
    }
    Ok(())
}

fn readable_pem(key: &str, file: &Path) -> Result<()> {
    let text = std::fs::read(file)
        .map_err(|error| LogError::Fatal(format!("kafka.{key} `{}` cannot be read: {error}", file.display())))?;
    if text.windows(11).any(|part| part == b"-----BEGIN ") {
        return Ok(());
    }
    Err(LogError::Fatal(format!(
        "kafka.{key} `{}` is not PEM: it holds no `-----BEGIN …-----` (`openssl x509 -inform der` turns DER into it)",
        file.display()
    )))
}

/// Tells librdkafka who we are.
pub(crate) fn apply(config: &KafkaConfig, native: &mut ClientConfig) {
    native.set("security.protocol", config.security_protocol.to_lowercase());
    if uses_sasl(config) {
        native.set("sasl.mechanism", &config.sasl_mechanism);
        native.set("sasl.username", &config.sasl_username);
        native.set("sasl.password", &config.sasl_password);
    }
    if uses_tls(config) {
        for (property, value) in [
            ("ssl.ca.location", &config.ca_file),
            ("ssl.certificate.location", &config.certificate_file),
            ("ssl.key.location", &config.key_file),
            ("ssl.key.password", &config.key_password),
        ] {
            if !value.is_empty() {
                native.set(property, value);
            }
        }
    }
}

/// Whether a property's value must not be shown.
pub(crate) fn is_secret(property: &str) -> bool {
    ["password", "secret", "pem", "oauthbearer.config"].iter().any(|part| property.contains(part))
}

pub(crate) fn uses_sasl(config: &KafkaConfig) -> bool {
    config.security_protocol.to_lowercase().starts_with("sasl_")
}

pub(crate) fn uses_tls(config: &KafkaConfig) -> bool {
    config.security_protocol.to_lowercase().ends_with("ssl")
}
