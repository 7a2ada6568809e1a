//! `POST /api/v1/forensics/re-decide`: a stretch of the past, decided again with other
//! versions of some specialists, a page at a time.
//!
//! Not here: the models, and what they say.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use tapedeck_contracts::{Timestamp, ids::MAX_ID_BYTES};
use tapedeck_store::{Explained, ExplainedQuery};
use utoipa::ToSchema;

use crate::{
    app::App,
    events::body::{self, Media},
    listing::{after, page},
    params::{LIMIT_DEFAULT, LIMIT_MAX},
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Which decisions, and what decides instead.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReDecideBody {
    /// Versions by specialist, instead of those that decided.
    model: BTreeMap<String, String>,
    /// Of one account.
    account: Option<String>,
    /// Of one symbol.
    symbol: Option<String>,
    /// From this time (RFC 3339, with a zone).
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// `next_cursor` of the page before, with the same filters.
    cursor: Option<String>,
    /// Decisions that a page looks at, 1 to 1000; 100 where absent.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl ReDecideBody {
    fn check(&self) -> Result<(), Problem> {
        let wrong = |path: &str, detail: String| Problem::field(StatusCode::UNPROCESSABLE_ENTITY, path, detail);
        for (path, id) in [("$.account", &self.account), ("$.symbol", &self.symbol)] {
            if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID_BYTES) {
                return Err(wrong(path, format!("expected a name of 1 to {MAX_ID_BYTES} bytes")));
            }
        }
        if self.from.zip(self.to).is_some_and(|(from, to)| from > to) {
            return Err(wrong("$.from", "lies after `to`".to_owned()));
        }
        if self.limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            return Err(wrong("$.limit", format!("expected a whole number from 1 to {LIMIT_MAX}")));
        }
        Ok(())
    }
}

/// What other versions of some specialists would have decided, of a page of decisions,
/// newest first: how often the same, how often another action, and those of another
/// action with both margins. Risk checks, outcomes and positions stay as they were.
#[utoipa::path(post, path = "/api/v1/forensics/re-decide", tag = "forensics", request_body = ReDecideBody, responses(
    (status = 200, description = "What came of a page; the sums of pages add up", body = ReDecidedPage),
    (status = 422, description = "An unknown specialist, a version that is not there (with those that are), a model of other features", body = ProblemBody, content_type = "application/problem+json"),
    (status = 503, description = "A model that decided, and is not replaced, cannot be had", body = ProblemBody, content_type = "application/problem+json"),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn re_decide(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    body::media(&headers, &[Media::Json])?;
    let asked: ReDecideBody = body::parse(&body::read(request, app.api.body_limit_bytes).await?)?;
    asked.check()?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    let filters = format!("re-decide {:?}", (&asked.account, &asked.symbol, asked.from, asked.to));
    let query = ExplainedQuery {
        after: after(&app, &filters, asked.cursor.as_deref())?,
        account: asked.account,
        symbol: asked.symbol,
        action: None,
        outcome: None,
        from: asked.from,
        to: asked.to,
        limit: limit + 1,
    };
    let answers = Arc::clone(&app);
    let answer = app.explain(move |explains, store| {
        let mut rows = store.explanations(&query)?;
        let next = page(&answers, &filters, &mut rows, limit, |(key, _)| *key);
        let rows: Vec<Explained> = rows.into_iter().map(|(_, row)| row).collect();
        let mut answer = explains.re_decide(store, &rows, &asked.model)?;
        answer["next_cursor"] = next.map_or(Value::Null, Value::String);
        Ok(answer)
    });
    Ok(json(&answer.await?))
}

/// What came of a page of decisions. Margins and contributions are log-odds.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct ReDecidedPage {
    /// How many decisions were looked at.
    decisions: u64,
    /// The same action and quantity.
    same: u64,
    /// The same action for another quantity.
    other_quantity: u64,
    /// Another action.
    other_action: u64,
    /// Those of another action, by what was and what would have been.
    changes: Vec<ReDecidedChange>,
    /// Decisions that the band and the sizes of the config, as it is, do not make of their
    /// own margins: it was another one then.
    other_config: u64,
    /// How far p has to be from one half for more than a HOLD.
    band: f64,
    means: ReDecidedMeans,
    /// Decisions of another action, newest first.
    items: Vec<ReDecidedItem>,
    next_cursor: Option<String>,
}

/// From one action to another.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a part of the answer")]
pub(crate) struct ReDecidedChange {
    /// BUY, SELL or HOLD.
    before: String,
    after: String,
    decisions: u64,
}

/// Means over the decisions.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a part of the answer")]
pub(crate) struct ReDecidedMeans {
    p_before: f64,
    p_after: f64,
    /// Of max(p, 1 - p).
    confidence_before: f64,
    confidence_after: f64,
    /// Of how far p moved, signs aside.
    p_moved: f64,
}

/// A decision that would have been another one.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a part of the answer")]
pub(crate) struct ReDecidedItem {
    decision_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    account: Option<String>,
    symbol: String,
    /// accepted or rejected, as it was recorded.
    outcome: String,
    before: ReDecidedCase,
    after: ReDecidedCase,
    /// The three features whose contributions moved most.
    moved: Vec<ReDecidedMove>,
}

/// One way to decide.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a part of the answer")]
pub(crate) struct ReDecidedCase {
    /// The weighted margin.
    margin: f64,
    p: f64,
    /// BUY, SELL or HOLD.
    action: String,
    quantity: String,
}

/// A feature whose contribution moved.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a part of the answer")]
pub(crate) struct ReDecidedMove {
    name: String,
    /// null is a missing value.
    value: Option<f64>,
    shap_before: f64,
    shap_after: f64,
}
