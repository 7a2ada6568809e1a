//! `POST /api/admin/groups/{group}/skip`: gives up one record that a group can
//! never handle, and writes down who did and why.
//!
//! Not here: moving a group anywhere else; `reset` does.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tapedeck_contracts::EventId;
use tapedeck_flow::{
    record_hash::record_hash,
    state::{self, AT, At},
};
use tapedeck_log::{GroupOffset, Log, LogError, LogRecord, TopicPartition};
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

/// Long enough for a sentence or two.
const MAX_REASON_BYTES: usize = 1_024;

/// Which record to give up.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SkipRequest {
    /// Where it lies.
    topic: String,
    partition: u32,
    offset: u64,
    /// Why; needed, for the audit log.
    reason: String,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// What was given up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SkipResult {
    group: String,
    dry_run: bool,
    topic: String,
    partition: u32,
    offset: u64,
    /// The offset of the next record to take, as it was and as it is.
    before: u64,
    after: u64,
}

/// Gives up a record that the group can never handle.
#[utoipa::path(post, path = "/api/admin/groups/{group}/skip", tag = "admin",
    params(("group" = String, Path, description = "The group")), request_body = SkipRequest, responses(
    (status = 200, description = "What was given up", body = SkipResult),
    (status = 409, description = "The group has members, or does not stand at this record", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn skip(
    State(app): State<Arc<App>>,
    Extension(context): Extension<Context>,
    Path(group): Path<String>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    body::media(&headers, &[Media::Json])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    let mut request: SkipRequest = body::parse(&bytes)?;
    request.reason = request.reason.trim().to_owned();
    if request.reason.is_empty() || request.reason.len() > MAX_REASON_BYTES {
        let detail = format!("needed, up to {MAX_REASON_BYTES} bytes: the audit log keeps why a record was given up");
        return Err(Problem::field(StatusCode::UNPROCESSABLE_ENTITY, "$.reason", detail));
    }
    let store = Arc::clone(&app.store);
    let done = move |log: &Arc<dyn Log>| Ok(apply(log.as_ref(), store.as_ref(), group, &request, &context));
    Ok(routes::json(&app.log(done).await??))
}

fn apply(
    log: &dyn Log,
    store: &dyn Store,
    group: String,
    request: &SkipRequest,
    context: &Context,
) -> Result<SkipResult, Problem> {
    let place = TopicPartition::new(request.topic.as_str(), request.partition);
    if !place::partitions_of(log, &request.topic)?.contains(&place) {
        return Err(Problem::not_found(format!("there is no partition {place}")));
    }
    let skipped = place::record_from(log, &place, request.offset)?.filter(|record| record.offset == request.offset);
    let skipped = skipped.ok_or_else(|| Problem::not_found(format!("{place}/{} holds no record", request.offset)))?;
    place::refuse_members(log, &group)?;
    let member = if request.dry_run { None } else { Some(place::take(log, &group, topics(&group, &place))?) };
    let found = Position::find(log, store, &group, &place)?;
    let (before, at) = found.past(log, &group, &skipped)?;
    let after = at.next.get(&place.to_string()).copied().unwrap_or(before);
    if let Some(mut member) = member {
        let gone =
            json!({ "topic": &request.topic, "partition": request.partition, "offset": request.offset, "next": after });
        let entry = audit("groups.skip", format!("group/{group}"), &request.reason, gone);
        log.append(vec![record("audit-logs", EventId::from(Uuid::new_v4()), entry, context)?])?;
        let published = [GroupOffset { partition: place.clone(), next: after }];
        match &found.keeper {
            Keeper::Group => member.commit(&published)?,
            Keeper::Store => {
                let moved = OffsetMove {
                    topic: Arc::clone(&place.topic),
                    partition: place.partition,
                    expected: found.at.next.get(&place.to_string()).copied(),
                    next: after,
                    last: (skipped.offset, record_hash(&skipped)),
                };
                place::move_store(store, member.as_mut(), vec![moved], &published)?;
            }
            Keeper::State(topic) => {
                let value = serde_json::to_vec(&at).map_err(|error| Problem::internal(&error.to_string()))?;
                member.transact(vec![state::record(topic, found.state_partition, AT, Some(value))], &published)?;
            }
        }
    }
    let SkipRequest { topic, partition, offset, dry_run, .. } = request.clone();
    Ok(SkipResult { group, dry_run, topic, partition, offset, before, after })
}

/// Where a group stands in a partition, and who keeps that.
struct Position {
    keeper: Keeper,
    place: TopicPartition,
    /// What is kept; with other partitions of the input, where they are kept together.
    at: At,
    /// Of the state topic.
    state_partition: u32,
}

impl Position {
    fn find(log: &dyn Log, store: &dyn Store, group: &str, place: &TopicPartition) -> Result<Self, Problem> {
        if group == MARKET {
            return Err(conflict(format!("`{group}` reads no topic: there is no record to skip")));
        }
        let keeper = Keeper::of(group);
        // The paper broker is one process, and keeps all its state together.
        let together = group == FORWARD_TEST;
        let state_partition = if together { 0 } else { place.partition };
        let committed = || -> Result<At, LogError> {
            let offsets = log.committed(group)?.into_iter().filter(|offset| together || offset.partition == *place);
            let next = offsets.map(|offset| (offset.partition.to_string(), offset.next)).collect();
            Ok(At { next, ..At::default() })
        };
        let at = match &keeper {
            Keeper::Group => committed()?,
            Keeper::Store => {
                let next = place::stored(store, place)?.next;
                At { next: next.map(|next| (place.to_string(), next)).into_iter().collect(), ..At::default() }
            }
            Keeper::State(topic) => {
                let state = state::load(log, topic, state_partition)
                    .map_err(|failure| LogError::Transient(failure.to_string()))?;
                match state.get(AT) {
                    None => committed()?,
                    Some(value) => serde_json::from_slice(value)
                        .map_err(|error| conflict(format!("`{AT}` of {topic} cannot be read: {error}")))?,
                }
            }
        };
        Ok(Self { keeper, place: place.clone(), at, state_partition })
    }

    /// Where the group stood, and what is kept once the record is given up.
    fn past(&self, log: &dyn Log, group: &str, skipped: &LogRecord) -> Result<(u64, At), Problem> {
        let (place, offset, name) = (&self.place, skipped.offset, self.place.to_string());
        let start = log.bounds(place)?.0;
        let before = self.at.next.get(&name).copied().unwrap_or(start).max(start);
        let mut at = self.at.clone();
        let mut ahead: BTreeSet<u64> = at.ahead.remove(&name).unwrap_or_default().into_iter().collect();
        if offset < before || ahead.contains(&offset) {
            return Err(conflict(format!("group `{group}` is past {place}/{offset} already: its next is {before}")));
        }
        let first = place::record_from(log, place, before)?.map_or(offset, |record| record.offset);
        let mut next = before;
        if first == offset {
            next = offset + 1;
            while ahead.remove(&next) {
                next += 1;
            }
        } else if group == FORWARD_TEST {
            // It takes signals in the order of their causes, so what lies before
            // this record may still wait for its turn.
            ahead.insert(offset);
        } else {
            return Err(conflict(format!(
                "group `{group}` stands at {place}/{first}, not at {offset}: only the record that it stopped at can be skipped"
            )));
        }
        at.next.insert(name.clone(), next);
        if !ahead.is_empty() {
            at.ahead.insert(name, ahead.into_iter().collect());
        }
        Ok((before, at))
    }
}

/// What to hold while the position is moved.
fn topics(group: &str, place: &TopicPartition) -> BTreeSet<Arc<str>> {
    let mut topics = BTreeSet::from([Arc::clone(&place.topic)]);
    if let Keeper::State(topic) = Keeper::of(group) {
        topics.insert(topic);
    }
    topics
}
