//! A redrive or a purge as a person follows it: begun, watched, ended by Ctrl-C
//! between two of its steps.
//!
//! Not here: the work, which the process that holds the folder does.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};
use tapedeck_flow::Stop;

use super::{cell, fields};
use crate::{admin::Admin, cli::DlqWhat, commands::stop_on_signals, exit, show};

/// How often it looks how far the job is.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Refusals and examples that are printed; `--json` gives a hundred.
const SHOWN: usize = 10;

/// What is asked for.
pub(super) fn body(what: &DlqWhat, reason: Option<&str>) -> Value {
    let mut body = json!({ "all": what.all, "dry_run": what.dry_run, "which": &what.which });
    if let Some(reason) = reason {
        body["reason"] = reason.into();
    }
    for (name, value) in fields(&what.filter) {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    if let Some(limit) = what.limit {
        body["limit"] = limit.into();
    }
    body
}

/// Begins the job, follows it, and tells what came of it.
pub(super) fn run(admin: &Admin, action: &str, body: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let path = format!("/api/admin/dlq/{action}");
    let begun: Value = admin.post(&path, "application/json", body.to_string().as_bytes())?;
    let job = follow(admin, begun, &stop, json)
        .context("how far it came is not known; the same command goes on with what is still open")?;
    if json {
        show::json(&job);
    } else {
        tell(&job);
    }
    end(&job)
}

fn follow(admin: &Admin, mut job: Value, stop: &Stop, json: bool) -> anyhow::Result<Value> {
    let path = format!("/api/admin/dlq/jobs/{}", job["id"].as_str().unwrap_or_default());
    let bar = show::progress(!json, 0, "{bar:30} {human_pos} of {human_len} read, {msg}, {elapsed}");
    let mut cancelled = false;
    while job["state"] == "running" {
        if stop.requested() && !cancelled {
            cancelled = true;
            let _: Value = admin.delete(&path)?;
        }
        // Once somebody asked to stop there is no waiting any more.
        if cancelled {
            std::thread::sleep(LOOK_EVERY)
        } else {
            let _ = stop.wait(LOOK_EVERY);
        }
        job = admin.get(&path, &[])?;
        bar.set_length(number(&job["total"]));
        bar.set_position(number(&job["examined"]));
        bar.set_message(format!("{} {}", show::thousands(number(&job["done"])), done_word(&job)));
    }
    bar.finish_and_clear();
    Ok(job)
}

fn tell(job: &Value) {
    let count = |name: &str| show::thousands(number(&job[name]));
    for by in items(&job["done_by"]) {
        let (topic, group) = (text(&by["topic"]), text(&by["group"]));
        show::out(&format!("{} of {topic} {} for {group}", show::thousands(number(&by["count"])), done_word(job)));
    }
    if number(&job["matched"]) == 0 {
        show::out("no open dead letter matches");
    }
    let samples = items(&job["samples"]);
    for sample in samples.iter().take(SHOWN) {
        show::out(&format!("  {} {}", text(&sample["place"]), cell(text(&sample["error"]))));
    }
    more(samples.len(), number(&job["done"]).min(number(&job["done"]) * u64::from(job["dry_run"] == true)));
    if number(&job["refused"]) > 0 {
        show::out(&format!("{} refused, and open as before:", count("refused")));
        let refusals = items(&job["refusals"]);
        for refusal in refusals.iter().take(SHOWN) {
            show::out(&format!("  {}: {}", text(&refusal["place"]), text(&refusal["reason"])));
        }
        more(refusals.len(), number(&job["refused"]));
    }
    if number(&job["unreadable"]) > 0 {
        show::out(&match number(&job["unreadable"]) {
            1 => "1 record there is no dead letter of tapedeck; it was left alone".to_owned(),
            _ => format!("{} records there are no dead letters of tapedeck; they were left alone", count("unreadable")),
        });
    }
    if job["dry_run"] == true {
        show::out("nothing was changed (--dry-run)");
    }
}

fn more(listed: usize, all: u64) {
    let left = all.saturating_sub(listed.min(SHOWN) as u64);
    if left > 0 {
        show::out(&format!("  and {} more", show::thousands(left)));
    }
}

fn done_word(job: &Value) -> &'static str {
    match (job["action"] == "purge", job["dry_run"] == true) {
        (false, false) => "sent again",
        (false, true) => "would be sent again",
        (true, false) => "purged",
        (true, true) => "would be purged",
    }
}

/// The exit code, and what a person must know.
fn end(job: &Value) -> anyhow::Result<ExitCode> {
    match text(&job["state"]) {
        "cancelled" => return Err(exit::Coded::interrupted().into()),
        "failed" => anyhow::bail!("{}; the same command goes on with what is still open", text(&job["error"])),
        _ => {}
    }
    let missing: Vec<&str> = items(&job["missing"]).iter().map(text).collect();
    if !missing.is_empty() {
        return Err(exit::input(missing.join("\n          ")));
    }
    Ok(if number(&job["refused"]) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
