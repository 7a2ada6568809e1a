//! Why no broker could be spoken to: what was tried, what came back, and what to
//! look at.
//!
//! Not here: rights on topics and groups, which brokers refuse one by one.

use rdkafka::error::RDKafkaErrorCode as Code;
use tapedeck_log::LogError;

use crate::{KafkaConfig, security, watch::Seen};

/// So many different reasons are told: a cluster has a few brokers.
const MOST_REASONS: usize = 5;

/// Sorts a call that reached no broker, by what was heard meanwhile.
pub(crate) fn unreachable(config: &KafkaConfig, seen: &[Seen], doing: &str) -> LogError {
    let reason = |code| seen.iter().rev().find(|seen| seen.code == Some(code)).map(|seen| seen.reason.as_str());
    if let Some(reason) = reason(Code::Authentication) {
        return LogError::Fatal(refused_user(config, reason, doing));
    }
    if let Some(reason) = reason(Code::SSL) {
        return LogError::Fatal(refused_tls(config, reason, doing));
    }
    LogError::Transient(format!(
        "cannot {doing}: no broker answered within {} ms. Tried {} ({}); {}. \
         Check that the brokers run, that this machine reaches these addresses and those the brokers advertise, \
         and that kafka.security_protocol is what their listener speaks",
        config.request_timeout_ms,
        config.bootstrap_servers,
        config.security_protocol.to_lowercase(),
        heard(seen),
    ))
}

fn refused_user(config: &KafkaConfig, reason: &str, doing: &str) -> String {
    let who = if security::uses_sasl(config) {
        format!("user `{}` with {}", config.sasl_username, config.sasl_mechanism)
    } else {
        "a client without a user (kafka.security_protocol has no sasl_)".to_owned()
    };
    format!(
        "cannot {doing}: the brokers refuse {who}: {reason}. Check kafka.sasl_username and kafka.sasl_password, \
         that the user exists on the cluster for this mechanism, and that the listener offers it"
    )
}

fn refused_tls(config: &KafkaConfig, reason: &str, doing: &str) -> String {
    let trusted = if config.ca_file.is_empty() { "the system's authorities" } else { config.ca_file.as_str() };
    format!("cannot {doing}: TLS with {} failed (trusting {trusted}): {reason}", config.bootstrap_servers)
}

/// What was heard, newest first.
pub(crate) fn heard(seen: &[Seen]) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for seen in seen.iter().rev() {
        if !reasons.contains(&seen.reason.as_str()) && reasons.len() < MOST_REASONS {
            reasons.push(&seen.reason);
        }
    }
    if reasons.is_empty() { "they said nothing".to_owned() } else { reasons.join("; ") }
}
