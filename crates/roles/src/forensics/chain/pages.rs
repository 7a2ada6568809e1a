//! The check of a chain that is read in pages: from a store, or from wherever else
//! records come. It goes on from any head, and tells how far it is.
//!
//! Not here: what is wrong with a record (`verify`), and reading anchors.

use std::{collections::BTreeMap, vec};

use bytes::Bytes;
use tapedeck_store::{ChainHead, Explained, Explanations, StoreError};
use thiserror::Error;

use super::{Anchor, Columns, Fault, FaultKind, Hash, Head, Stored, Verified, verify};
use crate::forensics::{FeatureSet, FeatureSetId};

/// Records asked for at once: some 2 MB.
const PAGE: usize = 4_096;

/// Why a check did not end well.
#[derive(Debug, Error)]
pub enum CheckError<E> {
    /// A record is not the one that was written.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Records cannot be read.
    #[error("records cannot be read: {0}")]
    Read(E),
}

impl From<&ChainHead> for Head {
    fn from(head: &ChainHead) -> Self {
        Self { chain: head.chain, records: head.records, hash: Hash(head.hash) }
    }
}

impl From<Explained> for Stored {
    fn from(row: Explained) -> Self {
        let columns = Columns {
            decision_id: row.decision_id,
            time: row.timestamp,
            symbol: row.symbol,
            account: row.account,
            action: row.action,
            outcome: row.outcome,
        };
        Self { chain: row.chain, index: row.index, bytes: row.record.to_vec(), hash: Hash(row.hash), columns }
    }
}

/// Where the check of a chain begins that nobody has checked before: at its start, or
/// where retention took what was before.
pub fn start_of(chain: u32, stored: Option<&ChainHead>) -> Head {
    let begins = stored.and_then(|head| head.begins);
    begins.map_or_else(|| Head::start(chain), |(records, hash)| Head { chain, records, hash: Hash(hash) })
}

/// Checks a chain of a store from a head on that is trusted, as [`verify_source`] does.
///
/// # Errors
/// The first bad record; the store cannot be read.
pub fn verify_store(
    store: &dyn Explanations,
    from: Head,
    anchors: impl IntoIterator<Item = Anchor>,
    progress: impl FnMut(u64),
) -> Result<Verified, CheckError<StoreError>> {
    let chain = from.chain;
    let heads = store.chain_heads().map_err(CheckError::Read)?;
    let head = heads.iter().find(|head| head.chain == chain).map(Head::from);
    let page = |next: u64| {
        let rows = store.chain(chain, next, PAGE)?;
        Ok(rows.into_iter().map(|row| (FeatureSetId(row.feature_set), Stored::from(row))).collect())
    };
    let names = |id: FeatureSetId| store.feature_set(id.0);
    verify_source(Source { head, page, names }, from, anchors, progress)
}

/// Where the records of one chain come from.
#[derive(Debug)]
pub struct Source<P, N> {
    /// Where the source says that the chain ends; none where it knows no such chain.
    pub head: Option<Head>,
    /// Records from an index on, in order, each with the id of its names beside it;
    /// none where there are no more.
    pub page: P,
    /// The bytes of names.
    pub names: N,
}

/// Checks a chain from a head on that is trusted, to its end as of the beginning of the
/// check or later. `progress` is told how many records hold.
///
/// Beside what [`verify`] finds, the head that the source itself keeps has to be in the
/// chain: an end that was cut off is found without an anchor, unless the head was
/// changed with it. And the names of the records' numbers have to be those that the
/// records were written with.
///
/// # Errors
/// The first bad record; the source cannot be read.
pub fn verify_source<E>(
    source: Source<
        impl FnMut(u64) -> Result<Vec<(FeatureSetId, Stored)>, E>,
        impl FnMut(FeatureSetId) -> Result<Option<Bytes>, E>,
    >,
    from: Head,
    anchors: impl IntoIterator<Item = Anchor>,
    progress: impl FnMut(u64),
) -> Result<Verified, CheckError<E>> {
    let Source { head, mut page, mut names } = source;
    let chain = from.chain;
    let wanted = head.unwrap_or_else(|| Head::start(chain));
    let mut found = (from.records >= wanted.records).then_some(from);
    // Feature sets, and the first record of each.
    let mut sets: BTreeMap<FeatureSetId, u64> = BTreeMap::new();
    let page = |next: u64| {
        let rows = page(next)?;
        for (set, row) in &rows {
            sets.entry(*set).or_insert(row.index);
            if found.is_none() && row.index + 1 == wanted.records {
                found = Some(Head { chain, records: wanted.records, hash: row.hash });
            }
        }
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    };
    let verified = verify_pages(from, anchors, page, progress)?;
    if found != Some(wanted) {
        let index = verified.head.records.min(wanted.records.saturating_sub(1));
        return Err(Fault { chain, index, kind: FaultKind::Head { records: wanted.records } }.into());
    }
    for (id, index) in sets {
        let set = names(id).map_err(CheckError::Read)?;
        let set = set.and_then(|bytes| FeatureSet::from_bytes(&bytes).ok());
        if set.is_none_or(|set| set.id() != id) {
            return Err(Fault { chain, index, kind: FaultKind::Names(id) }.into());
        }
    }
    Ok(verified)
}

/// Checks records that come in pages: `page` gives those from an index on, in order,
/// and none where there are no more. `progress` is told how many records hold.
///
/// # Errors
/// The first bad record; a page cannot be read.
pub fn verify_pages<E>(
    from: Head,
    anchors: impl IntoIterator<Item = Anchor>,
    page: impl FnMut(u64) -> Result<Vec<Stored>, E>,
    progress: impl FnMut(u64),
) -> Result<Verified, CheckError<E>> {
    let mut pages = Pages { page, progress, next: from.records, buffer: Vec::new().into_iter(), error: None };
    let verified = verify(from, anchors, &mut pages);
    match pages.error {
        Some(error) => Err(CheckError::Read(error)),
        None => Ok(verified?),
    }
}

/// Records, a page at a time. Ends where a page cannot be read.
struct Pages<P, Q, E> {
    page: P,
    progress: Q,
    next: u64,
    buffer: vec::IntoIter<Stored>,
    error: Option<E>,
}

impl<P, Q, E> Iterator for Pages<P, Q, E>
where
    P: FnMut(u64) -> Result<Vec<Stored>, E>,
    Q: FnMut(u64),
{
    type Item = Stored;

    fn next(&mut self) -> Option<Stored> {
        if let Some(stored) = self.buffer.next() {
            return Some(stored);
        }
        // Whoever asks for more has found the records before it good.
        (self.progress)(self.next);
        let page = match (self.page)(self.next) {
            Ok(page) => page,
            Err(error) => {
                self.error = Some(error);
                return None;
            }
        };
        // Always forward, whatever indices a page says.
        self.next = page.last().map_or(self.next, |last| (last.index + 1).max(self.next + 1));
        self.buffer = page.into_iter();
        self.buffer.next()
    }
}
