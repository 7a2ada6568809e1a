//! `tapedeck topics acls`: the rights of each role, printed or given.
//!
//! Not here: which rights those are (`crate::topics::acls`).

use tapedeck_kafka::{Acl, KafkaLog};

use crate::{
    backends,
    cli::{AclsArgs, Role},
    config::{Config, LogKind},
    exit, show,
    topics::acls::{self, Shown},
};

pub(super) fn run(config: &Config, args: &AclsArgs, json: bool) -> anyhow::Result<()> {
    let kafka = backends::kafka_config(&config.data.dir, config)?;
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    let principal = |role: Role| match &args.principal {
        Some(principal) => principal.clone(),
        None => format!("{}{}", args.principal_prefix, role.name()),
    };
    if !principal(Role::Api).contains(':') {
        return Err(exit::input(
            "a principal has a kind before its name: User:recorder, or User:CN=recorder for a certificate",
        ));
    }
    let rights = |role: Role| acls::of_role(role, &principal(role), kafka.create_topics, &kafka.prefix);
    let mut all: Vec<Acl> = roles.into_iter().flat_map(rights).collect();
    all.sort();
    all.dedup();
    if args.apply {
        if config.log.kind == LogKind::Embedded {
            return Err(exit::input("the embedded log has no rights to give: set log.kind = \"kafka\""));
        }
        KafkaLog::connect(&kafka)?.create_acls(&all)?;
    }
    let shown: Vec<Shown> = all.iter().map(|acl| Shown::of(acl, &kafka.prefix)).collect();
    if json {
        show::json(&serde_json::json!({ "acls": shown, "applied": args.apply }));
        return Ok(());
    }
    acls::commands(&shown, &kafka.bootstrap_servers).iter().for_each(|line| show::out(line));
    if args.apply {
        show::say(&format!("{} rights are given", shown.len()));
    }
    Ok(())
}
