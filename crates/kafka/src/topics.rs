//! Topics: making them, telling how they stand, changing them.
//!
//! Not here: which topics there should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset,
    admin::{NewTopic, TopicReplication},
    metadata::Metadata,
};
use tapedeck_log::{LogError, PartitionInfo, Replication, Result, TopicConfig, TopicInfo};

use crate::{
    admin::{Admin, Properties},
    client::{Client, unsigned},
    error::code_error,
    native,
    placing::MAX_RECORD_BYTES,
};

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const CLEANUP: &str = "cleanup.policy";
const MIN_IN_SYNC: &str = "min.insync.replicas";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Between looks at a change that the cluster spreads among its brokers.
const SPREAD_TICK: Duration = Duration::from_millis(50);
/// How long new topics wait for their leaders: 200 partitions take a second or two
/// on a quiet cluster, and half a minute on one whose brokers hardly get to run.
const SPREAD_WAIT: Duration = Duration::from_secs(60);

/// A topic as the cluster's metadata has it.
struct Standing {
    partitions: u32,
    /// Copies of each partition, the least of them.
    factor: u32,
    has_leaders: bool,
}

/// Makes the topics that are not there, and gives those that are the retention
/// and clean-up that are asked for. All is checked before anything is changed.
pub(crate) fn create(client: &Arc<Client>, admin: &Admin, topics: &[TopicConfig]) -> Result<()> {
    let metadata = client.metadata(None)?;
    let there = standing(client, &metadata);
    for topic in topics {
        if let Some(standing) = there.get(&*topic.name).filter(|standing| standing.partitions != topic.partitions) {
            return Err(other_partitions(client, topic, standing.partitions));
        }
    }
    let (kept, missing): (Vec<_>, Vec<_>) = topics.iter().partition(|topic| there.contains_key(&*topic.name));
    if !missing.is_empty() {
        make(client, admin, &metadata, &missing)?;
    }
    adjust(client, admin, &kept)
}

fn other_partitions(client: &Client, topic: &TopicConfig, there: u32) -> LogError {
    let (name, outer) = (&topic.name, client.outer(&topic.name));
    let what_to_do = if there < topic.partitions {
        "`tapedeck topics apply` adds partitions where it is told to (order by key does not bear it), \
         or the topic is deleted and made anew"
    } else {
        "Kafka takes no partitions away: set the config to what is there, or delete the topic and make it anew"
    };
    LogError::Fatal(format!(
        "topic `{name}` (`{outer}` on the cluster) has {there} partitions and should have {}: {what_to_do}",
        topic.partitions
    ))
}

fn make(client: &Arc<Client>, admin: &Admin, metadata: &Metadata, topics: &[&TopicConfig]) -> Result<()> {
    let replication = wanted(&client.config.replication, metadata.brokers().len())?;
    let factor = i32::try_from(replication.factor).unwrap_or(i32::MAX);
    let all: Vec<_> = topics
        .iter()
        .map(|topic| {
            let mut properties = properties(topic);
            properties.push((MIN_IN_SYNC, replication.min_in_sync.to_string()));
            // A record and what stands around it.
            properties.push((MAX_MESSAGE_BYTES, (2 * MAX_RECORD_BYTES).to_string()));
            let given = &client.config.topic_properties;
            properties.retain(|(key, _)| !given.contains_key(*key));
            properties.extend(given.iter().map(|(key, value)| (key.as_str(), value.clone())));
            (client.outer(&topic.name), i32::try_from(topic.partitions).unwrap_or(i32::MAX), properties)
        })
        .collect();
    let new: Vec<_> = all
        .iter()
        .map(|(name, partitions, properties)| NewTopic {
            name,
            num_partitions: *partitions,
            replication: TopicReplication::Fixed(factor),
            config: properties.iter().map(|(key, value)| (*key, value.as_str())).collect(),
        })
        .collect();
    admin.create_topics(&new)?;
    let wanted: BTreeMap<&str, u32> = topics.iter().map(|topic| (&*topic.name, topic.partitions)).collect();
    await_topics(client, &wanted)
}

/// How many partitions lack a copy that is in sync.
pub(crate) fn out_of_sync(client: &Client) -> Result<usize> {
    let metadata = client.metadata(None)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.filter(|partition| partition.isr().len() < partition.replicas().len()).count())
}

/// Waits until the cluster's brokers know the new partitions: who is told that a
/// topic is there uses it at once.
fn await_topics(client: &Client, wanted: &BTreeMap<&str, u32>) -> Result<()> {
    let wait = client.timeout().max(SPREAD_WAIT);
    let deadline = Instant::now() + wait;
    loop {
        let metadata = client.metadata(None)?;
        let there = standing(client, &metadata);
        let is_there = |(name, partitions): (&&str, &u32)| {
            there.get(*name).is_some_and(|standing| standing.partitions == *partitions && standing.has_leaders)
        };
        if wanted.iter().all(is_there) {
            let counts = wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            if offsets(client, &counts, Offset::End).is_ok() {
                client.forget_topics();
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            let late: Vec<_> = wanted.iter().filter(|topic| !is_there(*topic)).map(|(name, _)| *name).collect();
            let named = if late.is_empty() { "(their leaders do not answer)".to_owned() } else { late.join(", ") };
            return Err(LogError::Transient(format!(
                "topics were made, and some of their partitions have no leader after {} s; are all brokers up? {named}",
                wait.as_secs()
            )));
        }
        std::thread::sleep(SPREAD_TICK);
    }
}

/// Sets what differs of retention and clean-up, and nothing else.
fn adjust(client: &Arc<Client>, admin: &Admin, topics: &[&TopicConfig]) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let outer: Vec<_> = topics.iter().map(|topic| client.outer(&topic.name)).collect();
    let now = admin.properties(&outer.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut changes = Vec::new();
    for (topic, outer) in topics.iter().zip(outer) {
        let is_so = |key: &str, value: &str| {
            now.get(&outer).and_then(|now| now.get(key)).is_some_and(|now| same(key, now, value))
        };
        let differing: Vec<_> = properties(topic).into_iter().filter(|(key, value)| !is_so(key, value)).collect();
        if !differing.is_empty() {
            changes.push((outer, differing));
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let begin = Instant::now();
    native::alter_topics(client.native(), &changes, client.timeout())
        .map_err(|refusal| client.refused(&refusal, begin, "change topics (AlterConfigs on the topic)"))
}

/// Whether a property says the same; the order of clean-up policies means nothing.
fn same(key: &str, now: &str, wanted: &str) -> bool {
    let words = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect::<BTreeSet<_>>();
    if key == CLEANUP { words(now) == words(wanted) } else { now == wanted }
}

/// What the cluster is told of a topic's retention and clean-up.
fn properties(topic: &TopicConfig) -> Vec<(&str, String)> {
    let or_never = |limit: Option<u64>| limit.map_or("-1".to_owned(), |limit| limit.to_string());
    let retention_ms = topic.retention.map(|kept| u64::try_from(kept.as_millis()).unwrap_or(i64::MAX as u64));
    let cleanup = match (topic.compact, topic.delete) {
        (true, true) => "compact,delete",
        (true, false) => "compact",
        // Neither deletes as well: by the bounds it has, which may be none.
        (false, _) => "delete",
    };
    vec![
        (RETENTION_MS, or_never(retention_ms)),
        (RETENTION_BYTES, or_never(topic.retention_bytes)),
        (CLEANUP, cleanup.to_owned()),
    ]
}

/// All topics of ours, by name. How many bytes a partition holds is not told by
/// librdkafka and is 0.
pub(crate) fn list(client: &Client, admin: &Admin) -> Result<Vec<TopicInfo>> {
    let metadata = client.metadata(None)?;
    let there = standing(client, &metadata);
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let counts: BTreeMap<String, u32> = there.iter().map(|(name, it)| (name.clone(), it.partitions)).collect();
    let starts = offsets(client, &counts, Offset::Beginning)?;
    let ends = offsets(client, &counts, Offset::End)?;
    let outer: Vec<_> = there.keys().map(|name| client.outer(name)).collect();
    let properties = admin.properties(&outer.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut topics = Vec::with_capacity(there.len());
    for ((name, standing), outer) in there.iter().zip(outer) {
        // Deleted meanwhile.
        let Some(properties) = properties.get(&outer) else { continue };
        let partition = |partition| {
            let at = |offsets: &BTreeMap<(String, u32), u64>| offsets.get(&(outer.clone(), partition)).copied();
            let start = at(&starts).unwrap_or(0);
            PartitionInfo { partition, start, end: at(&ends).unwrap_or(0).max(start), bytes: 0 }
        };
        topics.push(TopicInfo {
            config: config(name, standing.partitions, properties),
            partitions: (0..standing.partitions).map(partition).collect(),
            replication: Some(Replication {
                factor: standing.factor,
                min_in_sync: number(properties, MIN_IN_SYNC).unwrap_or(1),
            }),
        });
    }
    Ok(topics)
}

fn config(name: &str, partitions: u32, properties: &Properties) -> TopicConfig {
    let limit = |key| properties.get(key).and_then(|value| value.parse::<u64>().ok());
    let cleanup = properties.get(CLEANUP).map_or("delete", String::as_str);
    TopicConfig {
        name: name.into(),
        partitions,
        retention: limit(RETENTION_MS).map(Duration::from_millis),
        retention_bytes: limit(RETENTION_BYTES),
        delete: cleanup.contains("delete"),
        compact: cleanup.contains("compact"),
    }
}

fn number(properties: &Properties, key: &str) -> Option<u32> {
    properties.get(key)?.parse().ok()
}

/// The first or last offsets of all partitions of topics, in one question to each
/// broker; by the names that the cluster has.
fn offsets(client: &Client, topics: &BTreeMap<String, u32>, at: Offset) -> Result<BTreeMap<(String, u32), u64>> {
    let outer: Vec<_> = topics.iter().map(|(name, count)| (client.outer(name), *count)).collect();
    let partitions =
        |(name, count): &'_ (String, u32)| (0..*count).map(|number| (name.clone(), number)).collect::<Vec<_>>();
    let all: Vec<_> = outer.iter().flat_map(partitions).collect();
    let wanted: Vec<_> =
        all.iter().map(|(name, number)| (name.as_str(), i32::try_from(*number).unwrap_or(i32::MAX), at)).collect();
    let begin = Instant::now();
    let doing = "ask for the ends of topics";
    let found = native::list_offsets(client.native(), &wanted, true, client.timeout())
        .map_err(|refusal| client.refused(&refusal, begin, doing))?;
    let mut offsets = BTreeMap::new();
    for (name, number, offset) in found {
        let offset = offset.map_err(|code| code_error(code, "", &format!("{doing}: {name}/{number}")))?;
        offsets.insert((name, u32::try_from(number).unwrap_or(0)), unsigned(offset));
    }
    Ok(offsets)
}

/// Gives a topic more partitions.
pub(crate) fn add_partitions(client: &Arc<Client>, admin: &Admin, topic: &str, partitions: u32) -> Result<()> {
    client.forget_topics();
    let there = client.partitions(topic)?;
    if there > partitions {
        return Err(LogError::Fatal(format!(
            "topic `{topic}` has {there} partitions, and Kafka takes none away to make it {partitions}"
        )));
    }
    if there == partitions {
        return Ok(());
    }
    admin.create_partitions(&client.outer(topic), partitions)?;
    await_topics(client, &BTreeMap::from([(topic, partitions)]))
}

/// Deletes topics, all of which must be there, and waits until they are gone.
pub(crate) fn delete(client: &Arc<Client>, admin: &Admin, topics: &[Arc<str>]) -> Result<()> {
    let there = standing(client, &client.metadata(None)?);
    for topic in topics {
        if !there.contains_key(&**topic) {
            return Err(LogError::Fatal(format!("there is no topic `{topic}`; nothing was deleted")));
        }
    }
    let outer: Vec<_> = topics.iter().map(|topic| client.outer(topic)).collect();
    admin.delete_topics(&outer.iter().map(String::as_str).collect::<Vec<_>>())?;
    let deadline = Instant::now() + client.timeout();
    while Instant::now() < deadline {
        let there = standing(client, &client.metadata(None)?);
        if topics.iter().all(|topic| !there.contains_key(&**topic)) {
            client.forget_topics();
            return Ok(());
        }
        std::thread::sleep(SPREAD_TICK);
    }
    Err(LogError::Transient(format!("topics were deleted, and some brokers still know them: {}", topics.join(", "))))
}

/// How topics would be copied that are made now.
pub(crate) fn wanted_replication(client: &Client) -> Result<Replication> {
    wanted(&client.config.replication, client.metadata(None)?.brokers().len())
}

/// The config's replication on a cluster of so many brokers.
fn wanted(replication: &str, brokers: usize) -> Result<Replication> {
    let brokers = u32::try_from(brokers).unwrap_or(u32::MAX);
    let factor = match replication {
        "auto" => brokers.clamp(1, 3),
        number => match number.parse::<u32>() {
            Ok(factor) if factor > 0 => factor,
            _ => {
                return Err(LogError::Fatal(format!(
                    "kafka.replication is `{number}`; it may be `auto` or a number from 1"
                )));
            }
        },
    };
    if factor > brokers {
        let (plural, are) = if brokers == 1 { ("", "is") } else { ("s", "are") };
        return Err(LogError::Fatal(format!(
            "kafka.replication is {factor}, and the cluster has {brokers} broker{plural} that {are} up: start more, \
             or set kafka.replication to `auto` or at most {brokers}; nothing was made"
        )));
    }
    // With three copies one broker may go and every acknowledged record is still
    // in two places; with fewer, waiting for two would stop writing with the first.
    Ok(Replication { factor, min_in_sync: if factor >= 3 { 2 } else { 1 } })
}

/// Topics of ours in the metadata, by our names.
fn standing(client: &Client, metadata: &Metadata) -> BTreeMap<String, Standing> {
    let ours = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty());
    ours.filter_map(|topic| {
        let name = client.inner(topic.name())?;
        let partitions = topic.partitions();
        let standing = Standing {
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            factor: partitions.iter().map(|it| it.replicas().len()).min().map_or(0, |least| least as u32),
            has_leaders: partitions.iter().all(|it| it.leader() >= 0),
        };
        Some((name.to_string(), standing))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_makes_three_copies_where_there_are_brokers_for_them() {
        let made = |text, brokers| wanted(text, brokers).map(|it| (it.factor, it.min_in_sync)).ok();
        assert_eq!(
            [1, 2, 3, 5].map(|brokers| made("auto", brokers)),
            [Some((1, 1)), Some((2, 1)), Some((3, 2)), Some((3, 2))]
        );
        assert_eq!(made("2", 3), Some((2, 1)));
        assert_eq!(["3", "0", "some"].map(|text| made(text, 2)), [None; 3]);
    }

    #[test]
    fn the_order_of_policies_is_no_difference() {
        assert!(same(CLEANUP, "delete,compact", "compact,delete"));
        assert!(!same(CLEANUP, "delete", "compact,delete"));
        assert!(!same(RETENTION_MS, "1", "-1"));
    }
}
