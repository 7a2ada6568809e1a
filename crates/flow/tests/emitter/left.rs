//! What an earlier run left: judged, sent, set aside, or found damaged.
//!
//! Not here: how it came to be left.

use std::{fs, os::unix::fs::FileExt, path::PathBuf, sync::Arc, time::Duration};

use tapedeck_flow::{Stop, emitter::Leftovers};
use tapedeck_log::Log as _;

use crate::{
    faulty::Mood,
    stage::{LONG, Stage, emit, get, numbers, topic},
};

/// Leaves these numbers in the spool.
fn leave(stage: &Stage, range: std::ops::Range<u64>) {
    stage.log.set(Mood::Down);
    let emitter = stage.emitter();
    let count = range.end - range.start;
    emit(&mut emitter.producer().unwrap(), range);
    assert!(emitter.close(Duration::ZERO).remaining >= count);
    stage.log.set(Mood::Well);
}

fn files(stage: &Stage, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(stage.dir().join(folder)).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let is_beside = |name: &str| name == "position" || name.starts_with("topics-");
    files.retain(|path| !is_beside(path.file_name().unwrap().to_str().unwrap()));
    files.sort();
    files
}

#[test]
fn a_role_says_what_of_it_is_sent() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..1_000);
    let emitter = stage.emitter();
    let is_even = |value: &str| value.parse::<u64>().unwrap() % 2 == 0;
    let mut keep =
        |record: &tapedeck_log::Record| is_even(std::str::from_utf8(record.value.as_deref().unwrap()).unwrap());
    let left = emitter.send_leftovers(&mut keep, &Stop::new()).unwrap();
    assert_eq!(left, Leftovers { sent: 500, left_out: 500, remaining: 0 });
    assert_eq!(get(&emitter.stats().left_out), 500);
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 1_000..1_010);
    assert!(producer.wait_durable(last, LONG));
    let expected: Vec<String> =
        numbers(0..1_000).into_iter().filter(|value| is_even(value)).chain(numbers(1_000..1_010)).collect();
    assert_eq!(stage.values(), expected);
    let nothing = emitter.send_leftovers(&mut |_| panic!("there is none"), &Stop::new()).unwrap();
    assert_eq!(nothing, Leftovers::default());
}

#[test]
fn it_waits_for_whom_it_is_asked_of() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..100);
    let calls = stage.log.calls();
    let emitter = stage.emitter();
    assert_eq!(emitter.close(Duration::from_millis(50)).remaining, 100);
    assert_eq!(stage.log.calls(), calls, "nothing was sent unasked");
    let emitter = stage.emitter();
    let stop = Stop::new();
    stop.request();
    let left = emitter.send_leftovers(&mut |_| true, &stop).unwrap();
    assert_eq!(left.remaining, 100);
    drop(emitter.producer().unwrap());
    assert_eq!(emitter.close(LONG).remaining, 0);
    assert_eq!(stage.values(), numbers(0..100));
}

#[test]
fn it_is_sent_when_the_log_comes_back_while_somebody_waits() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..1_000);
    stage.log.set(Mood::Down);
    let emitter = stage.emitter();
    let calls = stage.log.calls();
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap());
        stage.log.wait_calls(calls + 5);
        stage.log.set(Mood::Well);
        assert_eq!(sent.join().unwrap().sent, 1_000);
    });
    assert_eq!(stage.values(), numbers(0..1_000));
}

#[test]
fn a_spool_from_before_a_topic_was_added_is_sent() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..1_000);
    stage.real.create_topics(&[topic("another")]).unwrap();
    let emitter = stage.emitter();
    emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap();
    assert_eq!(get(&emitter.stats().kept_files), 0);
    assert_eq!(stage.values(), numbers(0..1_000));
}

#[test]
fn a_spool_of_other_topics_is_kept_and_reported() {
    let mut stage = Stage::new(Mood::Well);
    stage.real.create_topics(&[topic("another")]).unwrap();
    leave(&stage, 0..1_000);
    let before = files(&stage, "spool").len() as u64;
    // The log is a new one, which has not all of the topics.
    let fresh = Stage::new(Mood::Well);
    (stage.real, stage.log) = (Arc::clone(&fresh.real), Arc::clone(&fresh.log));
    let emitter = stage.emitter();
    assert_eq!(get(&emitter.stats().kept_files), before);
    assert_eq!(files(&stage, "kept").len() as u64, before);
    let mut producer = emitter.producer().unwrap();
    let last = emit(&mut producer, 0..1);
    assert!(producer.wait_durable(last, LONG));
    emitter.close(LONG);
    assert_eq!(stage.values(), numbers(0..1));
    assert_eq!(stage.alerts(), [("SPOOL_KEPT".to_owned(), before)]);
}

#[test]
fn a_spool_of_another_version_is_kept_and_reported() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..10);
    let segment = files(&stage, "spool").remove(0);
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[99], 8).unwrap();
    let emitter = stage.emitter();
    assert_eq!(get(&emitter.stats().kept_files), 1);
    assert_eq!(files(&stage, "kept").len(), 1);
}

#[test]
fn an_end_that_was_not_finished_is_cut_off_and_counted() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..10);
    let segment = files(&stage, "spool").pop().unwrap();
    let len = segment.metadata().unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(len - 5).unwrap();
    let emitter = stage.emitter();
    assert_eq!(get(&emitter.stats().torn), 1);
    emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap();
    assert_eq!(stage.values(), numbers(0..9));
}

#[test]
fn a_damaged_record_in_the_middle_costs_itself_alone() {
    let stage = Stage::new(Mood::Well);
    leave(&stage, 0..10);
    let segment = files(&stage, "spool").remove(0);
    let file = fs::OpenOptions::new().write(true).read(true).open(&segment).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(&[0xff; 3], middle).unwrap();
    let emitter = stage.emitter();
    emitter.send_leftovers(&mut |_| true, &Stop::new()).unwrap();
    let values = stage.values();
    assert_eq!(values.len(), 9);
    assert!(values.is_sorted());
    assert_eq!(emitter.close(LONG).remaining, 0);
    assert_eq!(files(&stage, "kept").len(), 1, "the damaged bytes are there for a person to see");
}

#[test]
fn a_ring_that_is_gone_is_reported_and_the_rest_goes_on() {
    let stage = Stage::new(Mood::Well);
    let list = stage.dir().join("rings");
    fs::create_dir_all(stage.dir()).unwrap();
    fs::write(&list, "id 0\nstart 3\nring gone/x-3-1.ring\n").unwrap();
    let emitter = stage.emitter();
    drop(emitter.producer().unwrap());
    emitter.close(LONG);
    assert_eq!(stage.alerts(), [("EMITTER_RING_GONE".to_owned(), 1)]);
}
