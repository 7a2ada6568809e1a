//! What the runtime does while something is late: a record that cannot be handled
//! yet, a dead letter that cannot be written, a store that is slow; and records
//! that are sent again.
//!
//! Not here: records that can never be handled (`runtime_aside`).

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Bad, Counter, INPUT, Running, Tape, alert, faulty::Faulty, raw, values};
use tapedeck_contracts::headers::REDRIVE;
use tapedeck_flow::{
    Boundaries, Boundary, Budget, Delivery, Failure, Phase,
    dead_letter::ErrorClass,
    runtime::{LogEffect, LogStep, Move, Resume, Setup, Step},
};
use tapedeck_log::{Headers, Log, Member, Record, TopicPartition, embedded::EmbeddedConfig};

/// Waits until something is so.
fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

#[test]
fn a_record_that_cannot_be_handled_yet_holds_what_follows_it_in_its_partition_and_no_other() {
    let tape = Tape::new();
    tape.produce(0, ["a", "late", "b", "c"]);
    tape.produce(1, ["d"]);
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let wait = move |delivery: &Delivery| match delivery.id.as_str() {
        "late" if !asked.load(SeqCst) => Err(Bad::Unready("its model has not come".to_owned())),
        _ => Ok(()),
    };
    let mut setup = tape.setup("one");
    (setup.config.record_tries, setup.config.record_retry_longest_ms) = (u32::MAX, 1);
    let running = Running::start(setup, Counter::with(wait), tape.step());
    let gauges = Arc::clone(&running.gauges);
    tape.outputs(2);
    until(|| gauges.record_retries.load(SeqCst) > 20);
    tape.produce(1, ["e"]);
    let meanwhile: BTreeSet<_> = values(&tape.outputs(3)).into_iter().collect();
    assert_eq!(meanwhile, ["a", "d", "e"].map(str::to_owned).into());
    assert_eq!(tape.output_len(), 3, "what follows the late one waits");
    assert_eq!(gauges.paused.load(SeqCst), 1);
    assert!(gauges.in_flight_bytes.load(SeqCst) > 0 && gauges.oldest_unsettled_ms.load(SeqCst) > 0);
    ready.store(true, SeqCst);
    let all = tape.outputs(6);
    running.end().unwrap();
    let first: Vec<_> = all.iter().filter(|record| record.partition == 0).cloned().collect();
    assert_eq!(values(&first), ["a", "late", "b", "c"], "in their order");
    assert_eq!((tape.letters_len(), tape.kept(0)), (0, (4, Some(4))));
    assert_eq!(gauges.in_flight_bytes.load(SeqCst), 0);
}

#[test]
fn a_record_that_stays_unready_becomes_a_dead_letter_after_five_tries() {
    let tape = Tape::new();
    tape.produce(0, ["a", "late", "b"]);
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let wait = move |delivery: &Delivery| match delivery.id.as_str() {
        "late" => {
            count.fetch_add(1, SeqCst);
            Err(Bad::Unready("its model has not come".to_owned()))
        }
        _ => Ok(()),
    };
    let running = Running::start(tape.setup("one"), Counter::with(wait), tape.step());
    let copied = values(&tape.outputs(2));
    let letter = tape.letters(1).remove(0);
    running.end().unwrap();
    assert_eq!(copied, ["a", "b"]);
    assert_eq!((tries.load(SeqCst), letter.account.attempts), (5, 5));
    assert_eq!((letter.origin.offset, letter.account.class), (1, ErrorClass::Handler));
    assert!(letter.account.first_failure < letter.account.last_failure);
    assert_eq!(tape.kept(0), (2, Some(3)));
}

#[test]
fn a_dead_letter_that_cannot_be_written_holds_its_partition_and_skips_nothing() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), raw(0, "{"), alert(0, "b"), alert(1, "c")]).unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let (asked, mut setup) = (Arc::clone(&full), tape.setup("one"));
    setup.log = Faulty::around(Arc::clone(&tape.log) as Arc<dyn Log>, move |records| {
        asked.load(SeqCst) && records.iter().any(|record| &*record.topic == common::DLQ)
    });
    let running = Running::start(setup, Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    until(|| gauges.retries.load(SeqCst) > 3);
    tape.produce(1, ["d"]);
    let meanwhile = tape.outputs(2);
    assert!(meanwhile.iter().all(|record| record.partition == 1), "{:?}", values(&meanwhile));
    assert!(matches!(gauges.phase(), Phase::Retrying(_)), "{:?}", gauges.phase());
    assert_eq!((tape.letters_len(), tape.kept(0).1.unwrap_or(0)), (0, 0), "its position has not moved past it");
    full.store(false, SeqCst);
    tape.outputs(4);
    until(|| gauges.phase() == Phase::Running);
    running.end().unwrap();
    assert_eq!(tape.letters(1)[0].origin.offset, 1);
    assert_eq!((tape.letters_len(), tape.kept(0)), (1, (2, Some(3))));
}

#[test]
fn an_end_between_a_dead_letter_and_its_settling_writes_the_same_dead_letter_again() {
    let tape = Tape::new();
    tape.log.append(vec![alert(0, "a"), raw(0, "{"), alert(0, "b")]).unwrap();
    let end = Boundaries::calling(|boundary| assert!(boundary != Boundary::DeadLetter, "killed"));
    let setup = Setup { boundaries: end, ..tape.setup("one") };
    let step = tape.step();
    let ended = std::thread::spawn(move || tapedeck_flow::runtime::run(setup, Counter::default(), step)).join();
    assert!(ended.is_err(), "it died there");
    assert_eq!((tape.letters_len(), tape.kept(0).1), (1, None));
    let running = Running::start(tape.setup("two"), Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(2)), ["a", "b"]);
    let letters = tape.letters(2);
    running.end().unwrap();
    assert_eq!(letters[0].id, letters[1].id);
    assert_eq!(tape.kept(0), (2, Some(3)));
}

fn redriven(id: &str, redrive: &str) -> Record {
    Record { headers: Headers::new().with(REDRIVE, redrive), ..alert(0, id) }
}

#[test]
fn a_redriven_record_is_taken_once_more_by_the_group_it_is_for_and_skipped_by_others() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b"]);
    let bad = Record { value: Some("{".into()), ..redriven("", "tapedeck.other/1") };
    tape.log
        .append(vec![
            redriven("a", "tapedeck.counter/1"),
            redriven("b", "tapedeck.other/1"),
            redriven("a", "tapedeck.counter/1"),
            redriven("new", "tapedeck.other/1"),
            bad,
            redriven("a", "tapedeck.counter/2"),
            alert(0, "new"),
        ])
        .unwrap();
    let running = Running::start(tape.setup("one"), Counter::default(), tape.step());
    let gauges = Arc::clone(&running.gauges);
    assert_eq!(values(&tape.outputs(5)), ["a", "b", "a", "a", "new"]);
    running.end().unwrap();
    assert_eq!((gauges.redriven_skipped.load(SeqCst), gauges.duplicates.load(SeqCst)), (3, 1));
    assert_eq!((tape.letters_len(), tape.kept(0)), (0, (5, Some(9))));

    // The window that is read again knows the same.
    tape.log.append(vec![redriven("a", "tapedeck.counter/2"), redriven("b", "tapedeck.counter/1")]).unwrap();
    tape.produce(0, ["a", "new"]);
    let running = Running::start(tape.setup("two"), Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(6)), ["a", "b", "a", "a", "new", "b"]);
    running.end().unwrap();
    assert_eq!((tape.output_len(), tape.kept(0)), (6, (6, Some(13))));
}

/// Takes its time before each step.
struct Slow(LogStep, Duration);

impl Step for Slow {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.0.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        std::thread::sleep(self.1);
        self.0.perform(member, effect, moves)
    }
}

#[test]
fn a_step_that_takes_most_of_the_session_costs_the_seat_neither_once_nor_many_times_in_a_row() {
    // Default: 45 s, of which handling takes up to 30 and a store's deadline 10.
    let session = Duration::from_millis(900);
    let tape = Tape::with(EmbeddedConfig { session_timeout: session, ..EmbeddedConfig::default() });
    let mut setup = tape.setup("slow");
    setup.config.batch_max_records = 2;
    let running = Running::start(setup, Counter::default(), Slow(tape.step(), session * 4 / 5));
    tape.produce(0, ["a", "b", "c", "d"]);
    tape.produce(1, ["e", "f"]);
    until(|| running.gauges.records.load(SeqCst) > 0);
    let second = Running::start(tape.setup("second"), Counter::default(), Slow(tape.step(), session * 4 / 5));
    tape.outputs(6);
    let (first, other) = (Arc::clone(&running.gauges), Arc::clone(&second.gauges));
    running.end().unwrap();
    second.end().unwrap();
    assert_eq!(tape.output_len(), 6);
    assert_eq!((first.retries.load(SeqCst), other.retries.load(SeqCst)), (0, 0), "no seat was lost");
}

/// Nothing becomes visible while it is shut.
struct Shut(LogStep, Arc<AtomicBool>);

impl Step for Shut {
    type Effect = LogEffect;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.0.resume(partitions)
    }
    fn perform(&mut self, member: &mut dyn Member, effect: LogEffect, moves: &[Move]) -> Result<(), Failure> {
        match self.1.load(SeqCst) {
            true => Err(Failure::Transient("the store is away".into())),
            false => self.0.perform(member, effect, moves),
        }
    }
}

#[test]
fn while_the_store_is_away_memory_stays_below_its_cap_and_then_everything_catches_up() {
    let tape = Tape::new();
    let cap = 64 << 10;
    let budget = Arc::new(Budget::new(cap));
    let away = Arc::new(AtomicBool::new(true));
    let setup = Setup { budget: Arc::clone(&budget), ..tape.setup("one") };
    let ids: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    tape.produce(0, ids.iter().map(String::as_str));
    let running = Running::start(setup, Counter::default(), Shut(tape.step(), Arc::clone(&away)));
    let most = Arc::new(Mutex::new(0));
    until(|| {
        let mut most = most.lock().unwrap();
        *most = budget.used_bytes().max(*most);
        running.gauges.retries.load(SeqCst) > 3
    });
    away.store(false, SeqCst);
    until(|| {
        let mut most = most.lock().unwrap();
        *most = budget.used_bytes().max(*most);
        running.gauges.records.load(SeqCst) == 2_000
    });
    running.end().unwrap();
    let most = *most.lock().unwrap();
    assert!(most > 0 && most <= cap, "{most} bytes of {cap}");
    assert_eq!((tape.output_len(), budget.used_bytes()), (2_000, 0));
}

#[test]
fn a_record_larger_than_the_cap_passes_alone() {
    let tape = Tape::new();
    tape.produce(0, ["a", "b", "c"]);
    let setup = Setup { budget: Arc::new(Budget::new(1)), ..tape.setup("one") };
    let running = Running::start(setup, Counter::default(), tape.step());
    assert_eq!(values(&tape.outputs(3)), ["a", "b", "c"]);
    running.end().unwrap();
    let position = tape.log.committed("tapedeck.counter").unwrap();
    assert!(position.iter().any(|offset| offset.partition == TopicPartition::new(INPUT, 0) && offset.next == 3));
}
