//! The role over the embedded log: numbers without gaps, whatever is killed
//! when.
//!
//! Not here: what other files' tests hold.

use std::{
    path::Path,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst},
};

use tapedeck_contracts::{
    catalogue::{Catalogue, state_topic},
    headers,
};
use tapedeck_log::{
    EmbeddedConfig, EmbeddedLog, Log, LogAround, LogError, LogRecord, Placement, PollLimits, TopicConfig,
    TopicPartition,
};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::market::{
    config::Speed,
    testing::{file_source, generator_source, write},
};

mod stopped;

const CONFIG: MarketConfig = MarketConfig { append_records: 7, append_age_ms: 5 };

/// A log that stops the role before or after an append, or fails it.
struct Staged {
    log: Arc<EmbeddedLog>,
    stop: Stop,
    /// Appends left until it acts.
    left: AtomicUsize,
    act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Nothing,
    /// As if the process was killed before the log had it.
    KillBefore,
    /// As if the process was killed before it heard that the log has it.
    KillAfter,
    /// It fails once, having written all of it.
    FailAfter,
}

impl LogAround for Staged {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn append(&self, records: Vec<Record>) -> tapedeck_log::Result<Vec<Placement>> {
        let left = self.left.fetch_sub(1, SeqCst);
        if self.act == Act::Nothing || left != 0 {
            return self.log.append(records);
        }
        if self.act != Act::KillBefore {
            self.log.append(records)?;
        }
        if self.act == Act::FailAfter {
            return Err(LogError::Transient("staged".into()));
        }
        self.stop.request();
        Err(LogError::Fatal("killed".into()))
    }
}

/// A clock that stands still but when somebody waits for it; asks to stop once
/// the time is out.
struct Hand {
    us: AtomicI64,
    until_us: i64,
    stop: Stop,
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::parse("2024-06-01T00:00:00.5Z").unwrap().plus_micros(self.us.load(SeqCst))
    }
    fn monotonic_us(&self) -> i64 {
        self.us.load(SeqCst)
    }
    fn wait(&self, stop: &Stop, timeout: Duration) -> bool {
        let passed = i64::try_from(timeout.as_micros()).unwrap();
        if self.us.fetch_add(passed, SeqCst) + passed > self.until_us {
            self.stop.request();
            return stop.wait(Duration::from_secs(60));
        }
        stop.requested()
    }
}

struct Bench {
    dir: TempDir,
    log: Arc<EmbeddedLog>,
}

impl Bench {
    fn new() -> Self {
        Self::with(EmbeddedConfig::default())
    }

    fn with(config: EmbeddedConfig) -> Self {
        let dir = tempdir().unwrap();
        let log = EmbeddedLog::open(&dir.path().join("log"), config).unwrap();
        let names = [TOPIC.to_owned(), "symbol-subscriptions".to_owned(), "alerts.v1".to_owned(), state_topic(ROLE)];
        let topics = names.map(|name| {
            let topic = Catalogue::get().topic(&name).unwrap();
            TopicConfig {
                name: name.into(),
                partitions: topic.partitions,
                retention: None,
                retention_bytes: None,
                delete: topic.delete,
                compact: topic.compact,
            }
        });
        log.create_topics(&topics).unwrap();
        Self { dir, log }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the role until all sources are done, or it was stopped.
    fn run(&self, sources: &[SourceConfig], act: Act, after: usize) -> Result<(), Failure> {
        let stop = Stop::new();
        let staged = Staged { log: Arc::clone(&self.log), stop: stop.clone(), left: AtomicUsize::new(after), act };
        let ctx = Context {
            log: Arc::new(staged),
            stop: stop.clone(),
            member: "m".into(),
            gauges: Arc::new(Gauges::default()),
            boundaries: Default::default(),
            aside: Default::default(),
            emitter: None,
            budget: Default::default(),
        };
        let progress = Arc::new(Progress::default());
        let all_done = || {
            let done: Option<Vec<u64>> = sources.iter().map(|source| self.state(&source.id)?.done).collect();
            done.is_some_and(|done| done.into_iter().max() <= Some(ctx.gauges.last_seq.load(SeqCst)))
        };
        thread::scope(|scope| {
            let role = scope.spawn(|| run(&ctx, &CONFIG, sources, &progress));
            // Stops it when it has nothing left to do.
            while !role.is_finished() && !all_done() {
                thread::yield_now();
            }
            stop.request();
            role.join().unwrap()
        })
    }

    /// Runs the role until it ends by itself, with an error.
    fn refused(&self, source: SourceConfig) -> String {
        let log = Arc::clone(&self.log) as Arc<dyn Log>;
        let ctx = Context {
            log,
            stop: Stop::new(),
            member: "m".into(),
            gauges: Arc::new(Gauges::default()),
            boundaries: Default::default(),
            aside: Aside::Stop,
            emitter: None,
            budget: Default::default(),
        };
        let failure = run(&ctx, &CONFIG, &[source], &Arc::new(Progress::default())).unwrap_err().to_string();
        assert_eq!(ctx.gauges.phase(), Phase::Failed(failure.clone()));
        failure
    }

    fn state(&self, id: &str) -> Option<SourceState> {
        load_states(self.log.as_ref()).unwrap().remove(id)
    }

    fn records(&self, topic: &str) -> Vec<LogRecord> {
        let info = self.log.topics().unwrap().into_iter().find(|info| &*info.config.name == topic).unwrap();
        let mut records = Vec::new();
        for partition in info.partitions {
            let place = TopicPartition::new(topic, partition.partition);
            let mut reader = self.log.reader().unwrap();
            reader.assign(&[(place.clone(), partition.start)]).unwrap();
            while reader.position(&place).unwrap() < partition.end {
                let limits = PollLimits { max_records: 1_000, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
                records.extend(reader.poll(limits).unwrap());
            }
        }
        records
    }

    /// What a reader that drops numbers it has seen makes of a source: number,
    /// id, body. Fails where a partition's numbers come late.
    fn numbered(&self, source: &str) -> Vec<(u64, String, Vec<u8>)> {
        let mut events = Vec::new();
        let mut highest = std::collections::BTreeMap::new();
        for record in self.records(TOPIC) {
            let seq = Seq::parse(record.headers.text(headers::SEQ).unwrap()).unwrap();
            if seq.source != source {
                continue;
            }
            let id = record.headers.text(headers::CE_ID).unwrap().to_owned();
            let event = (seq.n, id, record.value.unwrap().to_vec());
            let top = highest.entry(record.partition).or_insert(0);
            if seq.n > *top {
                *top = seq.n;
                events.push(event);
            } else {
                assert!(events.contains(&event), "number {} was not seen before, or was another event", seq.n);
            }
        }
        events.sort();
        assert!(events.iter().map(|event| event.0).eq(1..=events.len() as u64), "numbers have gaps");
        events
    }
}

fn trades(bench: &Bench) -> SourceConfig {
    let rows = (0..60).map(|at| format!("2024-01-01 00:00:{at:02},{},{}\n", ["B", "A", "C"][at % 3], at + 1));
    let path = write(bench.path(), "trades.csv", format!("time,symbol,price\n{}", rows.collect::<String>()));
    file_source("trades", path)
}

#[test]
fn a_file_is_numbered_from_1_without_gaps_and_said_done() {
    let bench = Bench::new();
    let sources = [trades(&bench), generator_source("gen")];
    bench.run(&sources, Act::Nothing, 0).unwrap();
    assert_eq!(bench.numbered("trades").len(), 60);
    assert_eq!(bench.numbered("gen").len(), 1_000);
    let state = bench.state("trades").unwrap();
    assert_eq!((state.acked, state.done), (60, Some(60)));
    assert_eq!(state.last_time.unwrap().to_string(), "2024-01-01T00:00:59.000000Z");
    // Two symbols of the generator.
    assert_eq!(bench.records("symbol-subscriptions").len(), 2);
}

#[test]
fn a_source_that_is_done_adds_nothing() {
    let bench = Bench::new();
    let sources = [trades(&bench)];
    bench.run(&sources, Act::Nothing, 0).unwrap();
    let before = bench.records(TOPIC);
    bench.run(&sources, Act::Nothing, 0).unwrap();
    assert_eq!(bench.records(TOPIC), before);
}

#[test]
fn a_kill_at_any_append_ends_with_the_same_events() {
    let whole = Bench::new();
    whole.run(&[trades(&whole), small_generator()], Act::Nothing, 0).unwrap();
    for act in [Act::KillBefore, Act::KillAfter] {
        for after in 0..24 {
            let bench = Bench::new();
            let sources = [trades(&bench), small_generator()];
            // Killed once more on the way.
            for after in [after, 3] {
                if let Err(failure) = bench.run(&sources, act, after) {
                    assert_eq!(failure.to_string(), "killed");
                }
            }
            bench.run(&sources, Act::Nothing, 0).unwrap();
            for source in &sources {
                assert_eq!(bench.numbered(&source.id), whole.numbered(&source.id), "{act:?} {after}");
            }
        }
    }
}

fn small_generator() -> SourceConfig {
    SourceConfig { events: Some(50), ..generator_source("gen") }
}

#[test]
fn an_append_whose_answer_was_lost_is_repeated_in_order() {
    let bench = Bench::new();
    let sources = [trades(&bench)];
    bench.run(&sources, Act::FailAfter, 3).unwrap();
    assert_eq!(bench.numbered("trades").len(), 60);
    assert!(bench.records(TOPIC).len() > 60);
}

#[test]
fn a_restart_repeats_little() {
    let bench = Bench::new();
    let sources = [trades(&bench)];
    bench.run(&sources, Act::KillAfter, 5).unwrap_err();
    bench.run(&sources, Act::Nothing, 0).unwrap();
    let repeated = bench.records(TOPIC).len() - 60;
    assert!(repeated <= 2 * CONFIG.append_records, "{repeated}");
}

#[test]
fn another_file_or_setting_under_the_same_id_is_refused() {
    let bench = Bench::new();
    let source = trades(&bench);
    bench.run(std::slice::from_ref(&source), Act::Nothing, 0).unwrap();
    let moved = SourceConfig { venue: "ELSEWHERE".into(), ..source.clone() };
    let failure = bench.refused(moved);
    assert!(
        failure.contains(
            "source `trades` has 60 events in this data folder and has changed since: venue was `SIM`, is `ELSEWHERE`"
        ),
        "{failure}"
    );
    let other = file_source("trades", write(bench.path(), "other.csv", "time,symbol,price\n2024-01-01,A,1\n"));
    let failure = bench.refused(other);
    assert!(failure.contains("SHA-256 of file 1 was"), "{failure}");
    assert!(failure.contains("give the source another `id`"), "{failure}");
    // The speed is no part of the events.
    bench.run(&[SourceConfig { speed: Speed::Times(2.0), ..source }], Act::Nothing, 0).unwrap();
}

#[test]
fn what_stands_before_a_bad_line_is_appended() {
    let bench = Bench::new();
    let path = write(bench.path(), "f.csv", "time,symbol,price\n2024-01-01,A,1\n2024-01-02,A,2\n2024-01-03,A,x\n");
    let failure = bench.refused(file_source("f", path));
    assert!(failure.contains("f.csv:4: column 3 `price`: \"x\" is not a decimal"), "{failure}");
    assert_eq!(bench.numbered("f").len(), 2);
    assert_eq!(bench.state("f").unwrap().done, None);
}

#[test]
fn the_same_file_twice_is_refused() {
    let bench = Bench::new();
    let source = trades(&bench);
    let copy = bench.path().join("copy.csv");
    std::fs::copy(source.path.as_ref().unwrap(), &copy).unwrap();
    let both = SourceConfig { paths: vec![source.path.clone().unwrap(), copy], path: None, ..source };
    assert!(bench.refused(both).contains("holds the same bytes as"));
}

/// Runs until so many seconds of a clock by hand are out; what was appended.
fn paced(bench: &Bench, source: SourceConfig, seconds: i64) -> usize {
    let stop = Stop::new();
    let clock = Hand { us: AtomicI64::new(0), until_us: seconds * 1_000_000, stop: stop.clone() };
    let ctx = Context {
        log: Arc::clone(&bench.log) as Arc<dyn Log>,
        stop,
        member: "m".into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let id = source.id.clone();
    run_with_clock(&ctx, &CONFIG, &[source], &Arc::new(Progress::default()), &clock).unwrap();
    bench.numbered(&id).len()
}

#[test]
fn event_time_passes_at_the_speed_of_the_config() {
    let bench = Bench::new();
    let slow = SourceConfig { speed: Speed::Times(1.0), ..trades(&bench) };
    // Seconds 0 to 10.
    assert_eq!(paced(&bench, slow, 10), 11);
    let bench = Bench::new();
    let fast = SourceConfig { speed: Speed::Times(4.0), ..trades(&bench) };
    assert_eq!(paced(&bench, fast, 10), 41);
    // A clean stop leaves the position, and the rest comes after.
    let state = bench.state("trades").unwrap();
    assert_eq!(state.acked, 41);
    bench.run(&[trades(&bench)], Act::Nothing, 0).unwrap();
    assert_eq!(bench.records(TOPIC).len(), 60);
}

#[test]
fn a_live_generator_goes_on_where_it_was_and_catches_up() {
    let bench = Bench::new();
    let live = SourceConfig { start: None, events: None, speed: Speed::Times(1.0), ..generator_source("live") };
    // It began on a whole step, half a second before the clock; two symbols.
    assert_eq!(paced(&bench, live.clone(), 10), 22);
    let started = bench.state("live").unwrap().started.unwrap();
    assert_eq!(started.to_string(), "2024-06-01T00:00:00.000000Z");
    // The clock by hand starts again at the same time of day.
    assert_eq!(paced(&bench, live, 20), 42);
    assert_eq!(bench.state("live").unwrap().started, Some(started));
}

#[test]
fn a_second_process_stands_by_and_takes_over() {
    let bench = Bench::new();
    let sources = [trades(&bench)];
    let progress = Arc::new(Progress::default());
    let context = |member: &str| Context {
        log: Arc::clone(&bench.log) as Arc<dyn Log>,
        stop: Stop::new(),
        member: member.into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let (first, second) = (context("first"), context("second"));
    let until = |ctx: &Context, phase: Phase| {
        while ctx.gauges.phase() != phase {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| run(&first, &CONFIG, &sources, &progress).unwrap());
        until(&first, Phase::Running);
        scope.spawn(|| run(&second, &CONFIG, &sources, &progress).unwrap());
        until(&second, Phase::Standby);
        first.stop.request();
        until(&second, Phase::Running);
        while bench.state("trades").unwrap().done.is_none() {
            thread::yield_now();
        }
        second.stop.request();
    });
    assert_eq!(bench.numbered("trades").len(), 60);
    assert_eq!(second.gauges.phase(), Phase::Stopped);
}

#[test]
fn a_process_that_stalled_and_lost_its_seat_joins_again_and_goes_on() {
    // The seat is kept less often than the session asks for: each time is a stall.
    let bench = Bench::with(EmbeddedConfig { session_timeout: KEEP / 2, ..EmbeddedConfig::default() });
    let sources = [SourceConfig { events: None, speed: Speed::Times(100.0), ..generator_source("g") }];
    let progress = Arc::new(Progress::default());
    let ctx = Context {
        log: Arc::clone(&bench.log) as Arc<dyn Log>,
        stop: Stop::new(),
        member: "stalled".into(),
        gauges: Arc::new(Gauges::default()),
        boundaries: Default::default(),
        aside: Default::default(),
        emitter: None,
        budget: Default::default(),
    };
    let seq = || ctx.gauges.last_seq.load(SeqCst);
    thread::scope(|scope| {
        let role = scope.spawn(|| run(&ctx, &CONFIG, &sources, &progress));
        let join = || Seat::join(&*bench.log, ROLE, "other").unwrap();
        let (mut other, mut held) = (join(), false);
        while !held || ctx.gauges.phase() != Phase::Standby {
            assert!(!role.is_finished(), "{:?}", ctx.gauges.phase());
            held = other.keep().unwrap_or_else(|_| {
                other = join(); // It may stall as well.
                false
            });
        }
        let before = seq();
        drop(other);
        while seq() < before + 10 {
            assert!(!role.is_finished(), "{:?}", ctx.gauges.phase());
            thread::yield_now();
        }
        ctx.stop.request();
        role.join().unwrap().unwrap();
    });
    assert!(bench.numbered("g").len() >= 10);
}
