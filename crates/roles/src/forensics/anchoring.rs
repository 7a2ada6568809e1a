//! Anchors of the chains that this process writes, into the audit log: when enough
//! records were stored, when some have waited long enough, and when the role ends.
//! Only what is stored is anchored, with an id made of chain, place and hash, so that
//! an anchor that is written twice is the same entry.
//!
//! Not here: when one is due (`chain::Anchors`).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tapedeck_contracts::{Event, Timestamp, events::Envelope};
use tapedeck_flow::{Failure, Outbound, Stop};
use tapedeck_log::{Log, Record};

use super::{Anchor, AnchorRule, Anchors, Hash, Head, chain::ANCHOR_ACTOR};
use crate::positions::now_ms;

/// Where anchors go.
pub const AUDIT: &str = "audit-logs";
/// How often chains without new decisions are looked at: a second more than the rule's
/// age is nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Writes the anchors of some chains; for the step and the thread beside it.
pub(super) struct Anchoring {
    log: Arc<dyn Log>,
    rule: AnchorRule,
    /// Held while an anchor is written, so that two threads do not write the same.
    chains: Mutex<BTreeMap<u32, Anchors>>,
}

impl Anchoring {
    pub(super) fn new(log: Arc<dyn Log>, rule: AnchorRule) -> Self {
        Self { log, rule, chains: Mutex::default() }
    }

    /// A chain is written from here on, as it is stored, with its last anchor.
    pub(super) fn open(&self, head: Head, anchored: Option<(u64, [u8; 32])>) {
        let anchor = |(records, hash)| Anchor { chain: head.chain, records, hash: Hash(hash) };
        let mut chains = self.lock();
        let known = chains.get(&head.chain).and_then(Anchors::last).copied();
        // What the store says of anchors is as old as its last records.
        let newest = known.filter(|anchor| anchor.records <= head.records);
        let last = anchored.map(anchor).into_iter().chain(newest).max_by_key(|anchor| anchor.records);
        let mut anchors = Anchors::new(self.rule, head, last);
        anchors.stored(head, now());
        chains.insert(head.chain, anchors);
    }

    /// A chain is stored up to here.
    pub(super) fn stored(&self, head: Head, now: Timestamp) {
        if let Some(anchors) = self.lock().get_mut(&head.chain) {
            anchors.stored(head, now);
        }
    }

    /// The last anchor of a chain.
    pub(super) fn last(&self, chain: u32) -> Option<Anchor> {
        self.lock().get(&chain).and_then(Anchors::last).copied()
    }

    /// Writes the anchors that are due by the rule.
    ///
    /// # Errors
    /// The log cannot be written; they are due again.
    pub(super) fn write_due(&self) -> Result<(), Failure> {
        let now = now();
        self.write(now, |anchors| anchors.due(now))
    }

    /// Writes an anchor for each chain that has records without one.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(super) fn write_all(&self) -> Result<(), Failure> {
        self.write(now(), |_| Some("the role ends".to_owned()))
    }

    /// Writes what is due until somebody asks to stop: chains without new decisions are
    /// anchored, too.
    pub(super) fn watch(&self, stop: &Stop) {
        while !stop.wait(LOOK) {
            if let Err(failure) = self.write_due() {
                tracing::warn!(%failure, "an anchor is not written yet; tried again");
            }
        }
    }

    fn write(&self, now: Timestamp, why: impl Fn(&Anchors) -> Option<String>) -> Result<(), Failure> {
        let mut chains = self.lock();
        let due: Vec<(Anchor, Record)> = chains
            .values()
            .filter_map(|anchors| Some((anchors.next()?, anchors.last(), why(anchors)?)))
            .map(|(anchor, before, why)| Ok((anchor, record(&anchor, before, &why, now)?)))
            .collect::<Result<_, Failure>>()?;
        if due.is_empty() {
            return Ok(());
        }
        let (anchors, records): (Vec<Anchor>, Vec<Record>) = due.into_iter().unzip();
        self.log.append(records)?;
        for anchor in anchors {
            chains.entry(anchor.chain).and_modify(|chain| chain.written(anchor));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Anchors>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(now_ms())
}

fn record(anchor: &Anchor, before: Option<&Anchor>, why: &str, now: Timestamp) -> Result<Record, Failure> {
    let data = anchor.entry(before, why);
    let envelope = Envelope { timestamp: now, producer_service: ANCHOR_ACTOR.to_owned(), data };
    Outbound::first(AUDIT, anchor.event_id(), Event::Audit(Box::new(envelope))).into_record(ANCHOR_ACTOR)
}
