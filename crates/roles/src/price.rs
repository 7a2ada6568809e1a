//! The price of a market event where bars are gathered: the mid of a quote, or the
//! price.
//!
//! Not here: bars, and the marks of positions.

use rust_decimal::Decimal;
use tapedeck_contracts::{
    decimal::MAX_DECIMALS,
    events::{MarketData, MarketKind},
};

/// The price that a quote or trade adds to its bar.
pub(crate) fn price_of(data: &MarketData) -> Decimal {
    match (data.kind(), data.bid, data.ask) {
        // Half to even, to the decimals that the contract takes.
        (MarketKind::Quote, Some(bid), Some(ask)) => ((bid.0 + ask.0) / Decimal::TWO).round_dp(MAX_DECIMALS),
        _ => data.price.0,
    }
}
