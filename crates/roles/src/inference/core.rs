//! All symbols that this process decides on: final bars in, decisions and regime
//! changes out, the state that changed on request.
//!
//! Not here: the log, ids of risk decisions and regime changes, headers (`shell`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tapedeck_contracts::{
    EventId,
    events::{MarketData, RegimeChange},
};

use super::{
    bars::Bars,
    book::{Holding, Holdings},
    config::InferenceConfig,
    decide::{Decided, Situation, decide},
    features::{Features, place_of},
    models::ModelSet,
    regime::{Changed, Filter, REGIMES, observation},
};

/// What names a decision and what it belongs to.
#[derive(Clone, Debug)]
pub struct Named {
    /// The decision's id.
    pub decision_id: EventId,
    /// What it belongs to across topics.
    pub correlation_id: Option<String>,
}

/// What a final bar came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The decision.
    pub decided: Decided,
    /// The regime, where it changed; its event id is still to be given.
    pub regime: Option<RegimeChange>,
}

/// Everything that decisions are made from, by partition of the market.
///
/// What belongs to a symbol lives in its partition's state alone. The book is that
/// of all partitions held here, so the checks across symbols see what was decided
/// before, in the order in which events are given.
#[derive(Debug)]
pub struct Desk {
    config: Arc<InferenceConfig>,
    return_1: usize,
    volatility: usize,
    partitions: BTreeMap<u32, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// By source and symbol.
    symbols: BTreeMap<(String, String), Symbol>,
    holdings: Holdings,
    changed: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Symbol {
    features: Features,
    filter: Filter,
    bars: Bars,
}

/// A symbol as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    features: Box<RawValue>,
    filter: Filter,
    bars: Bars,
}

impl Desk {
    /// A desk that has seen nothing.
    pub fn new(config: Arc<InferenceConfig>) -> Self {
        let place = |name| place_of(name).expect("one of our features");
        Self { config, return_1: place("return_1"), volatility: place("volatility_15"), partitions: BTreeMap::new() }
    }

    /// Holds a partition from now on, with the state that was kept of it; what was
    /// known of it is forgotten.
    ///
    /// # Errors
    /// Names the entry that this code did not write.
    pub fn assign<'a>(
        &mut self,
        partition: u32,
        state: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<(), String> {
        let mut restored = Partition::default();
        for (key, value) in state {
            restored.restore(key, value).map_err(|detail| format!("`{key}`: {detail}"))?;
        }
        self.partitions.insert(partition, restored);
        Ok(())
    }

    /// Holds a partition no longer.
    pub fn revoke(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }

    /// Takes a market event; says something where it is or closes a final bar.
    /// `name` is asked for the decision's id only then.
    ///
    /// # Errors
    /// A feature that a model does not take.
    pub fn take(
        &mut self,
        partition: u32,
        data: &MarketData,
        models: &ModelSet,
        name: impl FnOnce() -> Named,
    ) -> Result<Option<Said>, String> {
        if !self.config.follows(&data.source, &data.symbol) {
            return Ok(None);
        }
        let config = Arc::clone(&self.config);
        let Some(held) = self.partitions.get_mut(&partition) else { return Ok(None) };
        let key = (data.source.clone(), data.symbol.clone());
        let fresh =
            || Symbol { features: Features::default(), filter: Filter::new(&config.hmm), bars: Bars::default() };
        let symbol = held.symbols.entry(key.clone()).or_insert_with(fresh);
        symbol.features.quote(data);
        held.changed.insert(key);
        let Some(bar) = symbol.bars.take(data, config.interval_us()) else { return Ok(None) };
        symbol.features.take(bar.bar);
        let row = symbol.features.row();
        let seen = observation(row[self.return_1], row[self.volatility], bar.minutes);
        let changed = symbol.filter.take(&config.hmm, seen);
        let regime_probs = symbol.filter.probs();
        let is_warm = symbol.features.seen() >= config.min_bars;
        held.holdings.of(&data.symbol).mark(bar.close, bar.end);

        let Named { decision_id, correlation_id } = name();
        let own = self.holding(partition, &data.symbol);
        let situation = Situation {
            decision_id,
            timestamp: data.timestamp,
            correlation_id,
            symbol: &data.symbol,
            row,
            is_warm,
            regime_probs,
            signal: None,
            own,
            others: self.others(&data.symbol),
        };
        let decided = decide(&config, models, situation)?;
        if let Some(quantity) = decided.accepted() {
            let held = self.partitions.get_mut(&partition).expect("it was just there");
            held.holdings.of(&data.symbol).add(quantity);
        }
        let regime = changed.map(|changed| told(data, changed, regime_probs));
        Ok(Some(Said { decided, regime }))
    }

    /// What changed in a partition since the last call, as kept state: key and JSON.
    pub fn take_changed(&mut self, partition: u32) -> Vec<(String, Vec<u8>)> {
        self.partitions.get_mut(&partition).map(Partition::take_changed).unwrap_or_default()
    }

    fn holding(&self, partition: u32, symbol: &str) -> &Holding {
        self.partitions[&partition].holdings.get(symbol).expect("it was just marked")
    }

    /// The rest of the book, by symbol, whichever partition each is in.
    fn others(&self, symbol: &str) -> Vec<&Holding> {
        let all = self.partitions.values().flat_map(|partition| partition.holdings.iter());
        let mut others: Vec<_> =
            all.filter(|(other, holding)| *other != symbol && !holding.quantity().is_zero()).collect();
        // The sum of floats depends on their order.
        others.sort_by_key(|(other, _)| *other);
        others.into_iter().map(|(_, holding)| holding).collect()
    }
}

fn told(data: &MarketData, changed: Changed, probs: [f64; 3]) -> RegimeChange {
    let named = |probs: [f64; 3]| REGIMES.map(str::to_owned).into_iter().zip(probs).collect();
    RegimeChange {
        event_id: None,
        timestamp: data.timestamp,
        symbol: data.symbol.clone(),
        from: REGIMES[changed.from].to_owned(),
        to: REGIMES[changed.to].to_owned(),
        probs: named(probs),
        previous_probs: named(changed.previous),
    }
}

impl Partition {
    fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        match key.split_once('/') {
            Some(("symbol", name)) => {
                let (source, symbol) = name.split_once('/').ok_or("expected `symbol/<source>/<symbol>`")?;
                let kept: Kept = serde_json::from_slice(value).map_err(|error| error.to_string())?;
                let features = Features::restored(kept.features.get().as_bytes())?;
                let source = source.replace("%2F", "/").replace("%25", "%");
                let symbol_state = Symbol { features, filter: kept.filter, bars: kept.bars };
                self.symbols.insert((source, symbol.to_owned()), symbol_state);
                Ok(())
            }
            Some(("book", symbol)) => self.holdings.restore_position(symbol, value),
            Some(("minutes", symbol)) => self.holdings.restore_closes(symbol, value),
            _ => Err("it is none of this version's keys".into()),
        }
    }

    fn take_changed(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut kept = Vec::new();
        for (source, symbol) in std::mem::take(&mut self.changed) {
            let (now, closes) = self.holdings.take_changed(&symbol);
            kept.extend(now.map(|now| (format!("book/{symbol}"), now)));
            kept.extend(closes.map(|closes| (format!("minutes/{symbol}"), closes)));
            let name = format!("symbol/{}/{symbol}", source.replace('%', "%25").replace('/', "%2F"));
            if let Some(state) = self.symbols.get(&(source, symbol)) {
                let features = String::from_utf8(state.features.kept()).expect("JSON is text");
                let value = Kept {
                    features: RawValue::from_string(features).expect("it is JSON"),
                    filter: state.filter.clone(),
                    bars: state.bars.clone(),
                };
                kept.push((name, serde_json::to_vec(&value).expect("numbers and their texts")));
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests;
