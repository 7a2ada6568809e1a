//! The spool against a list, over reopens, refusals and damage.
//!
//! Not here: who writes to it and reads from it.

use std::{collections::VecDeque, fs::OpenOptions};

use proptest::prelude::*;
use tapedeck_log::{Headers, Record};

use super::*;
use crate::emitter::frame::{Id, tests::frame_of};

const LIMITS: Limits = Limits { max_bytes: 16 << 10, segment_bytes: 1 << 10 };

fn frame(sequence: u64) -> Vec<u8> {
    let record = Record {
        topic: "t".into(),
        partition: None,
        key: None,
        value: Some(vec![b'x'; (sequence * 37 % 200) as usize].into()),
        headers: Headers::new(),
        timestamp_ms: None,
    };
    frame_of(&record, Id { stream: 1, sequence })
}

fn open(home: &Path) -> (Spool, Opened) {
    open_with(home, &[("t", 1)])
}

fn topics(topics: &[(&str, u32)]) -> Arc<TopicSet> {
    Arc::new(TopicSet::new(topics.iter().copied()))
}

fn open_with(home: &Path, of: &[(&str, u32)]) -> (Spool, Opened) {
    Spool::open(home, LIMITS, topics(of), Boundaries::default()).unwrap()
}

fn write(spool: &mut Spool, from: u64, count: u64) -> Result<(), Refused> {
    let frames: Vec<u8> = (from..from + count).flat_map(frame).collect();
    spool.write(&frames, count)
}

/// The numbers of the next frames, and where they end.
fn read(spool: &mut Spool, max_records: usize) -> (Vec<u64>, Position) {
    let (frames, end) = spool.read(max_records, 1 << 20, None).unwrap();
    (frames.heads.iter().map(|(_, head)| head.id.sequence).collect(), end)
}

fn read_all(spool: &mut Spool) -> Vec<u64> {
    let mut all = Vec::new();
    while !spool.is_read() {
        all.extend(read(spool, 10).0);
    }
    all
}

fn segments(home: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.join("spool")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    segments
}

#[derive(Clone, Debug)]
enum Act {
    Write(u64),
    WriteAndGoBack(u64),
    Read(usize),
    Acknowledge,
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1_u64..12).prop_map(Act::Write),
        1 => (1_u64..12).prop_map(Act::WriteAndGoBack),
        4 => (1_usize..15).prop_map(Act::Read),
        3 => Just(Act::Acknowledge),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn it_gives_what_was_written_and_not_acknowledged_in_order(acts in acts()) {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(home.path());
        // What was written and not acknowledged; how much of it was read; where
        // each read ended, and how many frames it had.
        let (mut model, mut taken, mut ends) = (Vec::<u64>::new(), 0, VecDeque::new());
        let mut next = 1;
        for act in acts {
            match act {
                Act::Write(count) => match write(&mut spool, next, count) {
                    Ok(()) => {
                        model.extend(next..next + count);
                        next += count;
                    }
                    Err(refused) => prop_assert!(matches!(refused, Refused::Limit(_))),
                },
                Act::WriteAndGoBack(count) => {
                    let mark = spool.mark();
                    let _ = write(&mut spool, next, count);
                    spool.go_back(&mark);
                }
                Act::Read(max) => {
                    let (read, end) = read(&mut spool, max);
                    prop_assert_eq!(&model[taken..taken + read.len()], &read);
                    prop_assert!(!read.is_empty() || taken == model.len());
                    taken += read.len();
                    if !read.is_empty() {
                        ends.push_back((end, read.len()));
                    }
                }
                Act::Acknowledge => {
                    if let Some((end, count)) = ends.pop_front() {
                        spool.acknowledge(end, count as u64);
                        model.drain(..count);
                        taken -= count;
                    }
                }
                Act::Reopen => {
                    spool.sync().unwrap();
                    let (again, opened) = open(home.path());
                    prop_assert_eq!((opened.kept.len(), opened.torn), (0, 0));
                    prop_assert_eq!(opened.newest.get(&1), model.last());
                    spool = again;
                    taken = 0;
                    ends.clear();
                }
            }
            prop_assert_eq!(spool.records(), model.len() as u64);
            prop_assert_eq!(spool.is_drained(), model.is_empty());
            prop_assert!(spool.bytes() <= LIMITS.max_bytes + segment::HEAD);
            let on_disk: u64 = segments(home.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
            prop_assert_eq!(spool.bytes(), on_disk);
            prop_assert!(!model.is_empty() || taken > 0 || on_disk <= 2 * segment::HEAD);
        }
    }

    #[test]
    fn a_changed_byte_costs_its_own_record_at_most(
        count in 1_u64..60,
        segment in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(home.path());
        for n in 1..=count {
            write(&mut spool, n, 1).unwrap();
        }
        drop(spool);
        let segments = segments(home.path());
        let path = &segments[segment.index(segments.len())];
        let mut bytes = fs::read(path).unwrap();
        let at = segment::HEAD as usize + byte.index(bytes.len() - segment::HEAD as usize);
        bytes[at] ^= change;
        fs::write(path, bytes).unwrap();
        let (mut spool, opened) = open(home.path());
        let left = read_all(&mut spool);
        prop_assert_eq!(left.len() as u64, count - 1);
        prop_assert!(left.is_sorted());
        prop_assert_eq!(opened.torn + spool.take_torn(), 1);
    }

    #[test]
    fn a_cut_costs_what_lay_behind_it_alone(count in 1_u64..60, cut in any::<prop::sample::Index>()) {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(home.path());
        for n in 1..=count {
            write(&mut spool, n, 1).unwrap();
        }
        drop(spool);
        let path = segments(home.path()).pop().unwrap();
        let len = path.metadata().unwrap().len();
        let cut = cut.index(len as usize) as u64;
        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let (mut spool, _) = open(home.path());
        let left = read_all(&mut spool);
        prop_assert_eq!(&left, &(1..=left.len() as u64).collect::<Vec<_>>());
        let lost: u64 = (left.len() as u64 + 1..=count).map(|n| frame(n).len() as u64).sum();
        prop_assert!(lost < len - cut + 256, "{lost} bytes for {} that were cut", len - cut);
        // What comes next lies behind what is left.
        let from = left.len() as u64 + 1;
        write(&mut spool, from, 3).unwrap();
        prop_assert_eq!(read_all(&mut spool), (from..from + 3).collect::<Vec<_>>());
    }
}

#[test]
fn a_write_beyond_the_limit_is_refused_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    let mut written = 0;
    while write(&mut spool, written + 1, 1).is_ok() {
        written += 1;
    }
    let (bytes, records) = (spool.bytes(), spool.records());
    assert!(matches!(write(&mut spool, written + 1, 5), Err(Refused::Limit(_))));
    assert_eq!((spool.bytes(), spool.records()), (bytes, records));
    assert_eq!(read_all(&mut spool), (1..=written).collect::<Vec<_>>());
}

#[test]
fn a_segment_that_the_log_has_is_deleted_and_the_others_are_not() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    for n in 1..=40 {
        write(&mut spool, n, 1).unwrap();
    }
    let before = segments(home.path()).len();
    assert!(before > 2, "{before}");
    let (read_now, end) = read(&mut spool, 100);
    spool.acknowledge(end, read_now.len() as u64);
    assert_eq!(segments(home.path()).len(), before - 1, "a read ends with its segment");
    let (again, _) = open(home.path());
    assert_eq!(again.records(), 40 - read_now.len() as u64);
}

#[test]
fn what_nothing_can_be_read_of_is_set_aside_whole() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    for n in 1..=40 {
        write(&mut spool, n, 1).unwrap();
    }
    drop(spool);
    let first = &segments(home.path())[0];
    let len = first.metadata().unwrap().len();
    let mut bytes = fs::read(first).unwrap();
    bytes[segment::HEAD as usize..].fill(0xaa);
    fs::write(first, &bytes).unwrap();
    let (mut spool, _) = open(home.path());
    let left = read_all(&mut spool);
    assert_eq!(left.last(), Some(&40));
    assert!(left[0] > 1 && left.is_sorted());
    let kept: Vec<PathBuf> =
        fs::read_dir(home.path().join("kept")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].metadata().unwrap().len(), len - segment::HEAD);
}

/// A spool with frames that a sync made safe, and others behind the mark; and the
/// number of the last of each.
fn half_safe(home: &Path) -> (Spool, Mark, u64, u64) {
    let (mut spool, _) = open(home);
    write(&mut spool, 1, 5).unwrap();
    spool.sync().unwrap();
    let mark = spool.mark();
    let mut last = 5;
    while last == 5 || spool.segments[&spool.tail.as_ref().unwrap().0] < LIMITS.segment_bytes {
        last += 1;
        write(&mut spool, last, 1).unwrap();
    }
    (spool, mark, 5, last)
}

/// The disk said no, and says yes from now on: it must not be believed.
fn expect_no_trust(mut spool: Spool, good: File, mark: &Mark, safe: u64, home: &Path) {
    if let Some((_, file)) = &mut spool.tail {
        *file = good;
    }
    assert!(spool.sync().is_err(), "what was written before is not safe");
    assert!(spool.sync().is_err(), "nor is it at a second look");
    spool.go_back(mark);
    let before = spool.next;
    write(&mut spool, safe + 1, 3).unwrap();
    assert_eq!(spool.next, before + 1, "it is written anew to a segment of its own");
    spool.sync().unwrap();
    drop(spool);
    assert_eq!(read_all(&mut open(home).0), (1..=safe + 3).collect::<Vec<_>>());
}

#[test]
fn a_sync_that_failed_at_the_change_of_segments_is_not_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, mark, safe, last) = half_safe(home.path());
    // A pipe is nothing that a disk holds: its sync fails.
    let (_reader, pipe) = io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(pipe));
    let good = std::mem::replace(&mut spool.tail.as_mut().unwrap().1, pipe);
    assert!(matches!(write(&mut spool, last + 1, 1), Err(Refused::Disk(_))));
    expect_no_trust(spool, good, &mark, safe, home.path());
}

#[test]
fn a_segment_that_can_neither_be_written_nor_cut_makes_what_it_held_unsafe() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    write(&mut spool, 1, 1).unwrap();
    spool.sync().unwrap();
    let mark = spool.mark();
    write(&mut spool, 2, 1).unwrap();
    let (number, _) = spool.tail.as_ref().unwrap();
    let read_only = File::open(spool.path(*number)).unwrap();
    let good = std::mem::replace(&mut spool.tail.as_mut().unwrap().1, read_only);
    assert!(matches!(write(&mut spool, 3, 1), Err(Refused::Disk(_))));
    expect_no_trust(spool, good, &mark, 1, home.path());
}

fn topics_files(home: &Path) -> usize {
    let entries = fs::read_dir(home.join("spool")).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| name.to_str().unwrap().starts_with("topics-")).count()
}

#[test]
fn segments_from_before_topics_were_added_are_sent_in_order_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    write(&mut spool, 1, 3).unwrap();
    spool.set_topics(topics(&[("a", 2), ("t", 1)]));
    write(&mut spool, 4, 3).unwrap();
    drop(spool);
    assert_eq!(topics_files(home.path()), 2);
    let (mut spool, opened) = open_with(home.path(), &[("b", 1), ("t", 1), ("a", 2)]);
    assert_eq!((opened.kept.len(), read_all(&mut spool)), (0, (1..=6).collect()));
    let end = spool.end();
    spool.acknowledge(end, 6);
    drop(spool);
    open(home.path());
    assert_eq!(topics_files(home.path()), 0, "no segment needs them");
}

#[test]
fn segments_of_a_topic_that_is_gone_or_has_other_partitions_are_set_aside() {
    for now in [&[("t", 1)][..], &[("t", 1), ("a", 3)]] {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open_with(home.path(), &[("t", 1), ("a", 2)]);
        write(&mut spool, 1, 3).unwrap();
        drop(spool);
        let (spool, opened) = open_with(home.path(), now);
        assert_eq!((opened.kept.len(), spool.records(), topics_files(home.path())), (1, 0, 0), "{now:?}");
    }
}

#[test]
fn segments_of_other_topics_whose_list_is_gone_or_damaged_are_set_aside() {
    for damage in [None, Some("t/1\nu/1\n")] {
        let home = tempfile::tempdir().unwrap();
        let (mut spool, _) = open(home.path());
        write(&mut spool, 1, 3).unwrap();
        let path = home.path().join(format!("spool/topics-{:016x}", spool.topics.fingerprint));
        drop(spool);
        match damage {
            None => fs::remove_file(path).unwrap(),
            Some(text) => fs::write(path, text).unwrap(),
        }
        let (_, opened) = open_with(home.path(), &[("t", 1), ("u", 1)]);
        assert_eq!(opened.kept.len(), 1, "{damage:?}");
    }
}

#[test]
fn a_segment_of_other_topics_that_was_sent_is_not_set_aside() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open_with(home.path(), &[("a", 1)]);
    write(&mut spool, 1, 3).unwrap();
    let first = segments(home.path()).remove(0);
    let bytes = fs::read(&first).unwrap();
    let end = spool.end();
    spool.acknowledge(end, 3);
    drop(spool);
    assert!(!first.exists());
    // A kill came between the position and the file.
    fs::write(&first, bytes).unwrap();
    let (spool, opened) = open(home.path());
    assert_eq!((opened.kept, spool.records(), first.exists()), (Vec::new(), 0, false));
}

#[test]
fn a_segment_that_is_shorter_than_what_was_sent_of_it_is_drained() {
    let home = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(home.path());
    write(&mut spool, 1, 8).unwrap();
    let (read_now, end) = read(&mut spool, 5);
    spool.acknowledge(end, read_now.len() as u64);
    drop(spool);
    let file = OpenOptions::new().write(true).open(&segments(home.path())[0]).unwrap();
    file.set_len(segment::HEAD + frame(1).len() as u64).unwrap();
    let (mut spool, opened) = open(home.path());
    assert_eq!((spool.records(), spool.is_drained(), spool.is_read(), opened.torn), (0, true, true, 1));
    write(&mut spool, 9, 2).unwrap();
    assert_eq!(read_all(&mut spool), [9, 10]);
    let end = spool.end();
    spool.acknowledge(end, 2);
    assert!(spool.is_drained());
}
