//! Execution reports from the log to the store, through the recorder itself.
//!
//! Not here: the api.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tapedeck_contracts::{Event, EventId};
use tapedeck_flow::{Gauges, Outbound, Stop, config::DeliveryConfig, topics};
use tapedeck_log::{
    Log,
    embedded::{EmbeddedConfig, EmbeddedLog},
};
use tapedeck_roles::{Context, recorder};
use tapedeck_store::sqlite::{SqliteConfig, SqliteStore};

use crate::fill::report;

pub(crate) fn run(rows: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let log: Arc<dyn Log> = EmbeddedLog::open(dir.path(), EmbeddedConfig::default())?;
    log.create_topics(&topics::of_catalogue(None))?;
    let began = Instant::now();
    let mut bytes = 0;
    for first in (0..rows).step_by(2_000) {
        let batch: Result<Vec<_>, _> = (first..rows.min(first + 2_000)).map(record).collect();
        let batch = batch?;
        bytes += batch.iter().map(|r| r.value.as_ref().map_or(0, |v| v.len())).sum::<usize>();
        log.append(batch)?;
    }
    let appended = began.elapsed().as_secs_f64();
    println!(
        "{:<44} {:>10.0} rows/s  ({} bytes a body)",
        "execution reports made and appended",
        rows as f64 / appended,
        bytes as u64 / rows.max(1)
    );
    let store = SqliteStore::open(&dir.path().join("store.db"), SqliteConfig::default())?;
    let context = Context {
        log,
        stop: Stop::new(),
        member: "bench".into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let (stop, gauges) = (context.stop.clone(), Arc::clone(&context.gauges));
    let delivery = DeliveryConfig { batch_max_records: 4_096, batch_max_bytes: 4 << 20, ..DeliveryConfig::default() };
    let began = Instant::now();
    let role = thread::spawn(move || recorder::run(context, store, delivery));
    while gauges.records.load(Relaxed) < rows && !role.is_finished() {
        thread::sleep(Duration::from_millis(1));
    }
    let elapsed = began.elapsed().as_secs_f64();
    stop.request();
    role.join().map_err(|_| anyhow::anyhow!("the recorder panicked"))??;
    println!("{:<44} {:>10.0} rows/s", "execution reports log -> stored", rows as f64 / elapsed);
    Ok(())
}

/// The n-th report as the paper broker would emit it.
pub(crate) fn record(n: u64) -> anyhow::Result<tapedeck_log::Record> {
    let report = report(n);
    let id: EventId = report.event_id.clone();
    Ok(Outbound::first("exec.reports.v1", id, Event::ExecutionReport(Box::new(report))).into_record("bench")?)
}
