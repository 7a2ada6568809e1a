//! Bars of quotes and trades: gathered over intervals of event time that begin
//! at whole multiples of their length since 1970, closed by the first event of
//! the symbol, or of its source, at or past their end. Empty bars are not
//! invented.
//!
//! Inference gathers its bars by it too, so that both treat a late price the same.
//!
//! Not here: bars that the market sends itself, which are taken as they are; a
//! symbol that has them needs no gathering.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{decimal::Wide, events::MarketData};

/// What a rule sees of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) high: Decimal,
    pub(crate) low: Decimal,
    pub(crate) close: Decimal,
}

impl Bar {
    /// A bar as the market sent it; what it leaves out is its close.
    pub(crate) fn sent(data: &MarketData) -> Self {
        let close = data.close.unwrap_or(data.price).0;
        let high = data.high.map_or(close, |high| high.0);
        Self { high, low: data.low.map_or(close, |low| low.0), close }
    }
}

/// The bar of a symbol that is being gathered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gatherer {
    open: Option<OpenBar>,
    /// The end of the last bar; what is older comes too late for it.
    closed_us: Option<i64>,
    /// The market sends bars of this symbol.
    #[serde(default)]
    bars_are_sent: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OpenBar {
    end_us: i64,
    high: Wide,
    low: Wide,
    close: Wide,
}

impl Gatherer {
    /// The market sends bars of this symbol: nothing is gathered any more.
    pub(crate) fn bars_are_sent(&mut self) {
        self.bars_are_sent = true;
        self.open = None;
    }

    /// The end of the open bar.
    pub(crate) fn end_us(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.end_us)
    }

    /// The open bar, closed, if its end has come.
    pub(crate) fn close(&mut self, now_us: i64) -> Option<Bar> {
        let open = self.open.take_if(|open| open.end_us <= now_us)?;
        self.closed_us = Some(open.end_us);
        Some(Bar { high: open.high.0, low: open.low.0, close: open.close.0 })
    }

    /// Adds a price to the open bar, or opens one with it. Call `close` first.
    pub(crate) fn add(&mut self, now_us: i64, price: Decimal, interval_us: i64) -> Added {
        if self.bars_are_sent || self.closed_us.is_some_and(|closed_us| now_us < closed_us) {
            return Added::TooLate;
        }
        let price = Wide(price.normalize());
        match &mut self.open {
            Some(open) => {
                open.high = open.high.max(price);
                open.low = open.low.min(price);
                open.close = price;
                Added::ToOpenBar
            }
            None => {
                let end_us = now_us - now_us.rem_euclid(interval_us) + interval_us;
                self.open = Some(OpenBar { end_us, high: price, low: price, close: price });
                Added::ToNewBar { end_us }
            }
        }
    }
}

/// What became of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is in the bar that was open.
    ToOpenBar,
    /// It opened a bar.
    ToNewBar {
        /// The end of the bar.
        end_us: i64,
    },
    /// Nothing is gathered, or its bar is closed already.
    TooLate,
}
