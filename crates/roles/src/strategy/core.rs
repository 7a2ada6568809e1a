//! All configured strategies over one partition of the market: events in,
//! signals out, the state that changed on request.
//!
//! Not here: the log, ids and headers of signals, and which partitions there
//! are (`shell`).

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tapedeck_contracts::{
    Dec,
    events::{
        Compilation, MarketData, MarketKind, Signal,
        signal::{Action, CompilationStatus, SignalBody, SignalMarket},
    },
};

use super::{
    bars::{Added, Bar, Gatherer, price_of},
    config::{Settings, StrategyConfig},
    rules::{Rule, Stance, Wish},
};

/// Prices above this are no prices; with the longest windows, the sums of all
/// others fit a `Decimal`.
const MAX_PRICE: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0);

/// The configured strategies and what each remembers of each symbol.
///
/// One of these belongs to one partition of the market topic: the time of a
/// source, which closes the bars of its quiet symbols, is that of the events in
/// the partition, in their order, and so is the same whenever it is replayed.
#[derive(Debug, Default)]
pub struct Strategies {
    strategies: Vec<Strategy>,
    /// What changed since `take_changed`: place in `strategies`, symbol.
    changed: Vec<(usize, String)>,
}

#[derive(Debug)]
struct Strategy {
    settings: Settings,
    version: String,
    symbols: BTreeMap<String, Memory>,
    /// The earliest end of the bars that a source keeps open, by source.
    due_us: BTreeMap<String, i64>,
}

/// What a strategy remembers of a symbol.
#[derive(Debug)]
struct Memory {
    stance: Stance,
    gatherer: Gatherer,
    rule: Rule,
    /// It is in `Strategies::changed`.
    changed: bool,
}

/// A memory as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept<G, R> {
    version: String,
    stance: Stance,
    bars: G,
    rule: R,
}

impl Strategies {
    /// Checks the configs: one compilation for each, in their order. Those that
    /// failed do not run.
    pub fn compile(configs: &[StrategyConfig]) -> (Self, Vec<Compilation>) {
        let mut ids = BTreeSet::new();
        let mut strategies = Vec::new();
        let mut compilations = Vec::new();
        for config in configs {
            let checked = match config.check() {
                Ok(_) if !ids.insert(&config.id) => {
                    Err(vec![format!("id: {:?} is taken by a strategy before", config.id)])
                }
                checked => checked,
            };
            let version = config.version();
            let (status, diagnostics) = match checked {
                Ok(settings) => {
                    strategies.push(Strategy::new(settings, version.clone()));
                    (CompilationStatus::Succeeded, Vec::new())
                }
                Err(diagnostics) => (CompilationStatus::Failed, diagnostics),
            };
            compilations.push(Compilation { strategy_id: config.id.clone(), version, status, diagnostics });
        }
        (Self { strategies, changed: Vec::new() }, compilations)
    }

    /// Takes one entry of the kept state, under its key. What was kept by a
    /// strategy that is no longer there, or under other settings, is dropped.
    ///
    /// # Errors
    /// The entry is none that this code wrote.
    pub fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let (id, symbol) = key.split_once('/').ok_or("expected a key `<strategy>/<symbol>`")?;
        let Some(strategy) = self.strategies.iter_mut().find(|strategy| strategy.settings.config.id == id) else {
            return Ok(());
        };
        let kept: Kept<IgnoredAny, IgnoredAny> = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        // What other settings left is not even read: it may have another shape.
        if kept.version != strategy.version {
            return Ok(());
        }
        let kept: Kept<Gatherer, Rule> = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if !kept.rule.continues(&strategy.settings.rule) {
            return Err("it does not fit the settings whose version it has".into());
        }
        if let Some((source, end_us)) = kept.bars.open() {
            strategy.expect_end(source, end_us);
        }
        let memory = Memory { stance: kept.stance, gatherer: kept.bars, rule: kept.rule, changed: false };
        strategy.symbols.insert(symbol.to_owned(), memory);
        Ok(())
    }

    /// Takes a market event and gives the signals that it caused: by strategy in
    /// the order of the config, and for bars that one event closes, by symbol.
    pub fn market(&mut self, data: &MarketData) -> Vec<Signal> {
        let mut signals = Vec::new();
        for (place, strategy) in self.strategies.iter_mut().enumerate() {
            let mut changed = |memory: &mut Memory, symbol: &str| {
                if !std::mem::replace(&mut memory.changed, true) {
                    self.changed.push((place, symbol.to_owned()));
                }
            };
            strategy.close_due(data, &mut signals, &mut changed);
            strategy.take(data, &mut signals, &mut changed);
        }
        signals
    }

    /// What changed since the last call, as kept state: key and JSON.
    pub fn take_changed(&mut self) -> Vec<(String, Vec<u8>)> {
        let entry = |(place, symbol): (usize, String)| {
            let strategy: &mut Strategy = &mut self.strategies[place];
            let memory = strategy.symbols.get_mut(&symbol)?;
            memory.changed = false;
            let (version, stance) = (strategy.version.clone(), memory.stance);
            let kept = Kept { version, stance, bars: &memory.gatherer, rule: &memory.rule };
            let value = serde_json::to_vec(&kept).expect("memory is strings and numbers");
            Some((format!("{}/{symbol}", strategy.settings.config.id), value))
        };
        self.changed.drain(..).filter_map(entry).collect()
    }
}

impl Strategy {
    fn new(settings: Settings, version: String) -> Self {
        Self { settings, version, symbols: BTreeMap::new(), due_us: BTreeMap::new() }
    }

    fn runs_on(&self, symbol: &str) -> bool {
        let symbols = &self.settings.config.symbols;
        symbols.is_empty() || symbols.iter().any(|wanted| wanted == symbol)
    }

    /// Remembers when the open bar of a source ends.
    fn expect_end(&mut self, source: &str, end_us: i64) {
        match self.due_us.get_mut(source) {
            Some(due_us) => *due_us = end_us.min(*due_us),
            None => {
                self.due_us.insert(source.to_owned(), end_us);
            }
        }
    }

    /// Closes the bars whose end has come in the time of the event's source.
    fn close_due(&mut self, data: &MarketData, signals: &mut Vec<Signal>, changed: &mut impl FnMut(&mut Memory, &str)) {
        let now_us = data.timestamp.micros();
        let Some(due_us) = self.due_us.get_mut(&data.source).filter(|due_us| **due_us <= now_us) else { return };
        let mut next_us = i64::MAX;
        for (symbol, memory) in &mut self.symbols {
            let Some(end_us) = memory.gatherer.end_us(&data.source) else { continue };
            match memory.gatherer.close(now_us) {
                Some(bar) => {
                    signals.extend(memory.evaluate(&self.settings, symbol, bar));
                    changed(memory, symbol);
                }
                None => next_us = next_us.min(end_us),
            }
        }
        *due_us = next_us;
    }

    /// Takes the event of a symbol: a final bar, or a price for the open one.
    fn take(&mut self, data: &MarketData, signals: &mut Vec<Signal>, changed: &mut impl FnMut(&mut Memory, &str)) {
        let symbol = data.symbol.as_str();
        let sent = (data.kind() == MarketKind::Bar).then(|| Bar::sent(data));
        let highest = sent.map_or(data.price.0, |bar| bar.high.max(bar.close));
        if !self.runs_on(symbol) || highest > MAX_PRICE || (sent.is_some() && data.is_final == Some(false)) {
            return;
        }
        if !self.symbols.contains_key(symbol) {
            let rule = self.settings.rule.clone();
            let memory = Memory { stance: Stance::Flat, gatherer: Gatherer::default(), rule, changed: false };
            self.symbols.insert(symbol.to_owned(), memory);
        }
        let memory = self.symbols.get_mut(symbol).expect("inserted where it was missing");
        if let Some(bar) = sent {
            memory.gatherer.bars_are_sent();
            signals.extend(memory.evaluate(&self.settings, symbol, bar));
            changed(memory, symbol);
            return;
        }
        let now_us = data.timestamp.micros();
        // Another source may have opened the bar; its end has come all the same.
        let closed = memory.gatherer.close(now_us);
        if let Some(bar) = closed {
            signals.extend(memory.evaluate(&self.settings, symbol, bar));
        }
        let added = memory.gatherer.add(&data.source, now_us, price_of(data), self.settings.interval_us);
        if added != Added::TooLate || closed.is_some() {
            changed(memory, symbol);
        }
        if let Added::ToNewBar { end_us } = added {
            self.expect_end(&data.source, end_us);
        }
    }
}

impl Memory {
    /// The rule's wish for a bar, as a signal.
    fn evaluate(&mut self, settings: &Settings, symbol: &str, bar: Bar) -> Option<Signal> {
        let config = &settings.config;
        let Wish { stance, reason } = self.rule.take(bar, self.stance, config.long_only)?;
        let before = position(std::mem::replace(&mut self.stance, stance), config.quantity.0);
        let target = position(stance, config.quantity.0);
        let action = if target > before { Action::Buy } else { Action::Sell };
        Some(Signal {
            session_id: config.session_id.clone(),
            strategy_id: config.id.clone(),
            signal: SignalBody {
                action,
                quantity: Dec((target - before).abs()),
                reason,
                confidence: None,
                target_position: Some(Dec(target)),
                order: None,
            },
            market_data: SignalMarket { symbol: symbol.to_owned(), price: Dec(bar.close) },
        })
    }
}

/// The signed position of a stance.
fn position(stance: Stance, quantity: Decimal) -> Decimal {
    match stance {
        Stance::Flat => Decimal::ZERO,
        Stance::Long => quantity,
        Stance::Short => -quantity,
    }
}
