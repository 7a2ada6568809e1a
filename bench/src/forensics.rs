//! The whole line of a decision: emitted, in the log, explained, stored and readable,
//! at a steady pace on the embedded log and store; how far behind the store was, and
//! how soon one explanation is found among all.
//!
//! Not here: what one step costs (`cargo bench -p tapedeck-roles --bench forensics`),
//! and the same work in Python (`bench/peers/forensics`).

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tapedeck_bench_pace::{
    Pace, decision,
    laps::{Laps, show},
};
use tapedeck_contracts::EventId;
use tapedeck_flow::{
    Boundaries, DeliveryConfig, Failure, Gauges, Stop,
    emitter::{Emitter, EmitterConfig, Ticket},
    topics,
};
use tapedeck_log::{
    Log,
    embedded::{EmbeddedConfig, EmbeddedLog},
    partitioner::partition_of,
};
use tapedeck_roles::{
    Context,
    forensics::{self, answer},
    inference::{InferenceConfig, Models},
};
use tapedeck_store::{Explanations, SqliteConfig, SqliteStore};

use crate::{decisions::Decisions, threads};

/// Decisions are emitted in bursts so long apart: a loop that spins would take one of
/// two cores from who explains.
const BURST: Duration = Duration::from_millis(1);
/// How often it is looked how far the store is.
const LOOK: Duration = Duration::from_millis(20);
/// Explanations that are looked up at the end.
const LOOKUPS: u64 = 10_000;
/// After the last decision, for what is behind.
const PATIENCE: Duration = Duration::from_secs(600);
const PARTITIONS: u32 = 8;
const EMITS: &str = "inference";

pub(crate) fn run(dir: &Path, pace: Pace) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let log: Arc<dyn Log> = EmbeddedLog::open(dir.path(), EmbeddedConfig::default())?;
    log.create_topics(&topics::of_catalogue(None))?;
    let store = SqliteStore::open(&dir.path().join("store.db"), SqliteConfig::default())?;
    let models = Arc::new(Models::open(&InferenceConfig::default())?);
    let mut decisions = Decisions::of(&models);
    let emitter = Emitter::open(
        Arc::clone(&log),
        &dir.path().join("emitter"),
        "bench",
        &EmitterConfig::default(),
        Boundaries::default(),
    )?;
    let mut producer = emitter.producer()?;
    let cpu = threads::cpu_s();
    let role = Role::start(log, Arc::clone(&store), models)?;
    let watch = Watch::new(Arc::clone(&store), pace);
    let began = Instant::now();
    let watching = thread::spawn(move || watch.until_all(began));
    let calls = pace.calls();
    let (mut n, mut last, mut latest) = (0, Ticket(0), Duration::ZERO);
    while n < calls {
        let due = ((began.elapsed().as_secs_f64() * pace.per_s as f64) as u64).min(calls);
        let late = Duration::from_secs_f64((due - n) as f64 / pace.per_s as f64);
        latest = latest.max(late);
        while n < due {
            last = producer.emit(decisions.make(n), EMITS)?;
            n += 1;
        }
        thread::sleep(BURST);
    }
    let emitted = began.elapsed();
    anyhow::ensure!(producer.wait_durable(last, PATIENCE), "the log did not take all decisions");
    let seen = watching.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
    println!(
        "decisions emitted -> explained, stored         {:>9.0}/s of {}/s asked for, {} features, 3 specialists",
        calls as f64 / seen.all.as_secs_f64(),
        pace.per_s,
        decisions.features(),
    );
    let [p50, p95, max] = seen.lag.percentiles([0.5, 0.95, 1.0]).map(show);
    println!(
        "    behind: p50 {p50}, p95 {p95}, max {max}; emitted in {}, at most {} late; all stored {} after the last",
        show(emitted),
        show(latest),
        show(seen.all.saturating_sub(emitted)),
    );
    threads::print_since(&cpu, calls);
    look_up(&store, calls)?;
    role.stop()?;
    drop(producer);
    emitter.close(Duration::from_secs(10));
    println!("    {:.0} bytes of store a decision", size_of(dir.path(), "store.db") as f64 / calls as f64);
    Ok(())
}

/// The role on a thread of its own, as the program runs it.
pub(crate) struct Role {
    stop: Stop,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Role {
    pub(crate) fn start(log: Arc<dyn Log>, store: Arc<SqliteStore>, models: Arc<Models>) -> anyhow::Result<Self> {
        let stop = Stop::new();
        let context = Context {
            log,
            stop: stop.clone(),
            member: "bench".into(),
            gauges: Arc::new(Gauges::default()),
            boundaries: Boundaries::default(),
            aside: Default::default(),
            emitter: None,
            budget: Default::default(),
        };
        let work = move || {
            threads::let_others_first();
            forensics::run(context, store, models, DeliveryConfig::default())
        };
        Ok(Self { stop, thread: thread::Builder::new().name(forensics::ROLE.to_owned()).spawn(work)? })
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stop.request();
        Ok(self.thread.join().map_err(|_| anyhow::anyhow!("the role panicked"))??)
    }
}

/// Looks how far the store is.
struct Watch {
    store: Arc<SqliteStore>,
    pace: Pace,
    /// How many symbols each partition has.
    symbols: Vec<u64>,
}

struct Seen {
    lag: Laps,
    all: Duration,
}

impl Watch {
    fn new(store: Arc<SqliteStore>, pace: Pace) -> Self {
        let mut symbols = vec![0; PARTITIONS as usize];
        for body in decision::of_all_symbols() {
            symbols[partition_of(body.symbol.as_bytes(), PARTITIONS) as usize] += 1;
        }
        Self { store, pace, symbols }
    }

    fn until_all(self, began: Instant) -> anyhow::Result<Seen> {
        let (mut lag, all) = (Laps::default(), self.pace.calls());
        loop {
            let now = began.elapsed();
            let heads = self.store.chain_heads()?;
            if heads.iter().map(|head| head.records).sum::<u64>() >= all {
                return Ok(Seen { lag, all: now });
            }
            anyhow::ensure!(now < self.pace.time + PATIENCE, "not all decisions were stored");
            let stored = |partition: usize| {
                heads.iter().find(|head| head.chain as usize == partition).map_or(0, |head| head.records)
            };
            // The oldest decision that is not stored, of the partition that is furthest behind.
            let oldest = (0..self.symbols.len())
                .filter(|partition| self.symbols[*partition] > 0)
                .map(|partition| stored(partition) * decision::SYMBOLS as u64 / self.symbols[partition]);
            let oldest = oldest.min().unwrap_or(0);
            let made = Duration::from_secs_f64(oldest as f64 / self.pace.per_s as f64);
            if now < self.pace.time {
                lag.push(now.saturating_sub(made));
            }
            thread::sleep(LOOK);
        }
    }
}

/// Finds explanations by id, spread over all.
fn look_up(store: &SqliteStore, all: u64) -> anyhow::Result<()> {
    let mut laps = Laps::with_room(LOOKUPS);
    let mut id = EventId(String::new());
    for at in 0..LOOKUPS.min(all) {
        // A stride that is prime to any count visits the whole range.
        decision::write_id(&mut id, at.wrapping_mul(7_368_787) % all);
        let began = Instant::now();
        let found = answer::read(store, id.as_str(), answer::TOP)?;
        laps.push(began.elapsed());
        anyhow::ensure!(found.is_some(), "decision {} is not there", id.as_str());
    }
    laps.print(&format!("one explanation of {all} by its id"), "");
    Ok(())
}

fn size_of(dir: &Path, name: &str) -> u64 {
    let files = ["", "-wal"].map(|end| dir.join(format!("{name}{end}")));
    files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
}
