//! `tapedeck dlq`: dead letters listed, grouped, shown, sent again and purged.
//!
//! Not here: doing it, which the process that holds the folder does.

use std::{collections::BTreeMap, process::ExitCode};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    admin::{self, Admin},
    cli::{DlqCommand, DlqFilter},
    config::Config,
    show,
};

mod body;
mod job;
mod letter;

/// Items asked for at once: the api's own limit.
const PAGE: u64 = 1_000;
/// Of a text in a table, as much is shown.
const MAX_CELL: usize = 72;

/// A page of a list.
#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// Dead letters that failed alike, as the admin api gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Group {
    topic: String,
    group: String,
    class: String,
    error: String,
    count: u64,
    first: String,
    last: String,
    example: String,
    example_place: String,
}

pub(super) fn run(config: &Config, command: &DlqCommand, json: bool) -> anyhow::Result<ExitCode> {
    let admin = match command {
        DlqCommand::Replay { .. } => {
            admin::expect_log(config)?;
            Admin::connect_to_write(config)?
        }
        _ => Admin::connect_to_read(config)?,
    };
    let done = answer(&admin, command, json);
    admin.close();
    done
}

fn answer(admin: &Admin, command: &DlqCommand, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        DlqCommand::List { filter, all, limit } => list(admin, filter, *all, *limit, json)?,
        DlqCommand::Groups { filter, all } => groups(admin, filter, *all, json)?,
        DlqCommand::Show { which } => letter::show(admin, which, json)?,
        DlqCommand::Replay { what, rate, max_redrives, force, reason } => {
            let mut body = job::body(what, reason.as_deref());
            (body["rate"], body["max_redrives"], body["force"]) =
                ((*rate).into(), (*max_redrives).into(), (*force).into());
            return job::run(admin, "replay", &body, json);
        }
        DlqCommand::Purge { what, reason } => {
            return job::run(admin, "purge", &job::body(what, reason.as_deref()), json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(admin: &Admin, filter: &DlqFilter, all: bool, limit: u64, json: bool) -> anyhow::Result<()> {
    let mut items: Vec<Value> = Vec::new();
    let mut cursor = None;
    loop {
        let mut query = query(filter, all);
        query.push(("limit", PAGE.min(limit - items.len() as u64).to_string()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<Value> = admin.get("/api/admin/dlq", &query)?;
        items.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || items.len() as u64 >= limit {
            break;
        }
    }
    if json {
        show::json(&items);
        return Ok(());
    }
    if items.is_empty() {
        show::out("no dead letters");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            ["last_failure", "place", "group", "class", "key", "status", "error"]
                .iter()
                .map(|name| cell(item[*name].as_str().unwrap_or("-")))
                .collect()
        })
        .collect();
    show::table(&["failed", "place", "group", "class", "key", "status", "error"], &rows);
    if cursor.is_some() {
        show::out(&format!(
            "these are the newest {}; --limit shows more, `tapedeck dlq groups` counts all",
            items.len()
        ));
    }
    Ok(())
}

fn groups(admin: &Admin, filter: &DlqFilter, all: bool, json: bool) -> anyhow::Result<()> {
    let mut found: BTreeMap<[String; 4], Group> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let mut query = query(filter, all);
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page<Group> = admin.get("/api/admin/dlq/groups", &query)?;
        for group in page.items {
            let key = [&group.topic, &group.group, &group.class, &group.error].map(String::clone);
            found.entry(key).and_modify(|known| merge(known, &group)).or_insert(group);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let mut groups: Vec<Group> = found.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    if json {
        show::json(&groups);
        return Ok(());
    }
    if groups.is_empty() {
        show::out("no dead letters");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                show::thousands(group.count),
                group.topic.clone(),
                group.group.clone(),
                group.class.clone(),
                cell(&group.error),
                group.first.clone(),
                group.last.clone(),
                group.example_place.clone(),
            ]
        })
        .collect();
    show::table(&["count", "topic", "group", "class", "error", "first", "last", "example"], &rows);
    Ok(())
}

/// Times are of one form, so that their order is that of their text.
fn merge(known: &mut Group, more: &Group) {
    known.count += more.count;
    if more.first < known.first {
        known.first.clone_from(&more.first);
    }
    if more.last > known.last {
        known.last.clone_from(&more.last);
        known.example.clone_from(&more.example);
        known.example_place.clone_from(&more.example_place);
    }
}

fn query(filter: &DlqFilter, all: bool) -> Vec<(&'static str, String)> {
    let mut query: Vec<_> = fields(filter).into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if all {
        query.push(("status", "all".to_owned()));
    }
    query
}

/// The parts of a filter by their names in the api.
fn fields(filter: &DlqFilter) -> [(&'static str, Option<String>); 7] {
    [
        ("topic", filter.topic.clone()),
        ("group", filter.group.clone()),
        ("class", filter.class.clone()),
        ("error", filter.error.clone()),
        ("key", filter.key.clone()),
        ("from", filter.from.clone()),
        ("to", filter.to.clone()),
    ]
}

/// A text as one cell of a table.
fn cell(text: &str) -> String {
    let text = clean(text);
    if text.chars().count() <= MAX_CELL {
        return text;
    }
    text.chars().take(MAX_CELL - 1).chain(['…']).collect()
}

/// A text from a record as a terminal may see it: control characters could move
/// its cursor or worse.
fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_record_cannot_speak_to_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{9b}");
    }

    #[test]
    fn groups_of_two_pages_are_one() {
        let group = |count, first: &str, last: &str, place: &str| Group {
            topic: "t".into(),
            group: "g".into(),
            class: "store".into(),
            error: "e".into(),
            count,
            first: first.into(),
            last: last.into(),
            example: "i".into(),
            example_place: place.into(),
        };
        let mut known = group(2, "2026-01-02", "2026-01-03", "a");
        merge(&mut known, &group(3, "2026-01-01", "2026-01-04", "b"));
        assert_eq!((known.count, known.first.as_str(), known.last.as_str()), (5, "2026-01-01", "2026-01-04"));
        assert_eq!(known.example_place, "b");
    }
}
