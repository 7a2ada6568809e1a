//! The topics of the catalogue as a log makes them.
//!
//! Not here: the catalogue, and what a log does with retention.

use tapedeck_contracts::catalogue::{Catalogue, Topic};
use tapedeck_log::TopicConfig;

/// Every topic of the catalogue; each partition keeps at most `retention_bytes`.
pub fn of_catalogue(retention_bytes: Option<u64>) -> Vec<TopicConfig> {
    let topic = |topic: &Topic| TopicConfig {
        name: topic.name.as_str().into(),
        partitions: topic.partitions,
        retention: topic.retention(),
        retention_bytes,
        delete: topic.delete,
        compact: topic.compact,
    };
    Catalogue::get().topics().map(topic).collect()
}
