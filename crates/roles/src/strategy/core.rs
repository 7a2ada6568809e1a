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
    bars::{Added, Bar, Gatherer},
    config::{Settings, StrategyConfig},
    rules::{Rule, Stance, Wish},
};
use crate::price::price_of;

/// Prices above this are no prices; with the longest windows, the sums of all
/// others fit a `Decimal`.
const MAX_PRICE: Decimal = Decimal::from_parts(0xA4C6_8000, 0x0003_8D7E, 0, false, 0);

/// The configured strategies and what each remembers of each symbol of each
/// source.
///
/// One of these belongs to one partition of the market topic: the time of a
/// source, which closes the bars of its quiet symbols, is that of the events in
/// the partition, in their order, and so is the same whenever it is replayed.
#[derive(Debug, Default)]
pub struct Strategies {
    strategies: Vec<Strategy>,
    /// What changed since `take_changed`: place in `strategies`, source, symbol.
    changed: Vec<(usize, String, String)>,
}

#[derive(Debug)]
struct Strategy {
    settings: Settings,
    version: String,
    /// By name.
    sources: BTreeMap<String, Source>,
}

/// What a strategy remembers of a source.
#[derive(Debug, Default)]
struct Source {
    symbols: BTreeMap<String, Memory>,
    /// The earliest end of an open bar; none where all are closed.
    due_us: Option<i64>,
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
        let mut parts = key.splitn(3, '/');
        let (Some(id), Some(source), Some(symbol)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("expected a key `<strategy>/<source>/<symbol>`".into());
        };
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
        let source = strategy.sources.entry(source.replace("%2F", "/").replace("%25", "%")).or_default();
        if let Some(end_us) = kept.bars.end_us() {
            source.expect_end(end_us);
        }
        let memory = Memory { stance: kept.stance, gatherer: kept.bars, rule: kept.rule, changed: false };
        source.symbols.insert(symbol.to_owned(), memory);
        Ok(())
    }

    /// Takes a market event and gives the signals that it caused: by strategy in
    /// the order of the config, and for bars that one event closes, by symbol.
    pub fn market(&mut self, data: &MarketData) -> Vec<Signal> {
        let mut signals = Vec::new();
        for (place, strategy) in self.strategies.iter_mut().enumerate() {
            let wanted = strategy.settings.config.source.as_ref();
            if wanted.is_some_and(|wanted| *wanted != data.source) {
                continue;
            }
            let mut changed = |memory: &mut Memory, symbol: &str| {
                if !std::mem::replace(&mut memory.changed, true) {
                    self.changed.push((place, data.source.clone(), symbol.to_owned()));
                }
            };
            if !strategy.sources.contains_key(&data.source) {
                strategy.sources.insert(data.source.clone(), Source::default());
            }
            let source = strategy.sources.get_mut(&data.source).expect("inserted where it was missing");
            source.close_due(&strategy.settings, data, &mut signals, &mut changed);
            source.take(&strategy.settings, data, &mut signals, &mut changed);
        }
        signals
    }

    /// What changed since the last call, as kept state: key and JSON.
    pub fn take_changed(&mut self) -> Vec<(String, Vec<u8>)> {
        let entry = |(place, source, symbol): (usize, String, String)| {
            let strategy: &mut Strategy = &mut self.strategies[place];
            let memory = strategy.sources.get_mut(&source)?.symbols.get_mut(&symbol)?;
            memory.changed = false;
            let (version, stance) = (strategy.version.clone(), memory.stance);
            let kept = Kept { version, stance, bars: &memory.gatherer, rule: &memory.rule };
            let value = serde_json::to_vec(&kept).expect("memory is strings and numbers");
            let source = source.replace('%', "%25").replace('/', "%2F");
            Some((format!("{}/{source}/{symbol}", strategy.settings.config.id), value))
        };
        self.changed.drain(..).filter_map(entry).collect()
    }
}

impl Strategy {
    fn new(settings: Settings, version: String) -> Self {
        Self { settings, version, sources: BTreeMap::new() }
    }
}

impl Source {
    /// Remembers when an open bar ends.
    fn expect_end(&mut self, end_us: i64) {
        self.due_us = Some(self.due_us.map_or(end_us, |due_us| due_us.min(end_us)));
    }

    /// Closes the bars whose end has come.
    fn close_due(
        &mut self,
        settings: &Settings,
        data: &MarketData,
        signals: &mut Vec<Signal>,
        changed: &mut impl FnMut(&mut Memory, &str),
    ) {
        let now_us = data.timestamp.micros();
        if self.due_us.is_none_or(|due_us| due_us > now_us) {
            return;
        }
        let mut next_us: Option<i64> = None;
        for (symbol, memory) in &mut self.symbols {
            let Some(end_us) = memory.gatherer.end_us() else { continue };
            match memory.gatherer.close(now_us) {
                Some(bar) => {
                    signals.extend(memory.evaluate(settings, symbol, bar));
                    changed(memory, symbol);
                }
                None => next_us = Some(next_us.map_or(end_us, |next_us| next_us.min(end_us))),
            }
        }
        self.due_us = next_us;
    }

    /// Takes the event of a symbol: a final bar, or a price for the open one.
    fn take(
        &mut self,
        settings: &Settings,
        data: &MarketData,
        signals: &mut Vec<Signal>,
        changed: &mut impl FnMut(&mut Memory, &str),
    ) {
        let symbol = data.symbol.as_str();
        let sent = (data.kind() == MarketKind::Bar).then(|| Bar::sent(data));
        let highest = sent.map_or(data.price.0, |bar| bar.high.max(bar.close));
        if !settings.runs_on(symbol) || highest > MAX_PRICE || (sent.is_some() && data.is_final == Some(false)) {
            return;
        }
        if !self.symbols.contains_key(symbol) {
            let rule = settings.rule.clone();
            let memory = Memory { stance: Stance::Flat, gatherer: Gatherer::default(), rule, changed: false };
            self.symbols.insert(symbol.to_owned(), memory);
        }
        let memory = self.symbols.get_mut(symbol).expect("inserted where it was missing");
        if let Some(bar) = sent {
            memory.gatherer.bars_are_sent();
            signals.extend(memory.evaluate(settings, symbol, bar));
            changed(memory, symbol);
            return;
        }
        let now_us = data.timestamp.micros();
        // What was due is closed already.
        let added = memory.gatherer.add(now_us, price_of(data), settings.interval_us);
        if added != Added::TooLate {
            changed(memory, symbol);
        }
        if let Added::ToNewBar { end_us } = added {
            self.expect_end(end_us);
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
