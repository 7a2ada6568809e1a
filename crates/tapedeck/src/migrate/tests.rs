//! The move between two embedded logs and two SQLite stores, which need no server:
//! gaps, an end in the middle, and a target that holds something else.
//!
//! Not here: the move to a cluster.

use std::{
    cell::Cell,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tapedeck_log::{
    GroupOffset, Headers, LogAround, LogError, Placement, Record, Result, TopicPartition,
    embedded::{EmbeddedConfig, EmbeddedLog},
};

use super::*;

const EVENTS: &str = "audit-logs";
const STATE: &str = "tapedeck.strategy.state";

fn topic(name: &str, compact: bool) -> TopicConfig {
    TopicConfig { name: name.into(), partitions: 2, retention: None, retention_bytes: None, delete: !compact, compact }
}

fn record(topic: &str, partition: u32, key: &str, value: Option<&str>, headers: Headers) -> Record {
    Record {
        topic: topic.into(),
        partition: Some(partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers,
        timestamp_ms: Some(1_700_000_000_000),
    }
}

fn open(dir: &Path) -> Arc<EmbeddedLog> {
    EmbeddedLog::open(dir, EmbeddedConfig::default()).unwrap()
}

/// A source with records in both partitions, state, and a group.
fn source(dir: &Path) -> Arc<EmbeddedLog> {
    let log = open(dir);
    log.create_topics(&[topic(EVENTS, false), topic(STATE, true)]).unwrap();
    let headers = Headers::build([("tapedeck-cause", "audit-logs/0/3"), ("x", "1")]);
    let events =
        (0..9_000_u32).map(|n| record(EVENTS, n % 2, &format!("k{n}"), Some(&format!("v{n}")), headers.clone()));
    log.append(events.collect()).unwrap();
    log.append(vec![record(EVENTS, 0, "gone", None, Headers::new())]).unwrap();
    let at = r#"{"next":{"audit-logs/0":17,"audit-logs/1":4500}}"#;
    log.append(vec![
        record(STATE, 0, "@at", Some(at), Headers::new()),
        record(STATE, 0, "a", Some("1"), Headers::new()),
    ])
    .unwrap();
    let offset = |partition, next| GroupOffset { partition: TopicPartition::new(EVENTS, partition), next };
    log.reset_offsets("mine", &[offset(0, 17), offset(1, 4_500)]).unwrap();
    log
}

fn moving<'a>(source: &'a dyn Log, target: &'a dyn Log, dir: &'a Path, stop: &'a Stop) -> Move<'a> {
    Move {
        source,
        target,
        stores: None,
        wanted: &[],
        name: "there".into(),
        dir,
        stop,
        phase: &|_, _| {},
        seen: &|_| {},
    }
}

#[test]
fn all_records_their_times_and_headers_and_the_groups_offsets_are_there_afterwards() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, to, stop) = (source(dirs[0].path()), open(dirs[1].path()), Stop::new());
    let moved = moving(&*from, &*to, dirs[0].path(), &stop).perform(false).unwrap();
    assert!(moved.equal && moved.same_offsets, "{moved:?}");
    let found: Vec<_> = moved.topics.iter().map(|topic| (topic.topic.as_str(), topic.records, topic.found)).collect();
    assert_eq!(found, [(EVENTS, 9_001, 9_001), (STATE, 2, 2)]);
    assert_eq!(to.committed("mine").unwrap(), from.committed("mine").unwrap());
    assert_eq!(mark::of_log(&*to).unwrap(), None);
    let again = moving(&*from, &*to, dirs[0].path(), &stop).perform(false).unwrap_err();
    assert!(again.to_string().contains("was moved to there"), "{again}");
}

#[test]
fn a_dry_run_writes_nothing_on_either_side() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, to, stop) = (source(dirs[0].path()), open(dirs[1].path()), Stop::new());
    let moved = moving(&*from, &*to, dirs[0].path(), &stop).perform(true).unwrap();
    assert_eq!((moved.records, moved.dry_run, moved.topics.len()), (9_003, true, 0));
    assert!(to.topics().unwrap().is_empty() && !dirs[0].path().join(MIGRATION_FILE).exists());
}

#[test]
fn a_target_that_holds_something_is_refused_and_left_as_it_is() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, to, stop) = (source(dirs[0].path()), open(dirs[1].path()), Stop::new());
    to.create_topics(&[topic(EVENTS, false)]).unwrap();
    to.append(vec![record(EVENTS, 1, "theirs", Some("1"), Headers::new())]).unwrap();
    let refused = moving(&*from, &*to, dirs[0].path(), &stop).perform(false).unwrap_err();
    assert!(refused.to_string().contains("audit-logs/1 holds 1 offsets"), "{refused}");
    assert_eq!(to.bounds(&TopicPartition::new(EVENTS, 0)).unwrap().1, 0);
}

#[test]
fn a_move_that_was_ended_at_any_append_goes_on_and_ends_as_if_nothing_had_happened() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, to, stop) = (source(dirs[0].path()), open(dirs[1].path()), Stop::new());
    // Each run may append once more than the one before, then the target is gone.
    let mut runs = 0;
    for left in 0.. {
        let dying = Dying { log: Arc::clone(&to), left: Mutex::new(left) };
        runs += 1;
        match moving(&*from, &dying, dirs[0].path(), &stop).perform(false) {
            Ok(moved) => {
                assert!(moved.equal, "{moved:?}");
                break;
            }
            Err(error) => {
                assert!(error.to_string().contains("gone"), "{error}");
                assert!(mark::of_log(&*to).unwrap().is_some());
            }
        }
    }
    assert!(runs > 2, "it was never ended");
    let other = moving(&*from, &*to, dirs[0].path(), &stop);
    let elsewhere = Move { name: "elsewhere".into(), ..other };
    assert!(elsewhere.perform(false).is_err());
}

#[test]
fn what_was_deleted_from_the_beginning_closes_up_and_positions_are_mapped() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (from, to, stop) = (source(dirs[0].path()), open(dirs[1].path()), Stop::new());
    let cut = Cut { log: from, start: 10 };
    let seen = Cell::new(0);
    let count = |more| seen.set(seen.get() + more);
    let moved = Move { seen: &count, ..moving(&cut, &*to, dirs[0].path(), &stop) }.perform(false).unwrap();
    assert!(moved.equal && !moved.same_offsets, "{moved:?}");
    assert_eq!(to.bounds(&TopicPartition::new(EVENTS, 0)).unwrap(), (0, 4_491));
    let next: Vec<u64> = to.committed("mine").unwrap().iter().map(|offset| offset.next).collect();
    assert_eq!(next, [7, 4_490]);
    let state = tapedeck_flow::state::load(&*to, &STATE.into(), 0).unwrap();
    let at: tapedeck_flow::state::At = serde_json::from_slice(&state["@at"]).unwrap();
    assert_eq!((at.next["audit-logs/0"], at.next["audit-logs/1"]), (7, 4_490));
    assert!(seen.get() > 9_000);
}

/// A target whose appends fail for good after some.
struct Dying {
    log: Arc<EmbeddedLog>,
    left: Mutex<u32>,
}

/// A source whose events below an offset are gone.
struct Cut {
    log: Arc<EmbeddedLog>,
    start: u64,
}

impl LogAround for Dying {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            // The end of a call tells nothing about its records: half of them are there.
            let half = records.len() / 2;
            self.log.append(records.into_iter().take(half).collect())?;
            return Err(LogError::Fatal("gone".into()));
        }
        *left -= 1;
        self.log.append(records)
    }
}

impl LogAround for Cut {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        let (start, end) = self.log.bounds(partition)?;
        let is_cut = &*partition.topic == EVENTS;
        Ok(if is_cut { (self.start.max(start), end) } else { (start, end) })
    }
}
