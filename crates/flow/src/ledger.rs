//! The in-flight ledger of one partition: what was delivered and is not settled
//! yet. Deliveries settle in any order; a group can be told one number, and the
//! ledger knows it.
//!
//! Not here: clocks, partitions, and when to commit.

use std::collections::VecDeque;

/// What is in flight of one partition.
///
/// It counts deliveries: offsets have gaps (markers, compaction), so the number
/// after a settled offset is never taken for the next one. Beyond the last
/// delivery only the reader's position says where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// From the first delivery that is not settled on, in offset order.
    flights: VecDeque<Flight>,
    /// How many of them are not settled.
    open: usize,
    /// The newest delivery.
    newest: Option<u64>,
    /// The reader's position: all below was delivered, or is no record.
    position: u64,
    /// All below is settled; never moves back.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    offset: u64,
    settled: bool,
}

impl Ledger {
    /// A ledger of a partition that is read from `position`, all below being
    /// settled.
    pub fn starting_at(position: u64) -> Self {
        Self { flights: VecDeque::new(), open: 0, newest: None, position, next: position }
    }

    /// Whether a record is one to be delivered, and not one that was.
    pub fn is_new(&self, offset: u64) -> bool {
        offset >= self.position && self.newest.is_none_or(|newest| offset > newest)
    }

    /// Takes note of a delivery. Says whether it is one: an offset at or below
    /// one that was delivered, or below the start, is none and is left out.
    #[must_use = "a record that was delivered before is not handled again"]
    pub fn deliver(&mut self, offset: u64) -> bool {
        if !self.is_new(offset) {
            return false;
        }
        self.flights.push_back(Flight { offset, settled: false });
        self.open += 1;
        self.newest = Some(offset);
        true
    }

    /// Settles a delivery; says whether it was in flight.
    pub fn settle(&mut self, offset: u64) -> bool {
        // Nearly always it is the first one.
        let found = match self.flights.front() {
            Some(first) if first.offset == offset => Ok(0),
            _ => self.flights.binary_search_by_key(&offset, |flight| flight.offset),
        };
        let Some(flight) = found.ok().and_then(|at| self.flights.get_mut(at)).filter(|flight| !flight.settled) else {
            return false;
        };
        flight.settled = true;
        self.open -= 1;
        while self.flights.front().is_some_and(|first| first.settled) {
            self.flights.pop_front();
        }
        self.advance();
        true
    }

    /// The reader's position: all below it was delivered, or holds no records.
    pub fn pass(&mut self, position: u64) {
        self.position = self.position.max(position);
        self.advance();
    }

    /// The offset to commit: nothing below it is in flight. After a restart the
    /// next record is taken from there.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Settled offsets beyond [`Ledger::next`], in order.
    pub fn ahead(&self) -> impl Iterator<Item = u64> {
        self.flights.iter().filter(|flight| flight.settled).map(|flight| flight.offset)
    }

    /// The reader's position, as last told.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many deliveries are not settled.
    pub fn in_flight(&self) -> usize {
        self.open
    }

    fn advance(&mut self) {
        self.next = self.flights.front().map_or(self.position, |first| first.offset).max(self.next);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// The same, written for reading: every delivery with its state, for ever.
    struct Model {
        flights: BTreeMap<u64, bool>,
        position: u64,
    }

    impl Model {
        fn next(&self) -> u64 {
            self.flights.iter().find(|(_, settled)| !**settled).map_or(self.position, |(offset, _)| *offset)
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        /// Records with these gaps between them, then a position so far beyond the last.
        Poll(Vec<u64>, u64),
        /// Settles one of those in flight.
        Settle(prop::sample::Index),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (prop::collection::vec(1_u64..5, 0..6), 1_u64..4).prop_map(|(gaps, beyond)| Act::Poll(gaps, beyond)),
            any::<prop::sample::Index>().prop_map(Act::Settle),
            any::<prop::sample::Index>().prop_map(Act::Settle),
        ]
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_list_of_all_deliveries(acts in prop::collection::vec(act(), 0..80)) {
            let mut ledger = Ledger::starting_at(7);
            let mut model = Model { flights: BTreeMap::new(), position: 7 };
            for act in acts {
                match act {
                    Act::Poll(gaps, beyond) => {
                        let mut offset = model.position;
                        for gap in gaps {
                            prop_assert!(ledger.deliver(offset));
                            prop_assert!(!ledger.deliver(offset), "the same offset is no second delivery");
                            model.flights.insert(offset, false);
                            offset += gap;
                        }
                        model.position = offset + beyond;
                        ledger.pass(model.position);
                    }
                    Act::Settle(which) => {
                        let open: Vec<u64> = model.flights.iter().filter(|(_, s)| !**s).map(|(o, _)| *o).collect();
                        if open.is_empty() {
                            prop_assert!(!ledger.settle(model.position));
                            continue;
                        }
                        let offset = *which.get(&open);
                        prop_assert!(ledger.settle(offset));
                        prop_assert!(!ledger.settle(offset), "nothing settles twice");
                        model.flights.insert(offset, true);
                    }
                }
                let next = model.next();
                let ahead: BTreeSet<u64> =
                    model.flights.iter().filter(|(o, s)| **s && **o >= next).map(|(o, _)| *o).collect();
                prop_assert_eq!(ledger.next(), next);
                prop_assert_eq!(ledger.ahead().collect::<BTreeSet<_>>(), ahead);
                prop_assert_eq!(ledger.in_flight(), model.flights.values().filter(|s| !**s).count());
            }
        }
    }

    #[test]
    fn markers_that_went_by_move_the_offset_too() {
        let mut ledger = Ledger::starting_at(3);
        ledger.pass(9);
        assert_eq!(ledger.next(), 9);
    }

    #[test]
    fn a_settled_offset_alone_does_not_say_where_to_go_on() {
        let mut ledger = Ledger::starting_at(3);
        assert!(ledger.deliver(5));
        assert!(ledger.settle(5));
        assert_eq!(ledger.next(), 3, "only the reader's position says what follows offset 5");
        ledger.pass(11);
        assert_eq!(ledger.next(), 11);
    }

    #[test]
    fn a_record_below_the_position_is_not_delivered_again() {
        let mut ledger = Ledger::starting_at(3);
        ledger.pass(9);
        assert!(!ledger.deliver(8));
        assert_eq!(ledger.in_flight(), 0);
    }
}
