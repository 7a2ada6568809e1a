//! What a failure of librdkafka or of a broker means to us: transient, fatal, or
//! a lost seat.
//!
//! Not here: poison, which only who knows the record can say.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tapedeck_log::LogError;

use crate::security;

/// Sorts an error. `doing` says what was tried, as in "write to topic `x`".
pub(crate) fn log_error(error: &KafkaError, doing: &str) -> LogError {
    match error {
        KafkaError::ClientConfig(_, detail, key, value) => LogError::Fatal(if security::is_secret(key) {
            format!("kafka property `{key}` is not what librdkafka takes")
        } else {
            format!("kafka property `{key}` = `{value}` is not what librdkafka takes: {detail}")
        }),
        KafkaError::ClientCreation(detail) => {
            LogError::Fatal(format!("librdkafka cannot be started with this config: {detail}"))
        }
        KafkaError::Nul(_) => LogError::Fatal(format!("cannot {doing}: a name holds a zero byte")),
        KafkaError::AdminOp(code) => code_error(*code, "", doing),
        KafkaError::Transaction(error) => code_error(error.code(), &error.string(), doing),
        other => match code_of(other) {
            Some(code) => code_error(code, "", doing),
            None => LogError::Transient(format!("cannot {doing}: {other}")),
        },
    }
}

/// The same where the error came while acting for a group: a lost seat names it.
pub(crate) fn group_error(error: &KafkaError, group: &str, doing: &str) -> LogError {
    if code_of(error).is_some_and(is_fenced) {
        return LogError::Fenced { group: group.to_owned() };
    }
    log_error(error, doing)
}

/// The code of an error, where it has one.
pub(crate) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether another member, or another process with this transactional id, goes on.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::AssignmentLost
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
    )
}

/// Sorts a code. `detail` is what the broker or librdkafka said, or nothing.
pub(crate) fn code_error(code: Code, detail: &str, doing: &str) -> LogError {
    refused(code, detail, doing, "")
}

/// The same where it is known which right is needed, as in "Write on topic `x`".
pub(crate) fn refused(code: Code, detail: &str, doing: &str, needs: &str) -> LogError {
    let detail = if detail.is_empty() { code.to_string() } else { detail.to_owned() };
    if let Some(acl) = missing_acl(code) {
        let acl = if needs.is_empty() { acl } else { needs };
        return LogError::Fatal(format!(
            "not allowed to {doing}: {detail}. Missing ACL: {acl} \
             (`tapedeck topics acls` prints what each role needs)"
        ));
    }
    let text = format!("cannot {doing}: {detail}");
    if is_fatal(code) { LogError::Fatal(text) } else { LogError::Transient(text) }
}

/// Which ACL a broker misses, as far as its code tells; `doing` names the resource.
fn missing_acl(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::TopicAuthorizationFailed => "of the topic, for what was tried (Read, Write, Create, Alter or Describe)",
        Code::GroupAuthorizationFailed => "Read on the group",
        Code::ClusterAuthorizationFailed => "of the cluster (Create, Alter, Describe, AlterConfigs or IdempotentWrite)",
        Code::TransactionalIdAuthorizationFailed => "Write and Describe on the transactional id",
        Code::DelegationTokenAuthorizationFailed => "Describe on the delegation token",
        _ => return None,
    })
}

/// Codes that do not change when the same is tried again.
fn is_fatal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidConfig
            | Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidReplicaAssignment
            | Code::InvalidTransactionTimeout
            | Code::InvalidTopic
            | Code::PolicyViolation
            | Code::InvalidArgument
            | Code::InvalidGroupId
            | Code::InvalidRequest
            | Code::NonEmptyGroup
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_transient() {
        for code in [
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::OperationTimedOut,
            Code::NotEnoughReplicas,
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::CoordinatorNotAvailable,
            Code::QueueFull,
        ] {
            assert!(code_error(code, "", "write").is_transient(), "{code:?}");
        }
    }

    #[test]
    fn a_missing_right_is_fatal_and_names_the_acl() {
        let error = code_error(Code::GroupAuthorizationFailed, "", "commit for group `recorder`");
        let LogError::Fatal(text) = error else { panic!("{error:?}") };
        assert!(text.contains("group `recorder`") && text.contains("Missing ACL: Read on the group"), "{text}");
    }

    #[test]
    fn a_lost_seat_names_its_group() {
        let error = KafkaError::ConsumerCommit(Code::IllegalGeneration);
        assert!(matches!(group_error(&error, "g", "commit"), LogError::Fenced { group } if group == "g"));
    }

    #[test]
    fn a_secret_is_not_in_the_error() {
        let error = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Invalid value hunter2".into(),
            "sasl.password".into(),
            "hunter2".into(),
        );
        assert!(!log_error(&error, "start").to_string().contains("hunter2"));
    }
}
