//! `POST /api/admin/groups/{group}/reset`: moves a group without members to
//! another place, and writes down that somebody did.
//!
//! Not here: groups whose position lies beside their effect (in a role's state,
//! in the store): those are refused, or cleared with their state where told.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_contracts::{
    EventId, Timestamp,
    catalogue::{Catalogue, state_topic},
};
use tapedeck_flow::state;
use tapedeck_log::{GroupOffset, Log, LogError, Record, TopicPartition};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    ess::{audit, record},
    events::body::{self, Media},
    layers::Context,
    problem::{Problem, ProblemBody},
    routes,
};

/// Where to move a group.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetRequest {
    /// Only this topic; else all that the group has offsets of.
    topic: Option<String>,
    /// Only this partition of the topic.
    partition: Option<u32>,
    /// `earliest`, `latest`, a time (records written at or after it), or an offset.
    #[schema(value_type = String)]
    to: Value,
    /// Clear the role's state too.
    #[serde(default)]
    with_state: bool,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// A moved partition.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Moved {
    topic: String,
    partition: u32,
    /// Null where there was no offset.
    before: Option<u64>,
    after: u64,
}

/// What was moved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResetResult {
    group: String,
    dry_run: bool,
    /// Keys of the role's state that were deleted.
    state_keys_cleared: usize,
    moved: Vec<Moved>,
}

/// Where to, as it was understood.
#[derive(Clone, Copy, Debug)]
enum Target {
    Start,
    End,
    Time(Timestamp),
    Offset(u64),
}

/// Moves a group without members.
#[utoipa::path(post, path = "/api/admin/groups/{group}/reset", tag = "admin",
    params(("group" = String, Path, description = "The group")), request_body = ResetRequest, responses(
    (status = 200, description = "What was moved", body = ResetResult),
    (status = 409, description = "The group has members, or its position lies elsewhere", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn reset(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(group): Path<String>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    body::media(&headers, &[Media::Json])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    let request: ResetRequest = body::parse(&bytes)?;
    let target = target(&request.to)?;
    check(&group, &request)?;
    let result = app.log(move |log| Ok(apply(log.as_ref(), group, &request, target, &context))).await??;
    Ok(routes::json(&result))
}

fn target(to: &Value) -> Result<Target, Problem> {
    let wrong = || {
        let detail = format!("expected \"earliest\", \"latest\", a time or an offset, found {to}");
        Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "$.to", detail)
    };
    match to {
        Value::String(text) if text == "earliest" => Ok(Target::Start),
        Value::String(text) if text == "latest" => Ok(Target::End),
        Value::String(text) => match text.parse() {
            Ok(offset) => Ok(Target::Offset(offset)),
            Err(_) => Timestamp::parse(text).map(Target::Time).map_err(|_| wrong()),
        },
        Value::Number(number) => number.as_u64().map(Target::Offset).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Refuses groups for which moving offsets would change nothing, or leave a
/// state that does not fit.
fn check(group: &str, request: &ResetRequest) -> Result<(), Problem> {
    let conflict = |detail: String| Err(Problem::new(StatusCode::CONFLICT, detail));
    let role = group.strip_prefix("tapedeck.");
    if group == "tapedeck.recorder" {
        return conflict(
            "the recorder's position lies in the store beside its rows; moving the group changes nothing".into(),
        );
    }
    let has_state = role.is_some_and(|role| Catalogue::get().topic(&state_topic(role)).is_some());
    if has_state && !request.with_state {
        return conflict(format!(
            "group `{group}` has state that reflects its position; with_state clears that too, and the role begins again"
        ));
    }
    if request.partition.is_some() && request.topic.is_none() {
        let detail = "needed where a partition is named";
        return Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "$.topic", detail));
    }
    Ok(())
}

fn apply(
    log: &dyn Log,
    group: String,
    request: &ResetRequest,
    target: Target,
    context: &Context,
) -> Result<ResetResult, Problem> {
    let has_members = log.groups()?.iter().any(|info| info.group == group && !info.members.is_empty());
    if has_members {
        let detail = format!("group `{group}` has members; stop them first");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let moved = plan(log, &group, request, target)?;
    let tombstones = if request.with_state { clear(log, &group)? } else { Vec::new() };
    let state_keys_cleared = tombstones.len();
    if !request.dry_run {
        let after = json!({ "moved": &moved, "state_keys_cleared": state_keys_cleared });
        let entry = audit("groups.reset", format!("group/{group}"), "asked over the API", after);
        let mut records = vec![record("audit-logs", EventId::from(Uuid::new_v4()), entry, context)?];
        records.extend(tombstones);
        log.append(records)?;
        let offsets: Vec<GroupOffset> = moved
            .iter()
            .map(|to| GroupOffset { partition: TopicPartition::new(to.topic.as_str(), to.partition), next: to.after })
            .collect();
        log.reset_offsets(&group, &offsets)?;
    }
    Ok(ResetResult { group, dry_run: request.dry_run, state_keys_cleared, moved })
}

fn plan(log: &dyn Log, group: &str, request: &ResetRequest, target: Target) -> Result<Vec<Moved>, Problem> {
    let committed = log.committed(group)?;
    let partitions: Vec<TopicPartition> = match &request.topic {
        Some(topic) => {
            let info = log.topics()?.into_iter().find(|info| *info.config.name == **topic);
            let info = info.ok_or_else(|| Problem::not_found(format!("there is no topic `{topic}`")))?;
            let all = (0..info.config.partitions).map(|partition| TopicPartition::new(topic.as_str(), partition));
            all.filter(|place| request.partition.is_none_or(|only| only == place.partition)).collect()
        }
        None => committed.iter().map(|offset| offset.partition.clone()).collect(),
    };
    if partitions.is_empty() {
        return Err(Problem::not_found(format!("group `{group}` has no such offsets; name a topic and its partition")));
    }
    let mut moved = Vec::with_capacity(partitions.len());
    for place in partitions {
        let (start, end) = log.bounds(&place)?;
        let after = match target {
            Target::Start => start,
            Target::End => end,
            Target::Time(time) => log.offset_at(&place, time.millis())?,
            Target::Offset(offset) if (start..=end).contains(&offset) => offset,
            Target::Offset(offset) => {
                let detail = format!("{place} holds offsets {start} to {end}, not {offset}");
                return Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "$.to", detail));
            }
        };
        let before = committed.iter().find(|offset| offset.partition == place).map(|offset| offset.next);
        moved.push(Moved { topic: place.topic.to_string(), partition: place.partition, before, after });
    }
    Ok(moved)
}

/// The tombstones that delete a role's state.
fn clear(log: &dyn Log, group: &str) -> Result<Vec<Record>, Problem> {
    let Some(role) = group.strip_prefix("tapedeck.") else { return Ok(Vec::new()) };
    let topic: Arc<str> = state_topic(role).into();
    let Some(known) = Catalogue::get().topic(&topic) else { return Ok(Vec::new()) };
    let mut tombstones = Vec::new();
    for partition in 0..known.partitions {
        let state = state::load(log, &topic, partition)
            .map_err(|failure| Problem::from(LogError::Transient(failure.to_string())))?;
        tombstones.extend(state.keys().map(|key| state::record(&topic, partition, key, None)));
    }
    Ok(tombstones)
}
