//! What the broker knows of markets: for each source its time and minute, for
//! each symbol its mark, and one event as orders see it.
//!
//! Not here: accounts.

use std::collections::HashMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Timestamp,
    events::{MarketData, MarketKind, Side},
};

use super::{
    money::{self, Overflow},
    setup::{BrokerSetup, SourceInfo},
    state::exact_opt,
    var::Returns,
};
use crate::{instruments::default_lot, market::config::VolumeUnit};

pub(super) const MINUTE_US: i64 = 60_000_000;

/// What is known of an instrument, with the defaults of one that is not listed.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub tick: Option<Decimal>,
    pub lot: Decimal,
    pub margin_rate: Decimal,
    /// None: the account's.
    pub currency: Option<String>,
}

/// The part of a symbol that is kept in the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SymbolState {
    /// Mid, price or close of its last event, normalised.
    #[serde(with = "exact_opt")]
    pub mark: Option<Decimal>,
    /// Kind of its last event.
    pub kind: Option<MarketKind>,
    /// Time of its last event; of a bar, the end.
    pub time: Timestamp,
    /// Length of its last bar, µs; 0 for quotes and trades.
    pub interval_us: i64,
}

/// A symbol of a source.
#[derive(Clone)]
pub(super) struct Symbol {
    pub source: usize,
    pub venue: String,
    pub name: String,
    pub terms: Terms,
    pub state: SymbolState,
    pub returns: Returns,
    pub dirty: bool,
}

/// The part of a source that is kept in the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SourceState {
    /// The newest event's time; none before the first.
    pub time: Option<Timestamp>,
    /// Minutes since the epoch of that time.
    pub minute: i64,
}

/// A source of prices and the accounts that listen to it.
#[derive(Clone)]
pub(super) struct Source {
    pub info: SourceInfo,
    pub state: SourceState,
    pub symbols: Vec<usize>,
    by_name: HashMap<String, Vec<usize>>,
    pub accounts: Vec<usize>,
    pub dirty: bool,
}

/// All sources and symbols.
#[derive(Clone)]
pub(super) struct Tape {
    pub sources: Vec<Source>,
    pub symbols: Vec<Symbol>,
    by_id: HashMap<String, usize>,
    terms: HashMap<(String, String), Terms>,
    default_margin_rate: Decimal,
}

/// What one event lets orders do.
pub(super) struct Price {
    pub symbol: usize,
    pub kind: MarketKind,
    /// Event time; of a bar, its end.
    pub time: Timestamp,
    /// When its first price was there: the start of a bar; none where that is unknown.
    pub taken_at: Option<Timestamp>,
    pub mark: Decimal,
    /// What a buyer pays, a seller gets, before slippage.
    ask: Option<Decimal>,
    bid: Option<Decimal>,
    /// How far the market traded: below it resting buys fill, above it sells.
    pub low: Decimal,
    pub high: Decimal,
    cap: Cap,
    pub interval_us: i64,
}

/// How much may fill at an event before lots and shares.
enum Cap {
    /// Sizes of a quote; none or 0 is no cap.
    Sizes { ask: Option<Decimal>, bid: Option<Decimal> },
    /// What traded, and the price to divide by where it counts the quote currency.
    Volume { volume: Decimal, per: Option<Decimal> },
}

/// What is left of an event's volume for an account.
pub(super) struct Left {
    buy: Option<Decimal>,
    sell: Option<Decimal>,
    shared: bool,
}

impl Tape {
    pub(super) fn new(setup: &BrokerSetup) -> Self {
        let terms = setup.instruments.iter().map(|listed| {
            let terms = Terms {
                tick: listed.tick.map(|tick| tick.0),
                lot: listed.lot.0,
                margin_rate: listed.margin_rate.unwrap_or(setup.risk.margin_rate).0,
                currency: Some(listed.quote_currency.clone()),
            };
            ((listed.venue.clone(), listed.symbol.clone()), terms)
        });
        let sources = setup.sources.iter().map(|info| Source {
            info: info.clone(),
            state: SourceState::default(),
            symbols: Vec::new(),
            by_name: HashMap::new(),
            accounts: Vec::new(),
            dirty: false,
        });
        Self {
            terms: terms.collect(),
            sources: sources.collect(),
            symbols: Vec::new(),
            by_id: setup.sources.iter().enumerate().map(|(i, info)| (info.id.clone(), i)).collect(),
            default_margin_rate: setup.risk.margin_rate.0,
        }
    }

    pub(super) fn source(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// The symbol at a venue, made where it is new.
    pub(super) fn symbol_at(&mut self, source: usize, venue: &str, name: &str) -> usize {
        let known = self.sources[source].by_name.get(name).map_or(&[][..], Vec::as_slice);
        if let Some(&at) = known.iter().find(|&&at| self.symbols[at].venue == venue) {
            return at;
        }
        let terms = self.terms.get(&(venue.to_owned(), name.to_owned())).cloned().unwrap_or_else(|| Terms {
            tick: None,
            lot: default_lot().0,
            margin_rate: self.default_margin_rate,
            currency: None,
        });
        let at = self.symbols.len();
        self.symbols.push(Symbol {
            source,
            venue: venue.to_owned(),
            name: name.to_owned(),
            terms,
            state: SymbolState::default(),
            returns: Returns::default(),
            dirty: false,
        });
        let owner = &mut self.sources[source];
        owner.symbols.push(at);
        owner.by_name.entry(name.to_owned()).or_default().push(at);
        at
    }

    /// The symbol that a signal means, which names no venue: that of the
    /// source's own venue, else the first venue in the alphabet that quoted it.
    pub(super) fn symbol_named(&mut self, source: usize, name: &str) -> usize {
        let venue = self.sources[source].info.venue.clone();
        let known = self.sources[source].by_name.get(name).map_or(&[][..], Vec::as_slice);
        let priced = known.iter().copied().filter(|&at| self.symbols[at].state.mark.is_some());
        let best = priced.min_by_key(|&at| (self.symbols[at].venue != venue, &self.symbols[at].venue));
        best.unwrap_or_else(|| self.symbol_at(source, &venue, name))
    }

    /// Reads an event; none for a bar that is not final.
    pub(super) fn read(&mut self, source: usize, data: &MarketData) -> Result<Option<Price>, Overflow> {
        let kind = data.kind();
        if kind == MarketKind::Bar && data.is_final == Some(false) {
            return Ok(None);
        }
        let at = match &data.venue {
            Some(venue) => self.symbol_at(source, venue, &data.symbol),
            None => {
                let own = self.sources[source].info.venue.clone();
                self.symbol_at(source, &own, &data.symbol)
            }
        };
        let unit = self.sources[source].info.volume_unit;
        Price::read(at, kind, data, unit, &self.symbols[at].state).map(Some)
    }

    /// Moves the source's time; closes the minute where a new one begins.
    pub(super) fn advance(&mut self, source: usize, time: Timestamp) -> Timestamp {
        let state = &mut self.sources[source].state;
        let now = state.time.map_or(time, |before| before.max(time));
        let minute = now.micros().div_euclid(MINUTE_US);
        let closes = state.time.is_some() && minute > state.minute;
        let hole_follows = minute > state.minute + 1;
        *state = SourceState { time: Some(now), minute };
        self.sources[source].dirty = true;
        if closes {
            for &at in &self.sources[source].symbols {
                let symbol = &mut self.symbols[at];
                match symbol.state.mark {
                    Some(mark) if symbol.state.interval_us <= MINUTE_US => {
                        symbol.returns.close_minute(mark, hole_follows);
                    }
                    _ => symbol.returns.skip_minute(),
                }
            }
        }
        now
    }

    /// The event's price becomes the mark.
    pub(super) fn mark(&mut self, price: &Price) {
        let symbol = &mut self.symbols[price.symbol];
        symbol.state = SymbolState {
            mark: Some(price.mark),
            kind: Some(price.kind),
            time: symbol.state.time.max(price.time),
            interval_us: price.interval_us,
        };
        symbol.dirty = true;
    }
}

impl Price {
    fn read(
        symbol: usize,
        kind: MarketKind,
        data: &MarketData,
        unit: VolumeUnit,
        before: &SymbolState,
    ) -> Result<Self, Overflow> {
        let [bid, ask] = [data.bid, data.ask].map(|price| price.map(|p| p.0));
        let volume = |price: Decimal| Cap::Volume {
            volume: data.volume.0,
            per: (unit == VolumeUnit::Quote && !price.is_zero()).then_some(price),
        };
        let base = Self {
            symbol,
            kind,
            time: data.timestamp,
            taken_at: Some(data.timestamp),
            mark: data.price.0,
            ask: Some(data.price.0),
            bid: Some(data.price.0),
            low: data.price.0,
            high: data.price.0,
            cap: volume(data.price.0),
            interval_us: 0,
        };
        Ok(match kind {
            MarketKind::Trade => base,
            MarketKind::Quote => Self {
                mark: match (bid, ask) {
                    (Some(bid), Some(ask)) => money::mid(bid, ask)?,
                    _ => base.mark,
                },
                low: ask.unwrap_or(base.low),
                high: bid.unwrap_or(base.high),
                ask,
                bid,
                cap: Cap::Sizes { ask: data.ask_size.map(|s| s.0), bid: data.bid_size.map(|s| s.0) },
                ..base
            },
            MarketKind::Bar => {
                let close = data.close.unwrap_or(data.price).0;
                let open = data.open.map(|open| open.0);
                let first = open.unwrap_or(close);
                let interval_us = data.interval.as_deref().and_then(interval_us);
                let length = interval_us.unwrap_or(0);
                // Without a length the bar began, at the earliest, where the one before it ended.
                let start = match interval_us {
                    Some(length) => Some(data.timestamp.plus_micros(-length)),
                    None => (before.kind == Some(MarketKind::Bar)).then_some(before.time),
                };
                Self {
                    taken_at: start,
                    mark: close,
                    ask: open,
                    bid: open,
                    low: data.low.map_or(first.min(close), |low| low.0),
                    high: data.high.map_or(first.max(close), |high| high.0),
                    cap: volume(close),
                    interval_us: length,
                    ..base
                }
            }
        })
    }

    /// The taker's price before slippage.
    pub(super) fn taker(&self, side: Side) -> Option<Decimal> {
        match side {
            Side::Buy => self.ask,
            Side::Sell => self.bid,
        }
    }

    /// What may fill at this event, in whole lots.
    pub(super) fn left(&self, share: Decimal, lot: Decimal) -> Result<Left, Overflow> {
        match &self.cap {
            Cap::Sizes { ask, bid } => {
                let cap = |size: &Option<Decimal>| match size {
                    Some(size) if !size.is_zero() => money::volume_cap(*size, share, None, lot).map(Some),
                    _ => Ok(None),
                };
                Ok(Left { buy: cap(ask)?, sell: cap(bid)?, shared: false })
            }
            Cap::Volume { volume, per } => {
                let cap = Some(money::volume_cap(*volume, share, *per, lot)?);
                Ok(Left { buy: cap, sell: cap, shared: true })
            }
        }
    }
}

impl Left {
    /// At most so much; none is no cap.
    pub(super) fn of(&self, side: Side) -> Option<Decimal> {
        if side == Side::Buy { self.buy } else { self.sell }
    }

    pub(super) fn take(&mut self, side: Side, quantity: Decimal) {
        for (each, left) in [(Side::Buy, &mut self.buy), (Side::Sell, &mut self.sell)] {
            if self.shared || each == side {
                *left = left.map(|left| left - quantity);
            }
        }
    }
}

/// Microseconds of `1m`, `30s`, `4h`, `1d`; none for anything else.
fn interval_us(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<i64>().ok().filter(|n| *n > 0)?.checked_mul(seconds * 1_000_000)
}
