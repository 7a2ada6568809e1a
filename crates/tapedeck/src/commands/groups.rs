//! `tapedeck groups`: who reads, how far they are, and moving a group.
//!
//! Not here: making offsets, which the groups' members do.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{admin::Admin, cli::GroupsCommand, config::Config, exit, show};

#[derive(Debug, Deserialize)]
struct Groups {
    items: Vec<Group>,
}

/// A group as the admin api gives it.
#[derive(Debug, Serialize, Deserialize)]
struct Group {
    group: String,
    members: Vec<GroupMember>,
    lag_records: u64,
    lag_seconds: f64,
    offsets: Vec<GroupPartition>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupMember {
    member: String,
    partitions: Vec<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupPartition {
    topic: String,
    partition: u32,
    /// None where nothing was committed yet.
    next: Option<u64>,
    end: u64,
    lag_records: u64,
    lag_seconds: f64,
}

pub(super) fn run(config: &Config, command: &GroupsCommand, json: bool) -> anyhow::Result<ExitCode> {
    let admin = Admin::connect(config)?;
    let done = answer(&admin, command, json);
    admin.close();
    done?;
    Ok(ExitCode::SUCCESS)
}

fn answer(admin: &Admin, command: &GroupsCommand, json: bool) -> anyhow::Result<()> {
    if let GroupsCommand::Reset { group, topic, partition, to, with_state, dry_run } = command {
        let body =
            json!({ "topic": topic, "partition": partition, "to": to, "with_state": with_state, "dry_run": dry_run });
        return reset(admin, group, &body, json);
    }
    let groups = admin.get::<Groups>("/api/admin/groups", &[])?.items;
    match command {
        GroupsCommand::List if json => show::json(&groups),
        GroupsCommand::Lag { group: None } if json => show::json(&groups),
        GroupsCommand::List => list(&groups),
        GroupsCommand::Describe { group } | GroupsCommand::Lag { group: Some(group) } => {
            let found = find(&groups, group)?;
            if json { show::json(found) } else { describe(found) }
        }
        GroupsCommand::Lag { group: None } => lag(groups.iter()),
        GroupsCommand::Reset { .. } => {}
    }
    Ok(())
}

fn find<'a>(groups: &'a [Group], name: &str) -> anyhow::Result<&'a Group> {
    groups
        .iter()
        .find(|group| group.group == name)
        .ok_or_else(|| exit::input(format!("there is no group `{name}`; `tapedeck groups list` names all")))
}

fn list(groups: &[Group]) {
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                group.group.clone(),
                group.members.len().to_string(),
                show::thousands(group.lag_records),
                seconds(group.lag_seconds),
            ]
        })
        .collect();
    show::table(&["group", "members", "lag records", "lag s"], &rows);
}

fn describe(group: &Group) {
    show::out(&format!("{}: {} members\n", group.group, group.members.len()));
    for member in &group.members {
        show::out(&format!("  {} owns {} partitions", member.member, member.partitions.len()));
    }
    lag(std::iter::once(group));
}

fn lag<'a>(groups: impl Iterator<Item = &'a Group>) {
    let rows: Vec<Vec<String>> = groups
        .flat_map(|group| {
            group.offsets.iter().map(|p| {
                vec![
                    group.group.clone(),
                    p.topic.clone(),
                    p.partition.to_string(),
                    p.next.map_or_else(|| "-".into(), |next| next.to_string()),
                    p.end.to_string(),
                    show::thousands(p.lag_records),
                    seconds(p.lag_seconds),
                ]
            })
        })
        .collect();
    show::table(&["group", "topic", "partition", "next", "end", "lag records", "lag s"], &rows);
}

fn seconds(value: f64) -> String {
    format!("{value:.1}")
}

fn reset(admin: &Admin, group: &str, body: &Value, json: bool) -> anyhow::Result<()> {
    let path = format!("/api/admin/groups/{group}/reset");
    let moved: Value = admin.post(&path, "application/json", body.to_string().as_bytes())?;
    if json {
        show::json(&moved);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<Vec<String>> = moved["moved"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| vec![text(&p["topic"]), text(&p["partition"]), text(&p["before"]), text(&p["after"])])
        .collect();
    show::table(&["topic", "partition", "before", "after"], &rows);
    if body["dry_run"] == true {
        show::out("nothing was changed (--dry-run)");
    }
    Ok(())
}
