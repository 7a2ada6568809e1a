//! `GET /api/fills`: executions, newest first.
//!
//! Not here: reports without a fill; `/api/orders` shows what they left.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde::Serialize;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{ExecType, Liquidity, OrderStatus, Side},
};
use tapedeck_store::{FillRow, FillsQuery};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    listing::{Format, Rendered, after, page},
    params::Params,
    problem::{Problem, ProblemBody},
};

/// Which fills.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FillsParams {
    /// Of one account; needed where there are several.
    account: Option<String>,
    /// Of one symbol.
    symbol: Option<String>,
    /// Of one venue.
    venue: Option<String>,
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

impl FillsParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let (account, symbol, venue) = (query.id("account")?, query.id("symbol")?, query.id("venue")?);
        let (from, to) = query.range()?;
        let params = Self { account, symbol, venue, from, to, cursor: query.text("cursor")?, limit: query.limit()? };
        query.finish()?;
        Ok(params)
    }
}

/// A fill.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FillItem<'a> {
    /// The venue's id, unique with account, venue and symbol.
    fill_id: &'a str,
    /// The report's id.
    event_id: &'a str,
    /// When it filled.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    account: &'a str,
    venue: &'a str,
    symbol: &'a str,
    /// BUY or SELL.
    #[schema(value_type = String)]
    side: Side,
    #[schema(value_type = String)]
    quantity: Dec,
    #[schema(value_type = String)]
    price: Dec,
    /// MAKER or TAKER.
    #[schema(value_type = String)]
    liquidity: Liquidity,
    /// Negative for a rebate.
    #[schema(value_type = String)]
    commission: Dec,
    /// Of the commission.
    currency: &'a str,
    /// Positive is worse.
    slippage_bps: Option<f64>,
    /// Realised by this fill, before costs.
    #[schema(value_type = String)]
    realized_pnl: Dec,
    order_id: &'a str,
    client_order_id: &'a str,
    /// The order after the fill.
    #[schema(value_type = String)]
    order_status: OrderStatus,
    decision_id: Option<&'a str>,
    strategy_id: Option<&'a str>,
    /// The account's running number of executions; null where the venue gives none.
    execution_number: Option<u64>,
    /// TRADE, TRADE_CORRECT or TRADE_CANCEL.
    #[schema(value_type = String)]
    exec_type: ExecType,
}

/// A page of fills.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct FillsPage<'a> {
    items: Vec<FillItem<'a>>,
    next_cursor: Option<String>,
}

impl<'a> From<&'a FillRow> for FillItem<'a> {
    fn from(row: &'a FillRow) -> Self {
        Self {
            fill_id: &row.fill_id,
            event_id: &row.event_id,
            timestamp: row.timestamp,
            account: &row.account,
            venue: &row.venue,
            symbol: &row.symbol,
            side: row.side,
            quantity: row.quantity,
            price: row.price,
            liquidity: row.liquidity,
            commission: row.commission,
            currency: &row.currency,
            slippage_bps: row.slippage_bps,
            realized_pnl: row.realized_pnl,
            order_id: &row.order_id,
            client_order_id: &row.client_order_id,
            order_status: row.order_status,
            decision_id: row.decision_id.as_deref(),
            strategy_id: row.strategy_id.as_deref(),
            execution_number: row.execution_number,
            exec_type: row.exec_type,
        }
    }
}

/// Executions, newest first.
#[utoipa::path(get, path = "/api/fills", tag = "trading", params(FillsParams), responses(
    (status = 200, description = "A page of fills; CSV with `Accept: text/csv`", body = FillsPage),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn fills(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Rendered, Problem> {
    let params = FillsParams::read(&uri)?;
    let format = Format::of(&headers);
    let account = app.account(params.account.as_deref()).await?;
    let filters = format!("fills {:?}", (&account, &params.symbol, &params.venue, params.from, params.to));
    let query = FillsQuery {
        account,
        after: after(&app, &filters, params.cursor.as_deref())?,
        symbol: params.symbol,
        venue: params.venue,
        from: params.from,
        to: params.to,
        limit: params.limit + 1,
    };
    let answers = Arc::clone(&app);
    app.store(move |store| {
        let mut rows = store.fills(&query)?;
        let next = page(&answers, &filters, &mut rows, params.limit, |row| row.key);
        let items: Vec<FillItem<'_>> = rows.iter().map(FillItem::from).collect();
        Ok(Rendered::new(format, &items, next))
    })
    .await
}
