//! `GET /api/metrics/risk`: exposure, drawdown, value at risk, limits and the
//! emergency stop of each account, at its last metrics.
//!
//! Not here: how the figures are made.

use std::sync::Arc;

use axum::{extract::State, http::Uri, response::Response};
use serde::Serialize;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{Drawdown, EssState, Exposure, RiskMetrics},
};
use utoipa::ToSchema;

use crate::{
    app::App,
    problem::{Problem, ProblemBody},
    routes::{
        json,
        positions::{AccountParams, of_latest},
    },
};

/// Value at risk: what a bad day may cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Var {
    /// The share of days that should be better.
    confidence: f64,
    /// Over how long.
    horizon: &'static str,
    /// How it is made.
    method: &'static str,
    /// Null with too little history.
    #[schema(value_type = Option<String>)]
    value: Option<Dec>,
}

/// The limits that the figures are held against.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    #[schema(value_type = Option<String>)]
    max_gross: Option<Dec>,
    daily_drawdown_pct: Option<f64>,
}

/// The emergency stop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EssItem<'a> {
    /// ARMED, TRIPPED, COOLING.
    #[schema(value_type = String)]
    state: EssState,
    reason: Option<&'a str>,
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// The risk of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountRisk<'a> {
    account: &'a str,
    currency: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    #[schema(value_type = String)]
    equity: Dec,
    /// Gross over equity.
    leverage: f64,
    /// long, short, net, gross and by_venue: notionals at mark, as decimal strings.
    #[schema(value_type = Object)]
    exposure: &'a Exposure,
    /// daily, weekly, max: falls from a peak, in percent.
    #[schema(value_type = Object)]
    drawdown: &'a Drawdown,
    var: Var,
    limits: Limits,
    /// Gross over its limit, in percent.
    risk_limit_pct: f64,
    ess: EssItem<'a>,
}

/// The risk of each account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Risk<'a> {
    accounts: Vec<AccountRisk<'a>>,
}

fn of_account(metrics: &RiskMetrics) -> AccountRisk<'_> {
    AccountRisk {
        account: &metrics.account,
        currency: metrics.currency.as_deref(),
        as_of: metrics.timestamp,
        equity: metrics.equity,
        leverage: metrics.leverage,
        exposure: &metrics.exposure,
        drawdown: &metrics.drawdown,
        var: Var { confidence: 0.95, horizon: "1d", method: "historical", value: metrics.var_95 },
        limits: Limits {
            max_gross: metrics.limits.as_ref().map(|limits| limits.max_gross),
            daily_drawdown_pct: metrics.limits.as_ref().map(|limits| limits.daily_drawdown_pct),
        },
        risk_limit_pct: metrics.risk_limit_pct,
        ess: EssItem { state: metrics.ess.state, reason: metrics.ess.reason.as_deref(), since: metrics.ess.since },
    }
}

/// Exposure, drawdown, value at risk, leverage, limits, emergency stop.
#[utoipa::path(get, path = "/api/metrics/risk", tag = "trading", params(AccountParams), responses(
    (status = 200, description = "Risk by account", body = Risk),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn risk(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    of_latest(&app, &uri, |metrics| {
        let accounts = metrics.iter().map(of_account).collect();
        json(&Risk { accounts })
    })
    .await
}
