//! A log whose members bring the market in the order of the sequencer's numbers,
//! across partitions: what a replay reads through, so that the book of several
//! symbols comes out the same however the partitions were read.
//!
//! A number that is not there yet is waited for; what is above it is held, and its
//! partition's position stays below it. What has no number, or one that was passed,
//! goes through at once. A number may stand twice in the log (its source was killed before
//! it noted how far it was, and wrote again): the second comes after the first, as a
//! duplicate, as it does for all who read the log in its own order.
//!
//! Not here: live reading, which waits for nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_contracts::headers::{SEQ, Seq};
use tapedeck_log::{
    GroupOffset, Log, LogAround, LogRecord, Member, Placement, PollLimits, Polled, Record, Result, TopicPartition,
};

/// Records held of partitions that are ahead; beyond it only the others are read.
/// Some tens of megabytes.
const MAX_HELD: usize = 65_536;

/// A number that is missing for so long, with all partitions read to their ends, is
/// a gap: the sequencer writes in its order, so it would be there before what is
/// above it. It is told and passed.
const GAP: Duration = Duration::from_secs(10);

/// A log whose members bring one source's events in its order.
pub(super) struct Ordered {
    log: Arc<dyn Log>,
}

impl Ordered {
    pub(super) fn over(log: Arc<dyn Log>) -> Arc<dyn Log> {
        Arc::new(Self { log })
    }
}

impl LogAround for Ordered {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        let member = self.log.join(group, member, topics)?;
        Ok(Box::new(OrderedMember {
            log: Arc::clone(&self.log),
            member,
            lanes: BTreeMap::new(),
            paused: BTreeSet::new(),
        }))
    }
}

/// What is held of a source.
#[derive(Default)]
struct Lane {
    /// The number that comes next; none until all partitions showed their first.
    next: Option<u64>,
    /// By number, partition and offset.
    held: BTreeMap<(u64, u32, u64), LogRecord>,
    /// Since when everything is read and `next` is not there.
    missing: Option<Instant>,
}

struct OrderedMember {
    log: Arc<dyn Log>,
    member: Box<dyn Member>,
    /// By source.
    lanes: BTreeMap<String, Lane>,
    /// Partitions that the runtime wants nothing of.
    paused: BTreeSet<TopicPartition>,
}

impl Member for OrderedMember {
    fn poll(&mut self, limits: PollLimits) -> Result<Polled> {
        let ready = self.release(limits.max_records)?;
        if !ready.is_empty() {
            return Ok(Polled::Records(ready));
        }
        self.throttle();
        match self.member.poll(limits)? {
            Polled::Records(records) => {
                let mut through: Vec<LogRecord> = records.into_iter().filter_map(|record| self.hold(record)).collect();
                through.extend(self.release(limits.max_records)?);
                Ok(Polled::Records(through))
            }
            Polled::Revoked(partitions) => {
                self.forget(&partitions);
                Ok(Polled::Revoked(partitions))
            }
            assigned @ Polled::Assigned(_) => Ok(assigned),
        }
    }

    fn assignment(&self) -> Vec<TopicPartition> {
        self.member.assignment()
    }

    fn position(&self, partition: &TopicPartition) -> Option<u64> {
        let held = self.held().filter(|record| is_of(record, partition)).map(|record| record.offset).min();
        held.or_else(|| self.member.position(partition))
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) -> Result<()> {
        self.forget(std::slice::from_ref(partition));
        self.member.seek(partition, offset)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.paused.extend(partitions.iter().cloned());
        self.member.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.paused.retain(|paused| !partitions.contains(paused));
        self.member.resume(partitions);
    }

    fn commit(&mut self, offsets: &[GroupOffset]) -> Result<()> {
        self.member.commit(offsets)
    }

    fn transact(&mut self, records: Vec<Record>, offsets: &[GroupOffset]) -> Result<Vec<Placement>> {
        self.member.transact(records, offsets)
    }
}

impl OrderedMember {
    fn held(&self) -> impl Iterator<Item = &LogRecord> {
        self.lanes.values().flat_map(|lane| lane.held.values())
    }

    /// Holds a record back, or gives it where it need not wait.
    fn hold(&mut self, record: LogRecord) -> Option<LogRecord> {
        let Some(seq) = record.headers.text(SEQ).and_then(Seq::parse) else { return Some(record) };
        let lane = self.lanes.entry(seq.source).or_default();
        if lane.next.is_some_and(|next| seq.n < next) && lane.first().is_none_or(|first| first > seq.n) {
            return Some(record);
        }
        lane.held.insert((seq.n, record.partition, record.offset), record);
        None
    }

    /// What comes next, as far as it is here.
    fn release(&mut self, most: usize) -> Result<Vec<LogRecord>> {
        let mut ready = Vec::new();
        if self.lanes.values().all(|lane| lane.held.is_empty()) {
            return Ok(ready);
        }
        let is_read = self.is_read()?;
        let paused = &self.paused;
        for (source, lane) in &mut self.lanes {
            if lane.next.is_none() && is_read.shown {
                lane.next = lane.first();
            }
            let Some(mut next) = lane.next else { continue };
            lane.skip_gap(source, &mut next, is_read.ended);
            while ready.len() < most
                && let Some(entry) = lane.held.first_entry()
                && entry.key().0 <= next
                && !paused.iter().any(|place| is_of(entry.get(), place))
            {
                next = next.max(entry.key().0 + 1);
                ready.push(entry.remove());
                lane.missing = None;
            }
            lane.next = Some(next);
        }
        Ok(ready)
    }

    /// Whether every partition shows its first record or has none, and whether all
    /// are read to their ends.
    fn is_read(&self) -> Result<Reading> {
        let mut reading = Reading { shown: true, ended: true };
        let is_next = |lane: &Lane| lane.first().is_some_and(|first| lane.next.is_some_and(|next| first <= next));
        if self.lanes.values().all(is_next) {
            return Ok(Reading { shown: true, ended: false }); // Nothing hangs on it.
        }
        for place in self.member.assignment() {
            let has_ended =
                self.member.position(&place).is_some_and(|at| self.log.bounds(&place).is_ok_and(|b| at >= b.1));
            reading.ended &= has_ended;
            reading.shown &= has_ended || self.held().any(|record| is_of(record, &place));
        }
        Ok(reading)
    }

    /// Reads on in partitions that are behind where too much is held of others.
    fn throttle(&mut self) {
        let full = self.held().count() >= MAX_HELD;
        let ahead: BTreeSet<TopicPartition> = self.held().map(place_of).collect();
        let (mut stop, mut go) = (Vec::new(), Vec::new());
        for place in self.member.assignment() {
            if self.paused.contains(&place) {
                continue;
            }
            if full && ahead.contains(&place) { stop.push(place) } else { go.push(place) }
        }
        self.member.pause(&stop);
        self.member.resume(&go);
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for lane in self.lanes.values_mut() {
            lane.held.retain(|_, record| !partitions.iter().any(|place| is_of(record, place)));
            // What is read again begins below what was passed.
            lane.next = None;
        }
    }
}

struct Reading {
    shown: bool,
    ended: bool,
}

impl Lane {
    /// The lowest number held.
    fn first(&self) -> Option<u64> {
        self.held.keys().next().map(|(n, ..)| *n)
    }

    /// Passes a number that can no longer come.
    fn skip_gap(&mut self, source: &str, next: &mut u64, ended: bool) {
        let Some(first) = self.first().filter(|first| first > next && ended) else {
            self.missing = None;
            return;
        };
        if self.missing.get_or_insert_with(Instant::now).elapsed() >= GAP {
            tracing::error!(source, from = *next, to = first - 1, "numbers of the market are missing and are passed");
            *next = first;
            self.missing = None;
        }
    }
}

fn place_of(record: &LogRecord) -> TopicPartition {
    TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition }
}

fn is_of(record: &LogRecord, place: &TopicPartition) -> bool {
    record.partition == place.partition && record.topic == place.topic
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Headers, TopicConfig};

    use super::*;

    const TOPIC: &str = "market-data-updates";

    fn record(partition: u32, n: u64) -> Record {
        Record {
            topic: TOPIC.into(),
            partition: Some(partition),
            key: None,
            value: Some(Bytes::from(n.to_string())),
            headers: Headers::new().with(SEQ, format!("s/{n}")),
            timestamp_ms: None,
        }
    }

    fn log(dir: &std::path::Path) -> Arc<dyn Log> {
        let log = EmbeddedLog::open(dir, EmbeddedConfig::default()).expect("a folder of the test");
        let topic = TopicConfig {
            name: TOPIC.into(),
            partitions: 3,
            retention: None,
            retention_bytes: None,
            delete: true,
            compact: false,
        };
        log.create_topics(&[topic]).expect("a new topic");
        log
    }

    fn numbers(member: &mut dyn Member, count: usize) -> Vec<u64> {
        let limits = PollLimits { max_records: 4, max_bytes: 1 << 20, timeout: Duration::from_millis(20) };
        let mut numbers = Vec::new();
        for _ in 0..200 {
            if let Polled::Records(records) = member.poll(limits).expect("an open log") {
                let text = |record: &LogRecord| String::from_utf8(record.value.clone().expect("a value").to_vec());
                numbers.extend(records.iter().map(|record| text(record).expect("text").parse::<u64>().expect("n")));
            }
            if numbers.len() >= count {
                break;
            }
        }
        numbers
    }

    #[test]
    fn partitions_are_brought_in_the_order_of_the_numbers_however_unequal_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = log(dir.path());
        // Long stretches of one partition, then of another.
        log.append((1..=90).map(|n| record((n as u32 / 10) % 3, n)).collect()).expect("an open log");
        let mut member = Ordered::over(Arc::clone(&log)).join("g", "m", &[TOPIC.into()]).expect("a seat");
        assert_eq!(numbers(member.as_mut(), 90), (1..=90).collect::<Vec<_>>());
    }

    #[test]
    fn a_number_that_is_not_there_yet_is_waited_for_and_positions_stay_below_what_is_held() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = log(dir.path());
        log.append(vec![record(0, 1), record(1, 3), record(1, 4)]).expect("an open log");
        let mut member = Ordered::over(Arc::clone(&log)).join("g", "m", &[TOPIC.into()]).expect("a seat");
        assert_eq!(numbers(member.as_mut(), 1), [1]);
        let limits = PollLimits { max_records: 4, max_bytes: 1 << 20, timeout: Duration::ZERO };
        for _ in 0..5 {
            assert!(
                matches!(member.poll(limits).expect("an open log"), Polled::Records(records) if records.is_empty())
            );
        }
        assert_eq!(member.position(&TopicPartition::new(TOPIC, 1)), Some(0), "3 and 4 were not given");
        log.append(vec![record(2, 2)]).expect("an open log");
        assert_eq!(numbers(member.as_mut(), 3), [2, 3, 4]);
        assert_eq!(member.position(&TopicPartition::new(TOPIC, 1)), Some(2));
    }

    #[test]
    fn a_number_that_stands_twice_is_brought_as_it_was_first_written_and_then_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = log(dir.path());
        let numbers = [1, 2, 4, 1, 2, 4];
        log.append(numbers.map(|n| record(0, n)).to_vec()).expect("an open log");
        let mut member = Ordered::over(Arc::clone(&log)).join("g", "m", &[TOPIC.into()]).expect("a seat");
        let limits = PollLimits { max_records: 10, max_bytes: 1 << 20, timeout: Duration::from_millis(20) };
        let mut given = Vec::new();
        let mut poll = |until: usize| {
            for _ in 0..50 {
                if let Polled::Records(records) = member.poll(limits).expect("an open log") {
                    given.extend(records.iter().map(|record| (record.partition, record.offset)));
                }
                if given.len() >= until {
                    break;
                }
            }
            given.clone()
        };
        let passed = [(0, 0), (0, 3), (0, 1), (0, 4)];
        assert_eq!(poll(4), passed, "both of 4 wait for 3");
        log.append(vec![record(1, 3)]).expect("an open log");
        assert_eq!(poll(7), [&passed[..], &[(1, 0), (0, 2), (0, 5)]].concat());
    }

    #[test]
    fn nothing_of_a_paused_partition_is_given_and_nothing_that_comes_after_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let log = log(dir.path());
        log.append(vec![record(0, 1), record(1, 2), record(0, 3)]).expect("an open log");
        let mut member = Ordered::over(Arc::clone(&log)).join("g", "m", &[TOPIC.into()]).expect("a seat");
        let limits = PollLimits { max_records: 1, max_bytes: 1 << 20, timeout: Duration::from_millis(20) };
        let mut given = 0;
        while given == 0 {
            if let Polled::Records(records) = member.poll(limits).expect("an open log") {
                given += records.len();
            }
        }
        let paused = [TopicPartition::new(TOPIC, 1)];
        member.pause(&paused);
        for _ in 0..5 {
            assert!(
                matches!(member.poll(limits).expect("an open log"), Polled::Records(records) if records.is_empty())
            );
        }
        member.resume(&paused);
        assert_eq!(numbers(member.as_mut(), 2), [2, 3]);
    }
}
