//! `GET /api/alerts`: the history of alerts, newest first.
//!
//! Not here: alerts as they come; `/ws/alerts` has those.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde::Serialize;
use serde_json::{Map, Value};
use tapedeck_contracts::{
    Timestamp,
    events::{Alert, Severity},
};
use tapedeck_store::{AlertsQuery, PageKey};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    listing::{Format, Rendered, after, page},
    params::Params,
    problem::{Problem, ProblemBody},
};

/// The words of a severity, mildest first.
pub(crate) const SEVERITIES: [(&str, Severity); 4] = [
    ("INFO", Severity::Info),
    ("WARNING", Severity::Warning),
    ("ERROR", Severity::Error),
    ("CRITICAL", Severity::Critical),
];

/// Which alerts.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AlertsParams {
    /// This bad or worse: INFO, WARNING, ERROR, CRITICAL.
    #[param(value_type = Option<String>)]
    severity: Option<Severity>,
    /// Of one account.
    account: Option<String>,
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

impl AlertsParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let (severity, account) = (query.word("severity", &SEVERITIES)?, query.id("account")?);
        let (from, to) = query.range()?;
        let params = Self { severity, account, from, to, cursor: query.text("cursor")?, limit: query.limit()? };
        query.finish()?;
        Ok(params)
    }
}

/// An alert: its event's body.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer, which is the event's own type")]
pub(crate) struct AlertItem {
    event_id: String,
    #[schema(format = DateTime)]
    timestamp: String,
    /// INFO, WARNING, ERROR, CRITICAL.
    severity: String,
    /// For machines.
    code: String,
    /// For people.
    message: String,
    /// Figures and names behind the message.
    #[schema(value_type = Object)]
    context: Map<String, Value>,
    /// The role that raised it.
    source: String,
    account: Option<String>,
    decision_id: Option<String>,
}

/// A page of alerts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct AlertsPage {
    items: Vec<AlertItem>,
    next_cursor: Option<String>,
}

/// An alert as a line of CSV: its context as JSON text.
#[derive(Serialize)]
struct AlertLine<'a> {
    event_id: &'a str,
    timestamp: Timestamp,
    severity: Severity,
    code: &'a str,
    message: &'a str,
    context: String,
    source: &'a str,
    account: Option<&'a str>,
    decision_id: Option<&'a str>,
}

impl<'a> From<&'a Alert> for AlertLine<'a> {
    fn from(alert: &'a Alert) -> Self {
        Self {
            event_id: alert.event_id.as_str(),
            timestamp: alert.timestamp,
            severity: alert.severity,
            code: &alert.code,
            message: &alert.message,
            context: serde_json::to_string(&alert.context).expect("a JSON object"),
            source: &alert.source,
            account: alert.account.as_deref(),
            decision_id: alert.decision_id.as_deref(),
        }
    }
}

/// The history of alerts, newest first.
#[utoipa::path(get, path = "/api/alerts", tag = "trading", params(AlertsParams), responses(
    (status = 200, description = "A page of alerts; CSV with `Accept: text/csv`", body = AlertsPage),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn alerts(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Rendered, Problem> {
    let params = AlertsParams::read(&uri)?;
    let format = Format::of(&headers);
    let account = match &params.account {
        Some(account) => app.account(Some(account)).await?,
        None => None,
    };
    let filters = format!("alerts {:?}", (&account, params.severity, params.from, params.to));
    let query = AlertsQuery {
        account,
        after: after(&app, &filters, params.cursor.as_deref())?,
        min_severity: params.severity,
        from: params.from,
        to: params.to,
        limit: params.limit + 1,
    };
    let answers = Arc::clone(&app);
    app.store(move |store| {
        let mut rows: Vec<(PageKey, Alert)> = store.alerts(&query)?;
        let next = page(&answers, &filters, &mut rows, params.limit, |(key, _)| *key);
        Ok(match format {
            Format::Json => Rendered::new(format, &rows.iter().map(|(_, alert)| alert).collect::<Vec<_>>(), next),
            Format::Csv => {
                Rendered::new(format, &rows.iter().map(|(_, a)| AlertLine::from(a)).collect::<Vec<_>>(), next)
            }
        })
    })
    .await
}
