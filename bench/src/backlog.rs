//! Forensics after a pause: decisions that came while it was away wait in the log, more
//! keep coming, and it is started; how soon it has caught up, and in how much memory.
//!
//! Not here: the steady line (`forensics`), and the emitter's spool (`catch_up`).

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tapedeck_bench_pace::{Pace, laps::show};
use tapedeck_flow::topics;
use tapedeck_log::{
    Log,
    embedded::{EmbeddedConfig, EmbeddedLog},
};
use tapedeck_roles::inference::{InferenceConfig, Models};
use tapedeck_store::{Explanations, SqliteConfig, SqliteStore};

use crate::{decisions, forensics, threads};

/// Decisions that are written to the log in one go.
const BATCH: u64 = 4_096;
/// New decisions come so often in one go.
const EVERY: Duration = Duration::from_millis(10);
/// It gives up after this.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// `away` is the pause, and the pace at which decisions came and keep coming.
pub(crate) fn run(dir: &Path, away: Pace) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let log: Arc<dyn Log> = EmbeddedLog::open(dir.path(), EmbeddedConfig::default())?;
    log.create_topics(&topics::of_catalogue(None))?;
    let waiting = fill(&*log, 0, away.calls())?;
    let store = SqliteStore::open(&dir.path().join("store.db"), SqliteConfig::default())?;
    let models = Arc::new(Models::open(&InferenceConfig::default())?);
    threads::forget_peak();
    let (before_mb, cpu) = (threads::peak_mb(), threads::cpu_s());
    let role = forensics::Role::start(Arc::clone(&log), Arc::clone(&store), models)?;
    let (began, mut came) = (Instant::now(), 0);
    let took = loop {
        let due = (began.elapsed().as_secs_f64() * away.per_s as f64) as u64;
        came += fill(&*log, waiting + came, due - came)?;
        let stored: u64 = store.chain_heads()?.iter().map(|head| head.records).sum();
        // What came within a second is the steady line's.
        if stored + away.per_s >= waiting + came {
            break began.elapsed();
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "it did not catch up within {}", show(PATIENCE));
        thread::sleep(EVERY);
    };
    println!(
        "backlog of {waiting} decisions ({} at {}/s): caught up in {}, {:.0}/s, while {}/s kept coming",
        show(away.time),
        away.per_s,
        show(took),
        (waiting + came) as f64 / took.as_secs_f64(),
        away.per_s
    );
    if let (Some(before), Some(after)) = (before_mb, threads::peak_mb()) {
        println!("    peak memory {after} MB; {before} MB before it was started");
    }
    threads::print_since(&cpu, waiting + came);
    role.stop()
}

/// Writes a backlog where the program finds it, for what is measured beside its reader.
pub(crate) fn write(dir: &Path, count: u64) -> anyhow::Result<()> {
    let log = EmbeddedLog::open(dir, EmbeddedConfig::default())?;
    log.create_topics(&topics::of_catalogue(None))?;
    let began = Instant::now();
    fill(&*log, 0, count)?;
    println!("{count} decisions wait in the log, written in {}", show(began.elapsed()));
    Ok(())
}

/// Appends decisions from the `from`-th on, and says how many.
fn fill(log: &dyn Log, from: u64, count: u64) -> anyhow::Result<u64> {
    let end = from + count;
    let mut at = from;
    while at < end {
        let upto = (at + BATCH).min(end);
        log.append((at..upto).map(decisions::record).collect::<anyhow::Result<_>>()?)?;
        at = upto;
    }
    Ok(count)
}
