//! All symbols that this process decides on: final bars in, or bars and signals;
//! decisions and regime changes out, the state that changed on request.
//!
//! Not here: the log, ids of risk decisions and regime changes, headers (`shell`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tapedeck_contracts::{
    EventId, Timestamp,
    events::{MarketData, RegimeChange, decision::AskingSignal},
};

use super::{
    bars::Bars,
    book::{Holding, Holdings},
    config::InferenceConfig,
    decide::{Decided, NEWEST_FEATURES, Situation, decide},
    features::{COUNT, Features, Row, place_of},
    models::ModelSet,
    regime::{Changed, Filter, REGIMES, observation},
};

/// Bars of a symbol whose features are kept for signals that come after the next ones
/// were taken: a signal waits about a second for its event and no longer, which is one or
/// two bars of a second. Each is some 300 bytes of the symbol's state.
const RECENT: usize = 8;

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

/// A signal that asks for a decision.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The instrument.
    pub symbol: &'a str,
    /// The market source, where the signal says it.
    pub source: Option<&'a str>,
    /// The offset of its market event in the partition; none of one from outside.
    pub root: Option<u64>,
    /// What it wants, whose it is, and how sure.
    pub signal: &'a AskingSignal,
    /// Its event time.
    pub timestamp: Timestamp,
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
    /// Of the last bars, oldest first, where signals are decided on.
    recent: VecDeque<Seen>,
}

/// What there was to decide on when a bar was over.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The offset of the event that ended it.
    at: u64,
    row: Row,
    probs: [f64; 3],
    is_warm: bool,
}

/// The same as it is kept: numbers by their bits, so that they come back with every digit.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptSeen {
    at: u64,
    row: Vec<Option<u64>>,
    probs: [u64; 3],
    is_warm: bool,
}

/// A bar that was just taken.
struct Closed {
    seen: Seen,
    changed: Option<Changed>,
}

/// A symbol as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    features: Box<RawValue>,
    filter: Filter,
    bars: Bars,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<KeptSeen>,
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
        // Decided on at once, so where it lies is not asked for again.
        let Some(Closed { seen, changed }) = self.close(partition, 0, data) else { return Ok(None) };
        let config = Arc::clone(&self.config);
        let Named { decision_id, correlation_id } = name();
        let own = self.holding(partition, &data.symbol);
        let situation = Situation {
            decision_id,
            timestamp: data.timestamp,
            correlation_id,
            symbol: &data.symbol,
            row: seen.row,
            is_warm: seen.is_warm,
            regime_probs: seen.probs,
            signal: None,
            own,
            others: self.others(&data.symbol),
        };
        let decided = decide(&config, models, situation)?;
        if let Some(quantity) = decided.accepted() {
            let held = self.partitions.get_mut(&partition).expect("it was just there");
            held.holdings.of(&data.symbol).add(quantity);
        }
        let regime = changed.map(|changed| told(data, changed, seen.probs));
        Ok(Some(Said { decided, regime }))
    }

    /// Takes a market event, which lies at `offset`, for the signals that go back to it;
    /// says the regime where it changed.
    pub fn observe(&mut self, partition: u32, offset: u64, data: &MarketData) -> Option<RegimeChange> {
        let Closed { seen, changed } = self.close(partition, offset, data)?;
        let held = self.partitions.get_mut(&partition)?;
        let symbol = held.symbols.get_mut(&(data.source.clone(), data.symbol.clone()))?;
        if symbol.recent.len() == RECENT {
            symbol.recent.pop_front();
        }
        symbol.recent.push_back(seen);
        changed.map(|changed| told(data, changed, seen.probs))
    }

    /// Decides on a signal: on the features of the last bar that was over at its market
    /// event or, where it has none or they are not kept any more, on the newest, which the
    /// decision then says. None of a symbol that nobody follows.
    ///
    /// # Errors
    /// A feature that a model does not take.
    pub fn signal(
        &mut self,
        partition: u32,
        asked: &Asked<'_>,
        models: &ModelSet,
        named: Named,
    ) -> Result<Option<Decided>, String> {
        let config = Arc::clone(&self.config);
        let Some(held) = self.partitions.get_mut(&partition) else { return Ok(None) };
        let source = asked.source.or(config.source.as_deref());
        let is_of = |key: &&(String, String)| key.1 == asked.symbol && source.is_none_or(|source| key.0 == source);
        let known = held.symbols.keys().find(is_of).cloned();
        let key = known.unwrap_or_else(|| (source.unwrap_or_default().to_owned(), asked.symbol.to_owned()));
        let follows = config.symbols.is_empty() || config.symbols.contains(&key.1);
        if !follows || config.source.as_ref().is_some_and(|wanted| *wanted != key.0) {
            return Ok(None);
        }
        let nothing = Seen { at: 0, row: [None; COUNT], probs: config.hmm.initial, is_warm: false };
        let recent = held.symbols.get(&key).map(|symbol| &symbol.recent);
        let of_root = asked.root.and_then(|root| recent?.iter().rev().find(|seen| seen.at <= root));
        let newest = recent.and_then(|recent| recent.back());
        let seen = of_root.or(newest).copied().unwrap_or(nothing);
        let is_newest = of_root.is_none();
        held.holdings.of(asked.symbol);

        let situation = Situation {
            decision_id: named.decision_id,
            timestamp: asked.timestamp,
            correlation_id: named.correlation_id,
            symbol: asked.symbol,
            row: seen.row,
            is_warm: seen.is_warm,
            regime_probs: seen.probs,
            signal: Some(asked.signal.clone()),
            own: self.holding(partition, asked.symbol),
            others: self.others(asked.symbol),
        };
        let mut decided = decide(&config, models, situation)?;
        if let Some(quantity) = decided.accepted() {
            let held = self.partitions.get_mut(&partition).expect("it was just there");
            held.holdings.of(asked.symbol).add(quantity);
            held.changed.insert(key);
        }
        if is_newest {
            decided.decision.reasons.push(NEWEST_FEATURES.to_owned());
        }
        Ok(Some(decided))
    }

    /// Gives a market event to its symbol; something where it ended a bar.
    fn close(&mut self, partition: u32, offset: u64, data: &MarketData) -> Option<Closed> {
        let config = Arc::clone(&self.config);
        if !config.follows(&data.source, &data.symbol) {
            return None;
        }
        let held = self.partitions.get_mut(&partition)?;
        let key = (data.source.clone(), data.symbol.clone());
        let fresh = || Symbol {
            features: Features::default(),
            filter: Filter::new(&config.hmm),
            bars: Bars::default(),
            recent: VecDeque::new(),
        };
        let symbol = held.symbols.entry(key.clone()).or_insert_with(fresh);
        symbol.features.quote(data);
        held.changed.insert(key);
        let bar = symbol.bars.take(data, config.interval_us())?;
        symbol.features.take(bar.bar);
        let row = symbol.features.row();
        let observed = observation(row[self.return_1], row[self.volatility], bar.minutes);
        let changed = symbol.filter.take(&config.hmm, observed);
        let is_warm = symbol.features.seen() >= config.min_bars;
        let seen = Seen { at: offset, row, probs: symbol.filter.probs(), is_warm };
        held.holdings.of(&data.symbol).mark(bar.close, bar.end);
        Some(Closed { seen, changed })
    }

    /// What changed in a partition since the last call, as kept state: key and JSON.
    pub fn take_changed(&mut self, partition: u32) -> Vec<(String, Vec<u8>)> {
        self.partitions.get_mut(&partition).map(Partition::take_changed).unwrap_or_default()
    }

    fn holding(&self, partition: u32, symbol: &str) -> &Holding {
        self.partitions[&partition].holdings.get(symbol).expect("it was just made or marked")
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
                let recent = kept.recent.into_iter().map(Seen::of).collect::<Option<_>>();
                let recent = recent.ok_or("its features are not as many as this version has")?;
                let symbol_state = Symbol { features, filter: kept.filter, bars: kept.bars, recent };
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
                    recent: state.recent.iter().map(Seen::kept).collect(),
                };
                kept.push((name, serde_json::to_vec(&value).expect("numbers and their texts")));
            }
        }
        kept
    }
}

impl Seen {
    fn kept(&self) -> KeptSeen {
        let row = self.row.iter().map(|value| value.map(f64::to_bits)).collect();
        KeptSeen { at: self.at, row, probs: self.probs.map(f64::to_bits), is_warm: self.is_warm }
    }

    fn of(kept: KeptSeen) -> Option<Self> {
        let row: Vec<Option<f64>> = kept.row.into_iter().map(|value| value.map(f64::from_bits)).collect();
        let (row, probs) = (row.try_into().ok()?, kept.probs.map(f64::from_bits));
        Some(Self { at: kept.at, row, probs, is_warm: kept.is_warm })
    }
}

#[cfg(test)]
mod tests;
