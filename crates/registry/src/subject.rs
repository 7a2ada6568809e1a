//! The schema of a topic's event under the name that the registry has for it.
//!
//! Not here: what the registry says of it.

use tapedeck_contracts::{EventKind, catalogue::Catalogue};

use crate::{Format, RegistryConfig, avro_schema, json_schema};

/// A topic's schema, as this version writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The topic, as the catalogue names it.
    pub topic: String,
    /// The registry's name for the schemas of its values: `<topic>-value`, the
    /// topic as the cluster names it.
    pub name: String,
    /// Its event.
    pub kind: EventKind,
    /// How it is written.
    pub format: Format,
    /// The schema's text.
    pub schema: String,
}

/// The newest version that the registry has of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// The schema's id.
    pub id: u32,
    /// The number of the version.
    pub version: u32,
    /// `JSON`, `AVRO` or another.
    pub schema_type: String,
    /// The schema's text.
    pub schema: String,
}

impl Subject {
    /// The schema of a topic; none where it carries no event. `prefix` stands
    /// before the names of topics on the cluster.
    pub fn of(topic: &str, prefix: &str, format: Format) -> Option<Self> {
        let kind = Catalogue::get().topic(topic)?.event?;
        let schema = match format {
            Format::Json => json_schema(kind),
            Format::Avro => avro_schema(kind),
        };
        let name = format!("{prefix}{topic}-value");
        Some(Self { topic: topic.to_owned(), name, kind, format, schema: schema.to_string() })
    }

    /// Those that the config says are written framed: the topics it names, or all
    /// that carry events.
    pub fn written(config: &RegistryConfig, prefix: &str) -> Vec<Self> {
        let is_named = |topic: &str| config.topics.is_empty() || config.topics.iter().any(|named| named == topic);
        let topics = Catalogue::get().topics().map(|topic| topic.name.as_str()).filter(|topic| is_named(topic));
        topics.filter_map(|topic| Self::of(topic, prefix, config.format)).collect()
    }
}
