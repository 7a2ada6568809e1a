//! `GET /api/admin/topics`: the topics of the log as they stand.
//!
//! Not here: making topics.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_log::TopicInfo;
use utoipa::ToSchema;

use crate::{app::App, params::Params, problem::Problem, routes::json};

/// A partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartitionItem {
    partition: u32,
    /// The first offset that can still be read.
    start: u64,
    /// The offset that the next record will get, or more.
    end: u64,
    bytes: u64,
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TopicItem {
    topic: String,
    /// The event it carries.
    event: Option<&'static str>,
    /// What its records are keyed by.
    key: Option<&'static str>,
    /// `delete`, `compact` or `compact,delete`.
    cleanup: String,
    /// How long a record is kept; null keeps for ever.
    retention_ms: Option<u64>,
    /// Bytes that a partition keeps; null keeps all.
    retention_bytes: Option<u64>,
    /// Offsets from start to end, over all partitions.
    records: u64,
    bytes: u64,
    partitions: Vec<PartitionItem>,
}

/// All topics.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Topics {
    items: Vec<TopicItem>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

impl From<TopicInfo> for TopicItem {
    fn from(info: TopicInfo) -> Self {
        let known = Catalogue::get().topic(&info.config.name);
        let cleanup = [("compact", info.config.compact), ("delete", info.config.delete)];
        Self {
            topic: info.config.name.to_string(),
            event: known.and_then(|topic| topic.event).map(tapedeck_contracts::EventKind::name),
            key: known.map(|topic| topic.key.as_str()),
            cleanup: cleanup.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect::<Vec<_>>().join(","),
            retention_ms: info.config.retention.map(|keep| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
            retention_bytes: info.config.retention_bytes,
            records: info.partitions.iter().map(|partition| partition.end - partition.start).sum(),
            bytes: info.partitions.iter().map(|partition| partition.bytes).sum(),
            partitions: info
                .partitions
                .iter()
                .map(|p| PartitionItem { partition: p.partition, start: p.start, end: p.end, bytes: p.bytes })
                .collect(),
        }
    }
}

/// The topics of the log, by name.
#[utoipa::path(get, path = "/api/admin/topics", tag = "admin", responses(
    (status = 200, description = "All topics", body = Topics),
))]
pub(crate) async fn topics(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let infos = app.log(|log| log.topics()).await?;
    Ok(json(&Topics { items: infos.into_iter().map(TopicItem::from).collect(), next_cursor: None }))
}
