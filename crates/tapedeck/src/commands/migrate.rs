//! `tapedeck migrate`: progress while it moves, and what came of it.
//!
//! Not here: moving (`crate::migrate`).

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, sync::Mutex};

use indicatif::ProgressBar;
use tapedeck_flow::Stop;

use super::{checked, stop_on_signals};
use crate::{
    cli::MigrateArgs,
    config::{self, Config},
    exit,
    migrate::{self, Moved},
    show,
};

/// So much of a digest tells it from any other; JSON has all of it.
const DIGEST_SHOWN: usize = 16;

pub(super) fn run(
    config: Config,
    data: Option<PathBuf>,
    args: &MigrateArgs,
    variables: &BTreeMap<String, String>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let load = |file: &PathBuf| config::load(Some(file), variables).map_err(exit::input);
    let mut from = args.from.as_ref().map(load).transpose()?.unwrap_or(config);
    if let Some(dir) = data {
        from.data.dir = dir;
    }
    let to = checked(load(&args.to)?)?;
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let bar = Mutex::new(ProgressBar::hidden());
    let shown = !json && show::has_terminal();
    let phase = |what: &str, count: u64| {
        let mut bar = bar.lock().expect("nothing panics here");
        bar.finish_and_clear();
        if shown {
            *bar = progress(what, count);
        } else if !json && !what.is_empty() {
            show::say(what);
        }
    };
    let seen = |more: u64| bar.lock().expect("nothing panics here").inc(more);
    let moved = migrate::run(&from, &to, args.dry_run, &stop, &phase, &seen);
    phase("", 0);
    bar.lock().expect("nothing panics here").finish_and_clear();
    let moved = moved?;
    if json {
        show::json(&moved);
    } else {
        tell(&moved);
    }
    Ok(if moved.equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn progress(what: &str, count: u64) -> ProgressBar {
    show::progress(true, count, "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}")
        .with_message(what.to_owned())
}

fn tell(moved: &Moved) {
    let short = |digest: &str| digest.get(..DIGEST_SHOWN).unwrap_or(digest).to_owned();
    let yes = |equal: bool| if equal { "yes" } else { "NO" }.to_owned();
    let topics: Vec<Vec<String>> = moved
        .topics
        .iter()
        .filter(|topic| topic.records > 0)
        .map(|topic| {
            vec![
                topic.topic.clone(),
                show::thousands(topic.records),
                show::thousands(topic.found),
                short(&topic.digest_source),
                short(&topic.digest_target),
                yes(topic.equal),
                topic.note.clone(),
            ]
        })
        .collect();
    if !topics.is_empty() {
        show::table(&["topic", "records", "found", "digest here", "digest there", "equal", "note"], &topics);
        show::out("");
    }
    let answers: Vec<Vec<String>> = moved
        .answers
        .iter()
        .map(|answer| {
            vec![
                answer.table.clone(),
                show::thousands(answer.source),
                show::thousands(answer.target),
                short(&answer.digest_source),
                short(&answer.digest_target),
                yes(answer.equal),
            ]
        })
        .collect();
    if !answers.is_empty() {
        show::table(&["answer", "here", "there", "digest here", "digest there", "equal"], &answers);
        show::out("");
    }
    let rows: u64 = moved.rows.iter().map(|(_, count)| count).sum();
    let offsets = if moved.same_offsets {
        "every record keeps its offset"
    } else {
        "offsets close up, and what names them is mapped"
    };
    show::out(&format!(
        "{}{}, {}, {} to {}; {offsets}",
        if moved.dry_run { "would move " } else { "" },
        show::count(moved.records, "record", "records"),
        show::count(rows, "row", "rows"),
        show::count(moved.groups.len() as u64, "group", "groups"),
        moved.target,
    ));
    if moved.dry_run {
        show::out("nothing was written (--dry-run)");
    } else if !moved.equal {
        show::out("what differs is marked with NO: do not go on with the target, and keep the source");
    } else {
        show::out("the source is as it was; end what writes to it, and start with the new config");
    }
}
