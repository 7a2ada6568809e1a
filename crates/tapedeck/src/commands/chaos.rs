//! `tapedeck chaos`: a rehearsal, and an exit code that says whether all promises
//! were kept.
//!
//! Not here: the rehearsal (`crate::chaos`).

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use tapedeck_flow::Stop;

use super::stop_on_signals;
use crate::{
    chaos::{FaultKind, Plan, Rehearse, boundaries},
    cli::ChaosArgs,
    config::Config,
    exit, show,
};

/// Kills of a rehearsal that says nothing else: half a minute.
const KILLS: u64 = 20;

pub(super) fn run(
    config: Config,
    data: Option<PathBuf>,
    args: &ChaosArgs,
    variables: &BTreeMap<String, String>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let plan = plan(args)?;
    if args.verify.is_some() && !data.as_ref().is_some_and(|data| data.is_dir()) {
        return Err(exit::input("--verify needs the folder that the ledger is of: name it with --data"));
    }
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    // Not what a process logs at: that is nobody's config.
    let is_config = |name: &&String| name.starts_with("TAPEDECK_") && *name != "TAPEDECK_LOG";
    let hidden = variables.keys().filter(is_config).cloned().collect();
    if args.verify.is_none() {
        show::say(&format!("seed {}", plan.seed));
    }
    let rehearse = Rehearse::new(plan, config, data, hidden, stop.clone())?;
    let report = match &args.verify {
        Some(ledger) => rehearse.verify(ledger)?,
        None => rehearse.perform()?,
    };
    if json {
        show::json(&report);
    } else {
        report.print();
    }
    Ok(match (report.ok, stop.requested()) {
        (true, false) => ExitCode::SUCCESS,
        // All is well so far, and it is less than was asked for.
        (true, true) => ExitCode::from(exit::INTERRUPTED),
        (false, _) => ExitCode::FAILURE,
    })
}

fn plan(args: &ChaosArgs) -> anyhow::Result<Plan> {
    let kinds = args.faults.clone();
    let kills = kinds.contains(&FaultKind::Kill) || kinds.contains(&FaultKind::Boundary);
    let duration = args.duration.as_deref().map(|text| time("--duration", text)).transpose()?;
    if kinds.contains(&FaultKind::None) && kinds.len() > 1 {
        return Err(exit::input("--faults none stands alone: no other kind beside it"));
    }
    if !kills && duration.is_none() {
        return Err(exit::input("without kill and boundary among the --faults nothing is counted: say --duration"));
    }
    if args.rate < 20 {
        return Err(exit::input("--rate must be at least 20: four clients share it"));
    }
    let poison_permille = permille(&args.poison)?;
    Ok(Plan {
        kills: args.kills.or(duration.is_none().then_some(KILLS)),
        duration,
        rate: args.rate,
        // The newest bits of a random id: any number will do.
        seed: args.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().1 >> 32),
        kinds,
        boundaries: boundaries(poison_permille),
        poison_permille,
        longest_trouble: time("--trouble", &args.trouble)?,
        trading: !args.no_trading,
        keep: args.keep,
    })
}

/// A time such as `90s` or `10m`.
fn time(flag: &str, text: &str) -> anyhow::Result<Duration> {
    let parsed: Result<jiff::SignedDuration, _> = text.parse();
    let time = parsed.ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| exit::input(format!("{flag}: expected a time such as 500ms, 90s or 10m, found `{text}`")))
}

/// `1%` as thousandths.
fn permille(text: &str) -> anyhow::Result<u64> {
    let wrong = || exit::input(format!("--poison: expected a share such as 1% or 0.5%, found `{text}`"));
    let percent: f64 = text.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    Ok((percent * 10.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_are_read_as_people_write_them() {
        assert_eq!(time("--duration", "10m").unwrap(), Duration::from_secs(600));
        assert_eq!(time("--trouble", "500ms").unwrap(), Duration::from_millis(500));
        assert!(time("--duration", "soon").unwrap_err().to_string().contains("--duration"));
        assert_eq!((permille("1%").unwrap(), permille("0.5").unwrap(), permille("100%").unwrap()), (10, 5, 1_000));
        assert!(permille("a lot").is_err() && permille("101%").is_err() && permille("-1%").is_err());
    }
}
