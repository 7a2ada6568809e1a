//! The end of the process, at every boundary of the emitter and at any moment:
//! what was accepted is in the log after the next start, in order.
//!
//! Not here: outages without an end.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};

use proptest::prelude::*;
use tapedeck_flow::{Boundaries, Boundary, EmitError, Emitter, Stop, Ticket};
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Log};

use crate::{
    faulty::{Faulty, Mood},
    stage::{LONG, TOPIC, numbers, read_all, record, small, topic, values, without_repeats},
};

/// What a child emits at most: many rings full, of records of some 80 bytes.
const MOST: u64 = 9_000;

/// Runs this test program again, in the folder, as the child below.
fn child(dir: &Path, from: u64, boundary: &str, nth: u64) -> Child {
    fs::write(dir.join("plan"), format!("{from} {boundary} {nth}")).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::the_child_emits_until_it_is_killed", "--ignored", "--nocapture"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "the part of a child process, which other tests here start"]
fn the_child_emits_until_it_is_killed() {
    let Ok(plan) = fs::read_to_string("plan") else { return };
    let mut plan = plan.split(' ');
    let from: u64 = plan.next().unwrap().parse().unwrap();
    let boundary: Option<Boundary> = plan.next().unwrap().parse().ok();
    let nth: u64 = plan.next().unwrap().parse().unwrap();
    let passed = AtomicU64::new(0);
    let boundaries = Boundaries::calling(move |at| {
        if Some(at) == boundary && passed.fetch_add(1, Relaxed) + 1 == nth {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).unwrap();
            std::thread::sleep(LONG);
        }
    });
    let (log, emitter) = open(Path::new("."), boundaries);
    let mut producer = emitter.producer().unwrap();
    for n in from..from + MOST {
        // The log is away half of the time, so that all of the ways are gone. All goes by the
        // spool while it is away for good, and much is to be caught up with after half of all;
        // what goes straight to it takes a log that is well.
        let is_away = match boundary {
            Some(Boundary::Append) => false,
            Some(Boundary::SpoolWrite) => true,
            Some(Boundary::CatchUp) => n - from < MOST / 2,
            _ => n % 400 < 200,
        };
        if n % 100 == 0 || n == from {
            log.set(if is_away { Mood::Down } else { Mood::Well });
        }
        if n % 200 == 100 && boundary == Some(Boundary::Append) {
            assert!(producer.wait_durable(Ticket(n - from), LONG));
        }
        while let Err(error) = producer.emit_record(&record(&n.to_string())) {
            assert!(matches!(error, EmitError::Full), "{error}");
        }
        writeln!(std::io::stdout(), "accepted {n}").unwrap();
    }
    log.set(Mood::Well);
    emitter.close(LONG);
}

fn open(dir: &Path, boundaries: Boundaries) -> (Arc<Faulty>, Emitter) {
    let real = EmbeddedLog::open(&dir.join("log"), EmbeddedConfig::default()).unwrap();
    real.create_topics(&[topic(TOPIC)]).unwrap();
    let log = Faulty::new(real as Arc<dyn Log>, Mood::Well);
    let emitter = Emitter::open(Arc::clone(&log) as Arc<dyn Log>, &dir.join("emit"), "kills", &small(), boundaries);
    (log, emitter.unwrap())
}

fn accepted(line: &str) -> Option<u64> {
    line.split("accepted ").nth(1).and_then(|n| n.trim().parse().ok())
}

/// What the child accepted last, when it has ended; it is killed after so many.
fn last_of(mut child: Child, kill_after: u64) -> Option<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = None;
    for n in lines.filter_map(|line| accepted(&line)) {
        last = Some(n);
        if n % MOST == kill_after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

/// Starts once more, with a log that is well, and compares.
fn settle(dir: &Path, end: u64) {
    let (log, emitter) = open(dir, Boundaries::default());
    emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap();
    assert_eq!(emitter.close(LONG).remaining, 0);
    let first = without_repeats(&values(&read_all(log.as_ref(), TOPIC)));
    // One that was killed before it could say so may be there too.
    assert!(first.len() as u64 >= end, "{} of {end}", first.len());
    assert_eq!(first, numbers(0..first.len() as u64), "in order, none missing");
    assert!(first.len() as u64 <= end + 1, "nothing is there that nobody emitted");
}

#[test]
fn a_kill_at_any_boundary_loses_nothing_and_keeps_the_order() {
    for boundary in [Boundary::Ring, Boundary::SpoolWrite, Boundary::CatchUp, Boundary::Append] {
        let dir = tempfile::tempdir().unwrap();
        let mut next = 0;
        for nth in [1, 2, 5] {
            let mut child = child(dir.path(), next, boundary.name(), nth);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let last = lines.filter_map(|line| accepted(&line)).last();
            assert!(!child.wait().unwrap().success(), "{} was passed {nth} times", boundary.name());
            next = last.map_or(next, |last| last + 1);
        }
        settle(dir.path(), next);
    }
}

proptest! {
    // Each case starts processes.
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_kill_at_any_moment_loses_nothing_and_keeps_the_order(kills in prop::collection::vec(0..MOST, 1..4)) {
        let dir = tempfile::tempdir().unwrap();
        let mut next = 0;
        for kill_after in kills {
            next = last_of(child(dir.path(), next, "none", 0), kill_after).map_or(next, |last| last + 1);
        }
        settle(dir.path(), next);
    }
}

#[test]
fn a_folder_that_a_dead_process_held_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let child = child(dir.path(), 0, "ring", 50);
    assert_eq!(last_of(child, MOST), Some(48), "the fiftieth was accepted and not told of");
    let (log, emitter) = open(dir.path(), Boundaries::default());
    let left = emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap();
    assert_eq!(left.remaining, 0);
    assert_eq!(without_repeats(&values(&read_all(log.as_ref(), TOPIC))), numbers(0..50));
    emitter.close(Duration::ZERO);
}
