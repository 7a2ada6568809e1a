//! Which dead letters are meant. Pure.
//!
//! Not here: what is done with them.

use std::collections::BTreeSet;

use tapedeck_contracts::{Timestamp, headers::Place};

use super::LetterId;
use crate::dead_letter::{DeadLetter, ErrorClass};

/// Which dead letters; what is not given does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The topic whose record it was.
    pub topic: Option<String>,
    /// The group that failed.
    pub group: Option<String>,
    /// The sort of failure.
    pub class: Option<ErrorClass>,
    /// A part of the error's text.
    pub error: Option<String>,
    /// The record's key.
    pub key: Option<String>,
    /// Failed at or after.
    pub from: Option<Timestamp>,
    /// Failed before or at.
    pub to: Option<Timestamp>,
    /// These ids, or what lies at `places`; all where both are empty.
    pub ids: BTreeSet<LetterId>,
    /// Places in dead letter topics, as text.
    pub places: BTreeSet<String>,
}

impl Filter {
    /// Whether nothing is asked for, so that all are meant.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a dead letter is meant; `place` is where it lies in its dead letter
    /// topic.
    pub fn matches(&self, id: LetterId, place: &Place, letter: &DeadLetter) -> bool {
        let account = &letter.account;
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let named = self.ids.is_empty() && self.places.is_empty()
            || self.ids.contains(&id)
            || (!self.places.is_empty() && self.places.contains(&place.to_string()));
        named
            && is(&self.topic, &letter.origin.topic)
            && is(&self.group, &account.group)
            && self.class.is_none_or(|class| class == account.class)
            && self.error.as_deref().is_none_or(|part| account.error.contains(part))
            && self.key.as_deref().is_none_or(|key| letter.key.as_deref() == Some(key.as_bytes()))
            && self.from.is_none_or(|from| account.last_failure >= from)
            && self.to.is_none_or(|to| account.last_failure <= to)
    }

    /// Whether only places are named: then only their partitions need be read.
    pub fn only_places(&self) -> bool {
        self.ids.is_empty() && !self.places.is_empty()
    }
}
