//! The ids of the last events of a partition, so that an event that was written
//! twice is handled once.
//!
//! Not here: reading them again after a restart (`runtime`), and the tables that
//! are unique by event id for ever (`store`).

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
};

use hashbrown::HashTable;

/// Fingerprints of the event ids of the last so many records of a partition.
///
/// A record counts also when it was a duplicate, so that a window that lived on
/// and one that was read again from the log hold the same. The memory grows with
/// what is seen, to about 40 bytes an id.
#[derive(Debug)]
pub struct Window {
    /// The ids of the last records, oldest first.
    ids: VecDeque<u128>,
    /// The number of the oldest of them, counted from the first ever.
    first: u64,
    /// The number of each id's newest record, found by the id: numbers alone, so
    /// that a full window's table stays within a processor's cache.
    newest: HashTable<u64>,
    keys: Keys,
    /// How many records are remembered.
    capacity: usize,
}

impl Window {
    /// An empty window over the last `capacity` records.
    pub fn new(capacity: usize) -> Self {
        Self { ids: VecDeque::new(), first: 0, newest: HashTable::new(), keys: Keys::random(), capacity }
    }

    /// Remembers the id of the next record, and says whether it was new.
    pub fn insert(&mut self, id: u128) -> bool {
        if self.capacity == 0 {
            return true;
        }
        if self.ids.len() == self.capacity {
            self.forget_oldest();
        }
        let number = self.first + self.ids.len() as u64;
        self.ids.push_back(id);
        let Self { ids, first, newest, keys, .. } = self;
        let id_of = |number: u64| ids[(number - *first) as usize];
        match newest.find_mut(keys.hash(id), |number| id_of(*number) == id) {
            Some(known) => {
                *known = number;
                false
            }
            None => {
                newest.insert_unique(keys.hash(id), number, |number| keys.hash(id_of(*number)));
                true
            }
        }
    }

    /// How many records are remembered.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.ids.pop_front() else { return };
        // A newer record with the same id keeps it.
        if let Ok(entry) = self.newest.find_entry(self.keys.hash(oldest), |number| *number == self.first) {
            entry.remove();
        }
        self.first += 1;
    }
}

/// Hashes fingerprints by one wide multiplication with two random numbers: they
/// are well mixed already, and who chooses ids cannot choose where they fall.
#[derive(Clone, Copy, Debug)]
struct Keys(u64, u64);

impl Keys {
    fn random() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0_u8), random.hash_one(1_u8))
    }

    fn hash(self, id: u128) -> u64 {
        let (high, low) = ((id >> 64) as u64 ^ self.0, id as u64 ^ self.1);
        let product = u128::from(high) * u128::from(low);
        (product >> 64) as u64 ^ product as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_window_agrees_with_a_search_through_the_last_records(
            ids in prop::collection::vec(0_u128..12, 0..200),
            capacity in 1_usize..20,
        ) {
            let mut window = Window::new(capacity);
            for (at, id) in ids.iter().enumerate() {
                // The oldest makes room first: the new record is one of the last `capacity`.
                let before = &ids[(at + 1).saturating_sub(capacity)..at];
                prop_assert_eq!(window.insert(*id), !before.contains(id));
                prop_assert!(window.len() <= capacity);
                let last = &ids[(at + 1).saturating_sub(capacity)..=at];
                let distinct: BTreeSet<u128> = last.iter().copied().collect();
                prop_assert_eq!(window.newest.len(), distinct.len());
            }
        }

        #[test]
        fn a_window_read_again_answers_as_the_one_that_lived_on(
            ids in prop::collection::vec(0_u128..12, 0..100),
            more in prop::collection::vec(0_u128..12, 0..100),
            capacity in 1_usize..20,
        ) {
            let mut lived = Window::new(capacity);
            ids.iter().for_each(|id| { lived.insert(*id); });
            let mut again = Window::new(capacity);
            ids.iter().skip(ids.len().saturating_sub(capacity)).for_each(|id| { again.insert(*id); });
            for id in more {
                prop_assert_eq!(lived.insert(id), again.insert(id));
            }
        }
    }

    #[test]
    fn without_a_window_everything_is_new() {
        let mut window = Window::new(0);
        assert!(window.insert(1));
        assert!(window.insert(1));
        assert!(window.is_empty());
    }
}
