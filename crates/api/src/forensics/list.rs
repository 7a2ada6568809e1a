//! `GET /api/v1/forensics`: explained decisions, newest first.
//!
//! Not here: the whole explanation of one.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde_json::Value;
use tapedeck_contracts::{
    Timestamp,
    events::{Action, decision::Outcome},
};
use tapedeck_store::{Explained, ExplainedQuery};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    listing::{Format, Rendered, after, page},
    params::Params,
    problem::{Problem, ProblemBody},
};

const ACTIONS: [(&str, Action); 3] = [("BUY", Action::Buy), ("SELL", Action::Sell), ("HOLD", Action::Hold)];
const OUTCOMES: [(&str, Outcome); 2] = [("accepted", Outcome::Accepted), ("rejected", Outcome::Rejected)];

/// Which explained decisions.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ForensicsParams {
    /// Of one account.
    account: Option<String>,
    /// Of one symbol.
    symbol: Option<String>,
    /// BUY, SELL or HOLD.
    #[param(value_type = Option<String>)]
    action: Option<Action>,
    /// accepted or rejected.
    #[param(value_type = Option<String>)]
    outcome: Option<Outcome>,
    /// From this time (RFC 3339, with a zone).
    #[param(value_type = Option<String>)]
    from: Option<Timestamp>,
    /// Before this time.
    #[param(value_type = Option<String>)]
    to: Option<Timestamp>,
    /// `next_cursor` of the page before, with the same filters.
    cursor: Option<String>,
    /// Rows of a page, 1 to 1000.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

impl ForensicsParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let (account, symbol) = (query.id("account")?, query.id("symbol")?);
        let (action, outcome) = (query.word("action", &ACTIONS)?, query.word("outcome", &OUTCOMES)?);
        let (from, to) = query.range()?;
        let (cursor, limit) = (query.text("cursor")?, query.limit()?);
        query.finish()?;
        Ok(Self { account, symbol, action, outcome, from, to, cursor, limit })
    }
}

/// Explained decisions, newest first.
#[utoipa::path(get, path = "/api/v1/forensics", tag = "forensics", params(ForensicsParams), responses(
    (status = 200, description = "A page of decisions; CSV with `Accept: text/csv`", body = ForensicsPage),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn explanations(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Rendered, Problem> {
    let params = ForensicsParams::read(&uri)?;
    let format = Format::of(&headers);
    let filters = format!(
        "forensics {:?}",
        (&params.account, &params.symbol, params.action, params.outcome, params.from, params.to)
    );
    let query = ExplainedQuery {
        after: after(&app, &filters, params.cursor.as_deref())?,
        account: params.account,
        symbol: params.symbol,
        action: params.action,
        outcome: params.outcome,
        from: params.from,
        to: params.to,
        limit: params.limit + 1,
    };
    let answers = Arc::clone(&app);
    app.explain(move |explains, store| {
        let mut rows = store.explanations(&query)?;
        let next = page(&answers, &filters, &mut rows, params.limit, |(key, _)| *key);
        let rows: Vec<Explained> = rows.into_iter().map(|(_, row)| row).collect();
        let items = explains.items(&rows);
        Ok(match format {
            Format::Json => Rendered::new(format, &items, next),
            Format::Csv => Rendered::new(format, &items.iter().map(line).collect::<Vec<_>>(), next),
        })
    })
    .await
}

/// An item as a line of CSV.
#[derive(serde::Serialize)]
struct ItemLine<'a> {
    decision_id: &'a Value,
    timestamp: &'a Value,
    account: &'a Value,
    symbol: &'a Value,
    action: &'a Value,
    quantity: &'a Value,
    confidence: &'a Value,
    outcome: &'a Value,
    reasons: String,
    prediction: &'a Value,
    text: &'a Value,
    error: &'a Value,
}

fn line(item: &Value) -> ItemLine<'_> {
    let reasons = item["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    ItemLine {
        decision_id: &item["decision_id"],
        timestamp: &item["timestamp"],
        account: &item["account"],
        symbol: &item["symbol"],
        action: &item["action"],
        quantity: &item["quantity"],
        confidence: &item["confidence"],
        outcome: &item["outcome"],
        reasons: reasons.collect::<Vec<_>>().join(" "),
        prediction: &item["prediction"],
        text: &item["text"],
        error: &item["error"],
    }
}

/// A decision in a list.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which who explains makes")]
pub(crate) struct ForensicsItem {
    decision_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    account: Option<String>,
    symbol: String,
    /// BUY, SELL or HOLD.
    action: String,
    #[schema(required = false)]
    quantity: String,
    #[schema(required = false)]
    confidence: f64,
    /// accepted or rejected.
    outcome: String,
    #[schema(required = false)]
    reasons: Vec<String>,
    /// The weighted margin (log-odds).
    #[schema(required = false)]
    prediction: f64,
    /// What was decided, as a sentence.
    #[schema(required = false)]
    text: String,
    /// The record cannot be read, with where to look; then quantity, confidence, reasons, prediction and text are
    /// absent. Absent where it can.
    #[schema(required = false)]
    error: String,
}

/// A page of explained decisions.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct ForensicsPage {
    items: Vec<ForensicsItem>,
    next_cursor: Option<String>,
}
