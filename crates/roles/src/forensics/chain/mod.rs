//! The chain of a partition's records: an index without gaps, and a hash that
//! carries the one before it. Anchors put a chain's head where its keeper cannot
//! change it: in the audit log.
//!
//! Not here: the check of a chain (`verify`), the bytes of a record (`record`).
//!
//! What this shows and what not is in `docs/audit.md`.

mod pages;
mod verify;

#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tapedeck_contracts::{EventId, Timestamp, events::AuditEntry};
use thiserror::Error;

use super::hex;

pub use pages::{CheckError, Source, start_of, verify_pages, verify_source, verify_store};
pub use verify::{Columns, Fault, FaultKind, Stored, Verified, Verifier, verify};

/// Hashed with the chain's number to begin a chain, so that no chain is the start
/// of another one.
const DOMAIN: &[u8] = b"tapedeck forensics chain 1\0";
/// The action of an anchor in the audit log.
pub const ANCHOR_ACTION: &str = "forensics.anchor";
/// Who writes anchors.
pub const ANCHOR_ACTOR: &str = "forensics";

/// A SHA-256 hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a chain ends: what the next record is chained to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain: the partition of its decisions.
    pub chain: u32,
    /// How many records it has; the index of the next one.
    pub records: u64,
    /// The hash of the last record, or what the chain starts from.
    pub hash: Hash,
}

impl Head {
    /// The head of a chain without records: SHA-256(domain ‖ chain, little endian).
    pub fn start(chain: u32) -> Self {
        let hash = Sha256::new().chain_update(DOMAIN).chain_update(chain.to_le_bytes()).finalize();
        Self { chain, records: 0, hash: Hash(hash.into()) }
    }

    /// What [`push`](Self::push) would make the hash: SHA-256(this hash ‖ record bytes).
    pub fn hash_with(&self, record: &[u8]) -> Hash {
        Hash(Sha256::new().chain_update(self.hash.0).chain_update(record).finalize().into())
    }

    /// Chains the bytes of the next record and returns its hash.
    pub fn push(&mut self, record: &[u8]) -> Hash {
        self.hash = self.hash_with(record);
        self.records += 1;
        self.hash
    }
}

/// A head as it stands in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The chain.
    pub chain: u32,
    /// How many records it had.
    pub records: u64,
    /// The hash of the last of them.
    pub hash: Hash,
}

/// Why an audit entry that says it is an anchor is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("an audit entry of `{object}` is no anchor: {what}")]
pub struct AnchorError {
    /// The entry's object.
    pub object: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl From<Head> for Anchor {
    fn from(head: Head) -> Self {
        Self { chain: head.chain, records: head.records, hash: head.hash }
    }
}

impl Anchor {
    /// The id of its entry: the same anchor, the same id.
    pub fn event_id(&self) -> EventId {
        let chain = EventId(format!("forensics/chain/{}", self.chain));
        EventId::derived(&chain, ANCHOR_ACTOR, "audit-logs", &format!("{}/{}", self.records, self.hash), 0)
    }

    /// The body for `audit-logs`; `before` is the anchor before it.
    pub fn entry(&self, before: Option<&Self>, reason: &str) -> AuditEntry {
        let value = |anchor: &Self| json!({"records": anchor.records, "hash": anchor.hash.to_string()});
        AuditEntry {
            actor: ANCHOR_ACTOR.into(),
            action: ANCHOR_ACTION.into(),
            object: format!("forensics/chain/{}", self.chain),
            reason: reason.into(),
            before: before.map_or(Value::Null, value),
            after: value(self),
        }
    }

    /// Reads an entry of the audit log; none if it is about something else.
    ///
    /// # Errors
    /// The entry says it is an anchor and is not.
    pub fn from_entry(entry: &AuditEntry) -> Result<Option<Self>, AnchorError> {
        if entry.action != ANCHOR_ACTION || entry.actor != ANCHOR_ACTOR {
            return Ok(None);
        }
        let error = |what| AnchorError { object: entry.object.clone(), what };
        let chain = entry.object.strip_prefix("forensics/chain/").and_then(|chain| chain.parse().ok());
        let hash = entry.after.get("hash").and_then(Value::as_str).and_then(Hash::parse);
        Ok(Some(Self {
            chain: chain.ok_or_else(|| error("its object names no chain"))?,
            records: entry.after.get("records").and_then(Value::as_u64).ok_or_else(|| error("it has no `records`"))?,
            hash: hash.ok_or_else(|| error("it has no `hash` of 64 hexadecimal digits"))?,
        }))
    }
}

/// When a head is anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorRule {
    /// When so many records are stored since the last anchor.
    pub every_records: u64,
    /// And when the first record without an anchor has been stored for so long.
    pub max_age_us: i64,
}

impl Default for AnchorRule {
    /// 10,000 records are 0.1 s of the highest rate and an entry of 300 bytes: nothing
    /// beside the records. 60 s is how long a quiet chain can be changed unseen.
    fn default() -> Self {
        Self { every_records: 10_000, max_age_us: 60_000_000 }
    }
}

/// Says when the head of one chain is due for an anchor. It knows of stored records
/// only: an anchor of records that a crash could still undo would be one of nothing.
#[derive(Clone, Debug)]
pub struct Anchors {
    rule: AnchorRule,
    head: Head,
    last: Option<Anchor>,
    waiting_since: Option<Timestamp>,
}

impl Anchors {
    /// Begins at a stored head, after the last anchor that is known to be in the audit log.
    pub const fn new(rule: AnchorRule, head: Head, last: Option<Anchor>) -> Self {
        Self { rule, head, last, waiting_since: None }
    }

    /// The last anchor.
    pub const fn last(&self) -> Option<&Anchor> {
        self.last.as_ref()
    }

    /// The chain is stored up to this head, as of this time.
    pub fn stored(&mut self, head: Head, now: Timestamp) {
        self.head = head;
        if self.new_records() > 0 {
            self.waiting_since.get_or_insert(now);
        }
    }

    /// Why the stored head is due, if it is by the rule.
    pub fn due(&self, now: Timestamp) -> Option<String> {
        let new_records = self.new_records();
        let waited_us = self.waiting_since.map_or(0, |since| now.micros().saturating_sub(since.micros()));
        if new_records >= self.rule.every_records {
            Some(format!("{new_records} records since the last anchor"))
        } else if new_records > 0 && waited_us >= self.rule.max_age_us {
            Some(format!("records without an anchor for {} s", waited_us / 1_000_000))
        } else {
            None
        }
    }

    /// The anchor of the stored head, where it has records that none vouches for.
    pub fn next(&self) -> Option<Anchor> {
        (self.new_records() > 0).then(|| self.head.into())
    }

    /// An anchor is in the audit log.
    pub fn written(&mut self, anchor: Anchor) {
        self.last = Some(anchor);
        self.waiting_since = None;
    }

    fn new_records(&self) -> u64 {
        self.head.records.saturating_sub(self.last.map_or(0, |last| last.records))
    }
}
