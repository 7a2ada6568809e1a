//! When a replay is over: the source is done, every role's position has reached
//! the ends of what it reads, and the ends stay where they are.
//!
//! Not here: what came of it.

use std::{sync::Arc, time::Duration};

use tapedeck_contracts::catalogue::{Catalogue, group_of, state_topic};
use tapedeck_log::{Log, TopicPartition};
use tapedeck_roles::{forensics, forward_test, inference, market, recorder};

use crate::{cli::Role, config::Config, deck::Deck, exit};

/// How often it looks: far below the time that a person notices. A look at ends
/// that move costs next to nothing.
const EVERY: Duration = Duration::from_millis(5);

/// Waits until everything has settled; returns the number of market events. The config
/// says who reads and makes decisions.
///
/// # Errors
/// A role cannot go on; somebody asked to stop.
pub(crate) fn wait(deck: &Deck, config: &Config, source: &str, seen: &mut dyn FnMut(&Deck)) -> anyhow::Result<u64> {
    let states = [state_topic(market::ROLE), state_topic(forward_test::shell::ROLE)];
    let states = states.each_ref().map(String::as_str);
    let mut before = None;
    // Asked once for the states as they stand: reading them is the only dear part.
    let mut last = None;
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
        let found = (ends(&*deck.log, &read_topics())?, ends(&*deck.log, &states)?);
        if before.as_ref() != Some(&found) {
            // While ends move nothing has settled.
            (before, last) = (Some(found), None);
            continue;
        }
        let asked = match last {
            Some(answer) => answer,
            None => *last.insert(done(deck, source)?),
        };
        let Some(done) = asked else { continue };
        // Positions move only after outputs are durable: ends that were reached
        // and did not move since have nobody's work behind them.
        if reached(deck, config, &found.0)? && ends(&*deck.log, &read_topics())? == found.0 {
            return Ok(done);
        }
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

/// Start and end of every partition of these topics.
fn ends(log: &dyn Log, topics: &[&str]) -> anyhow::Result<Ends> {
    let mut ends = Vec::new();
    for &name in topics {
        let partitions = Catalogue::get().topic(name).map_or(1, |topic| topic.partitions);
        for partition in 0..partitions {
            let place = TopicPartition::new(name, partition);
            let (start, end) = log.bounds(&place)?;
            ends.push((place, start, end));
        }
    }
    Ok(ends)
}

const MARKET: [&str; 1] = ["market-data-updates"];
const BROKER: [&str; 3] = ["market-data-updates", "strategy-signals", "risk-commands"];
const DECISIONS: [&str; 1] = ["trading_decisions"];

fn read_topics() -> Vec<&'static str> {
    let mut topics: Vec<&str> =
        MARKET.iter().chain(&BROKER).chain(&DECISIONS).chain(&recorder::TOPICS).copied().collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

fn reached(deck: &Deck, config: &Config, ends: &Ends) -> anyhow::Result<bool> {
    let behind = |group: &str, topics: &[&str]| -> anyhow::Result<bool> {
        let committed = deck.log.committed(&group_of(group))?;
        let next = |place: &TopicPartition| committed.iter().find(|o| o.partition == *place).map(|o| o.next);
        Ok(ends
            .iter()
            .filter(|(place, start, end)| topics.contains(&&*place.topic) && start < end)
            .any(|(place, _, end)| next(place).is_none_or(|next| next < *end)))
    };
    if behind("strategy", &MARKET)?
        || (config.decides() && behind(inference::shell::ROLE, &MARKET)?)
        || behind("forward-test", &BROKER)?
        || (config.trades_decisions() && behind("forward-test", &DECISIONS)?)
    {
        return Ok(false);
    }
    Ok(stored(deck, recorder::ROLE, &recorder::TOPICS, ends)?
        && (!config.decides() || stored(deck, forensics::ROLE, &DECISIONS, ends)?))
}

/// Whether a role that writes the store has written everything.
fn stored(deck: &Deck, role: &str, topics: &[&str], ends: &Ends) -> anyhow::Result<bool> {
    let kept: Vec<_> =
        ends.iter().filter(|(place, start, end)| topics.contains(&&*place.topic) && start < end).collect();
    let places: Vec<_> = kept.iter().map(|(place, ..)| (Arc::clone(&place.topic), place.partition)).collect();
    let positions = deck.store.resume(&group_of(role), &places)?;
    // Past what holds no records (the marks of transactions) only the group's copy moves.
    let published = deck.log.committed(&group_of(role))?;
    let past = |place: &TopicPartition, end| published.iter().any(|o| o.partition == *place && o.next >= end);
    let mut kept = kept.iter().zip(positions);
    Ok(kept.all(|((place, _, end), at)| at.next.is_some_and(|next| next >= *end) || past(place, *end)))
}
