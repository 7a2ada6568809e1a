//! A market out of a seed: each symbol walks through bull, bear and sideways
//! regimes (a Markov chain of its own) with Gaussian returns (Box and Muller,
//! 1958). The same seed gives the same digits on every machine: the only
//! mathematics beyond + − × ÷ is `libm`'s.
//!
//! Not here: pace and numbers.

use std::{f64::consts::TAU, sync::Arc};

use rand_pcg::{Pcg64, rand_core::Rng};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{MarketData, MarketKind},
};

use super::{config::SourceConfig, file::SourceEvent, times::parse_interval};

/// Symbols where the config names none.
const DEFAULT_SYMBOLS: [&str; 2] = ["BTCUSDT", "ETHUSDT"];
/// Random numbers that each step of a symbol takes, used or not: so the place in
/// the sequence follows from the step alone.
const DRAWS: usize = 24;
/// Prices that a bar is made of.
const PATH: usize = 8;
/// Spread of the log price around its start in the long run stays near 15 % by
/// pulling it back this much a second.
const PULL: f64 = 1e-5;

/// The hidden state of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Regime {
    /// Prices rise, calmly.
    Bull,
    /// Prices fall, nervously.
    Bear,
    /// Prices stay.
    Sideways,
}

impl Regime {
    const ALL: [Self; 3] = [Self::Bull, Self::Bear, Self::Sideways];

    /// Mean and standard deviation of the log return of one second. Over n
    /// seconds both grow with √n, so a regime looks alike at every step.
    const fn law(self) -> (f64, f64) {
        match self {
            Self::Bull => (0.000_05, 0.000_20),
            Self::Bear => (-0.000_06, 0.000_40),
            Self::Sideways => (0.0, 0.000_10),
        }
    }

    /// Chances of being in each regime after the next step: 300 steps in one on
    /// average.
    const fn chances(self) -> [f64; 3] {
        const STAY: f64 = 1.0 - 1.0 / 300.0;
        const LIKELY: f64 = 0.6 / 300.0;
        const UNLIKELY: f64 = 0.4 / 300.0;
        match self {
            Self::Bull => [STAY, UNLIKELY, LIKELY],
            Self::Bear => [UNLIKELY, STAY, LIKELY],
            Self::Sideways => [0.5 / 300.0, 0.5 / 300.0, STAY],
        }
    }

    fn next(self, draw: f64) -> Self {
        let mut left = draw;
        for (regime, chance) in Self::ALL.into_iter().zip(self.chances()) {
            left -= chance;
            if left < 0.0 {
                return regime;
            }
        }
        Self::Sideways
    }
}

/// Where a generator stands: enough to go on from there with the same digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorState {
    /// Events given so far.
    pub given: u64,
    /// Of each symbol, in order: the bits of the log price (exact, where a
    /// decimal text of a float may not be), and the regime.
    pub symbols: Vec<(u64, Regime)>,
}

/// A source without a file.
#[derive(Debug)]
pub struct Generator {
    name: Arc<str>,
    source: String,
    venue: String,
    start: Timestamp,
    step_us: i64,
    /// Bars of this length, else quotes.
    interval: Option<String>,
    events: Option<u64>,
    given: u64,
    walks: Vec<Walk>,
}

impl Generator {
    /// The generator of a config that begins at `start`.
    ///
    /// # Errors
    /// An interval that is none, or a step of 0.
    pub fn new(config: &SourceConfig, start: Timestamp) -> Result<Self, String> {
        let step_us = match &config.interval {
            Some(interval) => parse_interval(interval)?,
            None => i64::try_from(config.step_ms).ok().and_then(|ms| ms.checked_mul(1_000)).unwrap_or(0),
        };
        if step_us <= 0 {
            return Err("`step_ms`: expected 1 or more".into());
        }
        let mut symbols: Vec<String> = config.symbols.clone();
        if symbols.is_empty() {
            symbols = DEFAULT_SYMBOLS.map(str::to_owned).to_vec();
        }
        // The order of the sequencer among events of one instant.
        symbols.sort();
        symbols.dedup();
        let name = format!("generator {} {} {} {step_us} {}", config.id, config.seed, start, symbols.join(","));
        Ok(Self {
            name: name.into(),
            source: config.id.clone(),
            venue: config.venue.clone(),
            start,
            step_us,
            interval: config.interval.clone(),
            events: config.events,
            given: 0,
            walks: symbols.into_iter().map(|symbol| Walk::new(symbol, config.seed, step_us)).collect(),
        })
    }

    /// Goes to where the state stands, however far that is, at once.
    pub fn restore(&mut self, state: &GeneratorState) {
        if state.symbols.len() != self.walks.len() {
            return;
        }
        self.given = state.given;
        let count = self.walks.len() as u64;
        for ((at, walk), (log_price, regime)) in self.walks.iter_mut().enumerate().zip(&state.symbols) {
            let steps = state.given / count + u64::from((at as u64) < state.given % count);
            walk.rng.advance(u128::from(steps) * DRAWS as u128);
            walk.log_price = f64::from_bits(*log_price);
            walk.regime = *regime;
        }
    }

    /// Where it stands.
    pub fn state(&self) -> GeneratorState {
        let symbols = self.walks.iter().map(|walk| (walk.log_price.to_bits(), walk.regime)).collect();
        GeneratorState { given: self.given, symbols }
    }

    /// The hidden regime of a symbol after the last event that was given.
    pub fn regime(&self, symbol: &str) -> Option<Regime> {
        self.walks.iter().find(|walk| walk.symbol == symbol).map(|walk| walk.regime)
    }

    /// Its symbols, in order.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.walks.iter().map(|walk| walk.symbol.as_str())
    }

    /// The next event; none after the last.
    pub fn next_event(&mut self) -> Option<SourceEvent> {
        if self.events.is_some_and(|events| self.given >= events) {
            return None;
        }
        let count = self.walks.len() as u64;
        let step = i64::try_from(self.given / count).unwrap_or(i64::MAX);
        let at = usize::try_from(self.given % count).expect("fewer symbols than memory");
        // A bar is published at its end, a quote when it is made.
        let steps = step.saturating_add(i64::from(self.interval.is_some()));
        let time = self.start.plus_micros(steps.saturating_mul(self.step_us));
        self.given += 1;
        let walk = &mut self.walks[at];
        let mut data = if self.interval.is_some() { walk.bar() } else { walk.quote() };
        data.timestamp = time;
        data.source.clone_from(&self.source);
        data.venue = Some(self.venue.clone());
        data.interval.clone_from(&self.interval);
        Some(SourceEvent { data, input: Arc::clone(&self.name), line: self.given })
    }
}

/// The walk of one symbol.
#[derive(Debug)]
struct Walk {
    symbol: String,
    rng: Pcg64,
    regime: Regime,
    log_price: f64,
    log_start: f64,
    /// √ of the step in seconds.
    scale: f64,
    /// Share of the distance to the start that a step takes back.
    pull: f64,
    tick: Decimal,
    /// The same as a float.
    tick_size: f64,
    /// Quantities have this many decimals.
    lot_decimals: u32,
    /// Lots in a unit.
    lots: f64,
    /// What is usually traded in a step.
    usual_volume: f64,
}

impl Walk {
    fn new(symbol: String, seed: u64, step_us: i64) -> Self {
        let (start, tick) = price_of(&symbol);
        #[expect(clippy::cast_precision_loss, reason = "a step of years still fits 53 bits")]
        let seconds = step_us as f64 / 1e6;
        // 20,000 of the quote currency a second.
        let usual_volume = 20_000.0 / start * seconds;
        let lot_decimals = if start >= 10.0 { 3 } else { 0 };
        Self {
            rng: Pcg64::new(u128::from(seed), u128::from(fnv(&symbol))),
            symbol,
            regime: Regime::Sideways,
            log_price: libm::log(start),
            log_start: libm::log(start),
            scale: libm::sqrt(seconds),
            pull: (PULL * seconds).min(0.01),
            tick,
            tick_size: tick_size(tick),
            lot_decimals,
            lots: libm::pow(10.0, f64::from(lot_decimals)),
            usual_volume,
        }
    }

    fn draws(&mut self) -> Draws {
        let rng = &mut self.rng;
        // The upper 53 bits: a float in [0, 1).
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a float exactly")]
        let numbers = std::array::from_fn(|_| (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64);
        Draws { numbers, used: 0 }
    }

    /// Moves the price by a part of a step.
    fn walk(&mut self, draws: &mut Draws, part: f64) {
        let (mean, deviation) = self.regime.law();
        let back = (self.log_start - self.log_price) * self.pull * part;
        self.log_price +=
            mean * self.scale * part + deviation * self.scale * libm::sqrt(part) * draws.gaussian() + back;
    }

    fn quote(&mut self) -> MarketData {
        let mut draws = self.draws();
        self.regime = self.regime.next(draws.uniform());
        self.walk(&mut draws, 1.0);
        let volume = self.volume(&mut draws, 1.0);
        let spread = 1 + i64::from(draws.uniform() > 0.7) + i64::from(draws.uniform() > 0.95);
        let ticks = self.ticks();
        let bid = self.price(ticks - spread / 2);
        let ask = self.price(ticks - spread / 2 + spread);
        MarketData {
            price: Dec(((bid.0 + ask.0) * Decimal::new(5, 1)).normalize()),
            volume,
            kind: Some(MarketKind::Quote),
            bid: Some(bid),
            ask: Some(ask),
            bid_size: Some(self.volume(&mut draws, 3.0)),
            ask_size: Some(self.volume(&mut draws, 3.0)),
            ..self.blank()
        }
    }

    fn bar(&mut self) -> MarketData {
        let mut draws = self.draws();
        let open = self.ticks();
        self.regime = self.regime.next(draws.uniform());
        let (mut high, mut low) = (open, open);
        for _ in 0..PATH {
            #[expect(clippy::cast_precision_loss, reason = "a small constant")]
            self.walk(&mut draws, 1.0 / PATH as f64);
            high = high.max(self.ticks());
            low = low.min(self.ticks());
        }
        let close = self.price(self.ticks());
        MarketData {
            price: close,
            volume: self.volume(&mut draws, 1.0),
            kind: Some(MarketKind::Bar),
            open: Some(self.price(open)),
            high: Some(self.price(high)),
            low: Some(self.price(low)),
            close: Some(close),
            is_final: Some(true),
            ..self.blank()
        }
    }

    fn blank(&self) -> MarketData {
        MarketData::new(&self.symbol, Dec::ZERO, Dec::ZERO, Timestamp::from_micros(0), "")
    }

    /// The price in whole ticks; at least 3, so that a bid is above 0.
    fn ticks(&self) -> i64 {
        whole(libm::exp(self.log_price) / self.tick_size).max(3)
    }

    fn price(&self, ticks: i64) -> Dec {
        Dec((Decimal::from(ticks) * self.tick).normalize())
    }

    /// A quantity around the usual one, more of it in nervous markets.
    fn volume(&self, draws: &mut Draws, times: f64) -> Dec {
        let (_, deviation) = self.regime.law();
        let factor = libm::exp(0.5 * draws.gaussian()) * libm::sqrt(deviation / 0.000_2);
        let lots = whole(self.usual_volume * times * factor * self.lots);
        Dec(Decimal::new(lots.max(1), self.lot_decimals).normalize())
    }
}

/// The random numbers of one step.
struct Draws {
    numbers: [f64; DRAWS],
    used: usize,
}

impl Draws {
    fn uniform(&mut self) -> f64 {
        self.used += 1;
        self.numbers[self.used - 1]
    }

    /// Mean 0, deviation 1: √(−2 ln u) cos 2πv.
    fn gaussian(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(TAU * self.uniform())
    }
}

/// Price and tick that a symbol begins with: near the real one where it is well
/// known, else made of its name.
fn price_of(symbol: &str) -> (f64, Decimal) {
    let (cents, tick) = match symbol.to_ascii_uppercase().as_str() {
        s if s.starts_with("BTC") => (6_000_000, Decimal::new(1, 1)),
        s if s.starts_with("ETH") => (300_000, Decimal::new(1, 2)),
        s if s.starts_with("SOL") => (15_000, Decimal::new(1, 2)),
        s if s.starts_with("EURUSD") => (110, Decimal::new(1, 5)),
        s if s.starts_with("USDJPY") => (15_000, Decimal::new(1, 3)),
        s => (2_000 + u32::try_from(fnv(s) % 38_000).expect("below 38,000"), Decimal::new(1, 2)),
    };
    (f64::from(cents) / 100.0, tick)
}

/// A power of ten as a float.
fn tick_size(tick: Decimal) -> f64 {
    libm::pow(10.0, -f64::from(tick.scale()))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "prices and quantities here are far below 2^53; beyond, a cast saturates"
)]
fn whole(value: f64) -> i64 {
    libm::round(value) as i64
}

/// A small hash that never changes (Fowler, Noll, Vo: FNV-1a, 64 bits).
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
