//! `tapedeck topics plan` and `apply`: the difference between the catalogue and a
//! cluster, shown and made.
//!
//! Not here: comparing (`crate::topics::plan`).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use tapedeck_kafka::KafkaLog;
use tapedeck_log::{Log, TopicConfig, TopicInfo};

use crate::{
    backends,
    cli::ApplyArgs,
    config::{Config, LogKind},
    exit, show,
    topics::plan::{Action, Asked, Plan},
};

/// Shows what differs and what would be done.
pub(super) fn plan(config: &Config, json: bool) -> anyhow::Result<()> {
    let asked = ApplyArgs { dry_run: true, allow_grow: Vec::new(), delete: Vec::new() };
    if config.log.kind == LogKind::Embedded {
        return embedded(&asked, json);
    }
    let found = Cluster::ask(config)?.plan(&asked)?;
    tell(&found, json, None);
    Ok(())
}

/// Does what is allowed of it.
pub(super) fn apply(config: &Config, asked: &ApplyArgs, json: bool) -> anyhow::Result<()> {
    if config.log.kind == LogKind::Embedded {
        return embedded(asked, json);
    }
    let cluster = Cluster::ask(config)?;
    let plan = cluster.plan(asked)?;
    if !asked.dry_run {
        cluster.make(&plan)?;
    }
    tell(&plan, json, Some(asked.dry_run));
    Ok(())
}

/// The embedded log is asked nothing: each start makes and sets its topics.
fn embedded(asked: &ApplyArgs, json: bool) -> anyhow::Result<()> {
    if !asked.allow_grow.is_empty() || !asked.delete.is_empty() {
        return Err(exit::input(
            "the embedded log neither adds partitions nor deletes topics: begin with another data folder",
        ));
    }
    if json {
        show::json(&json!({ "differences": [], "notes": [] }));
    } else {
        show::out("nothing differs: each start makes and sets the topics of the embedded log");
    }
    Ok(())
}

/// A cluster with its topics as they stand.
struct Cluster {
    log: Arc<dyn Log>,
    wanted: Vec<TopicConfig>,
    there: Vec<TopicInfo>,
}

impl Cluster {
    fn ask(config: &Config) -> anyhow::Result<Self> {
        let dir = &config.data.dir;
        let log: Arc<dyn Log> = KafkaLog::connect(&backends::kafka_config(dir, config)?)?;
        let wanted = backends::wanted_topics(config, backends::keeps_all(dir));
        let there = log.topics()?;
        Ok(Self { log, wanted, there })
    }

    fn plan(&self, asked: &ApplyArgs) -> anyhow::Result<Plan> {
        let replication = self.log.wanted_replication()?;
        let asked = Asked { wanted: &self.wanted, replication, allow_grow: &asked.allow_grow, delete: &asked.delete };
        Plan::of(&self.there, &asked).map_err(exit::input)
    }

    /// In an order in which an end in the middle is gone on with by the same command.
    fn make(&self, plan: &Plan) -> anyhow::Result<()> {
        let named = |action: Action| plan.done().filter(move |found| found.action == action).map(|found| &found.topic);
        let gone: Vec<Arc<str>> = named(Action::Delete).cloned().collect();
        if !gone.is_empty() {
            self.log.delete_topics(&gone)?;
        }
        let wanted = |name: &Arc<str>| self.wanted.iter().find(|topic| topic.name == *name).cloned();
        for topic in named(Action::Grow).filter_map(wanted) {
            self.log.add_partitions(&topic.name, topic.partitions)?;
        }
        let mut make: BTreeMap<Arc<str>, TopicConfig> = BTreeMap::new();
        make.extend(named(Action::Make).filter_map(wanted).map(|topic| (Arc::clone(&topic.name), topic)));
        for mut topic in named(Action::Set).filter_map(wanted) {
            let grown = named(Action::Grow).any(|name| *name == topic.name);
            // Only retention and clean-up: what has another number of partitions keeps it.
            if let Some(info) = backends::find(&self.there, &topic).filter(|_| !grown) {
                topic.partitions = info.config.partitions;
            }
            make.insert(Arc::clone(&topic.name), topic);
        }
        if !make.is_empty() {
            self.log.create_topics(&make.into_values().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// `dry_run` is none for a plan alone.
fn tell(plan: &Plan, json: bool, dry_run: Option<bool>) {
    if json {
        show::json(&json!({
            "differences": plan.differences, "notes": plan.notes, "applied": dry_run == Some(false),
        }));
        return;
    }
    if plan.differences.is_empty() {
        show::out("nothing differs");
        return;
    }
    let rows: Vec<Vec<String>> = plan
        .differences
        .iter()
        .map(|found| {
            let action = match found.action {
                Action::Make => "make",
                Action::Set => "set",
                Action::Grow => "grow",
                Action::Delete => "delete",
                Action::Leave => "leave",
            };
            vec![found.topic.to_string(), found.what.into(), found.there.clone(), found.wanted.clone(), action.into()]
        })
        .collect();
    show::table(&["topic", "differs", "there", "wanted", "action"], &rows);
    let mut told: Vec<String> = Vec::new();
    for found in plan.differences.iter().filter(|found| !found.note.is_empty()) {
        told.push(format!("{} ({}): {}", found.topic, found.what, found.note));
    }
    told.extend(plan.notes.iter().cloned());
    told.iter().for_each(|text| show::out(&format!("\n{text}")));
    let count = plan.done().count();
    show::out(&match dry_run {
        Some(false) => format!("\n{count} done, {} left", plan.differences.len() - count),
        Some(true) => format!("\n{count} would be done, {} left (--dry-run)", plan.differences.len() - count),
        None => format!("\n`tapedeck topics apply` does {count} of {}", plan.differences.len()),
    });
}
