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
    /// None where the group's role does not run in the process that answers.
    retries: Option<u64>,
    dead_letters: Option<u64>,
    oldest_unsettled_seconds: f64,
    topics: Vec<GroupTopic>,
    offsets: Vec<GroupPartition>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GroupTopic {
    topic: String,
    lag_records: u64,
    lag_seconds: f64,
    trend: String,
    clear_in_seconds: Option<f64>,
    taken_per_s: Option<f64>,
    written_per_s: Option<f64>,
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
    let admin = Admin::connect_to_read(config)?;
    let done = answer(&admin, command, json);
    admin.close();
    done?;
    Ok(ExitCode::SUCCESS)
}

fn answer(admin: &Admin, command: &GroupsCommand, json: bool) -> anyhow::Result<()> {
    match command {
        GroupsCommand::Reset { group, topic, partition, to, with_state, force, dry_run } => {
            let body = json!({
                "topic": topic, "partition": partition, "to": to,
                "with_state": with_state, "force": force, "dry_run": dry_run
            });
            return reset(admin, group, &body, json);
        }
        GroupsCommand::Skip { group, record, reason, dry_run } => {
            let (topic, partition, offset) = place(record)?;
            let body = json!({
                "topic": topic, "partition": partition, "offset": offset, "reason": reason, "dry_run": dry_run
            });
            return skip(admin, group, &body, json);
        }
        _ => {}
    }
    let groups = admin.get::<Groups>("/api/admin/groups", &[])?.items;
    match command {
        GroupsCommand::List | GroupsCommand::Lag { group: None } if json => show::json(&groups),
        GroupsCommand::List => list(&groups),
        GroupsCommand::Lag { group: None } => lag(groups.iter()),
        GroupsCommand::Describe { group } | GroupsCommand::Lag { group: Some(group) } => {
            let found = find(&groups, group)?;
            match command {
                _ if json => show::json(found),
                GroupsCommand::Lag { .. } => lag(std::iter::once(found)),
                _ => describe(found),
            }
        }
        GroupsCommand::Reset { .. } | GroupsCommand::Skip { .. } => {}
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
    let members = show::count(group.members.len() as u64, "member", "members");
    show::out(&format!("{}: {members}\n", group.group));
    for member in &group.members {
        let owned = show::count(member.partitions.len() as u64, "partition", "partitions");
        show::out(&format!("  {} owns {owned}", member.member));
    }
    let rows: Vec<Vec<String>> = group
        .offsets
        .iter()
        .map(|p| {
            vec![
                p.topic.clone(),
                p.partition.to_string(),
                p.next.map_or_else(|| "-".into(), |next| next.to_string()),
                p.end.to_string(),
                show::thousands(p.lag_records),
                seconds(p.lag_seconds),
            ]
        })
        .collect();
    show::table(&["topic", "partition", "next", "end", "lag records", "lag s"], &rows);
    show::out("");
    lag(std::iter::once(group));
}

/// A row for each topic of each group; what is known of the whole group stands in each.
fn lag<'a>(groups: impl Iterator<Item = &'a Group>) {
    let count = |value: Option<u64>| value.map_or_else(|| "-".into(), show::thousands);
    let rate = |value: Option<f64>| value.map_or_else(|| "-".into(), |rate| format!("{rate:.0}"));
    let rows: Vec<Vec<String>> = groups
        .flat_map(|group| {
            group.topics.iter().map(move |topic| {
                vec![
                    group.group.clone(),
                    topic.topic.clone(),
                    show::thousands(topic.lag_records),
                    seconds(topic.lag_seconds),
                    rate(topic.taken_per_s),
                    rate(topic.written_per_s),
                    gone(&topic.trend, topic.clear_in_seconds),
                    seconds(group.oldest_unsettled_seconds),
                    count(group.retries),
                    count(group.dead_letters),
                ]
            })
        })
        .collect();
    show::table(
        &[
            "group",
            "topic",
            "lag records",
            "lag s",
            "taken/s",
            "written/s",
            "gone in",
            "oldest s",
            "retries",
            "dead letters",
        ],
        &rows,
    );
}

/// When a lag will be gone, in words.
fn gone(trend: &str, clear_in_seconds: Option<f64>) -> String {
    match (trend, clear_in_seconds) {
        ("clear", _) => "no lag".into(),
        ("keeping_up", _) => "keeping up".into(),
        ("not_falling", _) => "never at this rate".into(),
        (_, Some(value)) if value < 120.0 => format!("{value:.0} s"),
        (_, Some(value)) if value < 7_200.0 => format!("{:.0} min", value / 60.0),
        (_, Some(value)) => format!("{:.1} h", value / 3_600.0),
        (_, None) => "not known yet".into(),
    }
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
    if let Some(warning) = moved["warning"].as_str() {
        show::out(&format!("take care: {warning}"));
    }
    if body["dry_run"] == true {
        show::out("nothing was changed (--dry-run)");
    }
    Ok(())
}

/// The parts of `topic/partition/offset`.
fn place(text: &str) -> anyhow::Result<(&str, u32, u64)> {
    let mut parts = text.rsplitn(3, '/');
    let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
    let read = || Some((topic?, partition?.parse().ok()?, offset?.parse().ok()?));
    read().ok_or_else(|| {
        exit::input(format!("`{text}` is no place of a record: give TOPIC/PARTITION/OFFSET, such as alerts.v1/0/17"))
    })
}

fn skip(admin: &Admin, group: &str, body: &Value, json: bool) -> anyhow::Result<()> {
    let done: Value =
        admin.post(&format!("/api/admin/groups/{group}/skip"), "application/json", body.to_string().as_bytes())?;
    if json {
        show::json(&done);
        return Ok(());
    }
    let would = if body["dry_run"] == true { "would be given up (--dry-run); " } else { "is given up: " };
    let (topic, partition, offset) = (body["topic"].as_str().unwrap_or_default(), &body["partition"], &body["offset"]);
    show::out(&format!(
        "{topic}/{partition}/{offset} {would}{group} goes on from {} (was at {})",
        done["after"], done["before"]
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::gone;

    #[test]
    fn the_end_of_a_lag_is_told_in_words_a_person_uses() {
        assert_eq!(gone("falling", Some(12.3)), "12 s");
        assert_eq!(gone("falling", Some(600.0)), "10 min");
        assert_eq!(gone("falling", Some(9_000.0)), "2.5 h");
        assert_eq!(gone("not_falling", None), "never at this rate");
        assert_eq!(gone("clear", Some(0.0)), "no lag");
        assert_eq!(gone("unknown", None), "not known yet");
    }
}
