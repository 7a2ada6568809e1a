//! The four queries at 32 connections: requests a second and percentiles.
//!
//! Not here: the server, which `bench/run.sh` starts.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::figures;

/// As the figures of what people use today were taken.
const CONNECTIONS: usize = 32;

pub(crate) fn run(url: &str, time: Duration) -> anyhow::Result<()> {
    let queries = [
        ("GET /api/fills (100 of one account)", "/api/fills?limit=100&account=ACC-"),
        ("GET /api/pnl (up to 1,000 points)", "/api/pnl?interval=1m&account=ACC-"),
        ("GET /api/positions/latest", "/api/positions/latest?account=ACC-"),
        ("GET /api/metrics/symbols", "/api/metrics/symbols?account=ACC-"),
    ];
    for (name, path) in queries {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                let target = format!("{url}{path}{}", worker % 20);
                thread::spawn(move || ask(&target, time))
            })
            .collect();
        let mut samples = Vec::new();
        for worker in workers {
            samples.extend(worker.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??);
        }
        let rate = samples.len() as f64 / time.as_secs_f64();
        figures::print(name, samples, &format!("  {rate:.0} requests/s at {CONNECTIONS} connections"));
    }
    Ok(())
}

fn ask(target: &str, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let agent = ureq::Agent::new_with_defaults();
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        let asked = Instant::now();
        let mut answer = agent.get(target).call()?;
        answer.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        samples.push(asked.elapsed());
    }
    Ok(samples)
}
