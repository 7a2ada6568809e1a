//! What every log must do, as functions that a test of any crate can call with a
//! log of its own. They know only the traits, and expect nothing that Kafka
//! cannot do: offsets may have gaps, a poll may bring nothing, a change of
//! partitions may take some polls.
//!
//! Not here: what only one kind of log does.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{GroupOffset, Headers, Log, LogRecord, Member, PollLimits, Polled, Record, TopicConfig, TopicPartition};

mod groups;
mod records;
mod retention;

use groups::*;
use records::*;
use retention::*;

/// A log under test.
pub struct Subject {
    /// Opens the log: an empty one at first, the same one later, after all that
    /// used it is gone. Its session timeout should be about a second.
    pub open: Box<dyn Fn() -> Arc<dyn Log>>,
    /// Makes retention and compaction happen as of a time, in ms since the epoch,
    /// to all but the newest records.
    pub sweep: Box<dyn Fn(i64)>,
}

/// A case: what must be so, and the function that sees to it.
pub type Case = (&'static str, fn(&Subject));

/// Hands the names of all cases to a macro: this is the one list of them.
///
/// `tapedeck_log::each_case!(tests)` in a test file calls `tests! { a_case another … }`,
/// so that each case is a test there.
#[macro_export]
macro_rules! each_case {
    ($take:ident) => {
        $take! {
            records_of_a_key_keep_their_order
            a_record_comes_back_as_it_was_written
            acknowledged_records_are_there_after_a_reopen
            a_key_goes_to_the_partition_that_kafka_gives_it
            a_record_for_nowhere_is_named
            a_time_finds_its_offset
            a_poll_respects_its_limits_and_serves_all
            a_waiting_reader_gets_what_is_written
            a_topic_keeps_its_number_of_partitions
            a_lone_member_owns_all_and_goes_on_where_it_was
            members_share_and_none_gets_what_another_has
            what_a_member_leaves_goes_to_the_others
            a_stalled_member_is_fenced
            a_step_is_seen_whole_or_not_at_all
            paused_partitions_bring_nothing_until_resumed
            a_seek_moves_the_place
            offsets_of_a_group_with_members_cannot_be_reset
            a_seat_on_one_topic_commits_positions_of_others
            lag_counts_records_and_time
            old_records_go_and_reading_them_says_so
            a_partition_keeps_about_its_bytes
            compaction_keeps_the_newest_of_each_key
            a_position_moves_over_compacted_offsets
        }
    };
}

macro_rules! listed {
    ($($name:ident)*) => {
        &[$((stringify!($name), $name)),*]
    };
}

/// All cases. Each wants a subject of its own, or one where topics and groups
/// named after the case are not there yet.
pub const CASES: &[Case] = each_case!(listed);

/// Runs one case by name.
///
/// # Panics
/// Where the log does not do what it must, or there is no such case.
pub fn run(name: &str, subject: &Subject) {
    let (_, case) = CASES.iter().find(|(case, _)| *case == name).unwrap_or_else(|| panic!("no case {name}"));
    case(subject);
}

/// Runs all cases, each on a subject of its own.
///
/// # Panics
/// Where the log does not do what it must.
pub fn suite(subject: impl Fn() -> Subject) {
    for (_, case) in CASES {
        case(&subject());
    }
}

/// One poll: some records, and not long.
const LIMITS: PollLimits = PollLimits { max_records: 500, max_bytes: 1 << 20, timeout: Duration::from_millis(100) };
/// Polls after which something that must come did not.
const TRIES: usize = 600;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

fn topic(name: &str, partitions: u32) -> TopicConfig {
    TopicConfig { name: name.into(), partitions, retention: None, retention_bytes: None, delete: true, compact: false }
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn record(topic: &str, key: &str, value: impl AsRef<[u8]>) -> Record {
    Record {
        topic: topic.into(),
        partition: None,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_ref())),
        headers: Headers::new(),
        timestamp_ms: None,
    }
}

fn value(record: &LogRecord) -> String {
    String::from_utf8(record.value.as_deref().unwrap_or_default().to_vec()).unwrap()
}

/// Everything in a topic from its start to its ends as of now, by partition.
fn read_all(log: &dyn Log, topic: &str) -> Vec<LogRecord> {
    let topics = log.topics().unwrap();
    let partitions = topics.iter().find(|info| &*info.config.name == topic).unwrap().config.partitions;
    (0..partitions).flat_map(|partition| read_from(log, &place(topic, partition), None)).collect()
}

/// Everything in a partition from an offset, or the start, to its end as of now.
fn read_from(log: &dyn Log, partition: &TopicPartition, from: Option<u64>) -> Vec<LogRecord> {
    let (start, end) = log.bounds(partition).unwrap();
    let mut reader = log.reader().unwrap();
    reader.assign(&[(partition.clone(), from.unwrap_or(start))]).unwrap();
    let mut records = Vec::new();
    for _ in 0..TRIES {
        if reader.position(partition).unwrap() >= end {
            return records;
        }
        records.extend(reader.poll(LIMITS).unwrap());
    }
    panic!("{partition} was not read to its end {end}, only to {:?}", reader.position(partition));
}

/// Polls until the member owns so many partitions; what it is given meanwhile
/// is dropped.
fn own(member: &mut dyn Member, count: usize) {
    for _ in 0..TRIES {
        if member.assignment().len() == count {
            return;
        }
        member.poll(LIMITS).unwrap();
    }
    panic!("owns {:?}, not {count} partitions", member.assignment());
}

/// Polls until so many records came.
fn take(member: &mut dyn Member, count: usize) -> Vec<LogRecord> {
    let mut taken = Vec::new();
    for _ in 0..TRIES {
        if taken.len() >= count {
            return taken;
        }
        if let Polled::Records(records) = member.poll(LIMITS).unwrap() {
            taken.extend(records);
        }
    }
    panic!("got {} records, not {count}", taken.len());
}

/// The member's place in all it owns, as a group's offsets.
fn positions(member: &dyn Member) -> Vec<GroupOffset> {
    let of = |partition: TopicPartition| GroupOffset { next: member.position(&partition).unwrap(), partition };
    member.assignment().into_iter().map(of).collect()
}
