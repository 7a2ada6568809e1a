//! Who is to own which partition: each one evenly many, and as little moved as
//! can be.
//!
//! Not here: when a partition is handed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::TopicPartition;

/// A member, in the order of joining, with what it was to own before.
pub(crate) struct Wish<'a> {
    pub(crate) topics: &'a [Arc<str>],
    pub(crate) target: BTreeSet<TopicPartition>,
}

/// Shares all partitions among the members that want their topic. Whoever has a
/// partition keeps it unless somebody else would else have two fewer.
pub(crate) fn share(partitions: &BTreeMap<Arc<str>, u32>, wishes: &mut [Wish<'_>]) {
    let mut taken: BTreeSet<TopicPartition> = wishes.iter().flat_map(|wish| wish.target.iter().cloned()).collect();
    for (topic, count) in partitions {
        for partition in (0..*count).map(|number| TopicPartition::new(Arc::clone(topic), number)) {
            if taken.contains(&partition) {
                continue;
            }
            if let Some(wish) =
                wishes.iter_mut().filter(|wish| wish.topics.contains(topic)).min_by_key(|wish| wish.target.len())
            {
                wish.target.insert(partition.clone());
                taken.insert(partition);
            }
        }
    }
    while move_one(wishes) {}
}

/// Moves a partition from the member that has most to one with at least two
/// fewer that may have it; false where all is even.
fn move_one(wishes: &mut [Wish<'_>]) -> bool {
    let mut by_size: Vec<usize> = (0..wishes.len()).collect();
    by_size.sort_by_key(|member| wishes[*member].target.len());
    for giver in by_size.iter().rev() {
        for taker in &by_size {
            if wishes[*giver].target.len() < wishes[*taker].target.len() + 2 {
                break;
            }
            let movable =
                wishes[*giver].target.iter().rev().find(|partition| wishes[*taker].topics.contains(&partition.topic));
            if let Some(partition) = movable.cloned() {
                wishes[*giver].target.remove(&partition);
                wishes[*taker].target.insert(partition);
                return true;
            }
        }
    }
    false
}
