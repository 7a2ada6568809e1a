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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(wishes: &[Wish<'_>]) -> Vec<TopicPartition> {
        wishes.iter().flat_map(|wish| wish.target.iter().cloned()).collect()
    }

    proptest! {
        #[test]
        fn all_is_shared_evenly_and_little_moves(counts in prop::collection::vec(1..9_u32, 1..4), members in 1..6_usize) {
            let partitions: BTreeMap<Arc<str>, u32> =
                counts.iter().enumerate().map(|(nth, count)| (Arc::from(format!("t{nth}")), *count)).collect();
            let all = counts.iter().sum::<u32>() as usize;
            let topics: Vec<_> = partitions.keys().cloned().collect();
            let mut wishes: Vec<Wish<'_>> = Vec::new();
            for count in 1..=members {
                let before: Vec<_> = wishes.iter().map(|wish| wish.target.clone()).collect();
                wishes.push(Wish { topics: &topics, target: BTreeSet::new() });
                share(&partitions, &mut wishes);
                let all_owned = owned(&wishes);
                prop_assert_eq!(all_owned.len(), all);
                prop_assert_eq!(all_owned.iter().collect::<BTreeSet<_>>().len(), all);
                let sizes: Vec<_> = wishes.iter().map(|wish| wish.target.len()).collect();
                prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
                prop_assert!(before.iter().zip(&wishes).all(|(was, is)| is.target.is_subset(was)), "{} members", count);
            }
            let leaver = wishes.remove(0);
            let before: Vec<_> = wishes.iter().map(|wish| wish.target.clone()).collect();
            share(&partitions, &mut wishes);
            prop_assert!(before.iter().zip(&wishes).all(|(was, is)| was.is_subset(&is.target)));
            prop_assert_eq!(owned(&wishes).len(), if wishes.is_empty() { 0 } else { all }, "{:?}", leaver.target);
        }
    }

    #[test]
    fn a_member_gets_only_topics_it_asked_for() {
        let partitions = BTreeMap::from([(Arc::from("a"), 4), (Arc::from("b"), 2)]);
        let (both, one): (Vec<Arc<str>>, Vec<Arc<str>>) = (vec!["a".into(), "b".into()], vec!["b".into()]);
        let mut wishes =
            [Wish { topics: &both, target: BTreeSet::new() }, Wish { topics: &one, target: BTreeSet::new() }];
        share(&partitions, &mut wishes);
        assert_eq!([wishes[0].target.len(), wishes[1].target.len()], [4, 2]);
        assert!(wishes[1].target.iter().all(|partition| &*partition.topic == "b"));
    }
}
