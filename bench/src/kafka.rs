//! Our log on Kafka against plain rdkafka (`bench/peers/rdkafka`), turn by turn in one
//! run: what producing and consuming cost, as a ratio; and `emit()` with every
//! broker dead.
//!
//! Not here: starting brokers, which `bench/run.sh` does.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use tapedeck_bench_pace::{
    Clock, Pace,
    rates::{self, Rate},
};
use tapedeck_flow::topics;
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{Headers, Log, LogRecord, PollLimits, Polled, Record, TopicConfig, TopicPartition};

use crate::{
    emit::{self, Stage},
    figures::median,
};

const PARTITIONS: u32 = 8;
/// Turns of each side: the median is told.
const TURNS: u32 = 3;
/// Threads that append side by side, so that the wire is never idle: a call returns
/// once its records are durable.
const WRITERS: usize = 4;
/// As a role polls that is far behind.
const LIMITS: PollLimits = PollLimits { max_records: 8_192, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };
/// Nothing here waits longer for a record that is there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both sides, each kind of work.
pub(crate) fn run(bootstrap: &str, peer: &Path, records: u64) -> anyhow::Result<()> {
    let prefix = format!("bench-{}.", std::process::id());
    let config = KafkaConfig { prefix: prefix.clone(), delivery_timeout_ms: 60_000, ..connected(bootstrap) };
    let log = KafkaLog::connect(&config)?;
    let copies = log.wanted_replication()?.map_or(1, |wanted| wanted.factor);
    println!("{records} records of {} bytes each turn, {PARTITIONS} partitions, {copies} copies", mean_bytes());
    let contest = Contest { log, prefix, bootstrap, peer, records };
    contest.compare("append 4,096, wait, again", "steps", |topic| contest.append(topic, 1))?;
    contest.compare("append, 4 writers", "stream", |topic| contest.append(topic, WRITERS))?;
    contest.topic("read")?;
    contest.append("read", WRITERS)?;
    contest.turns(
        "read by assignment",
        |_| contest.ask(&["consume", bootstrap, &contest.outer("read"), &records.to_string()]),
        |_| contest.read("read"),
    )?;
    contest.turns(
        "read as a member",
        |turn| {
            contest.ask(&[
                "consume",
                bootstrap,
                &contest.outer("read"),
                &records.to_string(),
                &format!("{}plain-{turn}", contest.prefix),
            ])
        },
        |turn| contest.consume("read", turn),
    )?;
    contest.log.delete_topics(&["read".into()])?;
    Ok(())
}

fn connected(bootstrap: &str) -> KafkaConfig {
    KafkaConfig { bootstrap_servers: bootstrap.into(), ..KafkaConfig::default() }
}

fn mean_bytes() -> usize {
    let records = rates::records();
    records.iter().map(|(key, body)| key.len() + body.len()).sum::<usize>() / records.len()
}

/// Two clients at the same work on the same brokers.
struct Contest<'a> {
    log: Arc<KafkaLog>,
    prefix: String,
    bootstrap: &'a str,
    /// The program of the plain one.
    peer: &'a Path,
    records: u64,
}

impl Contest<'_> {
    /// Produces on new topics, turn by turn.
    fn compare(&self, what: &str, how: &str, ours: impl Fn(&str) -> anyhow::Result<Rate>) -> anyhow::Result<()> {
        let on_new = |side: &str, turn: u32, work: &dyn Fn(&str) -> anyhow::Result<Rate>| {
            let topic = format!("{side}-{how}-{turn}");
            self.topic(&topic)?;
            let rate = work(&topic)?;
            self.log.delete_topics(&[topic.as_str().into()])?;
            Ok(rate)
        };
        let records = self.records.to_string();
        let plain = |topic: &str| self.ask(&["produce", self.bootstrap, &self.outer(topic), &records, how]);
        self.turns(what, |turn| on_new("plain", turn, &plain), |turn| on_new("ours", turn, &ours))
    }

    /// Plain, ours, ours, plain, …: who goes first changes, so that what the brokers
    /// do in the background meets both.
    fn turns(
        &self,
        what: &str,
        plain: impl Fn(u32) -> anyhow::Result<Rate>,
        ours: impl Fn(u32) -> anyhow::Result<Rate>,
    ) -> anyhow::Result<()> {
        let (mut plains, mut all_ours) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            if turn % 2 == 0 {
                plains.push(plain(turn)?.per_s());
                all_ours.push(ours(turn)?.per_s());
            } else {
                all_ours.push(ours(turn)?.per_s());
                plains.push(plain(turn)?.per_s());
            }
        }
        let (plain, ours) = (median(plains), median(all_ours));
        println!(
            "{what:<44} ours {ours:>10.0}/s  plain rdkafka {plain:>10.0}/s  cost {:.2} times",
            plain / ours.max(1.0)
        );
        Ok(())
    }

    fn topic(&self, name: &str) -> anyhow::Result<()> {
        let topic = TopicConfig {
            name: name.into(),
            partitions: PARTITIONS,
            retention: None,
            retention_bytes: None,
            delete: true,
            compact: false,
        };
        Ok(self.log.create_topics(&[topic])?)
    }

    /// A topic as the cluster names it.
    fn outer(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// What the plain client says of its run.
    fn ask(&self, words: &[&str]) -> anyhow::Result<Rate> {
        let said = Command::new(self.peer).args(words).output().context("starting the peer")?;
        let line = String::from_utf8_lossy(&said.stdout);
        let rate = Rate::of_line(line.trim()).filter(|_| said.status.success());
        rate.with_context(|| format!("the peer failed: {}{}", line, String::from_utf8_lossy(&said.stderr)))
    }

    fn append(&self, topic: &str, writers: usize) -> anyhow::Result<Rate> {
        let topic: Arc<str> = topic.into();
        let bodies: Vec<_> =
            rates::records().into_iter().map(|(key, body)| (Bytes::from(key), Bytes::from(body))).collect();
        let share = self.records / writers as u64;
        let of_writer = |writer: usize| if writer == 0 { self.records - share * (writers as u64 - 1) } else { share };
        let began = Instant::now();
        thread::scope(|scope| {
            let (topic, bodies) = (&topic, &bodies);
            let writers: Vec<_> = (0..writers)
                .map(|writer| scope.spawn(move || self.append_alone(topic, bodies, of_writer(writer))))
                .collect();
            writers
                .into_iter()
                .try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
        })?;
        Ok(Rate { records: self.records, took: began.elapsed() })
    }

    fn append_alone(&self, topic: &Arc<str>, bodies: &[(Bytes, Bytes)], records: u64) -> anyhow::Result<()> {
        let mut bodies = bodies.iter().cycle();
        let mut left = records as usize;
        while left > 0 {
            let step = bodies.by_ref().take(left.min(rates::STEP)).map(|(key, body)| Record {
                topic: Arc::clone(topic),
                partition: None,
                key: Some(key.clone()),
                value: Some(body.clone()),
                headers: Headers::default(),
                timestamp_ms: None,
            });
            left -= self.log.append(step.collect())?.len();
        }
        Ok(())
    }

    fn read(&self, topic: &str) -> anyhow::Result<Rate> {
        let mut reader = self.log.reader()?;
        let from: Vec<_> = (0..PARTITIONS).map(|partition| (TopicPartition::new(topic, partition), 0)).collect();
        reader.assign(&from)?;
        self.count(|| Ok(reader.poll(LIMITS)?))
    }

    fn consume(&self, topic: &str, turn: u32) -> anyhow::Result<Rate> {
        let mut member = self.log.join(&format!("ours-{turn}"), "bench", &[topic.into()])?;
        self.count(|| {
            Ok(match member.poll(LIMITS)? {
                Polled::Records(records) => records,
                Polled::Assigned(_) | Polled::Revoked(_) => Vec::new(),
            })
        })
    }

    /// The clock runs from the first records.
    fn count(&self, mut poll: impl FnMut() -> anyhow::Result<Vec<LogRecord>>) -> anyhow::Result<Rate> {
        let (mut read, mut bytes) = (0, 0);
        let (mut began, mut heard) = (Instant::now(), Instant::now());
        while read < self.records {
            let records = poll()?;
            anyhow::ensure!(heard.elapsed() < PATIENCE, "{read} of {} records, then nothing came", self.records);
            if records.is_empty() {
                continue;
            }
            heard = Instant::now();
            if read == 0 {
                began = heard;
            }
            read += records.len() as u64;
            bytes += records.iter().map(|record| record.value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
        }
        anyhow::ensure!(bytes > 0, "the records were empty");
        Ok(Rate { records: read, took: began.elapsed() })
    }
}

/// `emit()` with the brokers up, then with all of them dead; `script` and `brokers`
/// are what started them.
pub(crate) fn emit(script: &str, brokers: &Path, dir: &Path, pace: Pace) -> anyhow::Result<()> {
    let bootstrap = std::fs::read_to_string(brokers.join("bootstrap"))?;
    let clock = Clock::measure();
    clock.print();
    pace.idle(clock, Duration::from_micros(1)).print("idle loop, calls of 1 µs");
    let mut lost = 0;
    for (name, is_dead) in [("on Kafka, brokers up", false), ("on Kafka, brokers dead", true)] {
        // Names of its own, so that all that lies there was emitted here.
        let prefix = format!("emit-{}-{}.", std::process::id(), u8::from(is_dead));
        let log = KafkaLog::connect(&KafkaConfig { prefix, ..connected(bootstrap.trim()) })?;
        log.create_topics(&topics::of_catalogue(None))?;
        let control = |word: &str| if is_dead { tell(script, word, brokers) } else { Ok(()) };
        let stage = Stage { name, log, begin: &|| control("stop"), end: &|| control("start") };
        lost += emit::under(dir, &stage, pace, clock)?;
    }
    pace.idle(clock, Duration::from_micros(1)).print("idle loop again, calls of 1 µs");
    anyhow::ensure!(lost == 0, "{lost} decisions that emit() accepted are not in the log, or out of order");
    Ok(())
}

fn tell(script: &str, word: &str, brokers: &Path) -> anyhow::Result<()> {
    let said = Command::new("sh").arg(script).arg(word).arg(brokers).output().context("running the script of Kafka")?;
    anyhow::ensure!(said.status.success(), "{script} {word} failed: {}", String::from_utf8_lossy(&said.stderr));
    Ok(())
}
