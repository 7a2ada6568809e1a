//! What every store does alike with explained decisions: chains that go on where
//! they stood, sums that are added up, and ids as they are compared.
//!
//! Not here: how anything is stored.

use std::collections::BTreeMap;

use super::values::parse_uuid;
use crate::{ChainHead, ExplainedBatch, Importance, Result, StoreError};

/// A decision's id in its short form: 17 bytes where it is a UUID.
pub(crate) fn id_key(id: &str) -> Vec<u8> {
    let (kind, bytes) = match parse_uuid(id.as_bytes()) {
        Some(uuid) => (0x80, uuid.to_vec()),
        None => (0, id.as_bytes().to_vec()),
    };
    let mut key = Vec::with_capacity(bytes.len() + 1);
    key.push(kind);
    key.extend_from_slice(&bytes);
    key
}

/// The heads to be kept after a batch, given those that are stored of its chains.
///
/// # Errors
/// Fatal where rows do not go on from their chain's head, or where a head is not
/// what its rows make it.
pub(crate) fn heads_after(batch: &ExplainedBatch, stored: &BTreeMap<u32, ChainHead>) -> Result<Vec<ChainHead>> {
    let given: BTreeMap<u32, &ChainHead> = batch.heads.iter().map(|head| (head.chain, head)).collect();
    let begin = |chain: u32| match (stored.get(&chain), given.get(&chain)) {
        (Some(head), _) => (head.records, head.hash),
        (None, Some(ChainHead { begins: Some(begins), .. })) => *begins,
        (None, _) => (0, [0; 32]),
    };
    let mut at: BTreeMap<u32, (u64, [u8; 32])> = given.keys().map(|chain| (*chain, begin(*chain))).collect();
    for row in &batch.rows {
        let (next, hash) = at.entry(row.chain).or_insert_with(|| begin(row.chain));
        if row.index != *next {
            return Err(out_of_step(row.chain, *next, row.index));
        }
        (*next, *hash) = (row.index + 1, row.hash);
    }
    let mut heads = Vec::with_capacity(at.len());
    for (chain, (records, hash)) in at {
        let Some(head) = given.get(&chain) else {
            return Err(StoreError::Fatal(format!(
                "a batch has rows of chain {chain} and no head for it: this is a fault of tapedeck, nothing was kept"
            )));
        };
        if head.records != records || (records > 0 && head.hash != hash) {
            return Err(out_of_step(chain, records, head.records));
        }
        if records > 0 {
            let begins = stored.get(&chain).map_or(head.begins, |stored| stored.begins);
            heads.push(ChainHead { begins, ..**head });
        }
    }
    Ok(heads)
}

fn out_of_step(chain: u32, stored: u64, given: u64) -> StoreError {
    StoreError::Fatal(format!(
        "chain {chain} of the forensics has {stored} records in the store, and what is to be kept goes on at {given}: \
         another process wrote to it, or the store was restored from a copy. Nothing was kept. See that one process \
         alone explains the decisions of a partition, then start it again: it goes on from the store's heads; \
         `tapedeck audit verify` tells whether the chain is whole"
    ))
}

/// Adds to sums those of the same hour, symbol and feature set.
///
/// # Errors
/// Fatal where they are not of the same features.
pub(crate) fn add_up(stored: &mut Importance, more: &Importance) -> Result<()> {
    if stored.sums.len() != more.sums.len() {
        return Err(StoreError::Fatal(format!(
            "the sums of {} of {} are of {} features, and {} are to be added: one feature set cannot be both. Nothing \
             was kept; look which model changed its features under its old name",
            stored.symbol,
            stored.hour,
            stored.sums.len(),
            more.sums.len()
        )));
    }
    stored.decisions += more.decisions;
    stored.sums.iter_mut().zip(&more.sums).for_each(|(sum, more)| *sum += more);
    Ok(())
}

/// The importance of a batch with one entry for each hour, symbol and feature set, in their order.
///
/// # Errors
/// Those of [`add_up`].
pub(crate) fn together(batch: &ExplainedBatch) -> Result<Vec<Importance>> {
    let mut sums: BTreeMap<(i64, &str, [u8; 16]), Importance> = BTreeMap::new();
    for more in &batch.importance {
        match sums.get_mut(&(more.hour.micros(), more.symbol.as_str(), more.feature_set)) {
            Some(sum) => add_up(sum, more)?,
            None => _ = sums.insert((more.hour.micros(), &more.symbol, more.feature_set), more.clone()),
        }
    }
    Ok(sums.into_values().collect())
}

/// Sums as bytes, exact.
pub(crate) fn bytes_of(sums: &[f64]) -> Vec<u8> {
    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

/// Sums of bytes; none where they are none.
pub(crate) fn sums_of(bytes: &[u8]) -> Option<Vec<f64>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| numbers.iter().map(|number| f64::from_le_bytes(*number)).collect())
}

/// A row that names features nobody described could never be read.
pub(crate) fn unknown_features(id: &[u8; 16]) -> StoreError {
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    StoreError::Fatal(format!(
        "a record names the feature set {hex}, which is neither in the store nor in its batch: this is a fault of \
         tapedeck, nothing was kept"
    ))
}
