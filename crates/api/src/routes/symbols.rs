//! `GET /api/metrics/symbols`: what was done in each symbol since the account's
//! start.
//!
//! Not here: single fills.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde::Serialize;
use tapedeck_contracts::Dec;
use tapedeck_store::SymbolStats;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    listing::{Format, Rendered},
    params::Params,
    problem::{Problem, ProblemBody},
};

/// Whose symbols.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SymbolsParams {
    /// Of one account; needed where there are several.
    account: Option<String>,
}

/// A sum of commissions in another currency than the account's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Fee<'a> {
    currency: &'a str,
    #[schema(value_type = String)]
    amount: Dec,
}

/// What was done in a symbol.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SymbolItem<'a> {
    account: &'a str,
    venue: &'a str,
    symbol: &'a str,
    /// Of fees, realized and unrealized.
    currency: &'a str,
    /// Number of fills.
    fills: u64,
    /// Sum of quantities.
    #[schema(value_type = String)]
    volume: Dec,
    /// Sum of quantity times price.
    #[schema(value_type = String)]
    turnover: Dec,
    /// Sum of commissions.
    #[schema(value_type = String)]
    fees: Dec,
    /// Sum of realised PnL, before costs.
    #[schema(value_type = String)]
    realized: Dec,
    /// Of what is held, at the last metrics.
    #[schema(value_type = String)]
    unrealized: Dec,
    /// Flat to flat, or to a flip.
    round_trips: u64,
    /// Round trips that won, net of fees, 0 to 100; null without one.
    win_rate: Option<f64>,
    /// Mean, weighted by turnover; positive is worse.
    slippage_bps: Option<f64>,
    /// Commissions that are not in `currency`, never added to it.
    other_fees: Vec<Fee<'a>>,
}

/// All symbols of an account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct SymbolsPage<'a> {
    items: Vec<SymbolItem<'a>>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

/// A symbol as a line of CSV: its other fees as JSON text.
#[derive(Serialize)]
struct SymbolLine<'a> {
    account: &'a str,
    venue: &'a str,
    symbol: &'a str,
    currency: &'a str,
    fills: u64,
    volume: Dec,
    turnover: Dec,
    fees: Dec,
    realized: Dec,
    unrealized: Dec,
    round_trips: u64,
    win_rate: Option<f64>,
    slippage_bps: Option<f64>,
    other_fees: String,
}

impl<'a> From<&'a SymbolStats> for SymbolItem<'a> {
    fn from(row: &'a SymbolStats) -> Self {
        Self {
            account: &row.account,
            venue: &row.venue,
            symbol: &row.symbol,
            currency: &row.currency,
            fills: row.fills,
            volume: row.volume,
            turnover: row.turnover,
            fees: row.fees,
            realized: row.realized,
            unrealized: row.unrealized,
            round_trips: row.round_trips,
            win_rate: win_rate(row.round_trips, row.round_trips_won),
            slippage_bps: row.slippage_bps,
            other_fees: row.other_fees.iter().map(|(currency, amount)| Fee { currency, amount: *amount }).collect(),
        }
    }
}

impl<'a> From<&SymbolItem<'a>> for SymbolLine<'a> {
    fn from(item: &SymbolItem<'a>) -> Self {
        Self {
            account: item.account,
            venue: item.venue,
            symbol: item.symbol,
            currency: item.currency,
            fills: item.fills,
            volume: item.volume,
            turnover: item.turnover,
            fees: item.fees,
            realized: item.realized,
            unrealized: item.unrealized,
            round_trips: item.round_trips,
            win_rate: item.win_rate,
            slippage_bps: item.slippage_bps,
            other_fees: serde_json::to_string(&item.other_fees).expect("text and decimals"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for display; counts are far below 2^52")]
fn win_rate(trips: u64, won: u64) -> Option<f64> {
    (trips > 0).then(|| (100.0 * won as f64 / trips as f64 * 1e4).round() / 1e4)
}

/// What was done in each symbol, since the account's start.
#[utoipa::path(get, path = "/api/metrics/symbols", tag = "trading", params(SymbolsParams), responses(
    (status = 200, description = "All symbols of the account; CSV with `Accept: text/csv`", body = SymbolsPage),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn symbols(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Rendered, Problem> {
    let mut query = Params::of(&uri)?;
    let params = SymbolsParams { account: query.id("account")? };
    query.finish()?;
    let format = Format::of(&headers);
    let account = app.account(params.account.as_deref()).await?;
    app.store(move |store| {
        let rows = store.symbol_stats(account.as_deref())?;
        let items: Vec<SymbolItem<'_>> = rows.iter().map(SymbolItem::from).collect();
        Ok(match format {
            Format::Json => Rendered::new(format, &items, None),
            Format::Csv => Rendered::new(format, &items.iter().map(SymbolLine::from).collect::<Vec<_>>(), None),
        })
    })
    .await
}
