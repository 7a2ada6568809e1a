//! What was set aside: its offset is settled, and where it had a number, nobody
//! waits for that number. The sequencer's order has a hole there, which is said
//! and passed at once instead of after a wait.
//!
//! Not here: why a record is set aside, and where it goes.

use std::sync::Arc;

use super::{Input, Join, Next};

/// Numbers remembered as empty per source; they are kept in the state and written
/// again with each step that changes them, some 100 kB at the most. A number
/// beyond them is passed after the wait of any that never came.
pub(super) const EMPTY_NUMBERS: usize = 16_384;

impl Join {
    /// A record was read that is set aside.
    pub fn settle(&mut self, input: Input, partition: usize, offset: u64) {
        let lane = &mut self.lanes[input as usize][partition];
        if !lane.known(offset) {
            lane.settled(offset);
        }
    }

    /// The record of this number was set aside. A record with the same number
    /// that can be applied takes its place, should one come before its turn.
    pub fn leave_empty(&mut self, source: &str, n: u64) {
        let at = self.source(source);
        let source = &mut self.sources[at];
        if n >= source.next && !source.waiting.contains_key(&n) && source.empty.len() < EMPTY_NUMBERS {
            source.empty.insert(n);
        }
    }

    /// The market event that was given last was set aside: the signals that would
    /// have followed it are late.
    pub fn give_up_given(&mut self) {
        self.free.extend(self.ready.drain(..).map(|handle| (handle, true)));
    }

    /// The empty numbers that are next, which are passed.
    pub(super) fn empty_of(&mut self, at: usize) -> Option<Next> {
        let source = &self.sources[at];
        let from = source.next;
        // Nearly always there are none.
        if source.empty.first() != Some(&from) {
            return None;
        }
        let run = source.empty.iter().zip(from..).take_while(|(empty, n)| *empty == n).count() as u64;
        let (name, to) = (Arc::clone(&source.name), from + run - 1);
        self.pass(at, to + 1);
        Some(Next::Empty { source: name, from, to })
    }
}
