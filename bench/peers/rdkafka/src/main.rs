//! What a team would write with rdkafka: a producer with acks=all and idempotence,
//! all else as it comes, `send` on the trading thread; its broker up, paused, and
//! killed. Asked with other words, how fast it produces and consumes.
//!
//! Not here: the emitter, whose benchmark runs the same load (`tapedeck-bench emit`).

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rdkafka::{
    ClientConfig, ClientContext,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{
        BaseRecord, DeliveryResult, FutureProducer, FutureRecord, NoCustomPartitioner, Producer, ProducerContext,
        ThreadedProducer,
    },
    util::Timeout,
};
use tapedeck_bench_pace::{Clock, Pace, decision, laps::show};

mod rates;

const TOPIC: &str = "trading_decisions";
/// As many as the embedded log's topic has.
const PARTITIONS: i32 = 8;
/// How long a broker that came back may take to get what waited for it.
const FLUSH: Duration = Duration::from_secs(120);
/// How long the call that waits for room waits at most; the emitter's own patience
/// with a log.
const ROOM: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["produce", bootstrap, topic, records, how @ ("steps" | "stream")] => {
            let rate = rates::produce(bootstrap, topic, records.parse()?, how == "steps")?;
            println!("{}", rate.line());
            Ok(())
        }
        ["consume", bootstrap, topic, records] => {
            println!("{}", rates::consume(bootstrap, topic, records.parse()?, None)?.line());
            Ok(())
        }
        ["consume", bootstrap, topic, records, group] => {
            println!("{}", rates::consume(bootstrap, topic, records.parse()?, Some(group))?.line());
            Ok(())
        }
        [script, dir, seconds, per_s] => emit(script, dir, seconds, per_s),
        _ => anyhow::bail!(
            "usage: peer-rdkafka KAFKA.SH DIR SECONDS PER_S | produce BOOTSTRAP TOPIC RECORDS steps|stream | \
             consume BOOTSTRAP TOPIC RECORDS [GROUP]"
        ),
    }
}

/// The emitter's load.
fn emit(script: &str, dir: &str, seconds: &str, per_s: &str) -> anyhow::Result<()> {
    let broker = Broker { script, dir: Path::new(dir) };
    let pace = Pace { per_s: per_s.parse()?, time: Duration::from_secs(seconds.parse()?) };
    let bootstrap = fs::read_to_string(broker.dir.join("bootstrap"))?.trim().to_owned();
    create_topic(&bootstrap)?;
    let clock = Clock::measure();
    clock.print();
    pace.idle(clock, Duration::from_micros(1)).print("idle loop, calls of 1 µs");
    for (name, fault) in
        [("broker up", Fault::None), ("broker paused", Fault::Paused), ("broker killed", Fault::Killed)]
    {
        load(&broker, &bootstrap, pace, clock, name, fault)?;
    }
    wait_for_room(&broker, &bootstrap)
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Paused,
    Killed,
}

/// The broker that `scripts/kafka.sh` started in a folder.
struct Broker<'a> {
    script: &'a str,
    dir: &'a Path,
}

impl Broker<'_> {
    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let pid = fs::read_to_string(self.dir.join("pid"))?;
        let done = Command::new("kill").args([signal, pid.trim()]).status()?;
        anyhow::ensure!(done.success(), "kill {signal} {} failed", pid.trim());
        Ok(())
    }

    fn begin(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::Paused => self.signal("-STOP"),
            Fault::Killed => self.signal("-KILL"),
        }
    }

    fn end(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::None => Ok(()),
            Fault::Paused => self.signal("-CONT"),
            Fault::Killed => {
                let started = Command::new("sh")
                    .arg(self.script)
                    .arg("start")
                    .arg(self.dir)
                    .stdout(Stdio::null())
                    .status()
                    .context("starting the broker again")?;
                anyhow::ensure!(started.success(), "the broker did not start again");
                Ok(())
            }
        }
    }
}

fn create_topic(bootstrap: &str) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    for made in runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()))? {
        match made {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("{topic}: {code}"),
        }
    }
    Ok(())
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("acks", "all").set("enable.idempotence", "true");
    config
}

/// Counts what the broker acknowledged and what the client gave up.
#[derive(Clone, Default)]
struct Reports {
    delivered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Reports {
    // Its log lines on a broker that is away are many and say what is known.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        match report {
            Ok(_) => &self.delivered,
            Err(_) => &self.failed,
        }
        .fetch_add(1, Relaxed);
    }
}

/// `send` at the pace: serialise, enqueue. A queue that is full refuses at once.
fn load(
    broker: &Broker<'_>,
    bootstrap: &str,
    pace: Pace,
    clock: Clock,
    name: &str,
    fault: Fault,
) -> anyhow::Result<()> {
    let reports = Reports::default();
    let producer: ThreadedProducer<Reports, NoCustomPartitioner> =
        config(bootstrap).create_with_context(reports.clone())?;
    warm_up(&producer)?;
    let warm = reports.delivered.swap(0, Relaxed);
    anyhow::ensure!(warm > 0, "the broker took nothing before the run began");
    broker.begin(fault)?;
    let (mut accepted, mut refused, mut first_refused) = (0u64, 0u64, None);
    let began = Instant::now();
    let run = pace.run(
        clock,
        &mut decision::of_all_symbols(),
        |decisions, n| decision::renew(&mut decisions[decision::symbol_of(n)], n),
        |decisions, n| {
            let decision = &decisions[decision::symbol_of(n)];
            let body = serde_json::to_vec(decision).unwrap_or_default();
            match producer.send(BaseRecord::to(TOPIC).key(&decision.symbol).payload(&body)) {
                Ok(()) => accepted += 1,
                Err(_) => {
                    refused += 1;
                    first_refused.get_or_insert_with(|| (accepted, began.elapsed()));
                }
            }
        },
    );
    run.print(&format!("rdkafka send, {name}"));
    let waiting = producer.in_flight_count();
    broker.end(fault)?;
    let back = Instant::now();
    // What the client gave up is in the counts; a flush that times out too.
    let _ = producer.flush(FLUSH);
    let (delivered, failed) = (reports.delivered.load(Relaxed), reports.failed.load(Relaxed));
    println!(
        "    {:.0} calls/s; accepted {accepted}, refused {refused} ({} of all); delivered {delivered}, given up {failed}; \
         {waiting} in memory alone at the end of the load, sent {} later",
        run.rate(),
        percent(refused, accepted + refused),
        show(back.elapsed())
    );
    if let Some((after, at)) = first_refused {
        println!(
            "    queue full after {after} records, {} into the load; every call after it refused until room came",
            show(at)
        );
    }
    Ok(())
}

/// Connects, and learns where the partitions are, before the clock runs.
fn warm_up(producer: &ThreadedProducer<Reports, NoCustomPartitioner>) -> anyhow::Result<()> {
    for symbol in 0..decision::SYMBOLS {
        let key = symbol.to_string();
        producer.send(BaseRecord::to(TOPIC).key(&key).payload("warm-up")).map_err(|(error, _)| error)?;
    }
    producer.flush(FLUSH)?;
    Ok(())
}

/// The other way to meet a full queue: the call that waits for room.
fn wait_for_room(broker: &Broker<'_>, bootstrap: &str) -> anyhow::Result<()> {
    let producer: FutureProducer = config(bootstrap).create()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    runtime
        .block_on(producer.send(FutureRecord::to(TOPIC).key("0").payload("warm-up"), Timeout::After(ROOM)))
        .map_err(|(error, _)| error)?;
    broker.begin(Fault::Paused)?;
    let mut queued = 0u64;
    let body = serde_json::to_vec(&decision::of_symbol(0))?;
    let full = loop {
        match producer.send_result(FutureRecord::to(TOPIC).key("0").payload(&body)) {
            Ok(_) => queued += 1,
            Err((error, _)) => break error,
        }
    };
    let began = Instant::now();
    let waited = runtime.block_on(producer.send(FutureRecord::to(TOPIC).key("0").payload(&body), Timeout::After(ROOM)));
    println!(
        "rdkafka FutureProducer::send, broker paused, {queued} queued ({full}): blocked for {} of at most {}, then {}",
        show(began.elapsed()),
        show(ROOM),
        match waited {
            Ok(_) => "delivered".to_owned(),
            Err((error, _)) => error.to_string(),
        }
    );
    broker.end(Fault::Paused)?;
    Ok(())
}

fn percent(part: u64, of: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / of.max(1) as f64)
}
