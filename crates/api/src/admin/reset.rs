//! `POST /api/admin/groups/{group}/reset`: moves a group without members to
//! another place, and writes down that somebody did.
//!
//! Not here: where a group's position is kept (`place`), and giving up a single
//! record (`skip`).

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tapedeck_contracts::{EventId, Timestamp, catalogue::Catalogue};
use tapedeck_flow::state;
use tapedeck_log::{GroupOffset, Log, LogError, Record, TopicPartition};
use tapedeck_store::{OffsetMove, Store};
use utoipa::ToSchema;
use uuid::Uuid;

use super::place::{self, FORWARD_TEST, Keeper, MARKET, conflict};
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
    /// Clear the role's state too, in the same step. All of it goes, so all that
    /// the group reads is moved.
    #[serde(default)]
    with_state: bool,
    /// Clear the paper broker's accounts, though their numbers begin again.
    #[serde(default)]
    force: bool,
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
    /// What to know before roles start again; null where there is nothing.
    warning: Option<&'static str>,
}

/// What clearing the paper broker's state means.
const ACCOUNTS_BEGIN_AGAIN: &str = "the paper accounts begin again, and so do the numbers of their orders and fills: \
    what is stored under such a number with another content stops the recorder. Meant for a data folder whose store.db \
    was removed too";

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
    check(&group, &Keeper::of(&group), &request)?;
    let store = Arc::clone(&app.store);
    let done = move |log: &Arc<dyn Log>| Ok(apply(log.as_ref(), store.as_ref(), group, &request, target, &context));
    Ok(routes::json(&app.log(done).await??))
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

/// Refuses what would leave a state that does not fit its position.
fn check(group: &str, keeper: &Keeper, request: &ResetRequest) -> Result<(), Problem> {
    let needs = |path, detail: &str| Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, path, detail));
    if group == MARKET {
        return Err(conflict("the numbers of a market's events cannot begin again: use another data folder"));
    }
    let has_state = matches!(keeper, Keeper::State(_));
    if has_state && !request.with_state {
        return Err(conflict(format!(
            "group `{group}` has state that reflects its position; with_state clears that too, and the role begins again"
        )));
    }
    if has_state && (request.topic.is_some() || request.partition.is_some()) {
        return needs("$.topic", "not with with_state: the whole state goes, so all that the group reads is moved");
    }
    if group == FORWARD_TEST && !request.force && !request.dry_run {
        return Err(conflict(format!("force is needed: {ACCOUNTS_BEGIN_AGAIN}")));
    }
    if request.partition.is_some() && request.topic.is_none() {
        return needs("$.topic", "needed where a partition is named");
    }
    Ok(())
}

fn apply(
    log: &dyn Log,
    store: &dyn Store,
    group: String,
    request: &ResetRequest,
    target: Target,
    context: &Context,
) -> Result<ResetResult, Problem> {
    place::refuse_members(log, &group)?;
    let keeper = Keeper::of(&group);
    let moved = plan(log, store, &group, request, target)?;
    let tombstones = clear(log, &keeper)?;
    let state_keys_cleared = tombstones.len();
    if !request.dry_run {
        let mut topics: BTreeSet<Arc<str>> = moved.iter().map(|to| to.topic.as_str().into()).collect();
        if let Keeper::State(topic) = &keeper {
            topics.insert(Arc::clone(topic));
        }
        let mut member = place::take(log, &group, topics)?;
        let offsets: Vec<GroupOffset> = moved
            .iter()
            .map(|to| GroupOffset { partition: TopicPartition::new(to.topic.as_str(), to.partition), next: to.after })
            .collect();
        let store_moves = match keeper {
            Keeper::Store => store_moves(log, store, &offsets)?,
            Keeper::Group | Keeper::State(_) => Vec::new(),
        };
        let after = json!({ "moved": &moved, "state_keys_cleared": state_keys_cleared });
        let entry = audit("groups.reset", format!("group/{group}"), "asked over the API", after);
        log.append(vec![record("audit-logs", EventId::from(Uuid::new_v4()), entry, context)?])?;
        match keeper {
            Keeper::Group => member.commit(&offsets)?,
            Keeper::Store => place::move_store(store, member.as_mut(), store_moves, &offsets)?,
            Keeper::State(_) => drop(member.transact(tombstones, &offsets)?),
        }
    }
    let warning = (group == FORWARD_TEST).then_some(ACCOUNTS_BEGIN_AGAIN);
    Ok(ResetResult { group, dry_run: request.dry_run, state_keys_cleared, moved, warning })
}

fn store_moves(log: &dyn Log, store: &dyn Store, offsets: &[GroupOffset]) -> Result<Vec<OffsetMove>, Problem> {
    let moves = offsets.iter().map(|to| place::store_move(log, store, &to.partition, to.next));
    moves.filter_map(Result::transpose).collect()
}

/// Where the group stands, by who keeps that.
fn positions(log: &dyn Log, store: &dyn Store, group: &str) -> Result<Vec<GroupOffset>, Problem> {
    let committed = log.committed(group)?;
    if Keeper::of(group) != Keeper::Store {
        return Ok(committed);
    }
    // The log may be another one than the store has read.
    let mut found = Vec::new();
    for topic in log.topics()?.into_iter().filter(|info| carries_events(&info.config.name)) {
        for partition in 0..topic.config.partitions {
            let partition = TopicPartition::new(Arc::clone(&topic.config.name), partition);
            if let Some(next) = place::stored(store, &partition)?.next {
                found.push(GroupOffset { partition, next });
            }
        }
    }
    Ok(found)
}

fn carries_events(topic: &str) -> bool {
    Catalogue::get().topic(topic).is_some_and(|topic| topic.event.is_some())
}

fn plan(
    log: &dyn Log,
    store: &dyn Store,
    group: &str,
    request: &ResetRequest,
    target: Target,
) -> Result<Vec<Moved>, Problem> {
    let committed = positions(log, store, group)?;
    let partitions: Vec<TopicPartition> = match &request.topic {
        Some(topic) => {
            let all = place::partitions_of(log, topic)?.into_iter();
            all.filter(|place| request.partition.is_none_or(|only| only == place.partition)).collect()
        }
        None => committed.iter().map(|offset| offset.partition.clone()).collect(),
    };
    // A role that never came to commit may have state all the same.
    if partitions.is_empty() && !request.with_state {
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
fn clear(log: &dyn Log, keeper: &Keeper) -> Result<Vec<Record>, Problem> {
    let Keeper::State(topic) = keeper else { return Ok(Vec::new()) };
    let mut tombstones = Vec::new();
    for place in place::partitions_of(log, topic)? {
        let state = state::load(log, topic, place.partition)
            .map_err(|failure| Problem::from(LogError::Transient(failure.to_string())))?;
        tombstones.extend(state.keys().map(|key| state::record(topic, place.partition, key, None)));
    }
    Ok(tombstones)
}
