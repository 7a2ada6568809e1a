//! A store that is away, or answers late, under the real program: events keep
//! being posted at a steady rate, the store fails for a while, then it is well;
//! what the posts take meanwhile, how much memory, and how fast what waited is
//! caught up with while more keeps coming.
//!
//! Not here: a log that is away (`catch_up`).

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tapedeck_contracts::Timestamp;

use crate::{figures, fill::report};

/// A post of so many events.
const EVENTS: u64 = 20;
/// Time before the outage.
const CALM: Duration = Duration::from_secs(5);
/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Catching up takes no longer unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(600);
const ACCOUNT: &str = "BENCH-OUTAGE";

/// The program under load, and who can make its store fail.
pub(crate) struct Stage<'a> {
    pub(crate) url: &'a str,
    /// The file that `TAPEDECK_CHAOS_FAULTS` of the program names.
    pub(crate) faults: &'a Path,
    /// The program.
    pub(crate) pid: u32,
}

/// Posts at the rate; the store fails like that for so long.
pub(crate) fn run(stage: &Stage<'_>, fault: &str, outage: Duration, per_s: u64) -> anyhow::Result<()> {
    let (posted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let before = stage.taken()?;
    let poster = {
        let (url, posted, stop) = (stage.url.to_owned(), Arc::clone(&posted), Arc::clone(&stop));
        thread::spawn(move || keep_posting(&url, per_s, &posted, &stop))
    };
    let result = outlive(stage, fault, outage, per_s, before, &posted);
    stop.store(true, Relaxed);
    // Where posts failed, that is what everything else fails on.
    let took = poster.join().map_err(|_| anyhow::anyhow!("the poster panicked"))??;
    result?;
    figures::print(&format!("POST of {EVENTS} events beside the outage, durable"), took, "");
    let count = posted.load(Relaxed);
    wait("the rest", || Ok(stage.taken()? - before >= count))?;
    let (rows, distinct) = stage.stored()?;
    println!("    posted {count}; stored {distinct}, lost {}, visible twice {}", count - distinct, rows - distinct);
    anyhow::ensure!(rows == count && distinct == count, "something was lost or is there twice");
    Ok(())
}

/// From before the outage until nothing waits any more.
fn outlive(
    stage: &Stage<'_>,
    fault: &str,
    outage: Duration,
    per_s: u64,
    before: u64,
    posted: &AtomicU64,
) -> anyhow::Result<()> {
    let waiting = || Ok::<_, anyhow::Error>(posted.load(Relaxed).saturating_sub(stage.taken()? - before));
    thread::sleep(CALM);
    let calm_mb = stage.memory_mb()?;
    stage.set(fault)?;
    thread::sleep(outage);
    let (backlog, outage_mb) = (waiting()?, stage.memory_mb()?);
    anyhow::ensure!(backlog > 0, "nothing waits at the end of the outage");
    stage.set("")?;
    let (healed, at_heal) = (Instant::now(), stage.taken()?);
    wait("the first to be stored", || Ok(stage.taken()? > at_heal))?;
    let began = healed.elapsed();
    // What is posted in a fifth of a second is on its way, not waiting.
    wait("what waited", || Ok(waiting()? <= per_s / 5))?;
    let (all, taken) = (healed.elapsed(), stage.taken()? - at_heal);
    let rate = taken as f64 / (all - began).as_secs_f64();
    println!(
        "{fault} for {outage:?} at {per_s}/s: {backlog} waited; first stored {:.2} s after the store was well, none waited \
         after {:.2} s\n    caught up at {rate:.0}/s while {per_s}/s kept coming: {:.1} times the incoming rate ({:.1} times \
         with the wait for the first)\n    memory: {calm_mb} MB before, {outage_mb} MB at the end of the outage, at most {} MB",
        began.as_secs_f64(),
        all.as_secs_f64(),
        rate / per_s as f64,
        taken as f64 / all.as_secs_f64() / per_s as f64,
        stage.largest_mb()?,
    );
    Ok(())
}

/// Posts until somebody says stop; what each post took.
fn keep_posting(url: &str, per_s: u64, posted: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let agent = ureq::Agent::new_with_defaults();
    let every = Duration::from_secs_f64(EVENTS as f64 / per_s as f64);
    // Beyond the ids of other benchmarks, so that nothing is a duplicate.
    let (base, began) = (1 << 41, Instant::now());
    let mut took = Vec::new();
    for post in 0_u32.. {
        if stop.load(Relaxed) {
            break;
        }
        thread::sleep((every * post).saturating_sub(began.elapsed()));
        let mut body = String::new();
        for event in 0..EVENTS {
            let nth = u64::from(post) * EVENTS + event;
            let mut report = report(base + nth);
            report.account = ACCOUNT.into();
            report.timestamp = Timestamp::from_micros(1_700_000_000_000_000 + nth as i64);
            body.push_str(&serde_json::to_string(&report)?);
            body.push('\n');
        }
        let sent = Instant::now();
        // Anything but 202 is an error, and ends the benchmark.
        let request = agent.post(format!("{url}/api/v1/events/exec.reports.v1"));
        request.header("content-type", "application/x-ndjson").send(body)?;
        took.push(sent.elapsed());
        posted.fetch_add(EVENTS, Relaxed);
    }
    Ok(took)
}

impl Stage<'_> {
    /// Makes the store fail, or be well where the text is empty.
    fn set(&self, fault: &str) -> anyhow::Result<()> {
        let new = self.faults.with_extension("new");
        std::fs::write(&new, fault)?;
        Ok(std::fs::rename(new, self.faults)?)
    }

    /// Records that the recorder has stored since it started.
    fn taken(&self) -> anyhow::Result<u64> {
        let roles = self.get("/api/admin/roles")?;
        let recorder = roles["items"].as_array().and_then(|roles| roles.iter().find(|role| role["role"] == "recorder"));
        recorder.and_then(|role| role["records"].as_u64()).ok_or_else(|| anyhow::anyhow!("no recorder runs: {roles}"))
    }

    /// Fills of the account, and how many of them differ.
    fn stored(&self) -> anyhow::Result<(u64, u64)> {
        let (mut rows, mut ids, mut cursor) = (0, HashSet::new(), String::new());
        loop {
            let page = self.get(&format!("/api/fills?account={ACCOUNT}&limit=1000{cursor}"))?;
            for fill in page["items"].as_array().into_iter().flatten() {
                rows += 1;
                ids.insert(fill["event_id"].as_str().unwrap_or_default().to_owned());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok((rows, ids.len() as u64)),
            }
        }
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&ureq::get(format!("{}{path}", self.url)).call()?.body_mut().read_to_string()?)?)
    }

    /// Resident memory now.
    fn memory_mb(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// Resident memory at most so far.
    fn largest_mb(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kb = line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok());
        kb.map(|kb| kb / 1024).ok_or_else(|| anyhow::anyhow!("/proc/{}/status has no {name}", self.pid))
    }
}

fn wait(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !done()? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        thread::sleep(LOOK);
    }
    Ok(())
}
