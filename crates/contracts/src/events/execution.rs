//! Execution reports: what the venue says of an order, in FIX's words.
//!
//! Not here: how a paper broker comes to say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EventKind;
use crate::{Body, Dec, EventId, FieldError, Timestamp, check};

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
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub quantity: Dec,
    /// The limit; null for MARKET.
    pub limit_price: Option<Dec>,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// How it stands.
    pub status: OrderStatus,
    /// Filled so far.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub cum_qty: Dec,
    /// Still open.
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub leaves_qty: Dec,
    /// Average price of what filled; null at cum 0.
    #[serde(default, deserialize_with = "crate::decimal::wide_option")]
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
    #[serde(deserialize_with = "crate::decimal::wide")]
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
    #[serde(deserialize_with = "crate::decimal::wide")]
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
    #[serde(deserialize_with = "crate::decimal::wide")]
    pub realized: Dec,
    /// Of the whole position after it, at its price.
    #[serde(deserialize_with = "crate::decimal::wide")]
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

impl Order {
    fn check(&self) -> Result<(), FieldError> {
        check::id("$.order.order_id", &self.order_id)?;
        check::id("$.order.client_order_id", &self.client_order_id)?;
        check::positive("$.order.quantity", &self.quantity)?;
        check::limit("$.order.limit_price", self.order_type, self.limit_price.as_ref())?;
        check::not_negative("$.order.cum_qty", &self.cum_qty)?;
        check::not_negative("$.order.leaves_qty", &self.leaves_qty)?;
        self.check_quantities()?;
        match &self.avg_px {
            Some(avg_px) if self.cum_qty.is_zero() => {
                Err(FieldError::new("$.order.avg_px", format!("expected null at cum_qty 0, found {avg_px}")))
            }
            Some(avg_px) => check::positive("$.order.avg_px", avg_px),
            None => check::that(self.cum_qty.is_zero(), "$.order.avg_px", || {
                format!("expected a decimal at cum_qty {}, found null", self.cum_qty)
            }),
        }
    }

    /// What the status says of the quantities (contract 3.4).
    fn check_quantities(&self) -> Result<(), FieldError> {
        let Self { quantity, cum_qty, leaves_qty, status, .. } = self;
        let open = matches!(status, OrderStatus::New | OrderStatus::PartiallyFilled | OrderStatus::Filled);
        if open {
            check::that(cum_qty.checked_add(leaves_qty.0) == Some(quantity.0), "$.order.leaves_qty", || {
                format!("expected cum_qty + leaves_qty = quantity, found {cum_qty} + {leaves_qty} and {quantity}")
            })?;
        } else {
            check::that(leaves_qty.is_zero(), "$.order.leaves_qty", || {
                format!("expected 0, as the order is over, found {leaves_qty}")
            })?;
            check::that(cum_qty <= quantity, "$.order.cum_qty", || {
                format!("expected at most the quantity {quantity}, found {cum_qty}")
            })?;
        }
        let fits = match status {
            OrderStatus::New => cum_qty.is_zero(),
            OrderStatus::PartiallyFilled => !cum_qty.is_zero() && !leaves_qty.is_zero(),
            OrderStatus::Filled => leaves_qty.is_zero(),
            _ => true,
        };
        check::that(fits, "$.order.status", || {
            format!(
                "expected a status that fits cum_qty {cum_qty} and leaves_qty {leaves_qty}, found {}",
                check::word(status)
            )
        })
    }
}

impl ExecutionReport {
    /// What the kind of report says of the order's status.
    fn check_exec_type(&self) -> Result<(), FieldError> {
        let status = self.order.status;
        let expected = match self.exec_type {
            ExecType::Canceled => OrderStatus::Canceled,
            ExecType::Rejected => OrderStatus::Rejected,
            ExecType::Expired => OrderStatus::Expired,
            _ => return Ok(()),
        };
        check::that(status == expected, "$.order.status", || {
            format!("expected {}, as the exec_type says so, found {}", check::word(&expected), check::word(&status))
        })
    }

    /// A fill exactly where there was an execution, and one that its order can hold.
    fn check_fill(&self) -> Result<(), FieldError> {
        let exec_type = self.exec_type;
        let revises = matches!(exec_type, ExecType::TradeCorrect | ExecType::TradeCancel);
        let Some(fill) = &self.fill else {
            return check::that(!revises && exec_type != ExecType::Trade, "$.fill", || {
                format!("expected an object, as the exec_type is {}, found null", check::word(&exec_type))
            });
        };
        check::that(revises || exec_type == ExecType::Trade, "$.fill", || {
            format!("expected null, as the exec_type is {}, found an object", check::word(&exec_type))
        })?;
        check::id("$.fill.fill_id", &fill.fill_id)?;
        check::optional_id("$.fill.ref_fill_id", fill.ref_fill_id.as_deref())?;
        check::that(!revises || fill.ref_fill_id.is_some(), "$.fill.ref_fill_id", || {
            format!("missing; {} names the fill that it is about", check::word(&exec_type))
        })?;
        check::that(fill.execution_number != Some(0), "$.fill.execution_number", || {
            "expected a number from 1 on, found 0".into()
        })?;
        check::positive("$.fill.last_qty", &fill.last_qty)?;
        check::positive("$.fill.last_px", &fill.last_px)?;
        let Order { quantity, cum_qty, .. } = &self.order;
        check::that(fill.last_qty <= *quantity, "$.fill.last_qty", || {
            format!("expected at most the order's quantity {quantity}, found {}", fill.last_qty)
        })?;
        // A fill that was taken back is in cum_qty no longer.
        check::that(exec_type == ExecType::TradeCancel || fill.last_qty <= *cum_qty, "$.fill.last_qty", || {
            format!("expected at most the order's cum_qty {cum_qty}, found {}", fill.last_qty)
        })
    }
}

impl Body for ExecutionReport {
    const KIND: EventKind = EventKind::ExecutionReport;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.event_id", self.event_id.as_str())?;
        check::version("$.schema_version", &self.schema_version)?;
        check::id("$.account", &self.account)?;
        check::id("$.venue", &self.venue)?;
        check::id("$.symbol", &self.symbol)?;
        check::optional_id("$.decision_id", self.decision_id.as_deref())?;
        check::optional_id("$.strategy_id", self.strategy_id.as_deref())?;
        self.order.check()?;
        self.check_exec_type()?;
        self.check_fill()?;
        check::id("$.costs.currency", &self.costs.currency)?;
        check::finite("$.costs.slippage_bps", self.costs.slippage_bps.unwrap_or(0.0))?;
        self.reason.as_ref().map_or(Ok(()), |reason| check::id("$.reason.code", &reason.code))
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
