//! From Kafka into PostgreSQL: execution reports by the recorder and decisions by
//! forensics, as the program runs them, and the same work in Python (`bench/peers`),
//! turn by turn on the same servers, each from the start of its process until all rows
//! can be queried.
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
use tapedeck_log::{Log, Record};
use tapedeck_store::{Explanations, FillsQuery, PostgresConfig, Store, postgres::PostgresStore};

use crate::{decisions, figures::median, stored::record};

/// Turns of each side, on reports of their own: the median is told.
const TURNS: u32 = 3;
/// How often is looked whether all rows are there.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than any turn takes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How the program is told the password: by a variable that its config names.
const PASSWORD: &str = "BENCH_POSTGRES_PASSWORD";

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    role: &'static str,
    topic: &'static str,
    what: &'static str,
    /// What the role does that the peer does not.
    beside: &'static str,
    record: fn(u64) -> anyhow::Result<Record>,
    stored: fn(&PostgresStore) -> tapedeck_store::Result<u64>,
    verify: fn(&PostgresStore, u64) -> anyhow::Result<()>,
    /// Arguments of the peer after the usual ones.
    more: &'static [&'static str],
}

/// The recorder's.
pub(crate) const REPORTS: Work = Work {
    role: "recorder",
    topic: "exec.reports.v1",
    what: "execution reports Kafka -> PostgreSQL",
    beside: "the recorder also keeps orders, curves and statistics, with its offsets in the transaction of the rows",
    record,
    stored: |store| Ok(store.symbol_stats(None)?.iter().map(|stats| stats.fills).sum()),
    verify: verify_reports,
    more: &[],
};

/// That of forensics, with the demo's specialists.
pub(crate) const DECISIONS: Work = Work {
    role: "forensics",
    topic: decisions::TOPIC,
    what: "decisions Kafka -> explained in PostgreSQL",
    beside: "forensics also chains its records and sums importance, with its offsets in the transaction of the rows",
    record: decisions::record,
    stored: |store| Ok(store.chain_heads()?.iter().map(|head| head.records).sum()),
    verify: verify_decisions,
    more: &["models"],
};

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
    pub(crate) work: Work,
}

/// `rows` is for the program; the peer gets `peer_rows` of the same.
pub(crate) fn run(stage: &Stage<'_>, rows: u64, peer_rows: u64) -> anyhow::Result<()> {
    let work = stage.work;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let prefix = format!("pipeline-{}-{turn}.", std::process::id());
        let log = fill(stage, &prefix, rows.max(peer_rows))?;
        // Who goes first changes, so that what the servers do in the background meets both.
        if turn % 2 == 0 {
            ours.push(stage.program(&prefix, turn, rows)?);
            peers.push(stage.peer(&prefix, peer_rows)?);
        } else {
            peers.push(stage.peer(&prefix, peer_rows)?);
            ours.push(stage.program(&prefix, turn, rows)?);
        }
        let names: Vec<Arc<str>> = log.topics()?.into_iter().map(|topic| topic.config.name).collect();
        log.delete_topics(&names)?;
    }
    let (ours, peer) = (median(ours), median(peers));
    println!(
        "{:<44} {} {ours:>8.0} rows/s  Python {peer:>8.0} rows/s  {:.1} times as fast ({rows} and {peer_rows} rows, {TURNS} turns)",
        work.what,
        work.role,
        ours / peer.max(1.0)
    );
    println!("    {}", work.beside);
    Ok(())
}

/// The topics of a turn, and the events in theirs.
fn fill(stage: &Stage<'_>, prefix: &str, rows: u64) -> anyhow::Result<Arc<KafkaLog>> {
    let config = KafkaConfig {
        bootstrap_servers: stage.bootstrap.into(),
        prefix: prefix.into(),
        delivery_timeout_ms: 60_000,
        ..KafkaConfig::default()
    };
    let log = KafkaLog::connect(&config)?;
    log.create_topics(&topics::of_catalogue(None))?;
    for first in (0..rows).step_by(4_096) {
        log.append((first..rows.min(first + 4_096)).map(stage.work.record).collect::<anyhow::Result<_>>()?)?;
    }
    Ok(log)
}

impl Stage<'_> {
    /// Rows a second of the program with its one role.
    fn program(&self, prefix: &str, turn: u32, rows: u64) -> anyhow::Result<f64> {
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
            .args(["up", "--roles", self.work.role, "--data"])
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
        let mut first = None;
        loop {
            let there = (self.work.stored)(&store)?;
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
        (self.work.verify)(&store, rows)?;
        println!(
            "    {}: {:.0} rows/s, {:.1} s from the start of the process (the first rows after {:.1} s)",
            self.work.role,
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
            .args([self.bootstrap, self.postgres, &format!("{prefix}{}", self.work.topic), &rows.to_string()])
            .args(self.work.more)
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

/// As many records as decisions, each chain without gaps: ids are unique in the store.
fn verify_decisions(store: &PostgresStore, rows: u64) -> anyhow::Result<()> {
    let heads = store.chain_heads()?;
    for head in &heads {
        let last = store.chain(head.chain, head.records - 1, 2)?;
        let fits = matches!(&last[..], [last] if last.hash == head.hash);
        anyhow::ensure!(fits, "chain {} does not end with its head", head.chain);
    }
    let there: u64 = heads.iter().map(|head| head.records).sum();
    anyhow::ensure!(there == rows, "{there} records of {rows} decisions");
    Ok(())
}

/// Every row is there once.
fn verify_reports(store: &PostgresStore, rows: u64) -> anyhow::Result<()> {
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
