//! `GET /api/positions/latest`: what each account holds, at its last metrics.
//!
//! Not here: how it came to hold it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::Uri, response::Response};
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::Serialize;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{EssState, PositionSide, PositionView, RiskMetrics},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    params::Params,
    problem::{Problem, ProblemBody},
    routes::json,
};

/// Whose.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AccountParams {
    /// One account; all of them where it is left out.
    pub(crate) account: Option<String>,
}

/// A position; flat ones are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PositionItem<'a> {
    venue: &'a str,
    symbol: &'a str,
    /// LONG or SHORT.
    #[schema(value_type = String)]
    side: PositionSide,
    /// Unsigned.
    #[schema(value_type = String)]
    quantity: Dec,
    #[schema(value_type = String)]
    avg_entry_price: Dec,
    #[schema(value_type = String)]
    mark_price: Dec,
    /// Quantity times mark.
    #[schema(value_type = String)]
    notional: Dec,
    #[schema(value_type = String)]
    unrealized_pnl: Dec,
    /// Of cost, in percent.
    unrealized_pnl_pct: Option<f64>,
}

/// The figures of an account beside its positions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RiskBrief {
    #[schema(value_type = String)]
    equity: Dec,
    #[schema(value_type = String)]
    cash: Dec,
    #[schema(value_type = String)]
    margin: Dec,
    leverage: f64,
    /// ARMED, TRIPPED, COOLING.
    #[schema(value_type = String)]
    ess_state: EssState,
}

/// What an account holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountPositions<'a> {
    account: &'a str,
    currency: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
    positions: Vec<PositionItem<'a>>,
    risk: RiskBrief,
}

/// What each account holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Positions<'a> {
    accounts: Vec<AccountPositions<'a>>,
}

impl<'a> From<&'a PositionView> for PositionItem<'a> {
    fn from(position: &'a PositionView) -> Self {
        Self {
            venue: &position.venue,
            symbol: &position.symbol,
            side: position.side,
            quantity: position.quantity,
            avg_entry_price: position.avg_entry_price,
            mark_price: position.mark_price,
            notional: position.notional,
            unrealized_pnl: position.unrealized_pnl,
            unrealized_pnl_pct: pct_of_cost(position),
        }
    }
}

fn of_account(metrics: &RiskMetrics) -> AccountPositions<'_> {
    let held = |position: &&PositionView| position.side != PositionSide::Flat && !position.quantity.is_zero();
    AccountPositions {
        account: &metrics.account,
        currency: metrics.currency.as_deref(),
        as_of: metrics.timestamp,
        positions: metrics.positions.iter().filter(held).map(PositionItem::from).collect(),
        risk: RiskBrief {
            equity: metrics.equity,
            cash: metrics.cash,
            margin: metrics.margin,
            leverage: metrics.leverage,
            ess_state: metrics.ess.state,
        },
    }
}

/// 100 · unrealized / (average entry price · quantity), to four decimals.
fn pct_of_cost(position: &PositionView) -> Option<f64> {
    let cost = position.avg_entry_price.checked_mul(position.quantity.0)?.abs();
    let share = position.unrealized_pnl.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(cost)?;
    share.round_dp(4).to_f64()
}

/// Positions with the latest risk metrics.
#[utoipa::path(get, path = "/api/positions/latest", tag = "trading", params(AccountParams), responses(
    (status = 200, description = "Positions by account", body = Positions),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn positions(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    of_latest(&app, &uri, |metrics| {
        let accounts = metrics.iter().map(of_account).collect();
        json(&Positions { accounts })
    })
    .await
}

/// Answers from the newest metrics of the account asked for, or of all by name,
/// each with its account's currency.
pub(crate) async fn of_latest(
    app: &App,
    uri: &Uri,
    answer: impl FnOnce(&[RiskMetrics]) -> Response + Send + 'static,
) -> Result<Response, Problem> {
    let (account, currencies) = account_or_all(app, uri).await?;
    app.store(move |store| {
        let mut metrics = store.latest_risk(account.as_deref())?;
        metrics.sort_by(|a, b| a.account.cmp(&b.account));
        for one in metrics.iter_mut().filter(|one| one.currency.is_none()) {
            one.currency = currencies.get(&one.account).cloned();
        }
        Ok(answer(&metrics))
    })
    .await
}

/// The account asked for (which must be there), or none for all of them; and
/// the currencies of the accounts.
async fn account_or_all(app: &App, uri: &Uri) -> Result<(Option<String>, BTreeMap<String, String>), Problem> {
    let mut query = Params::of(uri)?;
    let params = AccountParams { account: query.id("account")? };
    query.finish()?;
    let rows = app.accounts().await?;
    let account = match &params.account {
        Some(asked) => crate::app::choose(&rows, Some(asked))?,
        None => None,
    };
    let currencies = rows.iter().filter_map(|row| Some((row.account.clone(), row.currency.clone()?))).collect();
    Ok((account, currencies))
}
