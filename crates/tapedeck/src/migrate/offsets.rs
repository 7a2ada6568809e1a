//! Which offset a record has on the target: records are appended in their order
//! to empty partitions, so the n-th that is there gets the offset n.
//!
//! Not here: reading and writing records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tapedeck_contracts::headers::Place;
use tapedeck_log::TopicPartition;

/// Records that follow each other without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// The first record's offset on the source.
    old: u64,
    /// The same on the target.
    new: u64,
    count: u64,
}

/// A partition of the source as it was surveyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    runs: Vec<Run>,
}

impl Part {
    /// Takes the next record over.
    pub(super) fn push(&mut self, old: u64) {
        let new = self.count();
        match self.runs.last_mut() {
            Some(run) if run.old + run.count == old => run.count += 1,
            _ => self.runs.push(Run { old, new, count: 1 }),
        }
    }

    /// How many records there are.
    pub(super) fn count(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.new + run.count)
    }

    /// The new offset of the first record at an old offset or after it; the end
    /// where there is none.
    pub(super) fn next(&self, old: u64) -> u64 {
        let after = self.runs.partition_point(|run| run.old <= old);
        match after.checked_sub(1).map(|at| self.runs[at]) {
            Some(run) if old < run.old + run.count => run.new + (old - run.old),
            Some(run) => run.new + run.count,
            None => 0,
        }
    }

    /// The new offset of a record, where it is there.
    pub(super) fn exact(&self, old: u64) -> Option<u64> {
        let new = self.next(old);
        self.old(new).filter(|found| *found == old).map(|_| new)
    }

    /// The old offset of a record by its new one.
    pub(super) fn old(&self, new: u64) -> Option<u64> {
        let after = self.runs.partition_point(|run| run.new <= new);
        let run = self.runs[after.checked_sub(1)?];
        (new < run.new + run.count).then(|| run.old + (new - run.new))
    }

    /// Whether all offsets stay as they are.
    fn is_same(&self) -> bool {
        self.runs.iter().all(|run| run.old == run.new)
    }
}

/// All partitions, by `topic/partition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offsets(BTreeMap<String, Part>);

impl Offsets {
    pub(super) fn insert(&mut self, place: &TopicPartition, part: Part) {
        self.0.insert(place.to_string(), part);
    }

    pub(super) fn part(&self, place: &TopicPartition) -> Option<&Part> {
        self.0.get(&place.to_string())
    }

    /// The same by topic and partition.
    pub(super) fn part_of(&self, topic: &str, partition: u32) -> Option<&Part> {
        self.0.get(&format!("{topic}/{partition}"))
    }

    /// The new offset of the record at a place, or of the one after it.
    pub(super) fn next(&self, topic: &str, partition: u32, old: u64) -> u64 {
        self.part_of(topic, partition).map_or(old, |part| part.next(old))
    }

    /// Where a place lies now; a place of a record that is gone is that of the
    /// record after it. None where the text is no place.
    pub(super) fn place(&self, text: &str) -> Option<String> {
        let place = Place::parse(text)?;
        let offset = self.next(&place.topic, place.partition, place.offset);
        Some(Place { offset, ..place }.to_string())
    }

    /// Whether all offsets stay as they are.
    pub(super) fn are_same(&self) -> bool {
        self.0.values().all(Part::is_same)
    }

    /// How many records there are in all.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(Part::count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(offsets: impl IntoIterator<Item = u64>) -> Part {
        let mut part = Part::default();
        offsets.into_iter().for_each(|offset| part.push(offset));
        part
    }

    #[test]
    fn a_partition_without_gaps_from_the_start_keeps_its_offsets() {
        let part = part(0..5);
        assert!(part.is_same());
        assert_eq!((part.next(3), part.exact(3), part.next(5), part.next(9)), (3, Some(3), 5, 5));
    }

    #[test]
    fn offsets_close_up_over_what_is_gone() {
        let part = part([10, 11, 14, 20]);
        assert_eq!([9, 10, 11, 12, 14, 15, 20, 21].map(|old| part.next(old)), [0, 0, 1, 2, 2, 3, 3, 4]);
        assert_eq!([9, 11, 12, 20].map(|old| part.exact(old)), [None, Some(1), None, Some(3)]);
        assert_eq!([0, 2, 3, 4].map(|new| part.old(new)), [Some(10), Some(14), Some(20), None]);
        assert_eq!(part.count(), 4);
    }

    #[test]
    fn a_place_in_a_text_is_mapped_and_any_other_text_is_left() {
        let mut offsets = Offsets::default();
        offsets.insert(&TopicPartition::new("a.b", 1), part([7, 8]));
        assert_eq!(offsets.place("a.b/1/8").unwrap(), "a.b/1/1");
        assert_eq!(offsets.place("elsewhere/1/8").unwrap(), "elsewhere/1/8");
        assert_eq!(offsets.place("nothing"), None);
        assert!(!offsets.are_same());
    }
}
