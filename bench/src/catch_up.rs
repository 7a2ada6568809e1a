//! The spool after an outage: events keep coming at a steady rate, the log is away
//! for a while, then it is back; how fast the spool drains while they keep coming.
//!
//! Not here: what a call of `emit()` takes meanwhile (`emit`).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tapedeck_bench_pace::laps::show;
use tapedeck_flow::{
    Boundaries,
    emitter::{EmitError, Emitter, EmitterConfig, EmitterStats, Producer, Ticket},
};
use tapedeck_log::Log;

use crate::{
    decisions::{Decisions, as_log, find},
    weather::{Sky, Weather},
};

/// Events come so often in one go; a trading path that never sleeps would hold one of
/// two processors, and what is measured is the other side.
const EVERY: Duration = Duration::from_millis(1);
/// How long events keep coming after the log is back, at most.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) fn run(dir: &Path, outage: Duration, per_s: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir)?;
    let weather = Weather::open(dir.path())?;
    let config = EmitterConfig { spool_max_bytes: 32 << 30, ..EmitterConfig::default() };
    let emitter =
        Emitter::open(as_log(&weather), &dir.path().join("emitter"), "bench", &config, Boundaries::default())?;
    let stats = emitter.stats();
    let producer = emitter.producer()?;
    let (emitted, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let source = {
        let (emitted, stop) = (Arc::clone(&emitted), Arc::clone(&stop));
        thread::spawn(move || keep_coming(producer, per_s, &emitted, &stop))
    };
    // A second of good weather before it.
    thread::sleep(Duration::from_secs(1));
    weather.becomes(Sky::Stopped);
    thread::sleep(outage);
    weather.becomes(Sky::Healthy);
    let drain = watch(&stats, &emitted, &source);
    stop.store(true, Relaxed);
    let (producer, last) = source.join().map_err(|_| anyhow::anyhow!("the source panicked"))??;
    let durable = producer.wait_durable(last, PATIENCE);
    anyhow::ensure!(durable, "not all that was emitted became durable");
    drop(producer);
    emitter.close(Duration::from_secs(30));
    let count = emitted.load(Relaxed);
    let found = find(weather.as_ref() as &dyn Log, count)?;
    drain.print(outage);
    println!(
        "    emitted {count}; in the log {}, lost {}, repeated {}, out of order {}",
        found.distinct,
        count - found.distinct,
        found.repeated,
        found.out_of_order
    );
    anyhow::ensure!(found.distinct == count && found.out_of_order == 0, "something was lost or out of order");
    Ok(())
}

/// Emits at the rate until somebody says stop; the last ticket.
fn keep_coming(
    mut producer: Producer,
    per_s: u64,
    emitted: &AtomicU64,
    stop: &AtomicBool,
) -> Result<(Producer, Ticket), EmitError> {
    let mut decisions = Decisions::new();
    let mut last = Ticket(0);
    let began = Instant::now();
    let mut n = 0;
    while !stop.load(Relaxed) {
        let due = (began.elapsed().as_secs_f64() * per_s as f64) as u64;
        while n < due {
            last = producer.emit(decisions.make(n), "inference")?;
            n += 1;
        }
        emitted.store(n, Relaxed);
        thread::sleep(EVERY);
    }
    Ok((producer, last))
}

/// What was seen from the log's return to an empty spool.
struct Drain {
    /// From the log's return to the first record that it took.
    probe: Duration,
    /// From there until the spool was empty.
    empty: Duration,
    /// Records in the spool at its fullest, and their bytes.
    records: u64,
    bytes: u64,
    /// Records sent and records emitted while it drained.
    sent: u64,
    emitted: u64,
}

fn watch<T>(stats: &EmitterStats, emitted: &AtomicU64, source: &thread::JoinHandle<T>) -> Drain {
    let back = Instant::now();
    let sent_before = stats.sent.load(Relaxed);
    let (mut records, mut bytes) = (0, 0);
    let waiting = |records: &mut u64, bytes: &mut u64| {
        *records = (*records).max(stats.spooled_records.load(Relaxed));
        *bytes = (*bytes).max(stats.spooled_bytes.load(Relaxed));
        thread::sleep(LOOK);
        back.elapsed() < PATIENCE && !source.is_finished()
    };
    while stats.sent.load(Relaxed) == sent_before && waiting(&mut records, &mut bytes) {}
    let (probe, emitted_before) = (back.elapsed(), emitted.load(Relaxed));
    while stats.spooled_records.load(Relaxed) > 0 && waiting(&mut records, &mut bytes) {}
    Drain {
        probe,
        empty: back.elapsed() - probe,
        records,
        bytes,
        sent: stats.sent.load(Relaxed) - sent_before,
        emitted: emitted.load(Relaxed) - emitted_before,
    }
}

impl Drain {
    fn print(&self, outage: Duration) {
        let seconds = self.empty.as_secs_f64().max(1e-9);
        let (sent, coming) = (self.sent as f64 / seconds, self.emitted as f64 / seconds);
        println!(
            "catch-up after {}: {} records, {:.2} GB in the spool; the probe {} after the log was back, empty {} later",
            show(outage),
            self.records,
            self.bytes as f64 / 1e9,
            show(self.probe),
            show(self.empty)
        );
        println!(
            "    drained at {sent:.0} records/s while {coming:.0}/s kept coming: {:.1} times",
            sent / coming.max(1.0)
        );
    }
}
