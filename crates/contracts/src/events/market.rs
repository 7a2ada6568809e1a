//! Market data and the wish for it.
//!
//! Not here: the sequencer's number, which is a header.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, EventKind};
use crate::{Dec, FieldError, Timestamp};

/// What a market event is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MarketKind {
    /// Best bid and ask.
    Quote,
    /// A trade on the venue.
    Trade,
    /// Open, high, low, close of an interval.
    Bar,
}

/// A price of a symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MarketData {
    /// The instrument, as its venue names it.
    pub symbol: String,
    /// Mid of a quote, price of a trade, close of a bar.
    pub price: Dec,
    /// What was traded, in the unit that the source's config names.
    pub volume: Dec,
    /// Event time; of a bar, its end.
    pub timestamp: Timestamp,
    /// The source that numbered the event.
    pub source: String,
    /// The venue; where it is absent, the config of the source names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue: Option<String>,
    /// Inferred from the fields where absent: see [`MarketData::kind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<MarketKind>,
    /// Best bid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid: Option<Dec>,
    /// Best ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<Dec>,
    /// Quantity at the bid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid_size: Option<Dec>,
    /// Quantity at the ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_size: Option<Dec>,
    /// First price of the bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Dec>,
    /// Highest price of the bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<Dec>,
    /// Lowest price of the bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<Dec>,
    /// Last price of the bar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<Dec>,
    /// Length of the bar: a number and `s`, `m`, `h` or `d` (`1m`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Whether the bar is complete; absent means it is.
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    pub is_final: Option<bool>,
}

impl MarketData {
    /// The kind as written, or inferred: open, high, low or close make a bar,
    /// bid and ask a quote, anything else is a trade.
    pub fn kind(&self) -> MarketKind {
        if let Some(kind) = self.kind {
            return kind;
        }
        if self.open.or(self.high).or(self.low).or(self.close).is_some() {
            MarketKind::Bar
        } else if self.bid.is_some() && self.ask.is_some() {
            MarketKind::Quote
        } else {
            MarketKind::Trade
        }
    }
}

impl Data for MarketData {
    const KIND: EventKind = EventKind::MarketData;

    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }

    fn key(&self) -> &str {
        &self.symbol
    }

    fn event_time(&self) -> Option<Timestamp> {
        Some(self.timestamp)
    }
}

/// What to do with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriptionAction {
    /// Begin.
    Subscribe,
    /// End.
    Unsubscribe,
}

/// A wish for the market data of a symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscription {
    /// The instrument.
    pub symbol: String,
    /// Where it trades.
    pub venue: String,
    /// Begin or end.
    pub action: SubscriptionAction,
    /// Which kinds of events; empty means all.
    #[serde(default)]
    pub kinds: Vec<MarketKind>,
    /// Who asked.
    pub requested_by: String,
}

impl Data for Subscription {
    const KIND: EventKind = EventKind::Subscription;

    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }

    fn key(&self) -> &str {
        &self.symbol
    }
}
