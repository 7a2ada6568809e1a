//! Where the position is kept that a group goes on from, and how a group without
//! members is taken for a moment, so that nobody reads while it is moved.
//!
//! Not here: where to move it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::http::StatusCode;
use tapedeck_contracts::catalogue::{Catalogue, state_topic};
use tapedeck_flow::record_hash::record_hash;
use tapedeck_log::{GroupOffset, Log, LogRecord, Member, PollLimits, Polled, TopicPartition};
use tapedeck_store::{Batch, OffsetMove, Resume, Store};

use crate::{app::now, problem::Problem};

/// The one group whose position lies in the store.
pub(crate) const RECORDER: &str = "tapedeck.recorder";
/// The group of the paper broker, whose state is one for all that it reads.
pub(crate) const FORWARD_TEST: &str = "tapedeck.forward-test";
/// The group of the role that numbers the market's events.
pub(crate) const MARKET: &str = "tapedeck.market";
/// Who moves groups, among their members.
const MEMBER: &str = "admin";
/// How often, and how long each time, it is waited for the partitions of a group
/// without members; they are there at once unless a role starts meanwhile.
const TRIES: (usize, Duration) = (20, Duration::from_millis(100));

/// Where a group's position is kept; the committed offset follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// Nowhere else: the committed offset is the position.
    Group,
    /// In the store, beside the rows.
    Store,
    /// In this topic, beside the role's state.
    State(Arc<str>),
}

impl Keeper {
    /// The keeper of a group's position.
    pub(crate) fn of(group: &str) -> Self {
        let topic = group.strip_prefix("tapedeck.").map(state_topic);
        match topic.filter(|topic| Catalogue::get().topic(topic).is_some()) {
            _ if group == RECORDER => Self::Store,
            Some(topic) => Self::State(topic.into()),
            None => Self::Group,
        }
    }
}

pub(crate) fn conflict(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail.into())
}

/// Refuses a group that somebody reads for.
pub(crate) fn refuse_members(log: &dyn Log, group: &str) -> Result<(), Problem> {
    let has_members = log.groups()?.iter().any(|info| info.group == group && !info.members.is_empty());
    if has_members {
        return Err(conflict(format!(
            "group `{group}` has members: stop the process that runs the role, then give the command on its data folder"
        )));
    }
    Ok(())
}

/// Refuses a place that is not in the log.
pub(crate) fn partitions_of(log: &dyn Log, topic: &str) -> Result<Vec<TopicPartition>, Problem> {
    let info = log.topics()?.into_iter().find(|info| *info.config.name == *topic);
    let info = info.ok_or_else(|| Problem::not_found(format!("there is no topic `{topic}`")))?;
    Ok((0..info.config.partitions).map(|partition| TopicPartition::new(topic, partition)).collect())
}

/// Takes all of these topics as the only member of the group. Who joins now,
/// waits until the member is dropped, and then finds the group moved.
pub(crate) fn take(log: &dyn Log, group: &str, topics: BTreeSet<Arc<str>>) -> Result<Box<dyn Member>, Problem> {
    refuse_members(log, group)?;
    let topics: Vec<Arc<str>> = topics.into_iter().collect();
    let mut wanted = 0;
    for topic in &topics {
        wanted += partitions_of(log, topic)?.len();
    }
    let mut member = log.join(group, MEMBER, &topics)?;
    for _ in 0..TRIES.0 {
        let limits = PollLimits { max_records: 1, max_bytes: 1, timeout: TRIES.1 };
        if let Polled::Assigned(partitions) = member.poll(limits)? {
            member.pause(&partitions);
        }
        if member.assignment().len() == wanted {
            return Ok(member);
        }
    }
    Err(conflict(format!("group `{group}` got a member meanwhile; nothing was moved: stop it first")))
}

/// The first record at an offset or after it.
pub(crate) fn record_from(log: &dyn Log, place: &TopicPartition, offset: u64) -> Result<Option<LogRecord>, Problem> {
    let (start, end) = log.bounds(place)?;
    let mut reader = log.reader()?;
    let from = offset.max(start);
    if from >= end {
        return Ok(None);
    }
    reader.assign(&[(place.clone(), from)])?;
    while reader.position(place).is_some_and(|next| next < end) {
        let limits = PollLimits { max_records: 1, max_bytes: 1, timeout: TRIES.1 };
        let found = reader.poll(limits)?.into_iter().find(|record| record.offset >= offset);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Where the recorder stands in a partition.
pub(crate) fn stored(store: &dyn Store, place: &TopicPartition) -> Result<Resume, Problem> {
    let found = store.resume(RECORDER, &[(Arc::clone(&place.topic), place.partition)])?;
    found.into_iter().next().ok_or_else(|| Problem::internal("the store named no position"))
}

/// The move of the recorder to an offset of the log as it is now: with a record
/// of it by which it is known again, the one before the offset or the oldest.
/// None where it stands there already.
pub(crate) fn store_move(
    log: &dyn Log,
    store: &dyn Store,
    place: &TopicPartition,
    next: u64,
) -> Result<Option<OffsetMove>, Problem> {
    let before = stored(store, place)?.next;
    let start = log.bounds(place)?.0;
    let below = record_from(log, place, next.saturating_sub(1))?.filter(|record| record.offset < next);
    let known = match below {
        Some(record) => Some(record),
        None => record_from(log, place, start)?,
    };
    match known {
        Some(record) => Ok(Some(OffsetMove {
            topic: Arc::clone(&place.topic),
            partition: place.partition,
            expected: before,
            next,
            last: (record.offset, record_hash(&record)),
        })),
        None if before.is_none_or(|before| before == next) => Ok(None),
        None => Err(conflict(format!(
            "{place} holds no record by which the store could know it again: write one first, then give the command again"
        ))),
    }
}

/// Moves the recorder: the store compares and sets, and the group follows.
pub(crate) fn move_store(
    store: &dyn Store,
    member: &mut dyn Member,
    offsets: Vec<OffsetMove>,
    published: &[GroupOffset],
) -> Result<(), Problem> {
    let batch = Batch { group: RECORDER.to_owned(), rows: Vec::new(), offsets, ingested_at_ms: now().millis() };
    store.apply(&batch)?;
    Ok(member.commit(published)?)
}
