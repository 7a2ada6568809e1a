//! `GET /api/admin/groups`: consumer groups, their members, offsets and lag.
//!
//! Not here: moving offsets; `reset` does.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::catalogue::Catalogue;
use tapedeck_flow::Gauges;
use tapedeck_log::{
    GroupInfo, Log, LogError,
    lag::{self, PartitionLag},
};
use utoipa::ToSchema;

use crate::{
    app::{App, lock, now},
    metrics::oldest_unsettled_seconds,
    outlook::{Course, Outlook, Place, STEP_MS, Trend},
    params::Params,
    problem::Problem,
    routes::json,
};

/// How long lag is believed by those who ask often: a scrape needs no newer one.
const BELIEVED_FOR: Duration = Duration::from_secs(1);
/// The group of a role is named after it.
const GROUP_PREFIX: &str = "tapedeck.";

/// Where groups stood, by group and topic.
pub(crate) type Courses = BTreeMap<(String, String), Course>;

/// A member and what it owns.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MemberItem {
    member: String,
    /// As `topic/partition`.
    partitions: Vec<String>,
}

/// A group's place in a partition.
#[derive(Clone, Debug, Serialize, ToSchema)]
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

/// A group's place in a topic.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GroupTopicItem {
    pub(crate) topic: String,
    /// Records not taken yet, over all partitions.
    pub(crate) lag_records: u64,
    /// How long ago the oldest of them was written, in the worst partition.
    pub(crate) lag_seconds: f64,
    pub(crate) trend: Trend,
    /// Until nothing waits, at the rate of the last half minute; null where that
    /// is never (not_falling) or not known yet.
    pub(crate) clear_in_seconds: Option<f64>,
    /// Records a second that the group took in the last half minute.
    taken_per_s: Option<f64>,
    /// Records a second that were written in the last half minute.
    written_per_s: Option<f64>,
}

/// A group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GroupItem {
    pub(crate) group: String,
    /// Empty when nobody is there.
    members: Vec<MemberItem>,
    /// Over all partitions.
    pub(crate) lag_records: u64,
    /// The worst partition's.
    lag_seconds: f64,
    /// Tries after a transient failure; null where the group's role does not run
    /// in this process.
    retries: Option<u64>,
    /// Dead letters that the role wrote since it started; null as above.
    dead_letters: Option<u64>,
    /// Age of the oldest record that the role read and has not settled; where there
    /// is none, or the role runs elsewhere, of the oldest that is not committed.
    oldest_unsettled_seconds: f64,
    /// By topic.
    pub(crate) topics: Vec<GroupTopicItem>,
    offsets: Vec<OffsetItem>,
}

/// All groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Groups<'a> {
    items: &'a [GroupItem],
    /// Always null: all are given.
    next_cursor: Option<String>,
}

/// All groups with their lag, as of now.
pub(crate) async fn all(app: &Arc<App>) -> Result<Arc<Vec<GroupItem>>, Problem> {
    let read = app.log(|log| log.groups()?.into_iter().map(|group| item(log.as_ref(), group)).collect());
    let mut groups: Vec<GroupItem> = read.await?;
    {
        let at_ms = u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mut before, mut courses) = (lock(&app.courses), Courses::new());
        for group in &mut groups {
            group.topics = topics(&group.offsets, |topic, place| {
                let name = (group.group.clone(), topic.to_owned());
                let mut course = before.remove(&name).unwrap_or_default();
                let outlook = course.observe(Place { at_ms, ..place });
                courses.insert(name, course);
                outlook
            });
            if let Some(gauges) = gauges_of(app, &group.group) {
                group.retries = Some(gauges.retries.load(Relaxed) + gauges.record_retries.load(Relaxed));
                group.dead_letters = Some(gauges.dead_letters.load(Relaxed));
                // What it has not read yet waits too.
                let oldest = oldest_unsettled_seconds(gauges, now().millis());
                group.oldest_unsettled_seconds = if oldest > 0.0 { oldest } else { group.lag_seconds };
            }
        }
        *before = courses;
    }
    Ok(Arc::new(groups))
}

/// The same for those who ask often: at most a second old.
pub(crate) async fn recent(app: &Arc<App>) -> Result<Arc<Vec<GroupItem>>, Problem> {
    let mut known = app.groups.lock().await;
    if let Some((at, groups)) = &*known
        && at.elapsed() < BELIEVED_FOR
    {
        return Ok(Arc::clone(groups));
    }
    let groups = all(app).await?;
    *known = Some((Instant::now(), Arc::clone(&groups)));
    Ok(groups)
}

/// Looks again and again, so that whoever asks once is told where lag is going.
pub(crate) async fn watch(app: Arc<App>) {
    let mut every = tokio::time::interval(Duration::from_millis(STEP_MS));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(problem) = recent(&app).await {
            tracing::debug!(problem.detail, "lag is not known now");
        }
    }
}

/// The gauges of a group's role, where it runs in this process.
fn gauges_of<'a>(app: &'a App, group: &str) -> Option<&'a Gauges> {
    let role = group.strip_prefix(GROUP_PREFIX)?;
    app.roles.iter().find(|(name, _)| name == role).map(|(_, gauges)| &**gauges)
}

fn item(log: &dyn Log, group: GroupInfo) -> Result<GroupItem, LogError> {
    // Partitions that a member owns and has committed nothing of yet count too;
    // not those of state, which are owned for the seat.
    let owned = group.members.iter().flat_map(|(_, owned)| owned).map(|place| Arc::clone(&place.topic));
    let topics: Vec<Arc<str>> = owned.filter(|topic| carries_events(topic)).collect();
    let offsets: Vec<OffsetItem> =
        lag::of_group(log, &group.group, &topics, now().millis())?.into_iter().map(OffsetItem::from).collect();
    let lag_seconds = offsets.iter().map(|offset| offset.lag_seconds).fold(0.0, f64::max);
    Ok(GroupItem {
        group: group.group,
        members: group
            .members
            .into_iter()
            .map(|(member, owned)| MemberItem { member, partitions: owned.iter().map(ToString::to_string).collect() })
            .collect(),
        lag_records: offsets.iter().map(|offset| offset.lag_records).sum(),
        lag_seconds,
        retries: None,
        dead_letters: None,
        oldest_unsettled_seconds: lag_seconds,
        topics: Vec::new(),
        offsets,
    })
}

/// Sums partitions by topic; `outlook` is asked for each, with no time set.
fn topics(offsets: &[OffsetItem], mut outlook: impl FnMut(&str, Place) -> Outlook) -> Vec<GroupTopicItem> {
    let mut sums: BTreeMap<&str, (u64, f64, u64)> = BTreeMap::new();
    for offset in offsets {
        let (records, seconds, end) = sums.entry(&offset.topic).or_default();
        *records += offset.lag_records;
        *seconds = seconds.max(offset.lag_seconds);
        *end += offset.end;
    }
    let item = |(topic, (lag_records, lag_seconds, end)): (&str, (u64, f64, u64))| {
        let outlook = outlook(topic, Place { at_ms: 0, taken: end.saturating_sub(lag_records), end });
        GroupTopicItem {
            topic: topic.to_owned(),
            lag_records,
            lag_seconds,
            trend: outlook.trend,
            clear_in_seconds: outlook.clear_in_seconds,
            taken_per_s: outlook.taken_per_s,
            written_per_s: outlook.written_per_s,
        }
    };
    sums.into_iter().map(item).collect()
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
    let groups = all(&app).await?;
    Ok(json(&Groups { items: &groups, next_cursor: None }))
}
