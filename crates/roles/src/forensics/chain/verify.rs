//! The check of a chain: takes records in order, wherever they come from, and tells
//! the first one that is not as it was written, and what is wrong with it.
//!
//! Not here: reading records from a store or an export, progress for a person.

use std::{collections::BTreeMap, fmt};

use tapedeck_contracts::{
    Timestamp,
    events::{Action, decision::Outcome},
};

use super::{Anchor, Hash, Head};
use crate::forensics::{FeatureSetId, Record, RecordError};

/// A record as it is stored, with what the store keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The chain that it is stored under.
    pub chain: u32,
    /// The place that it is stored under.
    pub index: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
    /// The columns beside it, by which it is found.
    pub columns: Columns,
}

/// What a store keeps beside a record so that it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The decision's id.
    pub decision_id: String,
    /// Event time.
    pub time: Timestamp,
    /// The instrument.
    pub symbol: String,
    /// For whom.
    pub account: Option<String>,
    /// What was to be done.
    pub action: Action,
    /// Whether it was let through.
    pub outcome: Outcome,
}

impl From<&Record> for Columns {
    fn from(record: &Record) -> Self {
        Self {
            decision_id: record.decision_id.clone(),
            time: record.time,
            symbol: record.symbol.clone(),
            account: record.account.clone(),
            action: record.action,
            outcome: record.outcome,
        }
    }
}

/// The first bad record of a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chain {chain}, record {index}: {kind}")]
pub struct Fault {
    /// The chain.
    pub chain: u32,
    /// The place of the first bad record; where an anchor tells, the last place that it may be.
    pub index: u64,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A record of another chain lies here.
    OtherChain(u32),
    /// The next record is a later one: some were removed.
    Missing {
        /// The record that is there instead.
        next: u64,
    },
    /// A record comes again.
    Repeated {
        /// Which one.
        found: u64,
    },
    /// Two neighbours stand in each other's place.
    Swapped,
    /// The record says that it belongs elsewhere: it was moved, or its number changed.
    Misplaced {
        /// The chain and place that it names.
        says: (u32, u64),
    },
    /// Bytes and hash do not belong together: one of them was changed.
    Changed,
    /// The bytes have the right hash and are no record: written wrong, or by a later version.
    Unreadable(RecordError),
    /// A column differs from the record.
    Column(&'static str),
    /// An anchor says another hash: the chain was rewritten, with hashes that fit.
    Rewritten {
        /// Up to here an anchor (or the head that the check began with) held; the
        /// first bad record lies between this one and the one named.
        from: u64,
    },
    /// The store's own head names another end: records were cut off, or the head was
    /// changed.
    Head {
        /// So many records the head counts.
        records: u64,
    },
    /// The record before the check has another hash than the head that the check goes on
    /// from: it was rewritten, or the head was changed.
    OtherHead,
    /// The names of its numbers are gone, or are not those that it was written with.
    Names(FeatureSetId),
    /// The chain ends before an anchored record: its end was cut off.
    Cut {
        /// So many records were anchored.
        anchored: u64,
    },
}

impl FaultKind {
    /// The index of the first record that is not known to be good, where the fault was found
    /// at `index`.
    pub const fn good_up_to(&self, index: u64) -> u64 {
        match self {
            Self::Rewritten { from } => *from,
            _ => index,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherChain(chain) => write!(f, "a record of chain {chain} lies here"),
            Self::Missing { next } => write!(f, "is missing; the next one there is record {next}"),
            Self::Repeated { found } => write!(f, "record {found} comes here again"),
            Self::Swapped => f.write_str("changed places with the one after it"),
            Self::Misplaced { says: (chain, index) } => {
                write!(f, "says that it is record {index} of chain {chain}: it was moved, or its number was changed")
            }
            Self::Changed => f.write_str("its bytes do not give the hash stored with it: one of them was changed"),
            Self::Unreadable(error) => write!(f, "its hash is right, but {error}"),
            Self::Column(column) => write!(f, "the column `{column}` says something else than the record"),
            Self::Rewritten { from } => {
                write!(
                    f,
                    "its hash is not the anchored one: a record from {from} to here was rewritten, with hashes that fit"
                )
            }
            Self::Head { records } => {
                write!(f, "is not what the store's own head of the chain names as the last of {records} records")
            }
            Self::OtherHead => f.write_str(
                "has another hash than the head that the check goes on from: it or one before it was rewritten, with \
                 hashes that fit, or the head was changed",
            ),
            Self::Names(id) => write!(f, "its names, feature set {id}, are gone or were changed"),
            Self::Cut { anchored } => write!(f, "is missing, the chain ends here; {anchored} records were anchored"),
        }
    }
}

/// Checks one chain, record by record. It can be dropped and begun again from its
/// head; the fault of a resumed check is the same as that of a whole one.
#[derive(Clone, Debug)]
pub struct Verifier {
    head: Head,
    trusted: u64,
    anchors: BTreeMap<u64, Hash>,
}

/// A check that ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where the chain ends.
    pub head: Head,
    /// Up to here, anchors vouch: records after this one could have been rewritten or
    /// cut off without a trace here.
    pub anchored: u64,
}

impl Verifier {
    /// Begins at a head that is trusted: the chain's start, or where an earlier check
    /// ended. Anchors of other chains, and those before the head, are left out.
    ///
    /// # Errors
    /// Two anchors say different hashes for one place, or one contradicts the head.
    pub fn new(head: Head, anchors: impl IntoIterator<Item = Anchor>) -> Result<Self, Fault> {
        let mut verifier = Self { head, trusted: head.records, anchors: BTreeMap::new() };
        for anchor in anchors.into_iter().filter(|anchor| anchor.chain == head.chain && anchor.records >= head.records)
        {
            let known = *verifier.anchors.entry(anchor.records).or_insert(anchor.hash);
            if known != anchor.hash || (anchor.records == head.records && anchor.hash != head.hash) {
                let index = anchor.records.saturating_sub(1);
                return Err(Fault { chain: head.chain, index, kind: FaultKind::Rewritten { from: 0 } });
            }
        }
        Ok(verifier)
    }

    /// Where the check is: keep it to go on from here later.
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is not the one that was written here. The verifier stays where it was.
    pub fn take(&mut self, stored: &Stored) -> Result<(), Fault> {
        self.check(stored).map_err(|kind| Fault { chain: self.head.chain, index: self.head.records, kind })?;
        self.head.push(&stored.bytes);
        if self.anchors.contains_key(&self.head.records) {
            self.trusted = self.head.records;
        }
        Ok(())
    }

    fn check(&self, stored: &Stored) -> Result<(), FaultKind> {
        let expected = self.head.records;
        if stored.chain != self.head.chain {
            return Err(FaultKind::OtherChain(stored.chain));
        }
        if stored.index > expected {
            return Err(FaultKind::Missing { next: stored.index });
        }
        if stored.index < expected {
            return Err(FaultKind::Repeated { found: stored.index });
        }
        let record = Record::read(&stored.bytes);
        let hash = self.head.hash_with(&stored.bytes);
        if hash != stored.hash {
            let says = record.map(|record| (record.chain, record.index)).ok();
            let says = says.filter(|says| *says != (self.head.chain, expected));
            return Err(says.map_or(FaultKind::Changed, |says| FaultKind::Misplaced { says }));
        }
        let anchored = self.anchors.get(&(expected + 1));
        if anchored.is_some_and(|anchored| *anchored != hash) {
            return Err(FaultKind::Rewritten { from: self.trusted });
        }
        let record = record.map_err(FaultKind::Unreadable)?;
        if (record.chain, record.index) != (self.head.chain, expected) {
            return Err(FaultKind::Misplaced { says: (record.chain, record.index) });
        }
        let columns = &stored.columns;
        let same = [
            ("decision_id", columns.decision_id == record.decision_id),
            ("time", columns.time == record.time),
            ("symbol", columns.symbol == record.symbol),
            ("account", columns.account == record.account),
            ("action", columns.action == record.action),
            ("outcome", columns.outcome == record.outcome),
        ];
        same.iter().find(|(_, same)| !same).map_or(Ok(()), |(column, _)| Err(FaultKind::Column(column)))
    }

    /// No record follows.
    ///
    /// # Errors
    /// An anchor knows of more records.
    pub fn finish(&self) -> Result<Verified, Fault> {
        match self.anchors.range(self.head.records + 1..).next_back() {
            Some((anchored, _)) => {
                let kind = FaultKind::Cut { anchored: *anchored };
                Err(Fault { chain: self.head.chain, index: self.head.records, kind })
            }
            None => Ok(Verified { head: self.head, anchored: self.trusted }),
        }
    }
}

/// Checks all records of one chain that an iterator gives, up to its end.
///
/// # Errors
/// The first bad record.
pub fn verify(
    head: Head,
    anchors: impl IntoIterator<Item = Anchor>,
    records: impl IntoIterator<Item = Stored>,
) -> Result<Verified, Fault> {
    let mut verifier = Verifier::new(head, anchors)?;
    let mut records = records.into_iter();
    while let Some(stored) = records.next() {
        let fault = match verifier.take(&stored) {
            Ok(()) => continue,
            Err(fault) => fault,
        };
        // Only the one behind it tells whether the record is gone or changed places.
        let jumped = fault.kind == FaultKind::Missing { next: fault.index + 1 };
        let is_behind = |stored: Stored| stored.chain == fault.chain && stored.index == fault.index;
        let kind = if jumped && records.next().is_some_and(is_behind) { FaultKind::Swapped } else { fault.kind };
        return Err(Fault { kind, ..fault });
    }
    verifier.finish()
}
