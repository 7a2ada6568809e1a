//! Execution reports: what the venue says of an order, in FIX's words.
//!
//! Not here: how a paper broker comes to say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventKind;
use crate::{Body, Dec, EventId, FieldError, Timestamp};

/// Which way an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
}

/// What the report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExecType {
    /// The order was accepted.
    New,
    /// The order filled, wholly or in part.
    Trade,
    /// The order was canceled.
    Canceled,
    /// The order was replaced.
    Replaced,
    /// The order was rejected.
    Rejected,
    /// The order expired.
    Expired,
    /// An earlier fill was corrected.
    TradeCorrect,
    /// An earlier fill was taken back.
    TradeCancel,
}

/// How an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Accepted, nothing filled.
    New,
    /// Something filled, something open.
    PartiallyFilled,
    /// All filled.
    Filled,
    /// Canceled.
    Canceled,
    /// Rejected.
    Rejected,
    /// Expired.
    Expired,
}

/// How an order is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderType {
    /// At the market.
    Market,
    /// Never worse than its limit.
    Limit,
    /// At the market once a price was seen; our broker does not take it.
    Stop,
    /// A limit order once a price was seen; our broker does not take it.
    StopLimit,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum TimeInForce {
    /// Until canceled.
    Gtc,
    /// Until the end of the day.
    Day,
    /// What fills at once; the rest expires.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// Who took whose price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Liquidity {
    /// The order waited in the book.
    Maker,
    /// The order took what was there.
    Taker,
}

/// The order as it stands after the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// The venue's id.
    pub order_id: String,
    /// Our id.
    pub client_order_id: String,
    /// Buy or sell.
    pub side: Side,
    /// MARKET or LIMIT.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// What was ordered.
    pub quantity: Dec,
    /// The limit; null for MARKET.
    pub limit_price: Option<Dec>,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// How it stands.
    pub status: OrderStatus,
    /// Filled so far.
    pub cum_qty: Dec,
    /// Still open.
    pub leaves_qty: Dec,
    /// Average price of what filled; null at cum 0.
    pub avg_px: Option<Dec>,
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fill {
    /// Unique with account, venue and symbol.
    pub fill_id: String,
    /// The account's running number of executions, from 1, where we made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_number: Option<u64>,
    /// Quantity of this fill.
    pub last_qty: Dec,
    /// Price of this fill.
    pub last_px: Dec,
    /// Maker or taker.
    pub liquidity: Liquidity,
    /// The fill that a TRADE_CORRECT or TRADE_CANCEL is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ref_fill_id: Option<String>,
}

/// What the report cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Costs {
    /// Commission; negative for a rebate.
    pub commission: Dec,
    /// Its currency.
    pub currency: String,
    /// Signed basis points against the price of the causing event; positive is worse.
    #[serde(default)]
    pub slippage_bps: Option<f64>,
}

/// What the report did to the position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pnl {
    /// Realised by this report alone, before costs.
    pub realized: Dec,
    /// Of the whole position after it, at its price.
    pub unrealized: Dec,
}

/// Why an order was rejected or canceled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// For machines.
    pub code: String,
    /// For people.
    pub text: String,
}

/// What the venue says of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionReport {
    /// The event's id.
    pub event_id: EventId,
    /// Contract version of the body.
    pub schema_version: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Whose order.
    pub account: String,
    /// Where.
    pub venue: String,
    /// The instrument.
    pub symbol: String,
    /// What the report is about.
    pub exec_type: ExecType,
    /// The decision that the order came of.
    #[serde(default)]
    pub decision_id: Option<String>,
    /// The strategy that the order came of.
    #[serde(default)]
    pub strategy_id: Option<String>,
    /// The order after the report.
    pub order: Order,
    /// The execution; null where there is none.
    pub fill: Option<Fill>,
    /// Costs of this report.
    pub costs: Costs,
    /// Profit and loss of this report.
    pub pnl: Pnl,
    /// Why, for rejects and cancels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

impl Body for ExecutionReport {
    const KIND: EventKind = EventKind::ExecutionReport;

    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Timestamp {
        self.timestamp
    }

    fn event_id(&self) -> Option<&EventId> {
        Some(&self.event_id)
    }
}
