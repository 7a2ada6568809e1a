//! Explained decisions as they are kept: the bytes of a record and its place in a
//! chain of hashes, and beside them the columns by which a record is found.
//!
//! Not here: what the bytes say, and how hashes are made; both are the forensics
//! role's.

use bytes::Bytes;
use tapedeck_contracts::{
    Timestamp,
    events::{Action, decision::Outcome},
};

use crate::{FillRow, OffsetMove, OrderRow, Origin, PageKey, Result};

/// One explained decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The place of the decision in the log.
    pub origin: Origin,
    /// The decision's id.
    pub decision_id: String,
    /// When it was decided (event time).
    pub timestamp: Timestamp,
    /// The instrument.
    pub symbol: String,
    /// For whom.
    pub account: Option<String>,
    /// What was to be done.
    pub action: Action,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// The chain it belongs to.
    pub chain: u32,
    /// Its place in the chain, from 0.
    pub index: u64,
    /// SHA-256 over the hash of the record before it and its own bytes.
    pub hash: [u8; 32],
    /// Names the feature set of its lists.
    pub feature_set: [u8; 16],
    /// Its bytes.
    pub record: Bytes,
}

/// Sums of absolute contributions over the decisions of one hour, symbol and feature set.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// The hour of event time that they were made in: its beginning.
    pub hour: Timestamp,
    /// The instrument.
    pub symbol: String,
    /// The names of `sums`.
    pub feature_set: [u8; 16],
    /// How many decisions.
    pub decisions: u64,
    /// Sum of |contribution| of each feature, in the order of the feature set (log-odds).
    pub sums: Vec<f64>,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The chain.
    pub chain: u32,
    /// How many records it has: the index of the next one.
    pub records: u64,
    /// The hash of the last of them.
    pub hash: [u8; 32],
    /// The last anchor that was written: how many records it vouches for, and their hash.
    pub anchored: Option<(u64, [u8; 32])>,
    /// Where retention took its beginning: the index of the first record that is left,
    /// and the hash of the one before it. A store goes by its own; of a chain that it
    /// does not know yet, this says where its rows begin.
    pub begins: Option<(u64, [u8; 32])>,
}

/// Explained decisions and the offsets they came from, to be made visible in one act.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplainedBatch {
    /// The consumer group.
    pub group: String,
    /// What to keep; those of a chain in the order of the chain.
    pub rows: Vec<Explained>,
    /// Feature sets that the rows name, id and bytes; those that are there stay as they are.
    pub feature_sets: Vec<([u8; 16], Bytes)>,
    /// To be added to what is there of the same hour, symbol and feature set.
    pub importance: Vec<Importance>,
    /// The heads that the chains then have, one for each chain with rows or a new anchor.
    pub heads: Vec<ChainHead>,
    /// How far the group then is.
    pub offsets: Vec<OffsetMove>,
    /// When it was taken from the log, in ms since the epoch: retention goes by it.
    pub ingested_at_ms: i64,
}

/// Which explanations. Times are inclusive at `from` and exclusive at `to`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplainedQuery {
    /// Of one account.
    pub account: Option<String>,
    /// Of one symbol.
    pub symbol: Option<String>,
    /// Of one action.
    pub action: Option<Action>,
    /// Of one outcome.
    pub outcome: Option<Outcome>,
    /// From this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// After this row, in newest-first order.
    pub after: Option<PageKey>,
    /// At most so many.
    pub limit: usize,
}

/// Keeps explained decisions and answers for them. Blocking; safe to call from many threads.
pub trait Explanations: Send + Sync {
    /// Keeps rows, heads, sums and moves offsets in one act: a reader sees all or
    /// nothing. Where the decision of a row is held already (whatever its place in the
    /// log), or comes twice in the batch, nothing is kept, and the indices of such rows
    /// are the answer: they come again without them, chained anew.
    ///
    /// # Errors
    /// [`StoreError::Conflict`](crate::StoreError::Conflict) where a stored offset is not the expected one; fatal
    /// where a chain's rows do not go on from its head.
    fn apply_explained(&self, batch: &ExplainedBatch) -> Result<Vec<usize>>;

    /// The heads of all chains that have records, by chain.
    ///
    /// # Errors
    /// The store cannot be read.
    fn chain_heads(&self) -> Result<Vec<ChainHead>>;

    /// The last record of each symbol and account in a chain, by symbol, then account; none
    /// where retention took it.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_of_symbols(&self, chain: u32) -> Result<Vec<Explained>>;

    /// The explanation of a decision.
    ///
    /// # Errors
    /// The store cannot be read.
    fn explained(&self, decision_id: &str) -> Result<Option<Explained>>;

    /// Explanations, newest first, each with its place in the list.
    ///
    /// # Errors
    /// The store cannot be read.
    fn explanations(&self, query: &ExplainedQuery) -> Result<Vec<(PageKey, Explained)>>;

    /// Records of a chain in its order, from an index on, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn chain(&self, chain: u32, from: u64, limit: usize) -> Result<Vec<Explained>>;

    /// The bytes of a feature set.
    ///
    /// # Errors
    /// The store cannot be read.
    fn feature_set(&self, id: [u8; 16]) -> Result<Option<Bytes>>;

    /// Sums of the hours that begin in a stretch of time, of one symbol or all, oldest
    /// first, then by symbol.
    ///
    /// # Errors
    /// The store cannot be read.
    fn importance(&self, from: Timestamp, to: Timestamp, symbol: Option<&str>) -> Result<Vec<Importance>>;

    /// The fills that came of a decision, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn fills_of(&self, decision_id: &str, limit: usize) -> Result<Vec<FillRow>>;

    /// The orders that came of a decision as they stand, oldest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    fn orders_of(&self, decision_id: &str, limit: usize) -> Result<Vec<OrderRow>>;
}
