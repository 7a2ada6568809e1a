//! `GET /api/accounts` and `GET /api/instruments`: who trades, and what.
//!
//! Not here: positions and money in detail.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde::Serialize;
use tapedeck_contracts::{Dec, Timestamp};
use tapedeck_store::AccountRow;
use utoipa::ToSchema;

use crate::{
    app::{App, InstrumentInfo},
    listing::{Format, Rendered},
    params::Params,
    problem::Problem,
};

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountItem<'a> {
    account: &'a str,
    currency: Option<&'a str>,
    /// The session that trades it.
    session_id: Option<&'a str>,
    /// What that session trades: `signals` or `decisions`.
    source: Option<&'a str>,
    #[schema(value_type = Option<String>)]
    starting_equity: Option<Dec>,
    #[schema(value_type = Option<String>)]
    equity: Option<Dec>,
    /// Its newest event.
    #[schema(value_type = String, format = DateTime)]
    as_of: Timestamp,
}

/// All accounts.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct AccountsPage<'a> {
    items: Vec<AccountItem<'a>>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

/// All instruments of the config.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct InstrumentsPage {
    items: Vec<InstrumentInfo>,
    /// Always null: all are given.
    next_cursor: Option<String>,
}

impl<'a> From<&'a AccountRow> for AccountItem<'a> {
    fn from(row: &'a AccountRow) -> Self {
        Self {
            account: &row.account,
            currency: row.currency.as_deref(),
            session_id: row.session_id.as_deref(),
            source: row.source.as_deref(),
            starting_equity: row.starting_equity,
            equity: row.equity,
            as_of: row.as_of,
        }
    }
}

/// All accounts, by name.
#[utoipa::path(get, path = "/api/accounts", tag = "trading", responses(
    (status = 200, description = "All accounts; CSV with `Accept: text/csv`", body = AccountsPage),
))]
pub(crate) async fn accounts(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Rendered, Problem> {
    Params::of(&uri)?.finish()?;
    let rows = app.accounts().await?;
    let items: Vec<AccountItem<'_>> = rows.iter().map(AccountItem::from).collect();
    Ok(Rendered::new(Format::of(&headers), &items, None))
}

/// The instruments of the config.
#[utoipa::path(get, path = "/api/instruments", tag = "trading", responses(
    (status = 200, description = "All instruments; CSV with `Accept: text/csv`", body = InstrumentsPage),
))]
pub(crate) async fn instruments(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Rendered, Problem> {
    Params::of(&uri)?.finish()?;
    Ok(Rendered::new(Format::of(&headers), &app.instruments, None))
}
