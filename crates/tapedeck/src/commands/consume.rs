//! `tapedeck consume`: records of a topic, for eyes or for scripts.
//!
//! Not here: groups; this reads by itself and moves nobody's offsets.

use std::{process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tapedeck_flow::Stop;

use super::stop_on_signals;
use crate::{admin::Admin, cli::ConsumeArgs, config::Config, show};

/// Records asked for at once: the api's own limit.
const PAGE: usize = 1_000;
/// Between two looks where nothing new was there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Shown>,
    /// From where the next page goes on, in all partitions.
    next: String,
    at_end: bool,
}

/// A record as the admin api gives it.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    partition: u32,
    offset: u64,
    timestamp: String,
    key: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_encoding: Option<String>,
    headers: Value,
    value: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_encoding: Option<String>,
}

pub(super) fn run(config: &Config, args: &ConsumeArgs, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let admin = Admin::connect(config)?;
    let done = read(&admin, args, json, &stop);
    admin.close();
    done?;
    Ok(ExitCode::SUCCESS)
}

fn read(admin: &Admin, args: &ConsumeArgs, json: bool, stop: &Stop) -> anyhow::Result<()> {
    let mut from = (args.from != "earliest").then(|| args.from.clone());
    let mut left = args.limit.unwrap_or(usize::MAX);
    while left > 0 && !stop.requested() {
        let mut query = vec![("topic", args.topic.clone()), ("limit", PAGE.to_string())];
        query.extend(args.partition.map(|partition| ("partition", partition.to_string())));
        query.extend(from.take().map(|from| ("from", from)));
        let page: Page = admin.get("/api/admin/records", &query)?;
        from = Some(page.next);
        let found: Vec<&Shown> = page.items.iter().filter(|record| wanted(record, args)).take(left).collect();
        left -= found.len();
        for record in found {
            print(record, json);
        }
        if page.at_end && (!args.follow || stop.wait(LOOK_EVERY)) {
            break;
        }
    }
    Ok(())
}

fn wanted(record: &Shown, args: &ConsumeArgs) -> bool {
    args.key.as_ref().is_none_or(|key| record.key.as_str() == Some(key))
        && args.grep.as_ref().is_none_or(|text| {
            record.value.to_string().contains(text.as_str()) || record.headers.to_string().contains(text.as_str())
        })
}

fn print(record: &Shown, json: bool) {
    if json {
        show::out(&serde_json::to_string(record).expect("what is shown is plain data"));
        return;
    }
    let key = record.key.as_str().unwrap_or("-");
    show::out(&format!("{} {}/{} {key} {}", record.timestamp, record.partition, record.offset, record.value));
}
