//! `tapedeck bench`: what the log and a replay reach on this machine, so that a
//! user can compare with docs/benchmarks.md.
//!
//! Not here: the load from outside (`make bench`).

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use serde_json::json;
use tapedeck_log::{Headers, Log, Record, TopicConfig};

use super::checked;
use crate::{
    cli::{BenchArgs, BenchWhat, ReplayArgs},
    config::Config,
    folder::Folder,
    replay, show,
};

/// A record as large as a decision with its headers.
const RECORD_BYTES: usize = 900;
const RECORDS: usize = 200_000;
const BATCH: usize = 1_000;

pub(super) fn run(config: &Config, args: &BenchArgs, json: bool) -> anyhow::Result<ExitCode> {
    let mut figures = serde_json::Map::new();
    if args.what != BenchWhat::Replay {
        figures.insert("log".into(), log()?);
    }
    if args.what != BenchWhat::Log {
        figures.insert("replay".into(), market(config, args.events)?);
    }
    if json {
        show::json(&figures);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = figures
        .iter()
        .flat_map(|(what, values)| {
            values
                .as_object()
                .into_iter()
                .flatten()
                .map(move |(name, value)| vec![format!("{what} {name}"), value.to_string()])
        })
        .collect();
    show::table(&["figure", "value"], &rows);
    Ok(ExitCode::SUCCESS)
}

fn log() -> anyhow::Result<serde_json::Value> {
    let dir = tempfile::tempdir()?;
    let log = tapedeck_log::embedded::EmbeddedLog::open(dir.path(), tapedeck_log::embedded::EmbeddedConfig::default())?;
    let topic: Arc<str> = "bench".into();
    log.create_topics(&[TopicConfig {
        name: Arc::clone(&topic),
        partitions: 8,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    }])?;
    let value: Vec<u8> = (0..RECORD_BYTES).map(|i| (i * 31 % 251) as u8).collect();
    let record = |n: usize| Record {
        topic: Arc::clone(&topic),
        partition: None,
        key: Some(format!("key-{}", n % 100).into_bytes().into()),
        value: Some(value.clone().into()),
        headers: Headers::new(),
        timestamp_ms: None,
    };
    let began = Instant::now();
    let mut waits = Vec::new();
    for first in (0..RECORDS).step_by(BATCH) {
        let batch = (first..first + BATCH).map(record).collect();
        let asked = Instant::now();
        log.append(batch)?;
        waits.push(asked.elapsed());
    }
    let rate = RECORDS as f64 / began.elapsed().as_secs_f64();
    waits.sort_unstable();
    let ms = |share: usize| (waits[(waits.len() * share / 100).min(waits.len() - 1)].as_secs_f64() * 1e5).round() / 1e2;
    Ok(
        json!({ "append_records_per_s": rate.round(), "append_p50_ms": ms(50), "append_p99_ms": ms(99), "record_bytes": RECORD_BYTES, "batch_records": BATCH }),
    )
}

/// A generated market of quotes, ten a second, through the roles of a replay.
fn market(config: &Config, events: u64) -> anyhow::Result<serde_json::Value> {
    let dir = tempfile::tempdir()?;
    let args = ReplayArgs { files: Vec::<PathBuf>::new(), ..ReplayArgs::example() };
    let mut config = replay::plan(config.clone(), &args)?;
    let source = json!([{
        "id": replay::SOURCE, "kind": "generator", "venue": "SIM", "seed": 1, "speed": "max", "events": events,
        "symbols": ["BTCUSDT", "ETHUSDT"], "step_ms": 100, "start": "2024-01-01T00:00:00Z",
    }]);
    config.sources = serde_json::from_value(source)?;
    let config = checked(config)?;
    let outcome = replay::run(&config, Folder::claim_alone(dir.path())?, &args, &mut |_| {})?;
    Ok(json!({
        "market_events_per_s": outcome.events_per_s, "market_events": events, "elapsed_s": outcome.elapsed_s,
        "fills": outcome.fills, "all_events": outcome.events.values().sum::<u64>(),
    }))
}
