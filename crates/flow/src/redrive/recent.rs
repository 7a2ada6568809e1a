//! Ids seen lately, so that a dead letter that was written twice counts once.
//!
//! Not here: what was sent or purged, which the register knows exactly.

use std::collections::HashSet;

use super::LetterId;

/// Ids of one generation. A dead letter is written twice where its reader ended
/// between writing and settling it, so the two lie within one batch of its reader
/// (8,192 records) of each other, times the groups that read the topic.
const GENERATION: usize = 65_536;

/// Remembers at least the last 65,536 ids, at most twice as many.
#[derive(Debug, Default)]
pub struct Recent {
    now: HashSet<LetterId>,
    before: HashSet<LetterId>,
}

impl Recent {
    /// Whether the id is new; it is remembered.
    pub fn insert(&mut self, id: LetterId) -> bool {
        if self.now.len() == GENERATION {
            self.before = std::mem::take(&mut self.now);
        }
        let known = self.before.contains(&id);
        self.now.insert(id) && !known
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::EventId;

    use super::*;

    fn id(n: usize) -> LetterId {
        EventId::from_place("t", 0, n as u64).0.parse().unwrap()
    }

    #[test]
    fn an_id_counts_once_within_a_generation_and_memory_is_bounded() {
        let mut recent = Recent::default();
        assert!(recent.insert(id(0)));
        assert!(!recent.insert(id(0)));
        (1..GENERATION).for_each(|n| assert!(recent.insert(id(n))));
        assert!(!recent.insert(id(0)), "65,535 others came after it");
        (GENERATION..3 * GENERATION).for_each(|n| assert!(recent.insert(id(n))));
        assert!(recent.now.len() + recent.before.len() <= 2 * GENERATION);
        assert!(recent.insert(id(0)), "too long ago");
    }
}
