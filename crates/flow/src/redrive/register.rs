//! What became of dead letters: read from `tapedeck.dlq.state` as it grows, and
//! kept in memory, 64 bytes each.
//!
//! Its size is bounded by retention: what is kept is about dead letters that still
//! lie in their topics (14 days); [`Register::outlived`] names the others.
//!
//! Not here: writing to it, which goes with the sending (`run`).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Timestamp,
    catalogue::{DLQ_STATE, origin_of_dlq},
    headers::Place,
};
use tapedeck_log::{Log, PollLimits, Record, TopicInfo, TopicPartition};

use super::LetterId;
use crate::{Failure, state};

/// Large, since what is asked waits for it.
const READ: PollLimits = PollLimits { max_records: 10_000, max_bytes: 8 << 20, timeout: Duration::from_millis(100) };

/// What became of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its record was sent again to the group that failed.
    Redriven,
    /// A person decided that it needs nothing.
    Purged,
}

impl Status {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redriven => "redriven",
            Self::Purged => "purged",
        }
    }
}

/// What became of a dead letter, as its record in the topic says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What.
    pub status: Status,
    /// For the how-manieth time its record was sent; as it was, where purged.
    pub n: u32,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The topic of the record.
    pub topic: String,
    /// The group that failed.
    pub group: String,
    /// Where in its dead letter topic it lies; in several places where it was
    /// written again after a crash or by a group that was moved back.
    pub places: Vec<String>,
}

/// What became of a dead letter, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What.
    pub status: Status,
    /// For the how-manieth time.
    pub n: u32,
    /// When.
    pub at: Timestamp,
    /// Where its [`Entry`] lies.
    entry: u64,
    spot: Spot,
    /// Further places; hardly ever.
    more: Box<[Spot]>,
}

/// A place by the number of its partition here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    part: u32,
    offset: u64,
}

/// What became of all dead letters that are not open.
#[derive(Debug)]
pub struct Register {
    place: TopicPartition,
    next: u64,
    parts: Vec<TopicPartition>,
    closed: HashMap<LetterId, Closed>,
}

impl Default for Register {
    fn default() -> Self {
        Self { place: TopicPartition::new(DLQ_STATE, 0), next: 0, parts: Vec::new(), closed: HashMap::new() }
    }
}

impl Register {
    /// Reads what was written since the last time.
    ///
    /// # Errors
    /// Those of the log; fatal for a record that is none of ours.
    pub fn refresh(&mut self, log: &dyn Log) -> Result<(), Failure> {
        let (start, end) = log.bounds(&self.place)?;
        if self.next > end {
            *self = Self::default();
        }
        self.next = self.next.max(start);
        if self.next == end {
            return Ok(());
        }
        let mut reader = log.reader()?;
        reader.assign(&[(self.place.clone(), self.next)])?;
        while reader.position(&self.place).is_some_and(|next| next < end) {
            for record in reader.poll(READ)? {
                self.take(record.key.as_deref().unwrap_or_default(), record.value.as_deref(), record.offset)?;
            }
            self.next = reader.position(&self.place).unwrap_or(self.next);
        }
        Ok(())
    }

    /// What became of a dead letter; none while it is open.
    pub fn get(&self, id: LetterId) -> Option<&Closed> {
        self.closed.get(&id)
    }

    /// How many are not open.
    pub fn len(&self) -> usize {
        self.closed.len()
    }

    /// Whether all are open.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }

    /// Whether a place is known as one where the dead letter lies.
    pub fn knows(&self, closed: &Closed, place: &Place) -> bool {
        closed.spots().any(|spot| self.is_at(spot, place))
    }

    /// What became of a dead letter, in full.
    ///
    /// # Errors
    /// Those of the log.
    pub fn entry(&self, log: &dyn Log, id: LetterId) -> Result<Option<Entry>, Failure> {
        let Some(closed) = self.closed.get(&id) else { return Ok(None) };
        let place = Place { topic: DLQ_STATE.into(), partition: 0, offset: closed.entry };
        let record = super::scan::record_at(log, &place)?;
        let value = record.filter(|record| record.key.as_deref() == Some(id.to_string().as_bytes()));
        Ok(value.and_then(|record| serde_json::from_slice(record.value.as_deref()?).ok()))
    }

    /// Dead letters whose topic does not hold them any more, `most` of them.
    pub fn outlived(&self, topics: &[TopicInfo], most: usize) -> Vec<LetterId> {
        let starts = self.starts(topics);
        let gone = |spot: Spot| starts[spot.part as usize].is_none_or(|start| spot.offset < start);
        self.closed.iter().filter(|(_, closed)| closed.spots().all(gone)).map(|(id, _)| *id).take(most).collect()
    }

    /// How many dead letters lie open, by the topic of their records: what the
    /// topics hold without what is known as redriven or purged. One that was
    /// written twice counts twice until then.
    pub fn depth(&self, topics: &[TopicInfo]) -> BTreeMap<String, u64> {
        let mut depth: BTreeMap<String, u64> = BTreeMap::new();
        for info in topics {
            if let Some(topic) = origin_of_dlq(&info.config.name) {
                let held: u64 = info.partitions.iter().map(|part| part.end - part.start).sum();
                depth.insert(topic.to_owned(), held);
            }
        }
        let starts = self.starts(topics);
        let mut held = vec![0_u64; self.parts.len()];
        for spot in self.closed.values().flat_map(Closed::spots) {
            if starts[spot.part as usize].is_some_and(|start| spot.offset >= start) {
                held[spot.part as usize] += 1;
            }
        }
        for (part, held) in self.parts.iter().zip(held) {
            if let Some(open) = origin_of_dlq(&part.topic).and_then(|topic| depth.get_mut(topic)) {
                *open = open.saturating_sub(held);
            }
        }
        depth
    }

    /// The start of each known partition; none where it is not there any more.
    fn starts(&self, topics: &[TopicInfo]) -> Vec<Option<u64>> {
        let start = |place: &TopicPartition| {
            let info = topics.iter().find(|info| info.config.name == place.topic)?;
            info.partitions.iter().find(|part| part.partition == place.partition).map(|part| part.start)
        };
        self.parts.iter().map(start).collect()
    }

    fn take(&mut self, key: &[u8], value: Option<&[u8]>, offset: u64) -> Result<(), Failure> {
        let wrong = |what: String| {
            Failure::Fatal(format!("{DLQ_STATE}/0/{offset} cannot be read ({what}): only tapedeck may write there"))
        };
        let id = std::str::from_utf8(key).map_err(|error| wrong(error.to_string()))?.parse().map_err(wrong)?;
        let Some(value) = value else {
            self.closed.remove(&id);
            return Ok(());
        };
        let entry: Entry = serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
        let spots: Option<Vec<Spot>> = entry.places.iter().map(|place| self.spot(place)).collect();
        let spots = spots.ok_or_else(|| wrong("a place".into()))?;
        let (first, more) = spots.split_first().ok_or_else(|| wrong("no place".into()))?;
        let more = more.into();
        let Entry { status, n, at, .. } = entry;
        self.closed.insert(id, Closed { status, n, at, entry: offset, spot: *first, more });
        Ok(())
    }

    fn spot(&mut self, text: &str) -> Option<Spot> {
        let place = Place::parse(text)?;
        let known = self.parts.iter().position(|part| *part.topic == *place.topic && part.partition == place.partition);
        let part = known.unwrap_or_else(|| {
            self.parts.push(TopicPartition::new(place.topic.as_str(), place.partition));
            self.parts.len() - 1
        });
        Some(Spot { part: u32::try_from(part).ok()?, offset: place.offset })
    }

    fn is_at(&self, spot: Spot, place: &Place) -> bool {
        let part = &self.parts[spot.part as usize];
        spot.offset == place.offset && *part.topic == *place.topic && part.partition == place.partition
    }
}

impl Closed {
    fn spots(&self) -> impl Iterator<Item = Spot> {
        std::iter::once(self.spot).chain(self.more.iter().copied())
    }
}

/// The record that says what became of a dead letter; none says that it is
/// forgotten.
pub(super) fn record(id: LetterId, entry: Option<&Entry>) -> Record {
    let value = entry.map(|entry| serde_json::to_vec(entry).expect("an entry is text and numbers"));
    state::record(&Arc::from(DLQ_STATE), 0, &id.to_string(), value)
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::EventId;
    use tapedeck_log::{PartitionInfo, TopicConfig};

    use super::*;

    fn topic(start: u64, end: u64) -> TopicInfo {
        let config = TopicConfig {
            name: "alerts.v1.dlq".into(),
            partitions: 1,
            retention: None,
            retention_bytes: None,
            delete: true,
            compact: false,
        };
        TopicInfo { config, partitions: vec![PartitionInfo { partition: 0, start, end, bytes: 0 }], replication: None }
    }

    fn id(n: u64) -> LetterId {
        EventId::from_place("alerts.v1", 0, n).0.parse().unwrap()
    }

    fn register(places: &[&[u64]]) -> Register {
        let mut register = Register::default();
        for (n, places) in (0_u64..).zip(places) {
            let entry = Entry {
                status: Status::Redriven,
                n: 1,
                at: Timestamp::from_millis(0),
                actor: "local".into(),
                reason: String::new(),
                topic: "alerts.v1".into(),
                group: "tapedeck.recorder".into(),
                places: places.iter().map(|offset| format!("alerts.v1.dlq/0/{offset}")).collect(),
            };
            let record = record(id(n), Some(&entry));
            register.take(&record.key.unwrap(), record.value.as_deref(), n).unwrap();
        }
        register
    }

    #[test]
    fn what_retention_took_is_forgotten_once_none_of_its_places_is_left() {
        let mut register = register(&[&[3], &[4, 9], &[5]]);
        assert_eq!(register.outlived(&[topic(0, 10)], 10), []);
        assert_eq!(register.outlived(&[topic(5, 10)], 10), [id(0)]);
        let mut gone = register.outlived(&[topic(10, 10)], 10);
        gone.sort();
        let mut all = vec![id(0), id(1), id(2)];
        all.sort();
        assert_eq!(gone, all);
        assert_eq!(register.outlived(&[topic(10, 10)], 2).len(), 2);
        assert_eq!(register.outlived(&[], 10).len(), 3, "the topic is not there any more");
        register.take(id(0).to_string().as_bytes(), None, 3).unwrap();
        assert!(register.get(id(0)).is_none() && register.len() == 2);
    }

    #[test]
    fn the_depth_is_what_the_topic_holds_without_what_is_done_with() {
        let register = register(&[&[3], &[4, 9], &[5]]);
        let depth = |start, end| register.depth(&[topic(start, end)])["alerts.v1"];
        assert_eq!((depth(0, 10), depth(4, 12), depth(10, 10)), (6, 5, 0));
    }

    #[test]
    fn a_record_that_is_none_of_ours_is_fatal_and_named() {
        let mut register = Register::default();
        let failure = register.take(b"17", Some(b"{}"), 8).unwrap_err();
        assert!(matches!(&failure, Failure::Fatal(why) if why.contains("tapedeck.dlq.state/0/8")), "{failure}");
    }
}
