//! A role on the trading path: it decides while what it decided before is still on
//! its way, and its state never runs ahead of what it said.
//!
//! Not here: the emitter's own promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Bad, Counter, INPUT, OUTPUT, Running, Tape, faulty::Faulty, values};
use tapedeck_contracts::{catalogue::group_of, headers::CAUSE};
use tapedeck_flow::{
    Boundaries, Boundary, Delivery, Emitter, EmitterConfig, Stop,
    runtime::{EmitStep, Setup},
};
use tapedeck_log::{GroupOffset, Log, Record, TopicPartition};

fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        std::thread::yield_now();
    }
}

/// An emitter on a log whose appends to the output wait while it is slow, or fail.
struct Desk {
    tape: Tape,
    slow: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { tape: Tape::new(), slow: Arc::default(), down: Arc::default(), dir: tempfile::tempdir().unwrap() }
    }

    fn emitter(&self) -> Emitter {
        let (slow, down) = (Arc::clone(&self.slow), Arc::clone(&self.down));
        let log = Faulty::around(Arc::clone(&self.tape.log) as Arc<dyn Log>, move |records| {
            while slow.load(SeqCst) && records.iter().any(|record| &*record.topic == OUTPUT) {
                std::thread::sleep(Duration::from_millis(1));
            }
            down.load(SeqCst) && records.iter().any(|record| &*record.topic == OUTPUT)
        });
        let config = EmitterConfig { ring_bytes: 1 << 20, ..EmitterConfig::default() };
        Emitter::open(log, self.dir.path(), "counter", &config, Boundaries::default()).unwrap()
    }

    fn step(&self, emitter: &Emitter) -> EmitStep {
        self.step_unless(emitter, &Stop::new()).unwrap()
    }

    fn step_unless(&self, emitter: &Emitter, stop: &Stop) -> Option<EmitStep> {
        let log = Arc::clone(&self.tape.log) as Arc<dyn Log>;
        EmitStep::open(self.tape.step(), &log, common::ROLE, emitter, stop).unwrap()
    }
}

/// Counts what was handled, and copies before the step.
fn counter(handled: &Arc<AtomicUsize>) -> Counter {
    let handled = Arc::clone(handled);
    let count = move |delivery: &Delivery| {
        if delivery.id.as_str() == "bad" {
            return Err(Bad::Poison("refused".into()));
        }
        handled.fetch_add(1, SeqCst);
        Ok(())
    };
    Counter { first: true, ..Counter::with(count) }
}

#[test]
fn the_next_batch_is_handled_while_the_last_one_is_not_durable_and_the_commit_waits() {
    let desk = Desk::new();
    let (emitter, handled) = (desk.emitter(), Arc::new(AtomicUsize::new(0)));
    desk.slow.store(true, SeqCst);
    let running = Running::start(desk.tape.setup("one"), counter(&handled), desk.step(&emitter));
    for n in 0..20 {
        desk.tape.produce(n % 2, [format!("{n}").as_str()]);
        until(|| handled.load(SeqCst) == n as usize + 1);
    }
    assert_eq!((desk.tape.output_len(), desk.tape.kept(0), desk.tape.kept(1)), (0, (0, None), (0, None)));
    desk.slow.store(false, SeqCst);
    desk.tape.outputs(20);
    until(|| desk.tape.kept(0) == (10, Some(10)) && desk.tape.kept(1) == (10, Some(10)));
    running.end().unwrap();
    assert_eq!((handled.load(SeqCst), desk.tape.output_len()), (20, 20));
}

#[test]
fn a_bad_record_waits_until_what_was_said_before_it_is_in_the_state() {
    let desk = Desk::new();
    let (emitter, handled) = (desk.emitter(), Arc::new(AtomicUsize::new(0)));
    desk.slow.store(true, SeqCst);
    let running = Running::start(desk.tape.setup("one"), counter(&handled), desk.step(&emitter));
    desk.tape.produce(0, ["a", "b"]);
    until(|| handled.load(SeqCst) == 2);
    desk.tape.produce(0, ["c", "bad", "d"]);
    let gauges = Arc::clone(&running.gauges);
    until(|| gauges.poison.load(SeqCst) == 1);
    desk.slow.store(false, SeqCst);
    let copied = values(&desk.tape.outputs(4));
    running.end().unwrap();
    assert_eq!(copied, ["a", "b", "c", "d"]);
    assert_eq!((desk.tape.kept(0), desk.tape.letters(1).len()), ((4, Some(5)), 1));
}

#[test]
fn an_end_before_the_commit_gives_the_same_events_again_and_no_state_ahead_of_them() {
    let desk = Desk::new();
    let (emitter, handled) = (desk.emitter(), Arc::new(AtomicUsize::new(0)));
    desk.tape.produce(0, ["a", "b", "c"]);
    let end = Boundaries::calling(|boundary| assert!(boundary != Boundary::Commit, "killed"));
    let (setup, step) = (Setup { boundaries: end, ..desk.tape.setup("one") }, desk.step(&emitter));
    let handler = counter(&handled);
    let ended = std::thread::spawn(move || tapedeck_flow::runtime::run(setup, handler, step)).join();
    assert!(ended.is_err(), "it died there");
    assert_eq!((desk.tape.output_len(), desk.tape.kept(0)), (3, (0, None)));

    let running = Running::start(desk.tape.setup("two"), counter(&handled), desk.step(&emitter));
    let records = desk.tape.outputs(6);
    running.end().unwrap();
    let ids: Vec<_> = records.iter().map(|r| r.headers.text(tapedeck_contracts::headers::CE_ID).unwrap()).collect();
    assert_eq!(ids[..3], ids[3..]);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(desk.tape.kept(0), (3, Some(3)));
}

#[test]
fn no_more_waits_than_readers_know_duplicates_by() {
    let desk = Desk::new();
    let (emitter, handled) = (desk.emitter(), Arc::new(AtomicUsize::new(0)));
    desk.slow.store(true, SeqCst);
    let mut setup = desk.tape.setup("one");
    (setup.config.dedupe_window, setup.config.batch_max_records) = (8, 4);
    let gauges = Arc::clone(&setup.gauges);
    let running = Running::start(setup, counter(&handled), desk.step(&emitter));
    let ids: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    desk.tape.produce(0, ids.iter().map(String::as_str));
    until(|| gauges.paused.load(SeqCst) > 0);
    assert!(handled.load(SeqCst) <= 12, "{} handled", handled.load(SeqCst));
    desk.slow.store(false, SeqCst);
    desk.tape.outputs(60);
    running.end().unwrap();
    assert_eq!((handled.load(SeqCst), desk.tape.kept(0)), (60, (60, Some(60))));
}

#[test]
fn a_stop_while_leftovers_wait_for_the_log_lets_none_of_them_go_unjudged() {
    let desk = Desk::new();
    desk.down.store(true, SeqCst);
    let first = desk.emitter();
    let mut producer = first.producer().unwrap();
    for id in ["a", "b"] {
        let record = Record { topic: OUTPUT.into(), ..common::alert(0, id) };
        // Caused by what the group is past already: another host said it.
        producer
            .emit_record(&Record { headers: record.headers.with(CAUSE, format!("{INPUT}/0/0")), ..record })
            .unwrap();
    }
    drop(producer);
    assert_eq!(first.close(Duration::ZERO).remaining, 2);
    desk.tape.produce(0, ["x"]);
    let place = TopicPartition::new(INPUT, 0);
    desk.tape.log.reset_offsets(&group_of(common::ROLE), &[GroupOffset { partition: place, next: 1 }]).unwrap();
    let (second, stop) = (desk.emitter(), Stop::new());
    stop.request();
    assert!(desk.step_unless(&second, &stop).is_none());
    desk.down.store(false, SeqCst);
    assert_eq!(second.close(Duration::from_secs(1)).remaining, 2, "they wait for a start that judges them");
    let third = desk.emitter();
    drop(desk.step(&third));
    assert_eq!(third.close(Duration::from_secs(1)).remaining, 0);
    let said = |partition| desk.tape.log.bounds(&TopicPartition::new(OUTPUT, partition)).unwrap();
    assert_eq!([said(0), said(1)], [(0, 0), (0, 0)], "none was due");
}
