//! `tapedeck up`: the roles, until somebody asks to stop.
//!
//! Not here: the roles.

use std::{process::ExitCode, time::Duration};

use tapedeck_flow::Stop;
use tapedeck_roles::inference::config::Enabled;

use super::stop_on_signals;
use crate::{
    backends::OwnNames,
    chaos::rehearsal::Rehearsal,
    cli::{Role, UpArgs},
    config::Config,
    deck::{Deck, Mode},
    folder::Folder,
    show,
};

/// How often it is looked whether a partition is blocked; people read it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(config: &Config, args: &UpArgs, rehearsal: &Rehearsal, json: bool) -> anyhow::Result<ExitCode> {
    let roles = if args.roles.is_empty() { Role::ALL.to_vec() } else { args.roles.clone() };
    OwnNames::refuse_trading(&config.data.dir, config, &roles)?;
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let mut deck = Deck::open_to_stay(Folder::claim_alone(&config.data.dir)?, config, stop, rehearsal)?;
    deck.start(config, &roles, Mode::Live)?;
    announce(&deck, config, &roles, json);
    watch(deck)
}

/// Waits for the wish to stop, telling of trouble once, and ends in order.
pub(super) fn watch(deck: Deck) -> anyhow::Result<ExitCode> {
    let mut told = None;
    while !deck.stop.wait(LOOK_EVERY) {
        let trouble = deck.trouble();
        if trouble != told {
            if let Some((role, why)) = &trouble {
                show::say(&format!("{} waits: {why}", role.name()));
            }
            told = trouble;
        }
    }
    let (unopened, failed) = (deck.late_failure(), deck.failed());
    deck.shut_down();
    if let Some(error) = unopened {
        return Err(error);
    }
    match failed {
        Some((role, why)) => anyhow::bail!("{} failed: {why}", role.name()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn announce(deck: &Deck, config: &Config, roles: &[Role], json: bool) {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    if json {
        show::json(&serde_json::json!({ "url": deck.url(), "data": config.data.dir, "roles": names }));
        return;
    }
    show::out(&format!("tapedeck runs {} on {}", names.join(", "), config.data.dir.display()));
    if let Some(url) = deck.url() {
        show::out(&format!("  {url}/docs"));
    }
    if config.sources.is_empty() && roles.contains(&Role::Market) {
        show::out("  no [[sources]] in the config: market is idle; events may be posted to /api/v1/events/{topic}");
    }
    if roles.contains(&Role::Inference) && !config.decides() && config.inference_section.enabled == Enabled::Auto {
        show::out(
            "  no session trades decisions and inference.models.dir is not set: inference is idle; inference.enabled = \"yes\" lets the demo's specialists decide",
        );
    }
}
