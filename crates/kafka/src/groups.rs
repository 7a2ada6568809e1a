//! Groups as the cluster keeps them: members, assignments, committed offsets.
//!
//! Not here: being a member.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{Offset, error::RDKafkaErrorCode as Code};
use tapedeck_log::{GroupInfo, GroupOffset, LogError, Result, TopicPartition};

use crate::{
    client::{Client, is_away, unsigned},
    error::refused,
    native::{self, Found, has_code},
};

/// Between looks at offsets of a transaction that is ending, which takes a few ms.
const SETTLE_TICK: Duration = Duration::from_millis(5);
/// Between questions to coordinators that are gone: another takes over within seconds.
const AWAY_TICK: Duration = Duration::from_millis(100);

/// A group's committed offsets, in order. Those of a transaction that was committed
/// a moment ago are waited for.
pub(crate) fn committed(client: &Client, group: &str) -> Result<Vec<GroupOffset>> {
    let begin = Instant::now();
    loop {
        match committed_now(client, group, begin) {
            Ok(Some(offsets)) => return Ok(offsets),
            Ok(None) if begin.elapsed() < client.timeout() => std::thread::sleep(SETTLE_TICK),
            Ok(None) => {
                return Err(LogError::Transient(format!(
                    "the committed offsets of group `{group}` could not be read for {} ms: their broker is starting, \
                     or they are part of a transaction that does not end",
                    client.config.request_timeout_ms
                )));
            }
            Err(error) => return Err(error),
        }
    }
}

/// The same; none while a transaction is ending.
fn committed_now(client: &Client, group: &str, begin: Instant) -> Result<Option<Vec<GroupOffset>>> {
    let doing = format!("read the committed offsets of group `{group}`");
    let outer = client.outer(group);
    let asked = client.asker.ask(client, &outer, |native| native::group_offsets(native, &outer, patience(client)));
    let found = match asked {
        // Never seen; Kafka before 2.6 says so with an error.
        Err(refusal) if refusal.code == Code::GroupIdNotFound => Vec::new(),
        Err(refusal) if is_settling(refusal.code) => return Ok(None),
        // The next question goes to whoever is the coordinator then.
        Err(refusal) if is_away(refusal.code) && begin.elapsed() < client.timeout() => {
            std::thread::sleep(AWAY_TICK);
            return Ok(None);
        }
        Err(refusal) if refusal.code == Code::GroupAuthorizationFailed => {
            return Err(refused(refusal.code, "", &doing, &format!("Describe on group `{group}`")));
        }
        other => other.map_err(|refusal| client.refused(&refusal, begin, &doing))?,
    };
    if found.iter().any(|found| has_code(found, is_settling)) {
        return Ok(None);
    }
    let mut offsets = Vec::with_capacity(found.len());
    for (topic, partition, offset) in found {
        let offset = offset.map_err(|code| refused(code, "", &doing, &format!("Describe on topic `{topic}`")))?;
        if let (Some(topic), Ok(partition), 0..) = (client.inner(&topic), u32::try_from(partition), offset) {
            offsets.push(GroupOffset { partition: TopicPartition { topic, partition }, next: unsigned(offset) });
        }
    }
    offsets.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(Some(offsets))
}

/// All groups of ours, by name.
pub(crate) fn list(client: &Client) -> Result<Vec<GroupInfo>> {
    let begin = Instant::now();
    let all = client
        .native()
        .fetch_group_list(None, client.timeout())
        .map_err(|error| client.explain(&error, begin, "list groups"))?;
    let mut groups = Vec::new();
    for found in all.groups() {
        let Some(group) = client.inner(found.name()) else { continue };
        if found.state() == "Dead" {
            continue;
        }
        let member = |member: &rdkafka::groups::GroupMemberInfo| {
            (member.id().to_owned(), assigned(client, member.assignment().unwrap_or_default()))
        };
        let mut members: Vec<_> = found.members().iter().map(member).collect();
        members.sort();
        groups.push(GroupInfo { offsets: committed(client, &group)?, group: group.to_string(), members });
    }
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    Ok(groups)
}

/// Sets committed offsets of a group without members.
pub(crate) fn reset(client: &Client, group: &str, offsets: &[GroupOffset]) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let begin = Instant::now();
    let outer = client.outer(group);
    let doing = format!("reset group `{group}`");
    let there = client
        .native()
        .fetch_group_list(Some(&outer), client.timeout())
        .map_err(|error| client.explain(&error, begin, &doing))?;
    let members: usize = there.groups().iter().map(|group| group.members().len()).sum();
    if members > 0 {
        return Err(has_members(group, members));
    }
    let names: Vec<_> = offsets.iter().map(|offset| client.outer(&offset.partition.topic)).collect();
    let mut wanted = Vec::with_capacity(offsets.len());
    for (offset, name) in offsets.iter().zip(&names) {
        let next = i64::try_from(offset.next)
            .map_err(|_| LogError::Fatal(format!("{} is not an offset of {}", offset.next, offset.partition)))?;
        wanted.push((name.as_str(), client.must_exist(&offset.partition)?, Offset::Offset(next)));
    }
    let answer = loop {
        let asked = client
            .asker
            .ask(client, &outer, |native| native::alter_group_offsets(native, &outer, &wanted, patience(client)));
        let is_late = begin.elapsed() >= client.timeout();
        match &asked {
            Err(refusal) if is_away(refusal.code) && !is_late => std::thread::sleep(AWAY_TICK),
            Err(refusal) if is_settling(refusal.code) && !is_late => std::thread::sleep(SETTLE_TICK),
            Ok(found) if found.iter().any(|found| has_code(found, is_settling)) && !is_late => {
                std::thread::sleep(SETTLE_TICK);
            }
            _ => break asked,
        }
    };
    let answers: Vec<Found> = answer.map_err(|refusal| match refusal.code {
        code if is_taken(code) => has_members(group, 1),
        Code::GroupAuthorizationFailed => refused(refusal.code, "", &doing, &format!("Read on group `{group}`")),
        _ => client.refused(&refusal, begin, &doing),
    })?;
    for (topic, partition, answer) in answers {
        match answer {
            Ok(_) => {}
            Err(code) if is_taken(code) => return Err(has_members(group, 1)),
            Err(code) => {
                let doing = format!("{doing} in {topic}/{partition}");
                return Err(refused(code, "", &doing, &format!("Read on topic `{topic}`")));
            }
        }
    }
    Ok(())
}

/// How long one coordinator is asked: where it is gone, there is as long again to ask
/// who is in its place.
fn patience(client: &Client) -> Duration {
    client.timeout() / 2
}

/// What a broker answers while a transaction ends, or while it takes a group over.
fn is_settling(code: Code) -> bool {
    matches!(
        code,
        Code::UnstableOffsetCommit
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
    )
}

/// What a broker answers who keeps a group's offsets for its members.
fn is_taken(code: Code) -> bool {
    matches!(code, Code::NonEmptyGroup | Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress)
}

fn has_members(group: &str, members: usize) -> LogError {
    LogError::Fatal(format!("group `{group}` has members ({members} or more): stop them first; no offset was changed"))
}

/// The partitions in a member's assignment that are ours, in order.
fn assigned(client: &Client, assignment: &[u8]) -> Vec<TopicPartition> {
    let named = |(topic, partitions): (&str, Vec<u32>)| {
        let topic: Option<Arc<str>> = client.inner(topic);
        topic.into_iter().flat_map(move |topic| {
            partitions.clone().into_iter().map(move |number| TopicPartition::new(Arc::clone(&topic), number))
        })
    };
    let mut partitions: Vec<_> = decode(assignment).unwrap_or_default().into_iter().flat_map(named).collect();
    partitions.sort();
    partitions
}

/// Reads an assignment of Kafka's consumer protocol: a version (i16), then an array
/// of topics, each a name and an array of i32 partitions, big endian. None where
/// the bytes are not one, as for a group of another kind.
fn decode(mut bytes: &[u8]) -> Option<Vec<(&str, Vec<u32>)>> {
    let bytes = &mut bytes;
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    take::<2>(bytes)?;
    let topics = u32::from_be_bytes(take(bytes)?);
    let mut all = Vec::new();
    for _ in 0..topics {
        let len = usize::from(u16::from_be_bytes(take(bytes)?));
        let (name, rest) = bytes.split_at_checked(len)?;
        *bytes = rest;
        let count = u32::from_be_bytes(take(bytes)?);
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(u32::from_be_bytes(take(bytes)?));
        }
        all.push((std::str::from_utf8(name).ok()?, partitions));
    }
    Some(all)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn encode(topics: &[(String, Vec<u32>)]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((topics.len() as u32).to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend((name.len() as u16).to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((partitions.len() as u32).to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend([0xff; 4]); // No user data.
        bytes
    }

    proptest! {
        #[test]
        fn an_assignment_is_read_as_it_was_written(topics in vec(("[a-zé.]{0,9}", vec(any::<u32>(), 0..9)), 0..9)) {
            let bytes = encode(&topics);
            let read: Vec<_> = decode(&bytes).unwrap().into_iter().map(|(name, all)| (name.to_owned(), all)).collect();
            prop_assert_eq!(read, topics);
        }

        #[test]
        fn bytes_of_another_kind_are_no_assignment_and_no_harm(bytes in vec(any::<u8>(), 0..64)) {
            if let Some(topics) = decode(&bytes) {
                let told: usize = topics.iter().map(|(name, partitions)| name.len() + 4 * partitions.len()).sum();
                prop_assert!(told <= bytes.len());
            }
        }
    }
}
