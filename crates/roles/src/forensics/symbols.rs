//! The last record of each symbol and account of a chain: what the next one is compared with.
//!
//! Not here: the comparison (`explained`).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use tapedeck_store::{Explanations, Result};

use super::{FeatureSet, FeatureSetId, Record, explain::Draft};

/// Symbols of an account that are remembered of a chain, those decided on last: more than
/// a venue lists, and 5 MB a chain at most. A symbol beyond them begins anew.
const MAX_SYMBOLS: usize = 4_096;

/// The last records of a chain, by symbol, then by account (empty is none: an account's
/// name never is).
#[derive(Default)]
pub(super) struct Symbols {
    slots: HashMap<String, HashMap<String, Slot>>,
    /// Slots of all symbols.
    count: usize,
}

#[derive(Default)]
struct Slot {
    /// As it is stored, with its names.
    last: Option<(Box<Record>, Arc<FeatureSet>)>,
    /// The attempt that noted a draft, and which.
    noted: Option<(u64, usize)>,
}

/// The record of the decision before.
pub(super) enum Before<'a> {
    /// A draft of the same attempt.
    Draft(usize),
    /// It is stored.
    Stored(&'a Record, &'a FeatureSet),
    /// There is none.
    None,
}

impl Symbols {
    /// Reads what the store has. A record or its names that cannot be read are left
    /// out: the check of the chain tells of them, and the next record can do without.
    pub(super) fn load(store: &dyn Explanations, chain: u32) -> Result<Self> {
        let mut symbols = Self::default();
        let mut sets: HashMap<[u8; 16], Option<Arc<FeatureSet>>> = HashMap::new();
        let mut rows = store.last_of_symbols(chain)?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.index));
        rows.truncate(MAX_SYMBOLS);
        for row in rows {
            let set = match sets.entry(row.feature_set) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(place) => {
                    let bytes = store.feature_set(row.feature_set)?;
                    let set = bytes.and_then(|bytes| FeatureSet::from_bytes(&bytes).ok());
                    place.insert(set.map(Arc::new)).clone()
                }
            };
            match (Record::read(&row.record), set) {
                (Ok(record), Some(set)) if record.feature_set == FeatureSetId(row.feature_set) => {
                    symbols.put(
                        &row.symbol,
                        row.account.as_deref(),
                        Slot { last: Some((Box::new(record), set)), noted: None },
                    );
                }
                _ => tracing::warn!(
                    chain,
                    index = row.index,
                    "the last record of a symbol cannot be read; the next one is explained without it"
                ),
            }
        }
        Ok(symbols)
    }

    /// The record before the draft `at` of this attempt, which is noted as the last one.
    pub(super) fn note(&mut self, symbol: &str, account: Option<&str>, attempt: u64, at: usize) -> Before<'_> {
        if self.slot(symbol, account).is_none() {
            self.make_room(attempt);
            self.put(symbol, account, Slot { last: None, noted: Some((attempt, at)) });
            return Before::None;
        }
        let Some(slot) = self.slot(symbol, account) else { return Before::None };
        match slot.noted.replace((attempt, at)) {
            Some((of, before)) if of == attempt => Before::Draft(before),
            _ => slot.last.as_ref().map_or(Before::None, |(record, set)| Before::Stored(record, set)),
        }
    }

    /// The draft `at` of this attempt is stored: kept, if it is its symbol's last one,
    /// in exchange for the record before it.
    pub(super) fn keep(&mut self, attempt: u64, at: usize, draft: &mut Draft) {
        let Some(slot) = self.slot(&draft.record.symbol, draft.record.account.as_deref()) else { return };
        if slot.noted != Some((attempt, at)) {
            return;
        }
        let set = Arc::clone(draft.mixture.set());
        match &mut slot.last {
            Some((record, names)) => {
                std::mem::swap(record, &mut draft.record);
                *names = set;
            }
            None => slot.last = Some((std::mem::take(&mut draft.record), set)),
        }
    }

    fn slot(&mut self, symbol: &str, account: Option<&str>) -> Option<&mut Slot> {
        self.slots.get_mut(symbol)?.get_mut(account.unwrap_or_default())
    }

    fn put(&mut self, symbol: &str, account: Option<&str>, slot: Slot) {
        let accounts = self.slots.entry(symbol.to_owned()).or_default();
        if accounts.insert(account.unwrap_or_default().to_owned(), slot).is_none() {
            self.count += 1;
        }
    }

    /// Drops the half that was decided on longest ago, where there are too many.
    fn make_room(&mut self, attempt: u64) {
        if self.count < MAX_SYMBOLS {
            return;
        }
        let is_noted = |slot: &Slot| slot.noted.is_some_and(|(of, _)| of == attempt);
        let index = |slot: &Slot| slot.last.as_ref().map_or(0, |(record, _)| record.index);
        let all = self.slots.values().flat_map(HashMap::values);
        let mut free: Vec<u64> = all.filter(|slot| !is_noted(slot)).map(index).collect();
        if free.is_empty() {
            return;
        }
        let middle = free.len() / 2;
        let (_, median, _) = free.select_nth_unstable(middle);
        let median = *median;
        self.slots.retain(|_, accounts| {
            accounts.retain(|_, slot| is_noted(slot) || index(slot) > median);
            !accounts.is_empty()
        });
        self.count = self.slots.values().map(HashMap::len).sum();
    }
}
