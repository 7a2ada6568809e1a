//! `POST /api/admin/groups/{group}/commit`: the committed offsets of a group that
//! reads over the api and has no members.
//!
//! Not here: groups of roles, which commit what they handled.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use tapedeck_log::{GroupOffset, TopicPartition};
use utoipa::ToSchema;

use super::place;
use crate::{
    app::App,
    events::body::{self, Media},
    problem::{Problem, ProblemBody},
    routes,
};

/// Groups of ours begin so.
const OURS: &str = "tapedeck.";
/// Offsets of one request at most: more partitions than any topic has.
const MAX_OFFSETS: usize = 10_000;

/// Offsets to commit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitRequest {
    offsets: Vec<CommitOffset>,
}

/// The offset of the next record to take.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CommitOffset {
    topic: String,
    partition: u32,
    next: u64,
}

/// What was committed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CommitResult {
    group: String,
    offsets: Vec<CommitOffset>,
}

/// Commits offsets of a group without members.
#[utoipa::path(post, path = "/api/admin/groups/{group}/commit", tag = "admin",
    params(("group" = String, Path, description = "The group")), request_body = CommitRequest, responses(
    (status = 200, description = "What was committed", body = CommitResult),
    (status = 409, description = "The group has members", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn commit(
    State(app): State<Arc<App>>,
    Path(group): Path<String>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    body::media(&headers, &[Media::Json])?;
    let bytes = body::read(request, app.api.body_limit_bytes).await?;
    let asked: CommitRequest = body::parse(&bytes)?;
    if group.starts_with(OURS) {
        let detail = format!("`{group}` is the group of a role, which commits what it handled; `reset` moves it");
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if asked.offsets.is_empty() || asked.offsets.len() > MAX_OFFSETS {
        return Err(Problem::bad("offsets", format!("expected 1 to {MAX_OFFSETS}, found {}", asked.offsets.len())));
    }
    let (name, offsets) = (group.clone(), asked.offsets.clone());
    let done = app.log(move |log| {
        if let Err(problem) = place::refuse_members(log.as_ref(), &name) {
            return Ok(Err(problem));
        }
        let offset =
            |o: CommitOffset| GroupOffset { partition: TopicPartition::new(o.topic, o.partition), next: o.next };
        let offsets: Vec<GroupOffset> = offsets.into_iter().map(offset).collect();
        Ok(Ok(log.reset_offsets(&name, &offsets)?))
    });
    done.await??;
    Ok(routes::json(&CommitResult { group, offsets: asked.offsets }))
}
