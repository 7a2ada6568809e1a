//! Cases of groups: sharing, handing over, fencing, committing.
//!
//! Not here: reading without a group.

use std::collections::BTreeSet;

use super::*;
use crate::{LogError, lag};

/// A topic of so many partitions with 10 records in each.
fn filled(log: &dyn Log, name: &str, partitions: u32) {
    log.create_topics(&[topic(name, partitions)]).unwrap();
    let to = |n: u32| Record { partition: Some(n % partitions), ..record(name, "k", n.to_string()) };
    log.append((0..10 * partitions).map(to).collect()).unwrap();
}

fn values(records: &[LogRecord]) -> BTreeSet<String> {
    records.iter().map(value).collect()
}

pub(super) fn a_lone_member_owns_all_and_goes_on_where_it_was(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "alone", 3);
    assert!(log.committed("alone").unwrap().is_empty());
    let mut member = log.join("alone", "a", &["alone".into()]).unwrap();
    own(&mut *member, 3);
    let first = take(&mut *member, 30);
    assert_eq!(values(&first).len(), 30);
    member.commit(&positions(&*member)).unwrap();
    let committed = log.committed("alone").unwrap();
    assert_eq!(committed.len(), 3);
    drop(member);
    drop(log);
    let log = (subject.open)();
    assert_eq!(log.committed("alone").unwrap(), committed, "committed offsets outlive the process");
    log.append(vec![record("alone", "k", "new")]).unwrap();
    let mut member = log.join("alone", "b", &["alone".into()]).unwrap();
    own(&mut *member, 3);
    assert_eq!(values(&take(&mut *member, 1)), BTreeSet::from(["new".to_owned()]));
    let info = log.groups().unwrap().into_iter().find(|info| info.group == "alone").unwrap();
    assert_eq!(info.offsets, committed);
    assert_eq!(info.members.iter().map(|(_, owned)| owned.len()).collect::<Vec<_>>(), [3]);
}

pub(super) fn members_share_and_none_gets_what_another_has(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "shared", 6);
    let topics = ["shared".into()];
    let mut members = vec![log.join("shared", "a", &topics).unwrap()];
    own(&mut *members[0], 6);
    for (name, each) in [("b", 3), ("c", 2)] {
        members.push(log.join("shared", name, &topics).unwrap());
        for _ in 0..TRIES {
            for member in &mut members {
                member.poll(PollLimits { timeout: Duration::from_millis(5), ..LIMITS }).unwrap();
            }
            let owned: Vec<_> = members.iter().flat_map(|member| member.assignment()).collect();
            let once: BTreeSet<_> = owned.iter().collect();
            assert_eq!(owned.len(), once.len(), "a partition has one owner");
            if members.iter().all(|member| member.assignment().len() == each) {
                break;
            }
        }
        assert!(members.iter().all(|member| member.assignment().len() == each), "each has {each}");
    }
}

pub(super) fn what_a_member_leaves_goes_to_the_others(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "leave", 4);
    let topics = ["leave".into()];
    let mut first = log.join("leave", "a", &topics).unwrap();
    own(&mut *first, 4);
    take(&mut *first, 40);
    let mut second = log.join("leave", "b", &topics).unwrap();
    let mut handed_over = Vec::new();
    for _ in 0..TRIES {
        if let Polled::Revoked(partitions) = first.poll(LIMITS).unwrap() {
            // Until the next poll it may still commit what it has handled.
            let of = |partition: &TopicPartition| GroupOffset {
                next: first.position(partition).unwrap(),
                partition: partition.clone(),
            };
            let offsets: Vec<_> = partitions.iter().map(of).collect();
            first.commit(&offsets).unwrap();
            handed_over = partitions;
            break;
        }
        second.poll(PollLimits { timeout: Duration::from_millis(5), ..LIMITS }).unwrap();
    }
    assert_eq!(handed_over.len(), 2, "no more is moved than must be");
    assert!(first.assignment().iter().all(|owned| !handed_over.contains(owned)));
    drop(first);
    own(&mut *second, 4);
    let rest = take(&mut *second, 20);
    assert!(rest.iter().all(|record| !handed_over.contains(&place("leave", record.partition))));
    assert_eq!(values(&rest).len(), 20, "what was not committed comes again, the rest does not");
}

pub(super) fn a_stalled_member_is_fenced(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "stall", 2);
    log.create_topics(&[topic("stall-out", 1)]).unwrap();
    let topics = ["stall".into()];
    let mut stalled = log.join("stall", "a", &topics).unwrap();
    own(&mut *stalled, 2);
    take(&mut *stalled, 20);
    let late = positions(&*stalled);
    let mut other = log.join("stall", "b", &topics).unwrap();
    own(&mut *other, 2);
    let ours = take(&mut *other, 20);
    assert_eq!(values(&ours).len(), 20, "nothing was committed, so all comes again");
    // At once: the one that took over may not stall either, however slow the machine.
    let done = positions(&*other);
    other.transact(vec![record("stall-out", "k", "ours")], &done).unwrap();
    let result = stalled.transact(vec![record("stall-out", "k", "late")], &late);
    assert!(matches!(result, Err(LogError::Fenced { .. })), "{result:?}");
    assert!(matches!(stalled.commit(&late), Err(LogError::Fenced { .. })));
    assert_eq!(values(&read_all(&*log, "stall-out")), BTreeSet::from(["ours".to_owned()]));
    assert_eq!(log.committed("stall").unwrap(), done);
}

pub(super) fn a_step_is_seen_whole_or_not_at_all(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "step", 1);
    log.create_topics(&[topic("step-out", 4)]).unwrap();
    let mut member = log.join("step", "a", &["step".into()]).unwrap();
    own(&mut *member, 1);
    let bad = vec![record("step-out", "a", "1"), record("nowhere", "a", "1")];
    let to = |next| [GroupOffset { partition: place("step", 0), next }];
    assert!(matches!(member.transact(bad, &to(5)), Err(LogError::Poison { index: 1, .. })));
    assert!(read_all(&*log, "step-out").is_empty() && log.committed("step").unwrap().is_empty());
    const STEPS: u32 = 40;
    std::thread::scope(|scope| {
        let log = &log;
        let writing = scope.spawn(move || {
            for step in 1..=STEPS {
                let part = |n| Record { partition: Some(n), ..record("step-out", "k", step.to_string()) };
                member.transact((0..4).map(part).collect(), &to(u64::from(step))).unwrap();
            }
        });
        loop {
            let done = writing.is_finished();
            // Asked for in this order, what was committed is there to be read.
            let committed = log.committed("step").unwrap().first().map_or(0, |offset| offset.next);
            for partition in 0..4 {
                let there = read_from(&**log, &place("step-out", partition), None).len() as u64;
                assert!(there >= committed, "{there} of {committed} in partition {partition}");
            }
            if done {
                break;
            }
        }
    });
    assert_eq!(read_all(&*log, "step-out").len(), 4 * STEPS as usize);
}

pub(super) fn paused_partitions_bring_nothing_until_resumed(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "pause", 2);
    let mut member = log.join("pause", "a", &["pause".into()]).unwrap();
    own(&mut *member, 2);
    member.pause(&[place("pause", 0)]);
    let records = take(&mut *member, 10);
    assert!(records.iter().all(|record| record.partition == 1));
    assert!(matches!(member.poll(LIMITS).unwrap(), Polled::Records(none) if none.is_empty()));
    assert_eq!(member.assignment().len(), 2, "a pause keeps the seat");
    member.resume(&[place("pause", 0)]);
    assert!(take(&mut *member, 10).iter().all(|record| record.partition == 0));
}

pub(super) fn a_seek_moves_the_place(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "seek", 1);
    let mut member = log.join("seek", "a", &["seek".into()]).unwrap();
    own(&mut *member, 1);
    let records = take(&mut *member, 10);
    assert_eq!(member.position(&place("seek", 0)), Some(log.bounds(&place("seek", 0)).unwrap().1));
    member.seek(&place("seek", 0), records[7].offset).unwrap();
    assert_eq!(member.position(&place("seek", 0)), Some(records[7].offset));
    assert_eq!(take(&mut *member, 3), records[7..]);
    assert!(member.seek(&place("elsewhere", 0), 0).is_err());
}

pub(super) fn offsets_of_a_group_with_members_cannot_be_reset(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "reset", 1);
    let mut member = log.join("reset", "a", &["reset".into()]).unwrap();
    // A cluster lets a member in while it polls.
    own(&mut *member, 1);
    let second = read_all(&*log, "reset")[1].offset;
    let to = [GroupOffset { partition: place("reset", 0), next: second }];
    assert!(matches!(log.reset_offsets("reset", &to), Err(LogError::Fatal(_))));
    drop(member);
    log.reset_offsets("reset", &to).unwrap();
    assert_eq!(log.committed("reset").unwrap(), to);
    let mut member = log.join("reset", "a", &["reset".into()]).unwrap();
    own(&mut *member, 1);
    assert_eq!(take(&mut *member, 9)[0].offset, second);
}

pub(super) fn a_seat_on_one_topic_commits_positions_of_others(subject: &Subject) {
    let log = (subject.open)();
    filled(&*log, "input", 2);
    log.create_topics(&[TopicConfig { compact: true, delete: false, ..topic("seat", 1) }]).unwrap();
    let mut active = log.join("seat", "a", &["seat".into()]).unwrap();
    own(&mut *active, 1);
    let offsets: Vec<_> = (0..2).map(|n| GroupOffset { partition: place("input", n), next: 10 }).collect();
    active.transact(vec![record("seat", "@at", "10")], &offsets).unwrap();
    assert_eq!(log.committed("seat").unwrap(), offsets);
    let mut standby = log.join("seat", "b", &["seat".into()]).unwrap();
    assert!(matches!(standby.poll(LIMITS).unwrap(), Polled::Records(none) if none.is_empty()));
    assert!(standby.assignment().is_empty());
    drop(active);
    own(&mut *standby, 1);
    standby.transact(vec![record("seat", "@at", "11")], &offsets[..1]).unwrap();
}

pub(super) fn lag_counts_records_and_time(subject: &Subject) {
    let log = (subject.open)();
    log.create_topics(&[topic("lag", 2)]).unwrap();
    let at = |n: i64| Record { partition: Some(0), timestamp_ms: Some(1_000_000 + n), ..record("lag", "k", "v") };
    let placed = log.append((0..10).map(at).collect()).unwrap();
    let lag = || lag::of_group(&*log, "lag", &["lag".into()], 1_005_000).unwrap();
    assert_eq!(lag().iter().map(|lag| (lag.committed, lag.lag_ms)).collect::<Vec<_>>(), [(None, 5000), (None, 0)]);
    assert!(lag()[0].lag_records >= 10);
    let next = placed[4].offset;
    log.reset_offsets("lag", &[GroupOffset { partition: place("lag", 0), next }]).unwrap();
    assert_eq!((lag()[0].committed, lag()[0].lag_ms), (Some(next), 4996));
    assert_eq!(lag()[0].lag_records, lag()[0].end - next);
    let end = lag()[0].end;
    log.reset_offsets("lag", &[GroupOffset { partition: place("lag", 0), next: end }]).unwrap();
    assert_eq!((lag()[0].lag_records, lag()[0].lag_ms), (0, 0));
}
