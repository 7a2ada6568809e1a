//! What a redrive or a purge has done so far, and what it could not do.
//!
//! Not here: doing it.

use std::collections::BTreeMap;

use super::{Found, LetterId};

/// A dead letter that was not sent again, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its id.
    pub id: LetterId,
    /// Where it lies in its dead letter topic.
    pub place: String,
    /// Why, and what to do.
    pub reason: String,
}

/// A dead letter that is meant, as an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its id.
    pub id: LetterId,
    /// Where it lies in its dead letter topic.
    pub place: String,
    /// The group it goes to.
    pub group: String,
    /// For the how-manieth time.
    pub n: u32,
    /// Why it failed.
    pub error: String,
}

impl Sample {
    pub(super) fn of(found: &Found, n: u32) -> Self {
        let account = &found.letter.account;
        Self {
            id: found.id,
            place: found.place.to_string(),
            group: account.group.clone(),
            n,
            error: account.error.clone(),
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records of dead letter topics to read.
    pub total: u64,
    /// Records read.
    pub examined: u64,
    /// Open dead letters that were meant.
    pub matched: u64,
    /// Those that were sent again or purged, or would be.
    pub done: u64,
    /// The same by topic and group.
    pub by: BTreeMap<(String, String), u64>,
    /// Those that were not, and stay open.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
    /// The first of what would be done, where nothing is done.
    pub samples: Vec<Sample>,
    /// Records that are no dead letters.
    pub unreadable: u64,
    /// Asked for by id or place and nowhere, or not open.
    pub missing: Vec<String>,
}
