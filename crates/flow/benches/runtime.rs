//! What the runtime costs a record: market events from the embedded log through
//! poll, decode, dedupe, a handler that does nothing, and the step, beside the
//! same records only read, only read and decoded, and without the dedupe window.
//!
//! Not here: what a role does.
//!
//! `cargo bench -p tapedeck-flow --bench runtime -- [records]`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to show")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tapedeck_contracts::{
    EventId, EventKind,
    headers::{self, SEQ},
};
use tapedeck_flow::{
    Delivery, DeliveryConfig, Failure, Gauges, Stop,
    runtime::{self, Handler, LogEffect, LogStep, Setup},
};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Headers, Log, PollLimits, Record, TopicConfig, TopicPartition};

const MARKET: &str = "market-data-updates";
const PARTITIONS: u32 = 8;

fn main() {
    let count: u64 = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(500_000);
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap();
    let topic = |name: &str, compact: bool| TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        retention: None,
        retention_bytes: None,
        delete: !compact,
        compact,
    };
    log.create_topics(&[topic(MARKET, false), topic("tapedeck.idle.state", true), topic("tapedeck.bare.state", true)])
        .unwrap();
    let numbers: Vec<u64> = (1..=count).collect();
    for numbers in numbers.chunks(4_096) {
        log.append(numbers.iter().map(|n| market(*n)).collect()).unwrap();
    }

    let read = timed(count, "read", || read(log.as_ref(), count, |_| {}));
    let decoded = timed(count, "read and decode", || {
        read_and_decode(log.as_ref(), count);
    });
    let whole = timed(count, "the runtime", || run(&log, count, "idle", DeliveryConfig::default()));
    // A group of its own, that begins at the start again.
    let windowless = DeliveryConfig { dedupe_window: 0, ..DeliveryConfig::default() };
    let without = timed(count, "the runtime, no dedupe window", || run(&log, count, "bare", windowless));
    println!(
        "decoding: {:.2} us a record; the rest of the runtime: {:.2} us a record",
        decoded - read,
        whole - decoded
    );
    println!("the dedupe window: {:.2} us a record, {:.2} of the runtime without it", whole - without, whole / without);
}

/// Microseconds of this thread's processor time a record; the clock's beside it,
/// which on a busy machine is longer.
fn timed(count: u64, what: &str, work: impl FnOnce()) -> f64 {
    let (start, start_cpu) = (Instant::now(), cpu_time());
    work();
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - start_cpu);
    let each_us = cpu.as_secs_f64() * 1e6 / count as f64;
    println!("{what}: {:.0} records/s, {each_us:.2} us of processor a record", count as f64 / elapsed.as_secs_f64());
    each_us
}

/// Linux tells a thread's own; elsewhere this is the clock's.
fn cpu_time() -> Duration {
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = own.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), Duration::from_nanos)
}

fn read(log: &dyn Log, count: u64, mut take: impl FnMut(tapedeck_log::LogRecord)) {
    let mut reader = log.reader().unwrap();
    reader.assign(&(0..PARTITIONS).map(|p| (TopicPartition::new(MARKET, p), 0)).collect::<Vec<_>>()).unwrap();
    let limits = PollLimits { max_records: 4_096, max_bytes: 4 << 20, timeout: Duration::from_secs(1) };
    let mut seen = 0;
    while seen < count {
        for record in reader.poll(limits).unwrap() {
            seen += 1;
            take(record);
        }
    }
}

fn read_and_decode(log: &dyn Log, count: u64) {
    // Batches live as long as in the runtime, so that freeing them counts too.
    let mut batch = Vec::with_capacity(4_096);
    read(log, count, |record| {
        batch.push(Delivery::decode_as(EventKind::MarketData, record, 0).unwrap());
        if batch.len() == 4_096 {
            black_box(&batch);
            batch.clear();
        }
    });
}

fn run(log: &Arc<EmbeddedLog>, count: u64, role: &str, config: DeliveryConfig) {
    let (stop, gauges) = (Stop::new(), Arc::new(Gauges::default()));
    let setup = Setup {
        log: Arc::clone(log) as Arc<dyn Log>,
        role: role.into(),
        member: "bench".into(),
        topics: vec![MARKET.into()],
        config,
        stop: stop.clone(),
        gauges: Arc::clone(&gauges),
        boundaries: Default::default(),
        aside: Default::default(),
        budget: Default::default(),
    };
    let step = LogStep::new(Arc::clone(log) as Arc<dyn Log>, role);
    runtime::run(setup, Idle { left: count, stop }, step).unwrap();
    assert_eq!(gauges.records.load(Relaxed), count);
}

/// Does nothing, and asks to stop at the end.
struct Idle {
    left: u64,
    stop: Stop,
}

impl Handler for Idle {
    type Effect = LogEffect;

    fn assigned(&mut self, _: &TopicPartition, _: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        Ok(())
    }

    fn handle(&mut self, batch: &[Delivery]) -> Result<LogEffect, Failure> {
        self.left -= black_box(batch).len() as u64;
        if self.left == 0 {
            self.stop.request();
        }
        Ok(LogEffect::default())
    }

    fn revoked(&mut self, _: &TopicPartition) {}
}

fn market(n: u64) -> Record {
    let symbol = format!("SYM{}", n % 16);
    let body = format!(
        r#"{{"timestamp":"2024-01-01T00:00:00.000000Z","producer_service":"market","data":{{"symbol":"{symbol}","price":"{n}.25","volume":"1.5","timestamp":"2024-01-01T00:00:00.000000Z","source":"s","venue":"V","kind":"bar","open":"{n}","high":"{n}.5","low":"{n}","close":"{n}.25","interval":"1m","final":true}}}}"#
    );
    let id = EventId::from_file("bench", n);
    let pairs = [
        (headers::CE_SPECVERSION, "1.0".to_owned()),
        (headers::CE_ID, id.to_string()),
        (headers::CE_SOURCE, "tapedeck/market".into()),
        (headers::CE_TYPE, "market_data".into()),
        (headers::CE_TIME, "2024-01-01T00:00:00.000000Z".into()),
        (headers::CE_DATASCHEMA, "tapedeck:market_data/1.0".into()),
        (SEQ, format!("s/{n}")),
    ];
    Record {
        topic: MARKET.into(),
        partition: None,
        key: Some(Bytes::from(symbol)),
        value: Some(Bytes::from(body)),
        headers: Headers::build(pairs),
        timestamp_ms: None,
    }
}
