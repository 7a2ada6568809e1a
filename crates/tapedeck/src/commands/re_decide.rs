//! `tapedeck replay --decisions`: what other models would have decided, of a stretch of
//! the past, page by page.
//!
//! Not here: deciding again, which who holds the folder does.

use std::{cmp::Ordering, collections::BTreeMap, process::ExitCode};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tapedeck_contracts::events::decision::Outcome;
use tapedeck_flow::Stop;
use tapedeck_roles::forensics::{
    re_decide::{Differing, Moved, ReDecided},
    sentences::percent,
};

use super::stop_on_signals;
use crate::{admin::Admin, cli::ReplayArgs, config::Config, exit, show};

const RE_DECIDE: &str = "/api/v1/forensics/re-decide";
/// Decisions asked for at once: the api's own limit.
const PAGE: u64 = 1_000;
const PROGRESS: &str = "{spinner} {human_pos} decisions, {per_sec}, {elapsed}";
/// What no reader may take the figures for.
const AS_RECORDED: &str = "Features, regimes and weights are those that were recorded; risk checks, outcomes and positions too: what \
another book would have let through is not told.";

/// What is asked of the process that holds the folder.
#[derive(Serialize)]
struct Question<'a> {
    model: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    limit: u64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(flatten)]
    came: ReDecided,
    next_cursor: Option<String>,
}

pub(super) fn run(config: &Config, args: &ReplayArgs, json: bool) -> anyhow::Result<ExitCode> {
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let question = question(args)?;
    let admin = Admin::connect_to_read(config)?;
    let done = pages(&admin, question, args, json, &stop);
    admin.close();
    let all = done?;
    if json {
        show::json(&all);
    } else {
        let say: fn(&str) = if args.past.ndjson { show::say } else { show::out };
        tell(&all, args, say);
    }
    Ok(ExitCode::SUCCESS)
}

fn question(args: &ReplayArgs) -> anyhow::Result<Question<'_>> {
    let past = &args.past;
    let mut model = BTreeMap::new();
    for (specialist, version) in &past.model {
        if model.insert(specialist.as_str(), version.as_str()).is_some() {
            return Err(exit::input(format!("--model {specialist}: given twice; one version of it can decide")));
        }
    }
    Ok(Question {
        model,
        account: past.account.as_deref(),
        symbol: args.symbol.as_deref(),
        from: past.from.as_deref(),
        to: past.to.as_deref(),
        cursor: None,
        limit: PAGE,
    })
}

/// Asks page by page; of the decisions that differ only as many are kept as are told.
fn pages(
    admin: &Admin,
    mut question: Question<'_>,
    args: &ReplayArgs,
    json: bool,
    stop: &Stop,
) -> anyhow::Result<ReDecided> {
    let bar = show::progress(!json, 0, PROGRESS);
    let mut all = ReDecided::default();
    loop {
        let body = serde_json::to_vec(&question)?;
        let mut page: Page = admin.post(RE_DECIDE, "application/json", &body)?;
        if args.past.ndjson {
            for item in &page.came.items {
                show::out(&json!(item).to_string());
            }
        }
        keep(&mut all.items, &mut page.came.items, args.past.top as usize);
        all.add(page.came);
        bar.set_position(all.decisions);
        question.cursor = page.next_cursor;
        if question.cursor.is_none() {
            break;
        }
        if stop.requested() {
            bar.finish_and_clear();
            return Err(exit::interrupted(format!(
                "stopped after {}; nothing is kept of it: give a shorter stretch with --from and --to",
                show::count(all.decisions, "decision", "decisions")
            )));
        }
    }
    bar.finish_and_clear();
    if all.decisions == 0 {
        return Err(exit::input(
            "no explained decision lies in the range: `tapedeck replay --decisions` without --from, --to, --symbol and \
             --account takes all; decisions are explained by the forensics role, and kept as long as retention says",
        ));
    }
    Ok(all)
}

/// Moves those with the largest move of the margin, of both, to the kept; the newer of equals first.
fn keep(kept: &mut Vec<Differing>, more: &mut Vec<Differing>, top: usize) {
    kept.append(more);
    kept.sort_by(|one, other| match other.apart().total_cmp(&one.apart()) {
        Ordering::Equal => other.timestamp.cmp(&one.timestamp),
        order => order,
    });
    kept.truncate(top);
}

fn tell(all: &ReDecided, args: &ReplayArgs, say: fn(&str)) {
    let count = |n: u64| format!("{} ({})", show::thousands(n), percent(n as f64 / all.decisions as f64));
    let models: Vec<String> = args.past.model.iter().map(|(name, version)| format!("{name} {version}")).collect();
    say(&format!(
        "{}, decided again by {}, band {}",
        show::count(all.decisions, "decision", "decisions"),
        models.join(", "),
        all.band
    ));
    say(&format!("  the same              {}", count(all.same)));
    say(&format!("  another quantity      {}", count(all.other_quantity)));
    say(&format!("  another action        {}", count(all.other_action)));
    for change in &all.changes {
        say(&format!(
            "    {:<19} {}",
            format!("{:?} → {:?}", change.before, change.after).to_uppercase(),
            count(change.decisions)
        ));
    }
    let means = &all.means;
    say(&format!(
        "  mean p                {:.4} → {:.4}, each moved by {:.4} in the mean",
        means.p_before, means.p_after, means.p_moved
    ));
    say(&format!("  mean confidence       {:.4} → {:.4}", means.confidence_before, means.confidence_after));
    if all.other_config > 0 {
        say(&format!(
            "  of another config     {}: the band and sizes of now do not make these of their own margins, and a part of the \
             differences comes of that",
            count(all.other_config)
        ));
    }
    if !args.past.ndjson {
        all.items.iter().for_each(|item| told(item, say));
        if all.other_action > all.items.len() as u64 && !all.items.is_empty() {
            say(&format!(
                "\n{} of {} are told; --top tells more, --ndjson all",
                all.items.len(),
                show::thousands(all.other_action)
            ));
        }
    }
    say(&format!("\n{AS_RECORDED}"));
}

fn told(item: &Differing, say: fn(&str)) {
    let account = item.account.as_ref().map(|account| format!(" for {account}")).unwrap_or_default();
    let rejected = if item.outcome == Outcome::Rejected { ", was rejected" } else { "" };
    let (before, after) = (&item.before, &item.after);
    let actions =
        format!("{:?} {} → {:?} {}", before.action, before.quantity, after.action, after.quantity).to_uppercase();
    say(&format!("\n{} {}{account}  {actions}{rejected}  ({})", item.timestamp, item.symbol, item.decision_id));
    let ((margin, other_margin), (p, other_p)) = (apart(before.margin, after.margin), apart(before.p, after.p));
    say(&format!("  margin {margin} → {other_margin}, p {} → {}", unsigned(&p), unsigned(&other_p)));
    item.moved.iter().filter_map(line_of).for_each(|line| say(&line));
}

/// A feature whose contribution moved; none where it did so by chance alone.
fn line_of(moved: &Moved) -> Option<String> {
    let value = moved.value.map_or("missing".to_owned(), |value| format!("{value:.6}"));
    let (before, after) = apart(moved.shap_before, moved.shap_after);
    (before != after).then(|| format!("  {:<22} = {value:<12} {before} → {after}", moved.name))
}

/// Two numbers with their signs, with as many decimals as show that they differ.
fn apart(one: f64, other: f64) -> (String, String) {
    /// Below it, f64 sums of other order differ by chance.
    const MOST: usize = 12;
    let told = |digits: usize| (format!("{one:+.digits$}"), format!("{other:+.digits$}"));
    (4..MOST).map(told).find(|(one, other)| one != other).unwrap_or_else(|| told(4))
}

fn unsigned(number: &str) -> &str {
    number.trim_start_matches('+')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_differ_are_told_with_as_many_digits_as_show_it() {
        let told = |one, other| apart(one, other);
        assert_eq!(told(0.5, -0.25), ("+0.5000".to_owned(), "-0.2500".to_owned()));
        assert_eq!(told(-0.033_11, -0.033_14), ("-0.03311".to_owned(), "-0.03314".to_owned()));
        assert_eq!(told(1.0, 1.0), ("+1.0000".to_owned(), "+1.0000".to_owned()));
    }
}
