//! Instruments as the config lists them: what a symbol is quoted in, and how
//! fine its prices and quantities are.
//!
//! Not here: prices.

use serde::{Deserialize, Serialize};
use tapedeck_contracts::Dec;

/// An instrument of a venue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// Where it trades.
    pub venue: String,
    /// Its name there.
    pub symbol: String,
    /// What a price is in.
    pub quote_currency: String,
    /// Prices are multiples of it; none is off.
    #[serde(default)]
    pub tick: Option<Dec>,
    /// Quantities are multiples of it.
    #[serde(default = "default_lot")]
    pub lot: Dec,
    /// Margin as a share of gross; the risk section's where none.
    #[serde(default)]
    pub margin_rate: Option<Dec>,
}

/// The lot of an instrument that is not listed: 1e-8.
pub fn default_lot() -> Dec {
    Dec(rust_decimal::Decimal::new(1, 8))
}
