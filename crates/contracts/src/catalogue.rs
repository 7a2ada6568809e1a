//! The catalogue of topics, read from one data file (`catalogue.toml`):
//! creation, checks, docs and the command line all read it here.
//!
//! Not here: making topics, which a log does.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use serde::Deserialize;

use crate::EventKind;

/// The catalogue as it is kept.
const FILE: &str = include_str!("../catalogue.toml");

/// A topic of the catalogue.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The event it carries; role state has none of the contract.
    #[serde(default, deserialize_with = "kind")]
    pub event: Option<EventKind>,
    /// What its records are keyed by, for people.
    pub key: String,
    /// Number of partitions.
    pub partitions: u32,
    /// How long a record is kept at least, from its append; 0 keeps for ever.
    pub retention_hours: u64,
    /// Whether old records are deleted.
    pub delete: bool,
    /// Whether only the newest record of each key is kept.
    pub compact: bool,
}

/// The topics by name, with the state topics of the roles and a dead letter topic
/// for each topic that carries events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    topic: Vec<Topic>,
}

fn kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<EventKind>, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Topic {
    /// How long a record is kept at least, from its append; `None` keeps for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_hours > 0).then(|| Duration::from_secs(self.retention_hours * 3_600))
    }
}

impl Catalogue {
    /// The catalogue of this version.
    pub fn get() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| {
            let file: File = toml::from_str(FILE).expect("catalogue.toml is part of this crate and tested");
            let count = file.topic.len();
            let mut topics: BTreeMap<_, _> = file.topic.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
            assert_eq!(topics.len(), count, "catalogue.toml names each topic once");
            let dead: Vec<_> = topics.values().filter(|topic| topic.event.is_some()).map(dead_letters).collect();
            topics.extend(dead.into_iter().map(|topic| (topic.name.clone(), topic)));
            Self { topics }
        })
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    /// One topic.
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }
}

/// The state topic of a role.
pub fn state_topic(role: &str) -> String {
    format!("tapedeck.{role}.state")
}

/// The consumer group of a role.
pub fn group_of(role: &str) -> String {
    format!("tapedeck.{role}")
}

/// The dead letter topic of a topic.
pub fn dlq_of(topic: &str) -> String {
    format!("{topic}{DLQ}")
}

/// The topic whose dead letters a topic keeps; none where it keeps none.
pub fn origin_of_dlq(topic: &str) -> Option<&str> {
    topic.strip_suffix(DLQ).filter(|origin| !origin.is_empty())
}

/// What became of dead letters: sent again, or purged. Compact, by their id.
pub const DLQ_STATE: &str = "tapedeck.dlq.state";

/// The end of the names of dead letter topics.
const DLQ: &str = ".dlq";
/// How long a dead letter is kept: 14 days, time for a person to come back.
const DLQ_HOURS: u64 = 14 * 24;

fn dead_letters(topic: &Topic) -> Topic {
    Topic {
        name: dlq_of(&topic.name),
        event: None,
        key: topic.key.clone(),
        partitions: topic.partitions,
        retention_hours: DLQ_HOURS,
        delete: true,
        compact: false,
    }
}
