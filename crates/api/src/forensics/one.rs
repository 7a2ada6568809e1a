//! `GET /api/v1/forensics/{decision_id}`: why this trade was made, or not made.
//!
//! Not here: lists.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tapedeck_contracts::ids::MAX_ID_BYTES;
use tapedeck_flow::emitter::EmitterStats;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    admin::groups,
    app::App,
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

/// The group whose lag says that an explanation may still come.
const GROUP: &str = "tapedeck.forensics";
/// Features named one by one where nobody says: what a person takes in.
const TOP: u64 = 20;
/// A model may have so many; `top` of them is everything.
const MOST: u64 = 100_000;

/// A decision that waits to be explained.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Pending {
    decision_id: String,
    /// `pending`.
    status: &'static str,
}

/// Why a decision was made: exact SHAP values of the weighted ensemble in log-odds,
/// the regime, the specialists, the risk checks, what was executed, and its place in
/// the chain of hashes.
#[utoipa::path(get, path = "/api/v1/forensics/{decision_id}", tag = "forensics",
    params(
        ("decision_id" = String, Path, description = "The decision's id"),
        ("top" = Option<u64>, Query, description = "How many features are named, the largest |SHAP value| first (20); the others are summed")),
    responses(
        (status = 200, description = "The explanation", body = super::explanation::Explanation),
        (status = 202, description = "Not explained yet; `Retry-After` says when to ask again", body = Pending),
        (status = 404, description = "There is no such decision, or it was not explained", body = ProblemBody, content_type = "application/problem+json"),
        (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn explanation(
    State(app): State<Arc<App>>,
    Path(decision_id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = Params::of(&uri)?;
    let top = query.number("top", 0, MOST)?.unwrap_or(TOP) as usize;
    query.finish()?;
    if decision_id.len() > MAX_ID_BYTES {
        return Err(Problem::bad("decision_id", format!("longer than {MAX_ID_BYTES} bytes")));
    }
    let id = decision_id.clone();
    let ask =
        |id: String| app.explain(move |explains, store| in_either_case(&id, |id| explains.explanation(store, id, top)));
    if let Some(answer) = ask(id.clone()).await? {
        return Ok(json(&answer));
    }
    if may_come(&app).await? {
        let mut response = (StatusCode::ACCEPTED, json(&Pending { decision_id, status: "pending" })).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return Ok(response);
    }
    // Nothing waits now; it may have come since the first look.
    let answer = ask(id).await?;
    let missing = || {
        Problem::not_found(format!(
            "there is no explanation of a decision `{decision_id}`; a decision that could not be explained is among the \
             dead letters (`tapedeck dlq list --topic trading_decisions`)"
        ))
    };
    answer.map(|answer| json(&answer)).ok_or_else(missing)
}

/// What is asked of a decision by its id, asked again without capitals where it is not
/// there: a UUID is the same in capitals; other ids are not.
///
/// # Errors
/// Those of the question.
pub(super) fn in_either_case<T, E>(id: &str, ask: impl Fn(&str) -> Result<Option<T>, E>) -> Result<Option<T>, E> {
    match ask(id)? {
        None => small(id).map_or(Ok(None), |id| ask(&id)),
        found => Ok(found),
    }
}

/// A UUID with capitals, without them; none of any other id.
fn small(id: &str) -> Option<String> {
    let uuid = Uuid::try_parse(id).ok()?.hyphenated().to_string();
    (uuid != id && id.eq_ignore_ascii_case(&uuid)).then_some(uuid)
}

/// Whether an explanation may still come: something waits in a ring or a spool of this
/// process, or the group has something to read.
async fn may_come(app: &Arc<App>) -> Result<bool, Problem> {
    let waits = |stats: &EmitterStats| stats.ring_bytes.load(Relaxed) > 0 || stats.spooled_records.load(Relaxed) > 0;
    if app.emitters.iter().any(|(_, stats)| waits(stats)) {
        return Ok(true);
    }
    // As of now: what was read a second ago does not know of a decision made since.
    let groups = groups::all(app).await?;
    Ok(groups.iter().any(|group| group.group == GROUP && group.lag_records > 0))
}
