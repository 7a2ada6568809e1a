//! What a decision costs on its way from the log to its stored explanation, in
//! microseconds, stage by stage: `cargo bench -p tapedeck-roles --bench forensics`.
//! The demo's models; embedded log and SQLite store in a folder of the system's.
//!
//! Not here: the whole line under a steady load, which `tapedeck-bench` measures.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapedeck_contracts::{Event, EventId, Timestamp, catalogue::dlq_of, events::TradingDecision};
use tapedeck_flow::{Delivery, DeliveryConfig, Gauges, Stop};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Headers, Log, LogRecord, Record, TopicConfig};
use tapedeck_roles::{
    Context,
    forensics::{
        self, Head,
        explain::{Explaining, Pool},
        shell,
    },
    inference::{
        InferenceConfig, Models,
        posted::{Question, answer},
    },
};
use tapedeck_shap::{Explainer, Scratch};
use tapedeck_store::{Explanations, SqliteConfig, SqliteStore};

/// The program's own: what reading takes of memory is a good part of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SYMBOLS: u32 = 100;
const PARTITIONS: u32 = 8;
const BATCH: u32 = 4_096;
const WHOLE: u32 = 400_000;
/// Each stage is done so often, and the fastest counts: the machine does other things.
const ROUNDS: u32 = 7;

fn main() {
    let models = Arc::new(Models::open(&InferenceConfig::default()).expect("they are in the binary"));
    let decisions: Vec<TradingDecision> = (0..BATCH).map(|n| decision(&models, n)).collect();
    let features = decisions[0].features.len();
    println!("{features} features, {} specialists, batches of {BATCH}", decisions[0].strategy_weights.len());
    stages(&models, &decisions);
    for members in 1..=2 {
        whole(&models, &decisions, members);
    }
}

fn stages(models: &Arc<Models>, decisions: &[TradingDecision]) {
    let records: Vec<LogRecord> = decisions.iter().map(log_record).collect();
    let bytes: usize = records.iter().filter_map(|record| record.value.as_ref()).map(Bytes::len).sum();
    fastest(&format!("decode ({} bytes of JSON)", bytes / records.len()), || {
        for record in &records {
            black_box(Delivery::decode(record.clone(), 0).expect("it is a decision"));
        }
    });
    let all: Vec<&TradingDecision> = decisions.iter().collect();
    let pool = Pool::default();
    let mut explaining = Explaining::new(Arc::clone(models), pool.clone());
    fastest("explain: names, rows, SHAP, margins, weights, record", || {
        let drafts = explaining.explain(&all).expect("all are explained");
        pool.give(black_box(drafts));
    });
    trees(models, decisions);
    let drafts = explaining.explain(&all).expect("all are explained");
    let (mut bytes, mut head) = (Vec::new(), Head::start(0));
    fastest("record to bytes and chain", || {
        bytes.clear();
        for draft in &drafts {
            let from = bytes.len();
            draft.record.write(&mut bytes).expect("it is a record");
            black_box(head.push(&bytes[from..]));
        }
    });
    println!("{:>8} bytes a record without the decision before", bytes.len() / drafts.len());
}

/// The trees alone, as `explain` asks them.
fn trees(models: &Models, decisions: &[TradingDecision]) {
    let set = models.current();
    let mut asked: Vec<_> = set
        .models()
        .iter()
        .map(|model| {
            let explainer = Explainer::new(model.ensemble()).expect("it can be explained");
            let names = explainer.features().to_vec();
            let value = |decision: &TradingDecision, name| decision.features[name].unwrap_or(f64::NAN);
            let rows: Vec<f64> =
                decisions.iter().flat_map(|one| names.iter().map(move |name| value(one, name))).collect();
            let phi = vec![0.0; explainer.contributions() * decisions.len()];
            (explainer, rows, phi, vec![0.0; decisions.len()])
        })
        .collect();
    let mut scratch = Scratch::new();
    fastest("  of which SHAP", || {
        for (explainer, rows, phi, _) in &mut asked {
            let wide = explainer.features().len() * 512;
            for (rows, phi) in rows.chunks(wide).zip(phi.chunks_mut(explainer.contributions() * 512)) {
                explainer.explain_f64(rows, &mut scratch, phi).expect("all are numbers");
            }
        }
    });
    fastest("  of which margins", || {
        for (explainer, rows, _, margins) in &mut asked {
            let wide = explainer.features().len() * 512;
            for (rows, margins) in rows.chunks(wide).zip(margins.chunks_mut(512)) {
                explainer.margins_f64(rows, &mut scratch, margins).expect("all are numbers");
            }
        }
    });
}

fn fastest(what: &str, mut stage: impl FnMut()) {
    stage();
    let best = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        stage();
        start.elapsed()
    });
    let best = best.min().unwrap_or_default();
    println!("{:>8.2} us a decision: {what}", best.as_secs_f64() * 1e6 / f64::from(BATCH));
}

/// The role itself, from a log that is full to a store that has all of it.
fn whole(models: &Arc<Models>, decisions: &[TradingDecision], members: usize) {
    let dir = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(&dir.path().join("log"), EmbeddedConfig::default()).expect("a log");
    let store = SqliteStore::open(&dir.path().join("store"), SqliteConfig::default()).expect("a store");
    let topics = [forensics::DECISIONS.to_owned(), dlq_of(forensics::DECISIONS), forensics::AUDIT.to_owned()];
    let topic = |name: String| TopicConfig {
        name: name.into(),
        partitions: PARTITIONS,
        retention: None,
        retention_bytes: None,
        delete: true,
        compact: false,
    };
    log.create_topics(&topics.map(topic)).expect("topics");
    let mut again = decisions.to_vec();
    for from in (0..WHOLE).step_by(BATCH as usize) {
        for (nth, decision) in again.iter_mut().enumerate() {
            decision.decision_id = EventId::from_file("bench", u64::from(from) + nth as u64);
            decision.event_id = Some(decision.decision_id.clone());
        }
        log.append(again.iter().map(record).collect()).expect("the log takes them");
    }
    let total = u64::from(WHOLE.div_ceil(BATCH) * BATCH);
    let (stop, start) = (Stop::new(), Instant::now());
    let took = thread::scope(|scope| {
        let mut all = Vec::new();
        for member in 0..members {
            let gauges = Arc::new(Gauges::default());
            all.push(Arc::clone(&gauges));
            let ctx = Context {
                log: Arc::clone(&log) as Arc<dyn Log>,
                stop: stop.clone(),
                member: format!("bench-{member}"),
                gauges,
                boundaries: Default::default(),
                aside: Default::default(),
                emitter: None,
                budget: Default::default(),
            };
            let (store, models) = (Arc::clone(&store), Arc::clone(models));
            scope.spawn(move || shell::run(ctx, store, models, DeliveryConfig::default()).expect("it runs"));
        }
        while all.iter().map(|gauges| gauges.records.load(Relaxed)).sum::<u64>() < total {
            thread::sleep(Duration::from_millis(1));
        }
        let took = start.elapsed();
        stop.request();
        took
    });
    let kept: u64 = store.chain_heads().expect("heads").iter().map(|head| head.records).sum();
    assert_eq!(kept, total, "all are kept");
    let us = took.as_secs_f64() * 1e6 / total as f64;
    println!("{us:>8.2} us a decision, {:.0}/s: the role on {members} thread(s), log to SQLite", 1e6 / us);
}

fn log_record(decision: &TradingDecision) -> LogRecord {
    let record = record(decision);
    LogRecord {
        topic: record.topic,
        partition: record.partition.unwrap_or_default(),
        offset: 0,
        timestamp_ms: 0,
        key: record.key,
        value: record.value,
        headers: Headers::new(),
    }
}

fn record(decision: &TradingDecision) -> Record {
    let body = Event::TradingDecision(Box::new(decision.clone())).to_json().expect("it is JSON");
    let symbol = decision.symbol.bytes().map(u32::from).sum::<u32>();
    Record {
        topic: forensics::DECISIONS.into(),
        partition: Some(symbol % PARTITIONS),
        key: Some(Bytes::from(decision.symbol.clone())),
        value: Some(Bytes::from(body)),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

/// A decision of the demo's models on features that are noise.
fn decision(models: &Models, n: u32) -> TradingDecision {
    let set = models.current();
    let mut random = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let names = set.models().iter().flat_map(|model| model.ensemble().features.clone());
    let features: BTreeMap<_, _> = names
        .map(|name| match name.as_str() {
            "rsi" => (name, Some(draw() * 100.0)),
            _ => (name, Some((draw() - 0.5) * 0.02)),
        })
        .collect();
    let question = Question {
        symbol: format!("SYMBOL{:03}", n % SYMBOLS),
        account: Some("ACC-1".into()),
        features,
        regime_probs: None,
        position_before: None,
        correlation_id: Some(EventId::from_file("cause", u64::from(n)).to_string()),
    };
    let (id, time) = (EventId::from_file("bench", u64::from(n)), Timestamp::from_micros(i64::from(n) * 1_000));
    answer(&InferenceConfig::default(), &set, &question, id, time).expect("a decision").decision
}
