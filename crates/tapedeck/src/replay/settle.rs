//! When a replay is over: the source is done, every role's position has reached
//! the ends of what it reads, and the ends stay where they are.
//!
//! Not here: what came of it.

use std::{sync::Arc, time::Duration};

use tapedeck_contracts::catalogue::{Catalogue, group_of};
use tapedeck_log::{Log, TopicPartition};
use tapedeck_roles::{forward_test, market, recorder};

use crate::{cli::Role, deck::Deck, exit};

/// How often positions are compared: far below the time that a person notices.
const EVERY: Duration = Duration::from_millis(20);

/// Waits until everything has settled; returns the number of market events.
///
/// # Errors
/// A role cannot go on; somebody asked to stop.
pub(crate) fn wait(deck: &Deck, source: &str, seen: &mut dyn FnMut(&Deck)) -> anyhow::Result<u64> {
    let mut before = None;
    loop {
        let stopped = deck.stop.wait(EVERY);
        match deck.trouble() {
            // What stops the market is what stands in the file.
            Some((Role::Market, why)) => return Err(exit::input(why)),
            Some((role, why)) => anyhow::bail!("{} cannot go on: {why}", role.name()),
            None if stopped => return Err(exit::Coded::interrupted().into()),
            None => {}
        }
        seen(deck);
        let Some(done) = done(deck, source)? else { continue };
        // Positions move only after outputs are durable: ends that were reached
        // and did not move since have nobody's work behind them.
        let ends = ends(&*deck.log)?;
        if reached(deck, &ends)? && before.as_ref() == Some(&ends) {
            return Ok(done);
        }
        before = Some(ends);
    }
}

type Ends = Vec<(TopicPartition, u64, u64)>;

/// The number of the source's last event, once it was sent and applied.
fn done(deck: &Deck, source: &str) -> anyhow::Result<Option<u64>> {
    let done = market::load_states(&*deck.log)?.get(source).and_then(|state| state.done);
    // The broker has applied the last event, and that it was the last.
    let ended = forward_test::shell::source_ended(&*deck.log, source)?;
    Ok(done.filter(|last| ended == Some(*last)))
}

/// Start and end of every partition that a replaying role reads.
fn ends(log: &dyn Log) -> anyhow::Result<Ends> {
    let mut ends = Vec::new();
    for name in read_topics() {
        let partitions = Catalogue::get().topic(name).map_or(1, |topic| topic.partitions);
        for partition in 0..partitions {
            let place = TopicPartition::new(name, partition);
            let (start, end) = log.bounds(&place)?;
            ends.push((place, start, end));
        }
    }
    Ok(ends)
}

const STRATEGY: [&str; 1] = ["market-data-updates"];
const BROKER: [&str; 3] = ["market-data-updates", "strategy-signals", "risk-commands"];

fn read_topics() -> Vec<&'static str> {
    let mut topics: Vec<&str> = STRATEGY.iter().chain(&BROKER).chain(&recorder::TOPICS).copied().collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

fn reached(deck: &Deck, ends: &Ends) -> anyhow::Result<bool> {
    let behind = |group: &str, topics: &[&str]| -> anyhow::Result<bool> {
        let committed = deck.log.committed(&group_of(group))?;
        let next = |place: &TopicPartition| committed.iter().find(|o| o.partition == *place).map(|o| o.next);
        Ok(ends
            .iter()
            .filter(|(place, start, end)| topics.contains(&&*place.topic) && start < end)
            .any(|(place, _, end)| next(place).is_none_or(|next| next < *end)))
    };
    if behind("strategy", &STRATEGY)? || behind("forward-test", &BROKER)? {
        return Ok(false);
    }
    let kept: Vec<_> =
        ends.iter().filter(|(place, start, end)| recorder::TOPICS.contains(&&*place.topic) && start < end).collect();
    let places: Vec<_> = kept.iter().map(|(place, ..)| (Arc::clone(&place.topic), place.partition)).collect();
    let positions = deck.store.resume(&group_of("recorder"), &places)?;
    Ok(kept.iter().zip(positions).all(|((.., end), at)| at.next.is_some_and(|next| next >= *end)))
}
