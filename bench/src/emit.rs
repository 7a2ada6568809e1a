//! `emit()` at a steady pace, the log healthy, stopped, slow and full: what each call
//! takes on the trading thread, and whether all that was accepted is in the log
//! once it is back.
//!
//! Not here: peers (`bench/peers`), and how fast the spool drains (`catch-up`).

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tapedeck_bench_pace::{Clock, Pace, laps::show};
use tapedeck_flow::{
    Boundaries,
    emitter::{Emitter, EmitterConfig, Ticket},
};
use tapedeck_log::Log;

use crate::{
    decisions::{Decisions, as_log, find},
    weather::{Sky, Weather},
};

/// Decisions emitted before the clock runs, so that files, maps and branches are warm.
const WARM_UP: u64 = 20_000;
/// Longer than the log needs for what a minute's outage left, the probe's wait included.
const BACK: Duration = Duration::from_secs(900);
/// More than a minute of decisions at 100,000/s, which by default is beyond the limit.
const SPOOL_MAX_BYTES: u64 = 32 << 30;
/// As `docs/benchmarks.md` names them.
const ROLE: &str = "inference";

pub(crate) fn run(dir: &Path, pace: Pace, skies: &[Sky]) -> anyhow::Result<()> {
    let clock = Clock::measure();
    clock.print();
    pace.idle(clock, Duration::from_micros(1)).print("idle loop, calls of 1 µs");
    let mut lost = 0;
    for sky in skies {
        let log_dir = tempfile::tempdir_in(dir)?;
        let weather = Weather::open(log_dir.path())?;
        let becomes = |sky| {
            weather.becomes(sky);
            Ok(())
        };
        let stage =
            Stage { name: sky.name(), log: as_log(&weather), begin: &|| becomes(*sky), end: &|| becomes(Sky::Healthy) };
        lost += under(dir, &stage, pace, clock)?;
    }
    pace.idle(clock, Duration::from_micros(1)).print("idle loop again, calls of 1 µs");
    anyhow::ensure!(lost == 0, "{lost} decisions that emit() accepted are not in the log, or out of order");
    Ok(())
}

/// A log, and how its trouble begins and ends.
pub(crate) struct Stage<'a> {
    pub(crate) name: &'a str,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) begin: &'a dyn Fn() -> anyhow::Result<()>,
    pub(crate) end: &'a dyn Fn() -> anyhow::Result<()>,
}

/// One run on one stage; what was lost or out of order.
pub(crate) fn under(dir: &Path, stage: &Stage<'_>, pace: Pace, clock: Clock) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir_in(dir)?;
    let config = EmitterConfig { spool_max_bytes: SPOOL_MAX_BYTES, ..EmitterConfig::default() };
    let emitter =
        Emitter::open(Arc::clone(&stage.log), &dir.path().join("emitter"), "bench", &config, Boundaries::default())?;
    let stats = emitter.stats();
    let mut producer = emitter.producer()?;
    let mut decisions = Decisions::new();
    let mut last = Ticket(0);
    for n in 0..WARM_UP {
        last = producer.emit(decisions.make(n), ROLE)?;
    }
    anyhow::ensure!(producer.wait_durable(last, BACK), "the log took nothing before the run began");
    (stage.begin)()?;
    let (mut accepted, mut refused) = (WARM_UP, 0u64);
    let run = pace.run(
        clock,
        &mut decisions,
        |decisions, n| {
            decisions.make(WARM_UP + n);
        },
        |decisions, n| match producer.emit(decisions.made(WARM_UP + n), ROLE) {
            Ok(ticket) => {
                last = ticket;
                accepted += 1;
            }
            Err(_) => refused += 1,
        },
    );
    run.print(&format!("emit, log {}", stage.name));
    let (spooled, breaker) = (stats.spooled_bytes.load(Relaxed), stats.breaker_state());
    (stage.end)()?;
    let back = Instant::now();
    let durable = producer.wait_durable(last, BACK);
    let took = back.elapsed();
    drop(producer);
    let closed = emitter.close(Duration::from_secs(30));
    let count = WARM_UP + run.laps.len() as u64;
    let found = find(&*stage.log, count)?;
    let lost = accepted - found.distinct;
    println!(
        "    {:.0} calls/s, at most {} behind; emitted {count}, accepted {accepted}, refused {refused}; in the log {}, \
         lost {lost}, repeated {}, out of order {}",
        run.rate(),
        show(run.latest),
        found.distinct,
        found.repeated,
        found.out_of_order
    );
    println!(
        "    at the end of the load {:.2} GB in the spool, breaker {breaker:?}; all durable {} later{}",
        spooled as f64 / 1e9,
        show(took),
        if durable { String::new() } else { format!(", but for {}", closed.remaining) }
    );
    Ok(lost + found.out_of_order)
}
