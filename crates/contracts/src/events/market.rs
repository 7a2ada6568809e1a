//! Market data and the wish for it.
//!
//! Not here: the sequencer's number, which is a header.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, EventKind};
use crate::{Dec, FieldError, Timestamp, check};

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
    /// A price with what every kind has; the fields of one kind are for the caller
    /// to add.
    pub fn new(symbol: &str, price: Dec, volume: Dec, timestamp: Timestamp, source: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            price,
            volume,
            timestamp,
            source: source.to_owned(),
            venue: None,
            kind: None,
            bid: None,
            ask: None,
            bid_size: None,
            ask_size: None,
            open: None,
            high: None,
            low: None,
            close: None,
            interval: None,
            is_final: None,
        }
    }

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

impl MarketData {
    fn check_quote(&self) -> Result<(), FieldError> {
        check::optional_positive("$.data.bid", self.bid.as_ref())?;
        check::optional_positive("$.data.ask", self.ask.as_ref())?;
        check::optional_not_negative("$.data.bid_size", self.bid_size.as_ref())?;
        check::optional_not_negative("$.data.ask_size", self.ask_size.as_ref())?;
        if self.kind == Some(MarketKind::Quote) {
            check::that(self.bid.is_some(), "$.data.bid", || "missing; a quote has bid and ask".into())?;
            check::that(self.ask.is_some(), "$.data.ask", || "missing; a quote has bid and ask".into())?;
        }
        match (&self.bid, &self.ask) {
            (Some(bid), Some(ask)) => {
                check::that(bid <= ask, "$.data.bid", || format!("expected at most the ask {ask}, found {bid}"))
            }
            _ => Ok(()),
        }
    }

    fn check_bar(&self) -> Result<(), FieldError> {
        if let (Some(high), Some(low)) = (&self.high, &self.low) {
            check::that(high >= low, "$.data.high", || format!("expected at least the low {low}, found {high}"))?;
        }
        let prices = [
            ("$.data.open", &self.open),
            ("$.data.high", &self.high),
            ("$.data.low", &self.low),
            ("$.data.close", &self.close),
        ];
        for (path, price) in prices {
            let Some(price) = price else { continue };
            check::positive(path, price)?;
            if let Some(high) = &self.high {
                check::that(price <= high, path, || format!("expected at most the high {high}, found {price}"))?;
            }
            if let Some(low) = &self.low {
                check::that(price >= low, path, || format!("expected at least the low {low}, found {price}"))?;
            }
        }
        match &self.interval {
            Some(interval) if interval_micros(interval).is_none() => Err(FieldError::new(
                "$.data.interval",
                format!("expected a number over 0 and s, m, h or d (such as 1m), found {interval:?}"),
            )),
            _ => Ok(()),
        }
    }
}

/// The length of an interval (`90s`, `1m`, `4h`, `1d`) in microseconds; `None`
/// where the text is none, is 0, or is over a century.
pub fn interval_micros(text: &str) -> Option<i64> {
    const CENTURY_S: i64 = 36_525 * 86_400;
    let unit_s = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<i64>().ok()?.checked_mul(unit_s)?;
    (1..=CENTURY_S).contains(&seconds).then(|| seconds * 1_000_000)
}

impl Data for MarketData {
    const KIND: EventKind = EventKind::MarketData;

    fn validate(&self) -> Result<(), FieldError> {
        check::id("$.data.symbol", &self.symbol)?;
        check::positive("$.data.price", &self.price)?;
        check::not_negative("$.data.volume", &self.volume)?;
        check::id("$.data.source", &self.source)?;
        check::optional_id("$.data.venue", self.venue.as_deref())?;
        self.check_quote()?;
        self.check_bar()
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
        check::id("$.data.symbol", &self.symbol)?;
        check::id("$.data.venue", &self.venue)?;
        check::id("$.data.requested_by", &self.requested_by)
    }

    fn key(&self) -> &str {
        &self.symbol
    }
}
