//! The rights that each role needs on a cluster: from what it reads and writes,
//! its group, its transactions, its state and its dead letters.
//!
//! Not here: giving them, which the log's crate does.

use std::collections::BTreeSet;

use serde::Serialize;
use tapedeck_contracts::catalogue::{Catalogue, DLQ_STATE, dlq_of, group_of, state_topic};
use tapedeck_kafka::{Acl, AclOperation, AclResource};
use tapedeck_roles::{forensics, recorder};

use crate::cli::Role;

/// Where every role says what a person must know.
const ALERTS: &str = "alerts.v1";
const MARKET: &str = "market-data-updates";
const SIGNALS: &str = "strategy-signals";
const DECISIONS: &str = "trading_decisions";
const COMMANDS: &str = "risk-commands";

/// What a role reads and writes, beside its state and its dead letters.
struct Needs {
    reads: Vec<&'static str>,
    writes: Vec<&'static str>,
    /// Groups of others whose offsets it asks for.
    looks_at: Vec<&'static str>,
    has_state: bool,
}

fn needs(role: Role) -> Needs {
    let catalogue = || Catalogue::get().topics();
    let of = |reads: &[&'static str], writes: &[&'static str], has_state| Needs {
        reads: reads.to_vec(),
        writes: writes.to_vec(),
        looks_at: Vec::new(),
        has_state,
    };
    match role {
        Role::Market => of(&[MARKET], &[MARKET, "symbol-subscriptions"], true),
        Role::Strategy => of(&[MARKET], &[SIGNALS, "strategy-compilations"], true),
        // Signals and who makes them only where `inference.trigger` is "signals".
        Role::Inference => Needs {
            looks_at: vec!["strategy"],
            ..of(&[MARKET, SIGNALS, "model_updates"], &[DECISIONS, "regime_changes", "risk_decisions"], true)
        },
        Role::ForwardTest => Needs {
            looks_at: vec!["strategy", "inference"],
            ..of(
                &[MARKET, SIGNALS, DECISIONS, COMMANDS, "tapedeck.market.state"],
                &["trade-executions", "forward-test-events", "portfolio-updates", "exec.reports.v1", "risk.metrics.v1"],
                true,
            )
        },
        Role::Recorder => of(&recorder::TOPICS, &[], false),
        Role::Forensics => of(&[DECISIONS, "model_updates"], &[forensics::AUDIT], false),
        // It shows, posts, moves and redrives for people, so it may do all that they may.
        Role::Api => Needs {
            reads: catalogue().map(|topic| topic.name.as_str()).collect(),
            writes: catalogue().map(|topic| topic.name.as_str()).collect(),
            looks_at: Vec::new(),
            has_state: false,
        },
    }
}

/// The rights of a role's principal. `makes_topics` where missing topics are made
/// at start; `prefix` is the config's, and only tells whether others share the
/// cluster.
pub(crate) fn of_role(role: Role, principal: &str, makes_topics: bool, prefix: &str) -> Vec<Acl> {
    use AclOperation as Op;
    use AclResource as On;
    let (name, needs) = (role.name(), needs(role));
    let mut acls = BTreeSet::new();
    let mut allow = |resource: On, name: &str, is_prefix: bool, operations: &[Op]| {
        acls.extend(operations.iter().map(|operation| Acl {
            principal: principal.to_owned(),
            resource,
            name: name.to_owned(),
            is_prefix,
            operation: *operation,
        }));
    };
    // At start it is looked whether the topics are there and fit.
    let (all, is_prefix) = if prefix.is_empty() { ("*", false) } else { ("", true) };
    allow(On::Topic, all, is_prefix, &[Op::Describe, Op::DescribeConfigs]);
    for topic in &needs.reads {
        allow(On::Topic, topic, false, &[Op::Read, Op::Describe]);
        if Catalogue::get().topic(topic).is_some_and(|topic| topic.event.is_some()) {
            allow(On::Topic, &dlq_of(topic), false, &[Op::Read, Op::Write, Op::Describe]);
        }
    }
    for topic in needs.writes.iter().chain([&ALERTS]) {
        allow(On::Topic, topic, false, &[Op::Write, Op::Describe]);
    }
    if needs.has_state {
        allow(On::Topic, &state_topic(name), false, &[Op::Read, Op::Write, Op::Describe]);
    }
    // Which dead letters were sent again, and to whom.
    allow(On::Topic, DLQ_STATE, false, &[Op::Read, Op::Describe]);
    match role {
        Role::Api => {
            // People read with groups of their own names, and move all groups.
            allow(On::Group, all, is_prefix, &[Op::Read, Op::Describe, Op::Delete]);
            allow(On::TransactionalId, "tapedeck.", true, &[Op::Write, Op::Describe]);
            allow(On::Cluster, "kafka-cluster", false, &[Op::Describe]);
        }
        _ => {
            let group = group_of(name);
            allow(On::Group, &group, false, &[Op::Read, Op::Describe]);
            allow(On::TransactionalId, &format!("{group}."), true, &[Op::Write, Op::Describe]);
        }
    }
    for other in needs.looks_at {
        allow(On::Group, &group_of(other), false, &[Op::Describe]);
    }
    if makes_topics {
        allow(On::Topic, all, is_prefix, &[Op::Create]);
    }
    acls.into_iter().collect()
}

/// A right as JSON shows it, with the cluster's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    principal: String,
    resource: String,
    name: String,
    pattern: &'static str,
    operation: String,
}

impl Shown {
    /// A right, with the prefix before its name as the cluster has it.
    pub(crate) fn of(acl: &Acl, prefix: &str) -> Self {
        let name = match acl.resource {
            AclResource::Cluster => acl.name.clone(),
            _ if acl.name == "*" && !acl.is_prefix => acl.name.clone(),
            _ => format!("{prefix}{}", acl.name),
        };
        Self {
            principal: acl.principal.clone(),
            resource: acl.resource.to_string(),
            name,
            pattern: if acl.is_prefix { "prefixed" } else { "literal" },
            operation: acl.operation.to_string(),
        }
    }
}

/// The same as `kafka-acls` takes it: one line for a resource, with all of its
/// operations.
pub(crate) fn commands(acls: &[Shown], bootstrap: &str) -> Vec<String> {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for acl in acls {
        let resource = match acl.resource.as_str() {
            "cluster" => "--cluster".to_owned(),
            kind => format!("--{kind} '{}'", acl.name),
        };
        let pattern = if acl.pattern == "prefixed" { " --resource-pattern-type prefixed" } else { "" };
        let line = format!(
            "kafka-acls --bootstrap-server {bootstrap} --add --allow-principal '{}' {resource}{pattern}",
            acl.principal
        );
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, operations)) => operations.push(acl.operation.clone()),
            None => lines.push((line, vec![acl.operation.clone()])),
        }
    }
    let line = |(line, operations): (String, Vec<String>)| {
        let operations: Vec<String> = operations.iter().map(|operation| format!("--operation {operation}")).collect();
        format!("{line} {}", operations.join(" "))
    };
    lines.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(role: Role, resource: AclResource, name: &str, operation: AclOperation) -> bool {
        of_role(role, "User:x", false, "p.")
            .iter()
            .any(|acl| acl.resource == resource && acl.name == name && acl.operation == operation)
    }

    #[test]
    fn a_role_may_write_what_is_its_own_and_nothing_of_others() {
        use AclOperation::{Read, Write};
        use AclResource::{Group, Topic, TransactionalId};
        assert!(may(Role::Strategy, Topic, "strategy-signals", Write));
        assert!(may(Role::Strategy, Topic, "market-data-updates.dlq", Write));
        assert!(may(Role::Strategy, Group, "tapedeck.strategy", Read));
        assert!(may(Role::Strategy, TransactionalId, "tapedeck.strategy.", Write));
        assert!(!may(Role::Strategy, Topic, "exec.reports.v1", Write));
        assert!(!may(Role::Recorder, Topic, "exec.reports.v1", Write));
        assert!(may(Role::ForwardTest, Group, "tapedeck.strategy", AclOperation::Describe));
        assert!(
            may(Role::Inference, Topic, "trading_decisions", Write)
                && may(Role::Inference, Topic, "model_updates", Read)
        );
        assert!(!may(Role::Inference, Topic, "strategy-signals", Write));
        assert!(may(Role::ForwardTest, Group, "tapedeck.inference", AclOperation::Describe));
    }

    #[test]
    fn every_topic_that_a_role_is_given_is_of_the_catalogue() {
        for role in Role::ALL {
            for acl in of_role(role, "User:x", true, "p.") {
                if acl.resource == AclResource::Topic && !acl.is_prefix {
                    assert!(Catalogue::get().topic(&acl.name).is_some(), "{acl:?}");
                }
            }
        }
    }

    #[test]
    fn a_command_names_a_resource_once_with_all_its_operations() {
        let acls: Vec<Shown> =
            of_role(Role::Recorder, "User:r", false, "p.").iter().map(|acl| Shown::of(acl, "p.")).collect();
        let commands = commands(&acls, "k:9092");
        let of = |name: &str| commands.iter().filter(|line| line.contains(name)).count();
        assert_eq!(of("'p.exec.reports.v1' "), 1);
        assert!(
            commands
                .iter()
                .any(|line| line.contains("--group 'p.tapedeck.recorder' --operation Read --operation Describe"))
        );
        assert!(commands.iter().any(|line| line.contains("--topic 'p.' --resource-pattern-type prefixed")));
    }
}
