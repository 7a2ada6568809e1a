//! Why no broker could be spoken to: what was tried, what came back, and what to
//! look at.
//!
//! Not here: rights on topics and groups, which brokers refuse one by one.

use rdkafka::error::RDKafkaErrorCode as Code;
use tapedeck_log::LogError;

use crate::{KafkaConfig, security, tls, watch::Seen};

/// So many different reasons are told: a cluster has a few brokers.
const MOST_REASONS: usize = 5;

/// Sorts a call that reached no broker, by what was heard meanwhile: fatal where
/// brokers mostly refused who we are, or are not who they should be.
pub(crate) fn unreachable(config: &KafkaConfig, seen: &[Seen], doing: &str) -> LogError {
    let refused = seen.iter().rev().find(|seen| is_refusal(seen));
    let refusals = seen.iter().filter(|seen| is_refusal(seen)).count();
    let silent = seen.iter().filter(|seen| is_silent(seen)).count();
    match refused {
        Some(refusal) if refusals >= silent => LogError::Fatal(match refusal.code {
            Some(Code::Authentication) => refused_user(config, &refusal.reason, doing),
            _ => refused_tls(config, &refusal.reason, doing),
        }),
        _ => LogError::Transient(format!(
            "cannot {doing}: no broker answers. Tried {} ({}); {}. \
             Check that the brokers run, that this machine reaches these addresses and those the brokers advertise, \
             and that kafka.security_protocol is what their listener speaks",
            config.bootstrap_servers,
            config.security_protocol.to_lowercase(),
            heard(seen),
        )),
    }
}

/// Whether a broker refused who we are, or is not who it should be.
pub(crate) fn is_refusal(seen: &Seen) -> bool {
    matches!(seen.code, Some(Code::Authentication | Code::SSL)) || tls::is_alert(&seen.reason)
}

/// Whether a broker could not be reached at all.
fn is_silent(seen: &Seen) -> bool {
    matches!(seen.code, Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut))
        && !is_refusal(seen)
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
    let servers = &config.bootstrap_servers;
    if tls::is_alert(reason) {
        return format!("cannot {doing}: {servers} refuse us: {}. They said: {reason}", tls::own_certificate(config));
    }
    match tls::their_certificate(config) {
        Some(why) => format!("cannot {doing}: TLS with {servers} failed: {why}. librdkafka said: {reason}"),
        None => format!(
            "cannot {doing}: TLS with {servers} failed: {reason}. Check kafka.ca_file, and that \
             kafka.security_protocol is what the listener speaks"
        ),
    }
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
