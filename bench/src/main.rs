//! Benchmarks that print figures: what the recorder stores, how soon an event can
//! be asked for, how the api answers on many fills, how alerts reach many sockets.
//! `bench/run.sh` runs them all against the real program.
//!
//! Not here: the benchmarks of single crates (`cargo bench -p …`).

#![expect(clippy::print_stdout, reason = "printing figures is its job")]

use std::{path::Path, time::Duration};

use tapedeck_bench_pace::Pace;

use weather::Sky;

mod backlog;
mod catch_up;
mod decide;
mod decisions;
mod dlq;
mod emit;
mod explained;
mod figures;
mod fill;
mod forensics;
mod kafka;
mod outage;
mod pipeline;
mod queryable;
mod rest;
mod sockets;
mod stored;
mod threads;
mod weather;

/// The program's own, so that roles cost here what they cost there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: tapedeck-bench fill DIR ROWS | rest URL SECONDS | sockets URL CLIENTS | queryable URL SECONDS | stored ROWS | emit DIR SECONDS PER_S [SKY] | catch-up DIR OUTAGE_S PER_S | outage URL FAULTS_FILE PID FAULT SECONDS PER_S | dlq DIR SECONDS | kafka BOOTSTRAP PEER RECORDS | kafka-emit KAFKA.SH BROKERS_DIR DIR SECONDS PER_S | forensics DIR SECONDS PER_S | backlog DIR SECONDS PER_S | backlog-write DIR DECISIONS | explained DIR ROWS | explained-get URL ROWS SECONDS | decide URL SECONDS PER_S WHAT | decide-beside URL SECONDS PER_S STORE WHAT | pipeline reports|decisions BOOTSTRAP POSTGRES_URL TAPEDECK PYTHON PEER DIR ROWS PEER_ROWS";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["fill", dir, rows] => fill::run(Path::new(dir), rows.parse()?),
        ["rest", url, seconds] => rest::run(url, Duration::from_secs(seconds.parse()?)),
        ["sockets", url, clients] => sockets::run(url, clients.parse()?),
        ["queryable", url, seconds] => queryable::run(url, Duration::from_secs(seconds.parse()?)),
        ["stored", rows] => stored::run(rows.parse()?),
        ["emit", dir, seconds, per_s] => emit::run(Path::new(dir), pace(seconds, per_s)?, &Sky::ALL),
        ["emit", dir, seconds, per_s, sky] => emit::run(Path::new(dir), pace(seconds, per_s)?, &[Sky::named(sky)?]),
        ["catch-up", dir, outage, per_s] => {
            catch_up::run(Path::new(dir), Duration::from_secs(outage.parse()?), per_s.parse()?)
        }
        ["outage", url, faults, pid, fault, seconds, per_s] => {
            let stage = outage::Stage { url, faults: Path::new(faults), pid: pid.parse()? };
            outage::run(&stage, fault, Duration::from_secs(seconds.parse()?), per_s.parse()?)
        }
        ["dlq", dir, seconds] => dlq::run(Path::new(dir), seconds.parse()?),
        ["kafka", bootstrap, peer, records] => kafka::run(bootstrap, Path::new(peer), records.parse()?),
        ["kafka-emit", script, brokers, dir, seconds, per_s] => {
            kafka::emit(script, Path::new(brokers), Path::new(dir), pace(seconds, per_s)?)
        }
        ["backlog", dir, seconds, per_s] => backlog::run(Path::new(dir), pace(seconds, per_s)?),
        ["backlog-write", dir, count] => backlog::write(Path::new(dir), count.parse()?),
        ["explained", dir, rows] => explained::fill(Path::new(dir), rows.parse()?),
        ["explained-get", url, rows, seconds] => {
            explained::get(url, rows.parse()?, Duration::from_secs(seconds.parse()?))
        }
        ["decide-beside", url, seconds, per_s, store, what] => {
            decide::ask_beside(url, pace(seconds, per_s)?, Path::new(store), what)
        }
        ["decide", url, seconds, per_s, what] => decide::run(url, pace(seconds, per_s)?, what),
        ["forensics", dir, seconds, per_s] => forensics::run(Path::new(dir), pace(seconds, per_s)?),
        ["pipeline", what, bootstrap, postgres, tapedeck, python, peer, dir, rows, peer_rows] => {
            let [tapedeck, python, peer, dir] = [tapedeck, python, peer, dir].map(Path::new);
            let work = match what {
                "reports" => pipeline::REPORTS,
                "decisions" => pipeline::DECISIONS,
                _ => anyhow::bail!(USAGE),
            };
            let stage = pipeline::Stage { bootstrap, postgres, tapedeck, python, peer, dir, work };
            pipeline::run(&stage, rows.parse()?, peer_rows.parse()?)
        }
        _ => anyhow::bail!(USAGE),
    }
}

fn pace(seconds: &str, per_s: &str) -> anyhow::Result<Pace> {
    Ok(Pace { per_s: per_s.parse()?, time: Duration::from_secs(seconds.parse()?) })
}
