//! `tapedeck topics`: what the log holds, and what it should hold.
//!
//! Not here: making the topics that are missing, which every start does.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::{admin::Admin, cli::TopicsCommand, config::Config, exit, show};

mod acls;
mod plan;
mod watch;

#[derive(Debug, Deserialize)]
struct Topics {
    items: Vec<Topic>,
}

/// A topic as the admin api gives it.
#[derive(Debug, Serialize, Deserialize)]
struct Topic {
    topic: String,
    event: Option<String>,
    key: Option<String>,
    cleanup: String,
    retention_ms: Option<u64>,
    records: u64,
    bytes: u64,
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Partition {
    partition: u32,
    start: u64,
    end: u64,
    bytes: u64,
}

pub(super) fn run(config: &Config, command: &TopicsCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        TopicsCommand::List if json => show::json(&topics(config)?),
        TopicsCommand::List => list(&topics(config)?),
        TopicsCommand::Plan => plan::plan(config, json)?,
        TopicsCommand::Apply(args) => plan::apply(config, args, json)?,
        TopicsCommand::Watch(args) => watch::run(config, args, json)?,
        TopicsCommand::Acls(args) => acls::run(config, args, json)?,
        TopicsCommand::Describe { topic } => {
            let topics = topics(config)?;
            let found = topics
                .iter()
                .find(|known| known.topic == *topic)
                .ok_or_else(|| exit::input(format!("there is no topic `{topic}`; `tapedeck topics list` names all")))?;
            if json { show::json(found) } else { describe(found) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn topics(config: &Config) -> anyhow::Result<Vec<Topic>> {
    let admin = Admin::connect(config)?;
    let topics = admin.get::<Topics>("/api/admin/topics", &[]);
    admin.close();
    Ok(topics?.items)
}

fn list(topics: &[Topic]) {
    let rows: Vec<Vec<String>> = topics
        .iter()
        .map(|topic| {
            vec![
                topic.topic.clone(),
                topic.event.clone().unwrap_or_else(|| "-".into()),
                topic.partitions.len().to_string(),
                show::thousands(topic.records),
                show::thousands(topic.bytes),
                topic.cleanup.clone(),
                retention(topic),
            ]
        })
        .collect();
    show::table(&["topic", "event", "partitions", "records", "bytes", "cleanup", "retention"], &rows);
}

fn describe(topic: &Topic) {
    show::out(&format!(
        "{}: {} by {}, {}, kept {}\n",
        topic.topic,
        topic.event.as_deref().unwrap_or("state"),
        topic.key.as_deref().unwrap_or("-"),
        topic.cleanup,
        retention(topic)
    ));
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .map(|p| vec![p.partition.to_string(), p.start.to_string(), p.end.to_string(), show::thousands(p.bytes)])
        .collect();
    show::table(&["partition", "start", "end", "bytes"], &rows);
}

fn retention(topic: &Topic) -> String {
    match topic.retention_ms.map(|ms| ms / 3_600_000) {
        None | Some(0) => "for ever".into(),
        Some(hours) if hours % 24 == 0 => format!("{} d", hours / 24),
        Some(hours) => format!("{hours} h"),
    }
}
