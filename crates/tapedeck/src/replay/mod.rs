//! A replay: a file through the very roles and log of `up`, until everything has
//! settled, and one object that says what came of it.
//!
//! The folder remembers what was replayed into it (`replay.json`): the same
//! command continues or prints the same object, another one is refused.
//!
//! Not here: reading the file (the market role's), and the roles.

use std::{path::Path, time::Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    backends::{LOG_FILE, OwnNames, STORE_FILE},
    cli::{ReplayArgs, Role},
    config::{Config, LogKind, StoreKind},
    deck::{Deck, Mode, REPLAY_FILE},
    exit,
    folder::Folder,
};

mod outcome;
mod plan;
mod settle;

pub(crate) use outcome::Outcome;
pub(crate) use plan::{SOURCE, plan};

/// The roles of a replay: all that make or keep executions, and decisions where the
/// config has them made. The api, monitors and reminders are off.
pub(crate) fn roles(config: &Config) -> Vec<Role> {
    let all = [Role::Market, Role::Strategy, Role::Inference, Role::ForwardTest, Role::Recorder, Role::Forensics];
    let decides = |role: &Role| matches!(role, Role::Inference | Role::Forensics);
    all.into_iter().filter(|role| !decides(role) || config.decides()).collect()
}

/// What a folder was replayed from, and what came of it once it was done.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// Everything that the executions depend on; the speed is not among it.
    settings: serde_json::Value,
    outcome: Option<Outcome>,
}

/// Runs the replay, or goes on with it.
///
/// # Errors
/// The folder holds another replay; a role cannot go on; somebody asked to stop.
pub(crate) fn run(
    config: &Config,
    folder: Folder,
    args: &ReplayArgs,
    seen: &mut dyn FnMut(&Deck),
) -> anyhow::Result<Outcome> {
    let path = folder.dir().join(REPLAY_FILE);
    let dir = folder.dir().to_owned();
    let settings = plan::settings(config, args)?;
    let mut manifest = read(&path)?;
    if let Some(found) = &manifest {
        if let Some(difference) = plan::difference(&found.settings, &settings) {
            return Err(exit::input(format!(
                "{} holds a replay of another file or setting ({difference}): give another folder with --data",
                dir.display()
            )));
        }
        if let Some(outcome) = manifest.as_mut().and_then(|found| found.outcome.take()) {
            let is_gone = |file: &str, kept_here: bool| kept_here && !dir.join(file).exists();
            if is_gone(LOG_FILE, config.log.kind == LogKind::Embedded)
                || is_gone(STORE_FILE, config.store.kind == StoreKind::Sqlite)
            {
                return Err(exit::folder(format!(
                    "{} remembers a finished replay, but its log or store is gone: give another folder with --data",
                    dir.display()
                )));
            }
            // The folder may have been moved since.
            return Ok(Outcome { data: dir.display().to_string(), ..outcome });
        }
    } else if dir.join(LOG_FILE).exists() {
        return Err(exit::input(format!(
            "{} is a data folder of `up`, and a replay would mix with it: give another folder with --data",
            dir.display()
        )));
    }
    // On a cluster a replay shares nothing with what runs there.
    OwnNames::give(&dir, config, "replay")?;
    let continued = manifest.is_some();
    let mut manifest = Manifest { settings, outcome: None };
    write(&path, &manifest)?;

    let stop = tapedeck_flow::Stop::new();
    crate::commands::stop_on_signals(&stop)?;
    let started = Instant::now();
    let mut deck = Deck::open(folder, config, stop)?;
    deck.start(config, &roles(config), Mode::Replay)?;
    let settled = settle::wait(&deck, config, SOURCE, seen);
    let events = match settled {
        Ok(events) => events,
        Err(error) => {
            deck.shut_down();
            return Err(error);
        }
    };
    let elapsed = started.elapsed();
    let outcome = outcome::of(&deck, events, elapsed, continued, &dir);
    deck.shut_down();
    manifest.outcome = Some(outcome?);
    write(&path, &manifest)?;
    Ok(manifest.outcome.expect("it was just put there"))
}

fn read(path: &Path) -> anyhow::Result<Option<Manifest>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            exit::folder(format!(
                "{} is not what a replay writes ({error}): give another folder with --data",
                path.display()
            ))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whole or not at all, also when the process is killed in the middle.
fn write(path: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    serde_json::to_writer_pretty(&mut file, manifest)?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}
