//! `tapedeck topics watch`: ends and rates, looked at again and again.
//!
//! Not here: what is in the topics.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;
use tapedeck_flow::Stop;

use super::{Topic, Topics};
use crate::{admin::Admin, cli::WatchArgs, config::Config, exit, show};

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

pub(super) fn run(config: &Config, args: &WatchArgs, json: bool) -> anyhow::Result<()> {
    let every: Result<jiff::SignedDuration, _> = args.every.parse();
    let every = every.ok().and_then(|every| Duration::try_from(every).ok()).filter(|every| !every.is_zero());
    let every =
        every.ok_or_else(|| exit::input(format!("--every: expected a time such as 2s, found `{}`", args.every)))?;
    let stop = Stop::new();
    crate::commands::stop_on_signals(&stop)?;
    let admin = Admin::connect_to_read(config)?;
    let done = watch(&admin, args, every, json, &stop);
    admin.close();
    done
}

fn watch(admin: &Admin, args: &WatchArgs, every: Duration, json: bool, stop: &Stop) -> anyhow::Result<()> {
    let mut before: Option<(Instant, BTreeMap<String, u64>)> = None;
    let mut looks = 0;
    loop {
        let topics = admin.get::<Topics>("/api/admin/topics", &[])?.items;
        if let Some(name) = args.topics.iter().find(|name| !topics.iter().any(|topic| topic.topic == **name)) {
            return Err(exit::input(format!("there is no topic `{name}`; `tapedeck topics list` names all")));
        }
        let now = Instant::now();
        let ends: BTreeMap<String, u64> = topics.iter().map(|topic| (topic.topic.clone(), end_of(topic))).collect();
        let rate = |topic: &Topic| {
            let (at, ends) = before.as_ref()?;
            let grown = end_of(topic).saturating_sub(*ends.get(&topic.topic)?);
            #[expect(clippy::cast_precision_loss, reason = "offsets are far below 2^52")]
            let grown = grown as f64;
            Some(grown / now.duration_since(*at).as_secs_f64())
        };
        let wanted = |topic: &&Topic| match args.topics.is_empty() {
            true => end_of(topic) > 0,
            false => args.topics.contains(&topic.topic),
        };
        let shown: Vec<(&Topic, Option<f64>)> =
            topics.iter().filter(wanted).map(|topic| (topic, rate(topic))).collect();
        print(&shown, json);
        looks += 1;
        before = Some((now, ends));
        if args.looks.is_some_and(|most| looks >= most) || stop.wait(every) {
            return Ok(());
        }
    }
}

/// Offsets that were ever written, over all partitions.
fn end_of(topic: &Topic) -> u64 {
    topic.partitions.iter().map(|partition| partition.end).sum()
}

fn print(topics: &[(&Topic, Option<f64>)], json: bool) {
    if json {
        let items: Vec<_> = topics
            .iter()
            .map(|(topic, rate)| json!({ "topic": topic.topic, "end": end_of(topic), "records": topic.records, "written_per_s": rate }))
            .collect();
        show::out(&json!({ "at": jiff::Timestamp::now().to_string(), "items": items }).to_string());
        return;
    }
    if show::is_page() {
        show::out(CLEAR);
    }
    let rows: Vec<Vec<String>> = topics
        .iter()
        .map(|(topic, rate)| {
            vec![
                topic.topic.clone(),
                show::thousands(end_of(topic)),
                show::thousands(topic.records),
                rate.map_or_else(|| "-".into(), |rate| format!("{rate:.0}")),
            ]
        })
        .collect();
    show::table(&["topic", "end", "records", "written/s"], &rows);
    show::out("");
}
