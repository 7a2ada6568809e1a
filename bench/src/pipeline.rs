//! Execution reports from Kafka into PostgreSQL: the recorder as the program runs it,
//! and the same work in Python (`bench/peers/pipeline`), turn by turn on the same
//! servers, each from the start of its process until all rows can be queried.
//!
//! Not here: starting servers, which `bench/run.sh` does.

use std::{
    collections::HashSet,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tapedeck_bench_pace::rates::Rate;
use tapedeck_flow::topics;
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::Log;
use tapedeck_store::{FillsQuery, PostgresConfig, Store, postgres::PostgresStore};

use crate::{figures::median, stored::record};

const TOPIC: &str = "exec.reports.v1";
/// Turns of each side, on reports of their own: the median is told.
const TURNS: u32 = 3;
/// How often is looked whether all rows are there.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than any turn takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How the program is told the password: by a variable that its config names.
const PASSWORD: &str = "BENCH_POSTGRES_PASSWORD";

/// The servers and the programs.
pub(crate) struct Stage<'a> {
    pub(crate) bootstrap: &'a str,
    /// With the password.
    pub(crate) postgres: &'a str,
    pub(crate) tapedeck: &'a Path,
    pub(crate) python: &'a Path,
    pub(crate) peer: &'a Path,
    /// Where the program keeps what it keeps.
    pub(crate) dir: &'a Path,
}

pub(crate) fn run(stage: &Stage<'_>, rows: u64) -> anyhow::Result<()> {
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let prefix = format!("pipeline-{}-{turn}.", std::process::id());
        let log = fill(stage.bootstrap, &prefix, rows)?;
        // Who goes first changes, so that what the servers do in the background meets both.
        if turn % 2 == 0 {
            ours.push(stage.recorder(&prefix, turn, rows)?);
            peers.push(stage.peer(&prefix, rows)?);
        } else {
            peers.push(stage.peer(&prefix, rows)?);
            ours.push(stage.recorder(&prefix, turn, rows)?);
        }
        let names: Vec<Arc<str>> = log.topics()?.into_iter().map(|topic| topic.config.name).collect();
        log.delete_topics(&names)?;
    }
    let (ours, peer) = (median(ours), median(peers));
    println!(
        "{:<44} recorder {ours:>8.0} rows/s  Python {peer:>8.0} rows/s  {:.1} times as fast ({rows} rows, {TURNS} turns)",
        "execution reports Kafka -> PostgreSQL",
        ours / peer.max(1.0)
    );
    println!(
        "    the recorder also keeps orders, curves and statistics, with its offsets in the transaction of the rows"
    );
    Ok(())
}

/// The topics of a turn, and the reports in theirs.
fn fill(bootstrap: &str, prefix: &str, rows: u64) -> anyhow::Result<Arc<KafkaLog>> {
    let config = KafkaConfig {
        bootstrap_servers: bootstrap.into(),
        prefix: prefix.into(),
        delivery_timeout_ms: 60_000,
        ..KafkaConfig::default()
    };
    let log = KafkaLog::connect(&config)?;
    log.create_topics(&topics::of_catalogue(None))?;
    for first in (0..rows).step_by(4_096) {
        log.append((first..rows.min(first + 4_096)).map(record).collect::<anyhow::Result<_>>()?)?;
    }
    Ok(log)
}

impl Stage<'_> {
    /// Rows a second of the program with its one role.
    fn recorder(&self, prefix: &str, turn: u32, rows: u64) -> anyhow::Result<f64> {
        let (url, password) = apart(self.postgres)?;
        let schema = format!("bench_{}_{turn}", std::process::id());
        let config = PostgresConfig {
            url: url.clone(),
            password: password.clone(),
            schema: schema.clone(),
            read_connections: 1,
            ..PostgresConfig::default()
        };
        let store = PostgresStore::open(&config)?;
        let began = Instant::now();
        let program = Command::new(self.tapedeck)
            .args(["up", "--roles", "recorder", "--data"])
            .arg(self.dir.join(&schema))
            .env("TAPEDECK_LOG_KIND", "kafka")
            .env("TAPEDECK_KAFKA_BOOTSTRAP_SERVERS", self.bootstrap)
            .env("TAPEDECK_KAFKA_PREFIX", prefix)
            .env("TAPEDECK_STORE_KIND", "postgres")
            .env("TAPEDECK_POSTGRES_URL", &url)
            .env("TAPEDECK_POSTGRES_SCHEMA", &schema)
            .env("TAPEDECK_POSTGRES_PASSWORD", format!("env:{PASSWORD}"))
            .env(PASSWORD, &password)
            .stdout(Stdio::null())
            .spawn()
            .context("starting tapedeck")?;
        let mut program = Ended(program);
        let stored = || anyhow::Ok(store.symbol_stats(None)?.iter().map(|stats| stats.fills).sum::<u64>());
        let mut first = None;
        loop {
            let there = stored()?;
            if there > 0 {
                first.get_or_insert_with(|| began.elapsed());
            }
            if there >= rows {
                break;
            }
            anyhow::ensure!(program.0.try_wait()?.is_none(), "tapedeck ended");
            anyhow::ensure!(began.elapsed() < PATIENCE, "{there} of {rows} rows after {PATIENCE:?}");
            thread::sleep(LOOK);
        }
        let rate = Rate { records: rows, took: began.elapsed() };
        drop(program);
        verify(&*store, rows)?;
        println!(
            "    recorder: {:.0} rows/s, {:.1} s from the start of the process (the first rows after {:.1} s)",
            rate.per_s(),
            rate.took.as_secs_f64(),
            first.unwrap_or_default().as_secs_f64()
        );
        Ok(rate.per_s())
    }

    /// Rows a second of the peer, which counts its rows itself.
    fn peer(&self, prefix: &str, rows: u64) -> anyhow::Result<f64> {
        let began = Instant::now();
        let said = Command::new(self.python)
            .arg(self.peer)
            .args([self.bootstrap, self.postgres, &format!("{prefix}{TOPIC}"), &rows.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("starting the peer")?;
        let took = began.elapsed();
        let line = String::from_utf8_lossy(&said.stdout);
        let alone: serde_json::Value = serde_json::from_str(line.trim()).context("the peer failed")?;
        let (count, seconds) = (alone["rows"].as_u64(), alone["seconds"].as_f64().unwrap_or_default());
        anyhow::ensure!(said.status.success() && count == Some(rows), "the peer stored {count:?} of {rows} rows");
        let rate = Rate { records: rows, took };
        println!(
            "    Python: {:.0} rows/s, {:.1} s from the start of the process ({seconds:.1} s from that of its consumer)",
            rate.per_s(),
            took.as_secs_f64()
        );
        Ok(rate.per_s())
    }
}

/// Every row is there once.
fn verify(store: &dyn Store, rows: u64) -> anyhow::Result<()> {
    let (mut ids, mut count) = (HashSet::new(), 0);
    let mut query = FillsQuery { limit: 10_000, ..FillsQuery::default() };
    loop {
        let page = store.fills(&query)?;
        let Some(last) = page.last() else { break };
        query.after = Some(last.key);
        count += page.len() as u64;
        ids.extend(page.into_iter().map(|fill| fill.event_id));
    }
    anyhow::ensure!(count == rows && ids.len() as u64 == rows, "{count} rows and {} ids of {rows}", ids.len());
    Ok(())
}

/// The program, ended with whoever started it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // In order where it listens, so that it leaves its group; at once where not.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// A URL without its password, and the password.
fn apart(url: &str) -> anyhow::Result<(String, String)> {
    let (scheme, rest) = url.split_once("://").context("the URL of PostgreSQL has no scheme")?;
    let (user, place) = rest.split_once('@').context("the URL of PostgreSQL names no user")?;
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    Ok((format!("{scheme}://{name}@{place}"), password.to_owned()))
}
