//! What was read of one partition and waits to be applied: records are applied
//! out of order, the position is the lowest that is not.
//!
//! Not here: the order in which they are applied.

use std::collections::{BTreeSet, VecDeque};

use tapedeck_flow::{Delivery, budget::bytes_of};

/// A record that was read and is not applied yet.
#[derive(Debug)]
pub(super) struct Held {
    /// The event.
    pub(super) delivery: Delivery,
    /// When it was written or read, whichever was later, ms since the epoch.
    pub(super) seen_ms: i64,
    /// How many surveys had begun when it was read.
    pub(super) surveys: u64,
}

#[derive(Debug)]
struct Slot {
    offset: u64,
    /// None once it is applied.
    held: Option<Held>,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The index of the first slot; a slot keeps its index while others go.
    first: u64,
    slots: VecDeque<Slot>,
    /// Of the records that wait, as they lie in the log.
    bytes: usize,
    /// The offset that is read next.
    read_to: u64,
    /// Offsets that an earlier run applied and that were not read again yet.
    ahead: BTreeSet<u64>,
}

impl Lane {
    /// A partition of which everything below `next`, and the offsets `ahead`,
    /// are applied.
    pub(super) fn starting_at(next: u64, ahead: &[u64]) -> Self {
        Self { read_to: next, ahead: ahead.iter().copied().collect(), ..Self::default() }
    }

    /// Whether an earlier run applied this record. It then counts as read.
    pub(super) fn known(&mut self, offset: u64) -> bool {
        let known = self.ahead.remove(&offset);
        if known {
            self.settled(offset);
        }
        known
    }

    /// A record was read and is done with: it counts as applied.
    pub(super) fn settled(&mut self, offset: u64) {
        self.passed(offset);
        if !self.slots.is_empty() {
            self.slots.push_back(Slot { offset, held: None });
        }
    }

    /// A record was read that needs no applying.
    pub(super) fn passed(&mut self, offset: u64) {
        self.read_to = self.read_to.max(offset + 1);
    }

    /// Keeps a record until it is taken; gives its index.
    pub(super) fn push(&mut self, held: Held) -> u64 {
        let offset = held.delivery.record.offset;
        self.passed(offset);
        self.bytes += bytes_of(&held.delivery.record);
        self.slots.push_back(Slot { offset, held: Some(held) });
        self.first + self.slots.len() as u64 - 1
    }

    /// A record that waits.
    pub(super) fn get(&self, index: u64) -> &Held {
        let slot = &self.slots[usize::try_from(index - self.first).expect("a lane is shorter than the memory")];
        slot.held.as_ref().expect("an index is kept only while its record waits")
    }

    /// Takes a record that waits: it counts as applied from now on.
    pub(super) fn take(&mut self, index: u64) -> Held {
        let at = usize::try_from(index - self.first).expect("a lane is shorter than the memory");
        let held = self.slots[at].held.take().expect("an index is kept only while its record waits");
        self.bytes -= bytes_of(&held.delivery.record);
        while self.slots.front().is_some_and(|slot| slot.held.is_none()) {
            self.slots.pop_front();
            self.first += 1;
        }
        held
    }

    /// The reader stands at this offset: what lies below was read or is nothing.
    pub(super) fn read_up_to(&mut self, position: u64) {
        self.read_to = self.read_to.max(position);
    }

    /// The offset that is read next.
    pub(super) fn read_to(&self) -> u64 {
        self.read_to
    }

    /// The lowest offset that is not applied.
    pub(super) fn position(&self) -> u64 {
        self.slots.front().map_or(self.read_to, |slot| slot.offset)
    }

    /// The offsets above the position that are applied.
    pub(super) fn ahead(&self) -> Vec<u64> {
        let applied = self.slots.iter().filter(|slot| slot.held.is_none()).map(|slot| slot.offset);
        // What was not read again yet lies above everything that was.
        applied.chain(self.ahead.iter().copied()).collect()
    }

    /// The first record that waits, and its index.
    pub(super) fn front(&self) -> Option<(u64, &Held)> {
        let held = self.slots.front()?.held.as_ref().expect("an applied front is dropped at once");
        Some((self.first, held))
    }

    /// Whether the record at this offset was read and is not waiting (any more).
    pub(super) fn is_past(&self, offset: u64) -> bool {
        offset < self.read_to
            && match self.slots.binary_search_by_key(&offset, |slot| slot.offset) {
                Ok(at) => self.slots[at].held.is_none(),
                Err(_) => true,
            }
    }

    /// Bytes of the records that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many records are in memory.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
