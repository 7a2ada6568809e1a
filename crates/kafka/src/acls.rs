//! Giving rights: a list of who may do what, as `kafka-acls` would take it.
//!
//! Not here: which rights a role needs; the binary makes the list.

use std::{fmt, time::Instant};

use rdkafka_sys::bindings::{rd_kafka_AclOperation_t as Native, rd_kafka_ResourceType_t as NativeResource};
use tapedeck_log::{LogError, Result};

use crate::{
    client::Client,
    error::refused,
    native::{self, Binding},
};

/// What a right is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclResource {
    /// A topic.
    Topic,
    /// A group.
    Group,
    /// The cluster; its name is `kafka-cluster`.
    Cluster,
    /// A transactional id.
    TransactionalId,
}

/// What it allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AclOperation {
    /// Read records, commit offsets.
    Read,
    /// Write records.
    Write,
    /// Make topics.
    Create,
    /// Delete topics, records, groups.
    Delete,
    /// Add partitions.
    Alter,
    /// See that it is there.
    Describe,
    /// See its properties.
    DescribeConfigs,
    /// Change its properties.
    AlterConfigs,
    /// Write without doubles; brokers before 2.8 ask for it.
    IdempotentWrite,
}

/// A right: a principal may do an operation on a resource, from any host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl {
    /// Who, as `User:recorder`.
    pub principal: String,
    /// On what.
    pub resource: AclResource,
    /// Its name as we call it; the config's prefix is put before it. Not used for
    /// the cluster.
    pub name: String,
    /// Whether all names that begin so are meant.
    pub is_prefix: bool,
    /// What it allows.
    pub operation: AclOperation,
}

impl fmt::Display for AclResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Topic => "topic",
            Self::Group => "group",
            Self::Cluster => "cluster",
            Self::TransactionalId => "transactional-id",
        })
    }
}

impl fmt::Display for AclOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Kafka's own name for the one cluster that a right can be about.
const CLUSTER: &str = "kafka-cluster";

/// Gives all of these rights; those that are there stay.
pub(crate) fn create(client: &Client, acls: &[Acl]) -> Result<()> {
    if acls.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = acls.iter().map(|acl| outer(client, acl)).collect();
    let bindings: Vec<_> = acls
        .iter()
        .zip(&names)
        .map(|(acl, name)| Binding {
            resource: native_resource(acl.resource),
            name,
            is_prefix: acl.is_prefix && acl.resource != AclResource::Cluster,
            principal: &acl.principal,
            host: "*",
            operation: native_operation(acl.operation),
        })
        .collect();
    let begin = Instant::now();
    let answers = native::create_acls(client.native(), &bindings, client.timeout())
        .map_err(|refusal| client.refused(&refusal, begin, "create ACLs"))?;
    for (acl, answer) in acls.iter().zip(answers) {
        if let Err(refusal) = answer {
            let doing = format!("allow {} to {} {} `{}`", acl.principal, acl.operation, acl.resource, acl.name);
            if refusal.code == rdkafka::error::RDKafkaErrorCode::SecurityDisabled {
                return Err(LogError::Fatal(format!(
                    "cannot {doing}: the brokers have no authorizer (`authorizer.class.name`), so anyone may do anything"
                )));
            }
            return Err(refused(refusal.code, &refusal.text, &doing, "Alter on the cluster"));
        }
    }
    Ok(())
}

fn outer(client: &Client, acl: &Acl) -> String {
    match acl.resource {
        AclResource::Cluster => CLUSTER.to_owned(),
        // All names of anyone, not all that begin with our prefix and a star.
        _ if acl.name == "*" && !acl.is_prefix => "*".to_owned(),
        _ => client.outer(&acl.name),
    }
}

fn native_resource(resource: AclResource) -> NativeResource {
    match resource {
        AclResource::Topic => NativeResource::RD_KAFKA_RESOURCE_TOPIC,
        AclResource::Group => NativeResource::RD_KAFKA_RESOURCE_GROUP,
        // librdkafka's name for it; the number is Kafka's for the cluster.
        AclResource::Cluster => NativeResource::RD_KAFKA_RESOURCE_BROKER,
        AclResource::TransactionalId => NativeResource::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
    }
}

fn native_operation(operation: AclOperation) -> Native {
    match operation {
        AclOperation::Read => Native::RD_KAFKA_ACL_OPERATION_READ,
        AclOperation::Write => Native::RD_KAFKA_ACL_OPERATION_WRITE,
        AclOperation::Create => Native::RD_KAFKA_ACL_OPERATION_CREATE,
        AclOperation::Delete => Native::RD_KAFKA_ACL_OPERATION_DELETE,
        AclOperation::Alter => Native::RD_KAFKA_ACL_OPERATION_ALTER,
        AclOperation::Describe => Native::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        AclOperation::DescribeConfigs => Native::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        AclOperation::AlterConfigs => Native::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS,
        AclOperation::IdempotentWrite => Native::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE,
    }
}
