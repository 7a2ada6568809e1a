//! `GET /api/admin/groups`: consumer groups, their members, offsets and lag.
//!
//! Not here: moving offsets; `reset` does.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_log::{
    GroupInfo, Log, LogError,
    lag::{self, PartitionLag},
};
use utoipa::ToSchema;

use crate::{
    app::{App, now},
    params::Params,
    problem::Problem,
    routes::json,
};

/// A member and what it owns.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemberItem {
    member: String,
    /// As `topic/partition`.
    partitions: Vec<String>,
}

/// A group's place in a partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OffsetItem {
    topic: String,
    partition: u32,
    /// The offset of the next record to take; null where nothing was committed.
    next: Option<u64>,
    /// The partition's start and end.
    start: u64,
    end: u64,
    /// Records not taken yet.
    lag_records: u64,
    /// Age of the oldest record not taken yet, since it was written.
    lag_seconds: f64,
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupItem {
    pub(crate) group: String,
    /// Empty when nobody is there.
    members: Vec<MemberItem>,
    /// Over all partitions.
    lag_records: u64,
    /// The worst partition's.
    lag_seconds: f64,
    offsets: Vec<OffsetItem>,
}

/// All groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Groups {
    items: Vec<GroupItem>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

impl GroupItem {
    /// Lag by topic: records, and seconds of its worst partition.
    pub(crate) fn by_topic(&self) -> impl Iterator<Item = (String, u64, f64)> {
        let mut topics: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        for offset in &self.offsets {
            let (records, seconds) = topics.entry(offset.topic.clone()).or_default();
            *records += offset.lag_records;
            *seconds = seconds.max(offset.lag_seconds);
        }
        topics.into_iter().map(|(topic, (records, seconds))| (topic, records, seconds))
    }
}

/// All groups with their lag.
pub(crate) fn all(log: &dyn Log) -> Result<Vec<GroupItem>, LogError> {
    log.groups()?.into_iter().map(|group| item(log, group)).collect()
}

fn item(log: &dyn Log, group: GroupInfo) -> Result<GroupItem, LogError> {
    // Partitions that a member owns and has committed nothing of yet count too;
    // not those of state, which are owned for the seat.
    let owned = group.members.iter().flat_map(|(_, owned)| owned).map(|place| Arc::clone(&place.topic));
    let topics: Vec<Arc<str>> = owned.filter(|topic| carries_events(topic)).collect();
    let offsets: Vec<OffsetItem> =
        lag::of_group(log, &group.group, &topics, now().millis())?.into_iter().map(OffsetItem::from).collect();
    Ok(GroupItem {
        group: group.group,
        members: group
            .members
            .into_iter()
            .map(|(member, owned)| MemberItem { member, partitions: owned.iter().map(ToString::to_string).collect() })
            .collect(),
        lag_records: offsets.iter().map(|offset| offset.lag_records).sum(),
        lag_seconds: offsets.iter().map(|offset| offset.lag_seconds).fold(0.0, f64::max),
        offsets,
    })
}

fn carries_events(topic: &str) -> bool {
    Catalogue::get().topic(topic).is_none_or(|topic| topic.event.is_some())
}

impl From<PartitionLag> for OffsetItem {
    fn from(lag: PartitionLag) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "an age in ms is far below 2^52")]
        let lag_seconds = lag.lag_ms as f64 / 1e3;
        Self {
            topic: lag.partition.topic.to_string(),
            partition: lag.partition.partition,
            next: lag.committed,
            start: lag.start,
            end: lag.end,
            lag_records: lag.lag_records,
            lag_seconds,
        }
    }
}

/// Consumer groups, by name.
#[utoipa::path(get, path = "/api/admin/groups", tag = "admin", responses(
    (status = 200, description = "All groups", body = Groups),
))]
pub(crate) async fn groups(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri)?.finish()?;
    let items = app.log(|log| all(log.as_ref())).await?;
    Ok(json(&Groups { items, next_cursor: None }))
}
