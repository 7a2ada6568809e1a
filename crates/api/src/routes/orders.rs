//! `GET /api/orders`: orders as they stand, newest update first.
//!
//! Not here: how they came to stand so; `/api/fills` has the executions.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Uri},
};
use serde::Serialize;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{OrderStatus, OrderType, Side, TimeInForce},
};
use tapedeck_store::{OrderRow, OrdersQuery};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    listing::{Format, Rendered, after, page},
    params::Params,
    problem::{Problem, ProblemBody},
};

/// Which orders.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OrdersParams {
    /// Of one account; needed where there are several.
    account: Option<String>,
    /// Of one symbol.
    symbol: Option<String>,
    /// `open` (NEW and PARTIALLY_FILLED) or `all`.
    #[param(inline, value_type = Option<String>, default = "all")]
    status: bool,
    /// `next_cursor` of the page before, with the same filters.
    cursor: Option<String>,
    /// Rows of a page, 1 to 1000.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

impl OrdersParams {
    fn read(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Params::of(uri)?;
        let (account, symbol) = (query.id("account")?, query.id("symbol")?);
        let status = query.word("status", &[("open", true), ("all", false)])?.unwrap_or(false);
        let params = Self { account, symbol, status, cursor: query.text("cursor")?, limit: query.limit()? };
        query.finish()?;
        Ok(params)
    }
}

/// An order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderItem<'a> {
    /// The venue's id.
    order_id: &'a str,
    /// Our id.
    client_order_id: &'a str,
    account: &'a str,
    venue: &'a str,
    symbol: &'a str,
    /// BUY or SELL.
    #[schema(value_type = String)]
    side: Side,
    /// MARKET or LIMIT.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    order_type: OrderType,
    #[schema(value_type = String)]
    quantity: Dec,
    /// Null for MARKET.
    #[schema(value_type = Option<String>)]
    limit_price: Option<Dec>,
    #[schema(value_type = String)]
    time_in_force: TimeInForce,
    #[schema(value_type = String)]
    status: OrderStatus,
    /// Filled.
    #[schema(value_type = String)]
    cum_qty: Dec,
    /// Open.
    #[schema(value_type = String)]
    leaves_qty: Dec,
    /// Average price of what filled.
    #[schema(value_type = Option<String>)]
    avg_px: Option<Dec>,
    decision_id: Option<&'a str>,
    strategy_id: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A page of orders.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the answer; `listing` writes it")]
pub(crate) struct OrdersPage<'a> {
    items: Vec<OrderItem<'a>>,
    next_cursor: Option<String>,
}

impl<'a> From<&'a OrderRow> for OrderItem<'a> {
    fn from(row: &'a OrderRow) -> Self {
        Self {
            order_id: &row.order_id,
            client_order_id: &row.client_order_id,
            account: &row.account,
            venue: &row.venue,
            symbol: &row.symbol,
            side: row.side,
            order_type: row.order_type,
            quantity: row.quantity,
            limit_price: row.limit_price,
            time_in_force: row.time_in_force,
            status: row.status,
            cum_qty: row.cum_qty,
            leaves_qty: row.leaves_qty,
            avg_px: row.avg_px,
            decision_id: row.decision_id.as_deref(),
            strategy_id: row.strategy_id.as_deref(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Orders as they stand, newest update first.
#[utoipa::path(get, path = "/api/orders", tag = "trading", params(OrdersParams), responses(
    (status = 200, description = "A page of orders; CSV with `Accept: text/csv`", body = OrdersPage),
    (status = "4XX", description = "What is wrong with the request", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(crate) async fn orders(State(app): State<Arc<App>>, headers: HeaderMap, uri: Uri) -> Result<Rendered, Problem> {
    let params = OrdersParams::read(&uri)?;
    let format = Format::of(&headers);
    let account = app.account(params.account.as_deref()).await?;
    let filters = format!("orders {:?}", (&account, &params.symbol, params.status));
    let query = OrdersQuery {
        account,
        after: after(&app, &filters, params.cursor.as_deref())?,
        symbol: params.symbol,
        open_only: params.status,
        limit: params.limit + 1,
    };
    let answers = Arc::clone(&app);
    app.store(move |store| {
        let mut rows = store.orders(&query)?;
        let next = page(&answers, &filters, &mut rows, params.limit, |row| row.key);
        let items: Vec<OrderItem<'_>> = rows.iter().map(OrderItem::from).collect();
        Ok(Rendered::new(format, &items, next))
    })
    .await
}
