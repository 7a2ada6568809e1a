//! The runtime against a model: whatever is bad of the records, whatever fails on
//! the way, and whenever the process ends, each good record has its effect once
//! and in its order, and each bad one is a dead letter by one id.
//!
//! Not here: single behaviours, which the other tests name.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use common::{Bad, Counter, Mishap, Tape, alert, faulty::Faulty, raw, values};
use proptest::prelude::*;
use tapedeck_contracts::headers::CE_ID;
use tapedeck_flow::{
    Boundaries, Delivery, Emitter, EmitterConfig, Failure, Stop, Ticket,
    dead_letter::ErrorClass,
    runtime::{self, EmitStep, HandedOver, LogEffect, Move, Resume, Setup, Step},
};
use tapedeck_log::{Log, Member, Record, TopicPartition};

/// What is in a record, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// Fails so often, and then not.
    Late(u8),
    NotUtf8,
    NotJson,
    WrongField,
    Empty,
    HandlerRefuses,
    HandlerPanics,
    NeverReady,
    /// The store refuses the batch.
    StoreRefuses,
    /// The store names it.
    StoreNames,
}

impl Kind {
    /// The class of its dead letter.
    fn class(self) -> Option<ErrorClass> {
        match self {
            Self::Good | Self::Late(_) => None,
            Self::NotUtf8 | Self::NotJson | Self::Empty => Some(ErrorClass::Undecodable),
            Self::WrongField => Some(ErrorClass::Invalid),
            Self::HandlerRefuses | Self::NeverReady => Some(ErrorClass::Handler),
            Self::HandlerPanics => Some(ErrorClass::Panic),
            Self::StoreRefuses | Self::StoreNames => Some(ErrorClass::Store),
        }
    }

    fn record(self, partition: u32, id: &str) -> Record {
        match self {
            Self::NotUtf8 => Record { value: Some(vec![0xc3, 0x28].into()), ..raw(partition, "") },
            Self::NotJson => raw(partition, "{"),
            Self::WrongField => {
                raw(partition, r#"{"event_id":"x","timestamp":"2024-01-01T00:00:00Z","severity":"LOUD"}"#)
            }
            Self::Empty => Record { value: None, ..raw(partition, "") },
            _ => alert(partition, id),
        }
    }
}

/// What happens to a step or an append, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is done.
    Away,
    /// It is done, and its answer is lost.
    Lost,
    /// Somebody asks the process to stop.
    Stop,
}

#[derive(Clone, Debug)]
struct Course {
    records: Vec<(u32, Kind)>,
    batch: usize,
    /// By the number of the step.
    steps: BTreeMap<usize, Fault>,
    /// Appends that fail, by their number.
    appends: BTreeSet<usize>,
    /// Boundaries at which the process dies, by their number.
    deaths: BTreeSet<usize>,
    /// How what it says becomes visible.
    way: Way,
}

/// The ways of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One after the other.
    Plain,
    /// The role emits what it says.
    Emits,
    /// The next batch is handled while a batch becomes visible.
    Beside,
}

/// What a role cannot say has no store behind it.
fn kind(way: Way) -> impl Strategy<Value = Kind> {
    let kind = prop_oneof![
        6 => Just(Kind::Good),
        1 => (1_u8..5).prop_map(Kind::Late),
        1 => Just(Kind::NotUtf8),
        1 => Just(Kind::NotJson),
        1 => Just(Kind::WrongField),
        1 => Just(Kind::Empty),
        1 => Just(Kind::HandlerRefuses),
        1 => Just(Kind::HandlerPanics),
        1 => Just(Kind::NeverReady),
        1 => Just(Kind::StoreRefuses),
        1 => Just(Kind::StoreNames),
    ];
    kind.prop_map(move |kind| {
        if way == Way::Emits && kind.class() == Some(ErrorClass::Store) { Kind::HandlerRefuses } else { kind }
    })
}

fn course(way: Way) -> impl Strategy<Value = Course> {
    let fault = prop_oneof![Just(Fault::Away), Just(Fault::Lost), Just(Fault::Stop)];
    (
        prop::collection::vec((0..common::PARTITIONS, kind(way)), 1..60),
        1_usize..12,
        prop::collection::btree_map(0_usize..30, fault, 0..6),
        prop::collection::btree_set(0_usize..8, 0..3),
        prop::collection::btree_set(0_usize..30, 0..3),
    )
        .prop_map(move |(records, batch, steps, appends, deaths)| Course {
            records,
            batch,
            steps,
            appends,
            deaths,
            way,
        })
}

/// A real step, with faults and with a store's opinion of the rows.
struct Moody<S> {
    real: S,
    faults: BTreeMap<usize, Fault>,
    count: Arc<AtomicUsize>,
    stop: Stop,
    /// Works beside, as far as the runtime can tell: what was begun is done when its end is waited for.
    beside: bool,
    begun: Option<(LogEffect, Vec<Move>)>,
}

impl<S: Step<Effect = LogEffect>> Moody<S> {
    /// What happens to the next step; none where nothing does.
    fn fault(&self) -> Option<Fault> {
        let fault = self.faults.get(&self.count.fetch_add(1, SeqCst)).copied();
        if fault == Some(Fault::Stop) {
            self.stop.request();
        }
        fault
    }
}

impl<S: Step<Effect = LogEffect>> Step for Moody<S> {
    type Effect = LogEffect;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        assert!(self.begun.is_none(), "nothing is asked of a step that is at work");
        self.real.resume(partitions)
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, bytes::Bytes>>, Failure> {
        self.real.restate(partitions)
    }

    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        let bad =
            |word: &str| effect.records.iter().position(|row| row.value.as_ref().unwrap().starts_with(word.as_bytes()));
        if bad("StoreRefuses").is_some() {
            return Err(Failure::Refused("it breaks a rule".into()));
        }
        if let Some(index) = bad("StoreNames") {
            return Err(Failure::Poison { index, place: String::new(), path: None, detail: "it breaks a rule".into() });
        }
        match self.fault() {
            Some(Fault::Away) => Err(Failure::Transient("away".into())),
            Some(Fault::Lost) => {
                self.real.perform(member, effect, moves)?;
                Err(Failure::Transient("no answer".into()))
            }
            Some(Fault::Stop) | None => self.real.perform(member, effect, moves),
        }
    }

    fn works_beside(&self) -> bool {
        self.beside
    }

    fn begin(&mut self, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        assert!(self.begun.replace((effect, moves.to_vec())).is_none(), "one at a time");
        Ok(())
    }

    fn end(&mut self, member: &mut dyn Member) -> Result<(), Failure> {
        let (effect, moves) = self.begun.take().unwrap();
        self.perform(member, effect, &moves)
    }

    fn hands_over(&self) -> bool {
        self.real.hands_over()
    }

    fn hand_over(&mut self, effect: &mut LogEffect) -> Result<Ticket, Failure> {
        self.real.hand_over(effect)
    }

    fn durable(&self) -> Ticket {
        self.real.durable()
    }

    fn perform_handed(
        &mut self,
        member: &mut dyn Member,
        effects: &[HandedOver<'_, LogEffect>],
        moves: &[Move],
    ) -> Result<(), Failure> {
        match self.fault() {
            Some(Fault::Away) => Err(Failure::Transient("away".into())),
            Some(Fault::Lost) => {
                self.real.perform_handed(member, effects, moves)?;
                Err(Failure::Transient("no answer".into()))
            }
            Some(Fault::Stop) | None => self.real.perform_handed(member, effects, moves),
        }
    }
}

/// What lives longer than a process.
struct World {
    tape: Tape,
    course: Course,
    steps: Arc<AtomicUsize>,
    appends: Arc<AtomicUsize>,
    boundaries: Arc<AtomicUsize>,
    mishap: Mishap,
    emitter: EmitterConfig,
    dir: tempfile::TempDir,
}

impl World {
    fn new(course: Course) -> Self {
        let tries: Mutex<HashMap<String, u8>> = Mutex::new(HashMap::new());
        let mishap = move |delivery: &Delivery| {
            let id = delivery.id.as_str();
            assert!(!id.starts_with("HandlerPanics"), "stumbled");
            if id.starts_with("HandlerRefuses") {
                return Err(Bad::Poison("refused".into()));
            }
            if id.starts_with("NeverReady") {
                return Err(Bad::Unready("not yet".into()));
            }
            if let Some(times) = id.strip_prefix("Late(").and_then(|rest| rest[..1].parse::<u8>().ok()) {
                let mut tries = tries.lock().unwrap();
                let tried = tries.entry(id.to_owned()).or_default();
                *tried += 1;
                if *tried <= times {
                    return Err(Bad::Unready("not yet".into()));
                }
            }
            Ok(())
        };
        let (tape, mishap) = (Tape::new(), Arc::new(Mutex::new(mishap)));
        Self {
            tape,
            course,
            steps: Arc::default(),
            appends: Arc::default(),
            boundaries: Arc::default(),
            mishap,
            emitter: EmitterConfig { ring_bytes: 1 << 20, linger_ms: 1, ..EmitterConfig::default() },
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// One life of the process, until all is done, or it is asked to stop, or dies.
    fn live(&self, ends: &[u64]) {
        let (deaths, passed) = (self.course.deaths.clone(), Arc::clone(&self.boundaries));
        let (fails, appends) = (self.course.appends.clone(), Arc::clone(&self.appends));
        let mut setup = Setup {
            boundaries: Boundaries::calling(move |boundary| {
                assert!(!deaths.contains(&passed.fetch_add(1, SeqCst)), "killed at {}", boundary.name());
            }),
            log: Faulty::around(Arc::clone(&self.tape.log) as Arc<dyn Log>, move |_| {
                fails.contains(&appends.fetch_add(1, SeqCst))
            }),
            ..self.tape.setup("one")
        };
        setup.config.batch_max_records = self.course.batch;
        (setup.config.record_retry_first_ms, setup.config.record_retry_longest_ms) = (1, 2);
        setup.config.batch_max_age_ms = 1;
        let stop = setup.stop.clone();
        let emitter = (self.course.way == Way::Emits).then(|| {
            let log = Arc::clone(&self.tape.log) as Arc<dyn Log>;
            Emitter::open(log, self.dir.path(), "counter", &self.emitter, Boundaries::default()).unwrap()
        });
        let handler =
            Counter { mishap: Some(Arc::clone(&self.mishap)), first: emitter.is_some(), ..Counter::default() };
        let thread = match &emitter {
            None => self.spawn(setup, handler, self.tape.step()),
            Some(emitter) => {
                let log = Arc::clone(&self.tape.log) as Arc<dyn Log>;
                let step = EmitStep::open(self.tape.step(), &log, common::ROLE, emitter, &stop).unwrap().unwrap();
                self.spawn(setup, handler, step)
            }
        };
        while !thread.is_finished() && !self.done(ends) {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.request();
        if let Ok(ended) = thread.join() {
            ended.unwrap();
        }
    }

    fn spawn<S>(&self, setup: Setup, handler: Counter, real: S) -> JoinHandle<Result<(), Failure>>
    where
        S: Step<Effect = LogEffect> + Send + 'static,
    {
        let (faults, count, stop) = (self.course.steps.clone(), Arc::clone(&self.steps), setup.stop.clone());
        let beside = self.course.way == Way::Beside;
        let step = Moody { real, faults, count, stop, beside, begun: None };
        std::thread::spawn(move || runtime::run(setup, handler, step))
    }

    fn done(&self, ends: &[u64]) -> bool {
        (0..common::PARTITIONS).all(|p| ends[p as usize] == 0 || self.tape.kept(p).1 == Some(ends[p as usize]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_good_record_has_its_effect_once_in_order_and_every_bad_one_is_one_dead_letter(course in course(Way::Plain)) {
        agrees(course)?;
    }

    #[test]
    fn so_it_is_where_what_is_said_goes_ahead_of_the_state(course in course(Way::Emits)) {
        agrees(course)?;
    }

    #[test]
    fn so_it_is_where_the_next_batch_is_handled_while_one_becomes_visible(course in course(Way::Beside)) {
        agrees(course)?;
    }
}

/// Lives through a course, and compares what came of it.
fn agrees(course: Course) -> Result<(), TestCaseError> {
    let emits = course.way == Way::Emits;
    let world = World::new(course.clone());
    let mut ends = vec![0_u64; common::PARTITIONS as usize];
    let mut good: Vec<Vec<String>> = vec![Vec::new(); ends.len()];
    let mut bad = BTreeMap::new();
    let mut records = Vec::new();
    for (n, (partition, kind)) in course.records.iter().enumerate() {
        let id = format!("{kind:?}-{n}");
        records.push(kind.record(*partition, &id));
        let slot = *partition as usize;
        match kind.class() {
            None => good[slot].push(id),
            Some(class) => {
                bad.insert((*partition, ends[slot]), class);
            }
        }
        ends[slot] += 1;
    }
    world.tape.log.append(records).unwrap();
    for _ in 0..30 {
        world.live(&ends);
        if world.done(&ends) {
            break;
        }
    }
    prop_assert!(world.done(&ends), "it never came to its end");
    // What is said ahead of the state may be said again after an end, by the same id.
    let mut seen = BTreeSet::new();
    let copied = world.tape.outputs(world.tape.output_len() as usize).into_iter();
    let copied: Vec<_> =
        copied.filter(|record| seen.insert(record.headers.text(CE_ID).unwrap().to_owned()) || !emits).collect();
    for (partition, good) in good.iter().enumerate() {
        let own: Vec<_> = copied.iter().filter(|record| record.partition == partition as u32).cloned().collect();
        prop_assert_eq!(&values(&own), good);
        prop_assert_eq!(world.tape.kept(partition as u32).0, good.len() as u64, "the state counts the same");
    }
    let letters = world.tape.letters(world.tape.letters_len() as usize);
    let found: BTreeMap<_, _> =
        letters.iter().map(|letter| ((letter.origin.partition, letter.origin.offset), letter.account.class)).collect();
    prop_assert_eq!(found, bad);
    let ids: BTreeSet<_> = letters.iter().map(|letter| letter.id.to_string()).collect();
    let places: BTreeSet<_> = letters.iter().map(|letter| letter.origin.to_string()).collect();
    prop_assert_eq!(ids.len(), places.len(), "one id for each");
    prop_assert!(letters.iter().all(|letter| letter.account.attempts >= 1 && letter.account.attempts <= 5));
    Ok(())
}
