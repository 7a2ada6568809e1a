//! Many explanations in a store, written by the store's own call as fast as it takes
//! them, and how soon the api answers for one of them.
//!
//! Not here: the server, which `bench/run.sh` starts.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_bench_pace::decision;
use tapedeck_contracts::{Event, EventId, Timestamp, events::TradingDecision};
use tapedeck_roles::{
    forensics::{
        DECISIONS, Head,
        explain::{Draft, Explaining, Pool},
    },
    inference::{InferenceConfig, Models},
};
use tapedeck_store::{ChainHead, Explained, ExplainedBatch, Explanations, Origin, SqliteConfig, SqliteStore};

use crate::{decisions::Decisions, figures};

/// Rows of one call.
const BATCH: u64 = 8_192;
/// Chains that batches go to in turn, as many as decisions have partitions.
const CHAINS: usize = 8;
/// Clients that ask side by side.
const CLIENTS: u64 = 4;

/// Writes `rows` explanations.
pub(crate) fn fill(dir: &Path, rows: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let store = SqliteStore::open(&dir.join("store.db"), SqliteConfig::default())?;
    let models = Arc::new(Models::open(&InferenceConfig::default())?);
    let mut made = Decisions::of(&models);
    let decisions: Vec<TradingDecision> = (0..BATCH)
        .map(|n| match &made.make(n).event {
            Event::TradingDecision(decision) => Ok((**decision).clone()),
            _ => Err(anyhow::anyhow!("it is none")),
        })
        .collect::<anyhow::Result<_>>()?;
    let mut drafts = Explaining::new(models, Pool::default()).explain(&decisions.iter().collect::<Vec<_>>())?;
    let mut heads: Vec<Head> = (0..CHAINS as u32).map(Head::start).collect();
    let (began, mut kept) = (Instant::now(), Duration::ZERO);
    for from in (0..rows).step_by(BATCH as usize) {
        let head = &mut heads[(from / BATCH) as usize % CHAINS];
        let upto = (from + BATCH).min(rows);
        let batch = batch(head, &mut drafts, from..upto)?;
        let asked = Instant::now();
        anyhow::ensure!(store.apply_explained(&batch)?.is_empty(), "some are held already: use an empty folder");
        kept += asked.elapsed();
    }
    println!(
        "{rows} explanations stored, {:.0}/s, {:.1} us each in the store; {:.0} bytes each",
        rows as f64 / began.elapsed().as_secs_f64(),
        kept.as_secs_f64() * 1e6 / rows as f64,
        dir.join("store.db").metadata()?.len() as f64 / rows as f64
    );
    Ok(())
}

/// The drafts as new decisions of one chain.
fn batch(head: &mut Head, drafts: &mut [Draft], numbers: std::ops::Range<u64>) -> anyhow::Result<ExplainedBatch> {
    let mut rows = Vec::with_capacity(drafts.len());
    let mut id = EventId(String::new());
    for (n, draft) in numbers.zip(&mut *drafts) {
        decision::write_id(&mut id, n);
        let record = &mut *draft.record;
        record.decision_id.clone_from(&id.0);
        (record.chain, record.index, record.time) =
            (head.chain, head.records, Timestamp::from_micros(n as i64 * 10_000));
        let mut bytes = Vec::with_capacity(512);
        record.write(&mut bytes)?;
        let hash = head.push(&bytes);
        rows.push(Explained {
            origin: Origin { topic: DECISIONS.into(), partition: record.chain, offset: record.index },
            decision_id: record.decision_id.clone(),
            timestamp: record.time,
            symbol: record.symbol.clone(),
            account: record.account.clone(),
            action: record.action,
            outcome: record.outcome,
            chain: record.chain,
            index: record.index,
            hash: hash.0,
            feature_set: record.feature_set.0,
            record: Bytes::from(bytes),
        });
    }
    let mixture = &drafts[0].mixture;
    Ok(ExplainedBatch {
        group: "tapedeck.forensics".to_owned(),
        rows,
        feature_sets: vec![(mixture.id().0, Bytes::from(mixture.set().to_bytes()))],
        heads: vec![ChainHead {
            chain: head.chain,
            records: head.records,
            hash: head.hash.0,
            begins: None,
            anchored: None,
        }],
        ..ExplainedBatch::default()
    })
}

/// Asks for explanations all over `rows`, each once, for a time.
pub(crate) fn get(url: &str, rows: u64, time: Duration) -> anyhow::Result<()> {
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let url = url.to_owned();
            thread::spawn(move || one(&url, rows, time, client))
        })
        .collect();
    let mut laps = Vec::new();
    for client in clients {
        laps.extend(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    laps.sort_unstable();
    let p95 = laps.get(laps.len() * 95 / 100).map_or(f64::NAN, |lap| lap.as_secs_f64() * 1e3);
    figures::print(&format!("GET /api/v1/forensics/{{id}} of {rows}"), laps, &format!("  p95 {p95:.2} ms"));
    Ok(())
}

fn one(url: &str, rows: u64, time: Duration, client: u64) -> anyhow::Result<Vec<Duration>> {
    let agent = ureq::Agent::new_with_defaults();
    let (mut laps, mut id, began) = (Vec::new(), EventId(String::new()), Instant::now());
    for nth in 0.. {
        if began.elapsed() >= time {
            break;
        }
        // A stride that is prime to any count visits the whole range.
        decision::write_id(&mut id, (nth * CLIENTS + client).wrapping_mul(7_368_787) % rows);
        let asked = Instant::now();
        let mut answer = agent.get(format!("{url}/api/v1/forensics/{id}")).call()?;
        answer.body_mut().read_to_vec()?;
        // The first of a client opens its connection.
        if nth > 0 {
            laps.push(asked.elapsed());
        }
    }
    Ok(laps)
}
