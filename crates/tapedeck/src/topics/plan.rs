//! What differs between the catalogue and the topics that are there, what will be
//! done about it, and what will not.
//!
//! Not here: doing it, which goes through the log.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_log::{Replication, TopicConfig, TopicInfo};

use crate::backends::{cleanup_of, find};

/// Two copies: what is said before somebody lives with it.
pub(crate) const TWO_COPIES: &str = "replication 2: one broker may go and all is still there. With min.insync.replicas 1 a \
record is acknowledged while one copy has it, and is lost if that broker goes before the other caught up; with 2 nothing \
acknowledged is lost, and writing stops while either broker is away. Three copies with 2 in sync do both.";

/// What is done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// The topic is made.
    Make,
    /// Retention or clean-up is set.
    Set,
    /// Partitions are added, since it was allowed.
    Grow,
    /// The topic is deleted, since it was named.
    Delete,
    /// Nothing, until it is allowed or somebody does it by hand.
    Leave,
}

/// A difference of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    #[serde(serialize_with = "text")]
    pub(crate) topic: Arc<str>,
    /// `missing`, `partitions`, `retention`, `retention_bytes`, `cleanup`,
    /// `replication`, `min_in_sync` or `named`.
    pub(crate) what: &'static str,
    pub(crate) there: String,
    pub(crate) wanted: String,
    pub(crate) action: Action,
    /// What comes of it, or what a person would do.
    pub(crate) note: String,
}

/// All that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Plan {
    pub(crate) differences: Vec<Difference>,
    /// What a person should know beside it.
    pub(crate) notes: Vec<String>,
}

/// What was asked for beside the catalogue.
pub(crate) struct Asked<'a> {
    pub(crate) wanted: &'a [TopicConfig],
    pub(crate) replication: Option<Replication>,
    pub(crate) allow_grow: &'a [String],
    pub(crate) delete: &'a [String],
}

impl Plan {
    /// Compares.
    ///
    /// # Errors
    /// A topic that is named is not there, or not of the catalogue.
    pub(crate) fn of(there: &[TopicInfo], asked: &Asked<'_>) -> Result<Self, String> {
        let known = |name: &String| asked.wanted.iter().any(|topic| *topic.name == **name);
        if let Some(name) = asked.allow_grow.iter().find(|name| !known(name)) {
            return Err(format!("--allow-grow {name}: the catalogue has no such topic"));
        }
        let mut differences = Vec::new();
        for name in asked.delete {
            let info = there.iter().find(|info| *info.config.name == **name);
            let info = info.ok_or_else(|| format!("--delete {name}: there is no such topic"))?;
            differences.push(deletion(info, known(name)));
        }
        let stays = |topic: &&TopicConfig| !asked.delete.iter().any(|name| **name == *topic.name);
        for topic in asked.wanted.iter().filter(stays) {
            match find(there, topic) {
                None => differences.push(missing(topic, asked.replication)),
                Some(info) => {
                    let may_grow = asked.allow_grow.iter().any(|name| **name == *topic.name);
                    compare(topic, info, may_grow, asked.replication, &mut differences);
                }
            }
        }
        let mut notes = Vec::new();
        if asked.replication.is_some_and(|wanted| wanted.factor == 2) {
            notes.push(TWO_COPIES.to_owned());
        }
        Ok(Self { differences, notes })
    }

    /// The differences that are done something about.
    pub(crate) fn done(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.action != Action::Leave)
    }
}

fn deletion(info: &TopicInfo, in_catalogue: bool) -> Difference {
    let records: u64 = info.partitions.iter().map(|part| part.end - part.start).sum();
    let note = match in_catalogue {
        true => "it is of the catalogue: the next start makes it anew, and roles whose state or position names it must be reset".into(),
        false => "nothing of tapedeck reads it".to_owned(),
    };
    let there = format!("{records} offsets in {} partitions", info.partitions.len());
    Difference {
        topic: Arc::clone(&info.config.name),
        what: "named",
        there,
        wanted: "gone".into(),
        action: Action::Delete,
        note,
    }
}

fn missing(topic: &TopicConfig, replication: Option<Replication>) -> Difference {
    let copies =
        replication.map_or_else(String::new, |r| format!(", {} copies with {} in sync", r.factor, r.min_in_sync));
    let wanted =
        format!("{} partitions, {}, kept {}{copies}", topic.partitions, cleanup_of(topic), kept(topic.retention));
    Difference {
        topic: Arc::clone(&topic.name),
        what: "missing",
        there: "-".into(),
        wanted,
        action: Action::Make,
        note: String::new(),
    }
}

fn compare(
    topic: &TopicConfig,
    info: &TopicInfo,
    may_grow: bool,
    replication: Option<Replication>,
    differences: &mut Vec<Difference>,
) {
    let there = &info.config;
    let mut differs = |what: &'static str, there: String, wanted: String, action: Action, note: String| {
        differences.push(Difference { topic: Arc::clone(&topic.name), what, there, wanted, action, note });
    };
    if there.partitions < topic.partitions {
        let (action, note) = match may_grow {
            true => (Action::Grow, growing(topic)),
            false => (Action::Leave, format!("allow it with --allow-grow {}: {}", topic.name, growing(topic))),
        };
        differs("partitions", there.partitions.to_string(), topic.partitions.to_string(), action, note);
    }
    if there.partitions > topic.partitions {
        let note = "partitions are never taken away, and more do no harm".to_owned();
        differs("partitions", there.partitions.to_string(), topic.partitions.to_string(), Action::Leave, note);
    }
    if cleanup_of(there) != cleanup_of(topic) {
        let note = if topic.compact { "older records of a key may go from then on" } else { "" };
        differs("cleanup", cleanup_of(there).into(), cleanup_of(topic).into(), Action::Set, note.into());
    }
    // Where nothing is deleted there is nothing to keep a time for.
    if topic.delete && there.retention != topic.retention {
        let is_shorter = topic.retention.is_some_and(|wanted| there.retention.is_none_or(|there| wanted < there));
        let note = if is_shorter { "older records go" } else { "" };
        differs("retention", kept(there.retention), kept(topic.retention), Action::Set, note.into());
    }
    if topic.delete && there.retention_bytes != topic.retention_bytes {
        let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "any".into(), |bytes| format!("{bytes} bytes"));
        let note = if topic.retention_bytes.is_some() { "beyond it the oldest go" } else { "" };
        differs(
            "retention_bytes",
            bytes(there.retention_bytes),
            bytes(topic.retention_bytes),
            Action::Set,
            note.into(),
        );
    }
    let (Some(now), Some(wanted)) = (info.replication, replication) else { return };
    if now.factor != wanted.factor {
        let note = "copies are moved by the brokers' own tools: kafka-reassign-partitions, or rpk cluster partitions"
            .to_owned();
        differs("replication", now.factor.to_string(), wanted.factor.to_string(), Action::Leave, note);
    } else if now.min_in_sync != wanted.min_in_sync {
        let set = format!("min.insync.replicas={}", wanted.min_in_sync);
        let note = format!("set it with kafka-configs --alter --topic {} --add-config {set}", topic.name);
        differs("min_in_sync", now.min_in_sync.to_string(), wanted.min_in_sync.to_string(), Action::Leave, note);
    }
}

/// What more partitions break.
fn growing(topic: &TopicConfig) -> String {
    let known = Catalogue::get().topic(&topic.name);
    if known.is_some_and(|known| known.event.is_none()) && topic.compact {
        return "the role's state goes by the number of the partition, and the role's input must grow with it".into();
    }
    let key = known.map_or("their key", |known| known.key.as_str());
    format!(
        "records lie by {key}; from then on most keys lie elsewhere, so their order, the state of who reads them and the test for duplicates break for what is there. Stop the producers, let the readers come to the end, then grow"
    )
}

fn text<S: serde::Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

/// How long, in words.
pub(crate) fn kept(retention: Option<Duration>) -> String {
    match retention.map(|keep| keep.as_secs()) {
        None => "for ever".into(),
        Some(seconds) if seconds > 0 && seconds % 86_400 == 0 => format!("{} d", seconds / 86_400),
        Some(seconds) if seconds > 0 && seconds % 3_600 == 0 => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_flow::topics;
    use tapedeck_log::PartitionInfo;

    use super::*;

    const THREE: Option<Replication> = Some(Replication { factor: 3, min_in_sync: 2 });

    fn standing(config: TopicConfig) -> TopicInfo {
        let part = |partition| PartitionInfo { partition, start: 2, end: 7, bytes: 0 };
        TopicInfo { partitions: (0..config.partitions).map(part).collect(), config, replication: THREE }
    }

    fn plan(there: &[TopicInfo], allow_grow: &[&str], delete: &[&str]) -> Result<Plan, String> {
        let (wanted, own) =
            (topics::of_catalogue(None), |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect());
        let (allow_grow, delete): (Vec<String>, Vec<String>) = (own(allow_grow), own(delete));
        Plan::of(there, &Asked { wanted: &wanted, replication: THREE, allow_grow: &allow_grow, delete: &delete })
    }

    fn all() -> Vec<TopicInfo> {
        topics::of_catalogue(None).into_iter().map(standing).collect()
    }

    #[test]
    fn a_cluster_as_the_catalogue_says_has_no_differences() {
        assert_eq!(plan(&all(), &[], &[]).unwrap().differences, []);
    }

    #[test]
    fn every_topic_of_an_empty_cluster_is_missing_and_made() {
        let found = plan(&[], &[], &[]).unwrap();
        assert_eq!(found.differences.len(), topics::of_catalogue(None).len());
        assert!(found.done().all(|difference| difference.action == Action::Make));
    }

    #[test]
    fn a_keyed_topic_grows_only_where_it_is_named_and_is_told_what_breaks() {
        let mut there = all();
        let at = there.iter().position(|info| &*info.config.name == "exec.reports.v1").unwrap();
        there[at].config.partitions = 4;
        let left = plan(&there, &[], &[]).unwrap();
        assert_eq!((left.differences[0].what, left.differences[0].action), ("partitions", Action::Leave));
        assert!(
            left.differences[0].note.contains("--allow-grow exec.reports.v1")
                && left.differences[0].note.contains("symbol")
        );
        assert_eq!(plan(&there, &["exec.reports.v1"], &[]).unwrap().differences[0].action, Action::Grow);
        there[at].config.partitions = 16;
        assert_eq!(plan(&there, &["exec.reports.v1"], &[]).unwrap().differences[0].action, Action::Leave);
        assert!(plan(&there, &["exec.report"], &[]).unwrap_err().contains("no such topic"));
    }

    #[test]
    fn nothing_is_deleted_that_was_not_named() {
        let mut there = all();
        let mut other = there[0].clone();
        other.config.name = "somebody-elses".into();
        there.push(other);
        assert_eq!(plan(&there, &[], &[]).unwrap().differences, []);
        let found = plan(&there, &[], &["somebody-elses"]).unwrap();
        assert_eq!((found.differences.len(), found.differences[0].action), (1, Action::Delete));
        assert!(plan(&there, &[], &["nobodys"]).is_err());
    }

    #[test]
    fn retention_and_cleanup_are_set_and_copies_are_left_to_the_brokers_tools() {
        let mut there = all();
        let at = there.iter().position(|info| &*info.config.name == "alerts.v1").unwrap();
        there[at].config.retention = None;
        there[at].config.compact = true;
        there[at].replication = Some(Replication { factor: 1, min_in_sync: 1 });
        let found = plan(&there, &[], &[]).unwrap();
        let what: Vec<_> = found.differences.iter().map(|found| (found.what, found.action)).collect();
        assert_eq!(what, [("cleanup", Action::Set), ("retention", Action::Set), ("replication", Action::Leave)]);
        assert!(found.differences[1].note.contains("older records go"));
    }

    #[test]
    fn two_copies_are_told_with_their_trade_off() {
        let wanted = topics::of_catalogue(None);
        let two = Some(Replication { factor: 2, min_in_sync: 1 });
        let asked = Asked { wanted: &wanted, replication: two, allow_grow: &[], delete: &[] };
        let plan = Plan::of(&[], &asked).unwrap();
        assert_eq!(plan.notes, [TWO_COPIES]);
        assert!(plan.differences[0].wanted.contains("2 copies with 1 in sync"));
    }
}
