//! `POST /api/v1/decisions` at a steady pace: alone, and while decisions of others are
//! posted as fast as the api takes them, so that forensics has work without end.
//!
//! Not here: what deciding itself costs, and emitting (`emit`).

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tapedeck_bench_pace::Pace;
use tapedeck_roles::inference::{InferenceConfig, Models};
use tapedeck_store::{Explanations, SqliteConfig, SqliteStore};

use crate::{decisions, figures};

/// Who asks: each waits for its answer before it asks again, and two hardly wait.
const CLIENTS: u32 = 4;
/// Decisions that others post at once.
const BATCH: u64 = 500;
/// Beyond the ids that other parts use on the same folder.
const FIRST: u64 = 1 << 40;

/// Asks only, and says how many decisions forensics explained meanwhile, if it did.
pub(crate) fn ask_beside(url: &str, pace: Pace, store: &Path, what: &str) -> anyhow::Result<()> {
    let body = Arc::new(question()?);
    let store = SqliteStore::open(store, SqliteConfig::default())?;
    let kept = || Ok::<u64, anyhow::Error>(store.chain_heads()?.iter().map(|head| head.records).sum());
    let before = kept()?;
    let laps = ask(url, pace, &body)?;
    let rate = (kept()? - before) as f64 / pace.time.as_secs_f64();
    figures::print(&format!("a decision over HTTP, {what}"), laps, &format!("  {rate:.0} explained/s meanwhile"));
    Ok(())
}

pub(crate) fn run(url: &str, pace: Pace, what: &str) -> anyhow::Result<()> {
    let body = Arc::new(question()?);
    let alone = ask(url, pace, &body)?;
    figures::print(&format!("a decision over HTTP, {what}"), alone, "");
    let (stop, posted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let others = {
        let (url, stop, posted) = (url.to_owned(), Arc::clone(&stop), Arc::clone(&posted));
        thread::spawn(move || post(&url, &stop, &posted))
    };
    let beside = ask(url, pace, &body);
    stop.store(true, Relaxed);
    others.join().map_err(|_| anyhow::anyhow!("who posts panicked"))??;
    let rate = posted.load(Relaxed) as f64 / pace.time.as_secs_f64();
    figures::print(&format!("the same beside {rate:.0} posted decisions/s"), beside?, "");
    Ok(())
}

/// A question with every feature that the demo's specialists know.
fn question() -> anyhow::Result<String> {
    let models = Models::open(&InferenceConfig::default())?;
    let current = models.current();
    let names = current.models().iter().flat_map(|model| &model.ensemble().features);
    let features: BTreeMap<&str, f64> = names.map(|name| (name.as_str(), 0.25)).collect();
    Ok(serde_json::json!({"symbol": "BTCUSDT", "account": "BENCH", "features": features}).to_string())
}

/// What each answer took.
fn ask(url: &str, pace: Pace, body: &Arc<String>) -> anyhow::Result<Vec<Duration>> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (url, body) = (format!("{url}/api/v1/decisions"), Arc::clone(body));
            thread::spawn(move || one(&url, pace, &body, client))
        })
        .collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.join().map_err(|_| anyhow::anyhow!("who asks panicked"))??);
    }
    Ok(all)
}

fn one(url: &str, pace: Pace, body: &str, client: u32) -> anyhow::Result<Vec<Duration>> {
    let agent = ureq::Agent::new_with_defaults();
    let every = Duration::from_secs_f64(f64::from(CLIENTS) / pace.per_s as f64);
    let began = Instant::now() + every * client / CLIENTS;
    let mut laps = Vec::new();
    for n in 0.. {
        let due = every * n;
        if due >= pace.time {
            return Ok(laps);
        }
        thread::sleep((began + due).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let mut answer = agent.post(url).header("content-type", "application/json").send(body)?;
        answer.body_mut().read_to_vec()?;
        // The first of a client opens its connection.
        if n > 0 {
            laps.push(asked.elapsed());
        }
    }
    Ok(laps)
}

/// Posts decisions of others until it is told to stop.
fn post(url: &str, stop: &AtomicBool, posted: &AtomicU64) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let mut n = FIRST;
    while !stop.load(Relaxed) {
        let mut lines = Vec::new();
        for _ in 0..BATCH {
            let record = decisions::record(n)?;
            lines.extend_from_slice(record.value.as_deref().unwrap_or_default());
            lines.push(b'\n');
            n += 1;
        }
        let target = format!("{url}/api/v1/events/{}", decisions::TOPIC);
        agent.post(target).header("content-type", "application/x-ndjson").send(&lines[..])?;
        posted.fetch_add(BATCH, Relaxed);
    }
    Ok(())
}
