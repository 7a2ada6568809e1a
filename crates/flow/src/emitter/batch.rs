//! What goes to the log in one call, and what is known of it.
//!
//! Not here: where it comes from, and calling the log.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck_log::Record;

use super::{
    frame::{self, Id},
    spool::Frameset,
    topics::Topics,
};

/// Records on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The records; alerts of the emitter itself at the end.
    pub(super) records: Vec<Record>,
    /// The id of each record that is no alert.
    pub(super) ids: Vec<Id>,
    /// The newest number of each stream, of all frames that it was made of.
    pub(super) newest: Vec<Id>,
    /// Frames that it was made of.
    pub(super) frames: u64,
    /// Records that were left out.
    pub(super) left_out: u64,
    /// Frames that could not be read.
    pub(super) torn: u64,
    /// All of it was left by an earlier process.
    pub(super) is_leftover: bool,
    /// A role said which of it are sent.
    pub(super) is_judged: bool,
}

impl Batch {
    /// The records of frames. Topics that are known share their name.
    pub(super) fn of(frames: Frameset, topics: &Topics) -> Self {
        let bytes = Bytes::from(frames.bytes);
        let mut batch = Self { frames: frames.heads.len() as u64, ..Self::default() };
        let mut last: Option<Arc<str>> = None;
        for (at, head) in &frames.heads {
            let mut topic_of = |name: &str| match &last {
                Some(last) if **last == *name => Arc::clone(last),
                _ => topics.get(name).map_or_else(|| Arc::from(name), Arc::clone),
            };
            batch.note(head.id);
            match frame::record(&bytes, *at, head, &mut topic_of) {
                Some(record) => {
                    last = Some(Arc::clone(&record.topic));
                    batch.records.push(record);
                    batch.ids.push(head.id);
                }
                None => batch.torn += 1,
            }
        }
        batch
    }

    /// Leaves out the records that `keep` refuses.
    pub(super) fn retain(&mut self, keep: &mut dyn FnMut(&Record) -> bool) {
        let kept: Vec<bool> = self.records.iter().map(keep).collect();
        let (mut record, mut id) = (kept.iter(), kept.iter());
        self.records.retain(|_| record.next().copied().unwrap_or(true));
        self.ids.retain(|_| id.next().copied().unwrap_or(true));
        self.is_judged = true;
        self.left_out += kept.iter().filter(|kept| !**kept).count() as u64;
    }

    /// Records that are not the emitter's own.
    pub(super) fn own_records(&self) -> u64 {
        self.ids.len() as u64
    }

    fn note(&mut self, id: Id) {
        // The frames of a stream come in runs, and streams are few.
        match self.newest.iter_mut().rev().find(|newest| newest.stream == id.stream) {
            Some(newest) => newest.sequence = id.sequence,
            None => self.newest.push(id),
        }
    }
}
