//! Signals that are in the log and not in memory: where the strategies are far
//! ahead, all signals up to a closing's end would not fit, and of those that are
//! not read yet it is enough to know the lowest market events they come of.
//!
//! Not here: finding that out.

use std::collections::{BTreeMap, VecDeque};

use super::{Input, Join, lane::Held};

/// The lowest roots of some signals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// By source: the lowest number.
    pub numbers: BTreeMap<String, u64>,
    /// By market partition, of roots without a number: the lowest offset.
    pub places: BTreeMap<usize, u64>,
}

/// What lies in a partition of signals from an offset on, up to where a closing
/// reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// From here on.
    pub from: u64,
    /// The lowest roots of all signals from there on.
    pub roots: Roots,
}

impl Roots {
    /// Takes in the roots of others.
    pub fn lower(&mut self, others: &Self) {
        for (source, n) in &others.numbers {
            self.number(source, *n);
        }
        for (partition, offset) in &others.places {
            self.place(*partition, *offset);
        }
    }

    /// A signal comes of this number.
    pub fn number(&mut self, source: &str, n: u64) {
        match self.numbers.get_mut(source) {
            Some(lowest) => *lowest = n.min(*lowest),
            None => drop(self.numbers.insert(source.to_owned(), n)),
        }
    }

    /// A signal comes of this market event, which has no number.
    pub fn place(&mut self, partition: usize, offset: u64) {
        let lowest = self.places.entry(partition).or_insert(offset);
        *lowest = offset.min(*lowest);
    }

    /// Whether a signal of this market event, or of one before it, is among them.
    fn reach(&self, partition: usize, held: &Held) -> bool {
        match &held.delivery.meta.seq {
            Some(seq) => self.numbers.get(&seq.source).is_some_and(|lowest| *lowest <= seq.n),
            None => self.places.get(&partition).is_some_and(|lowest| *lowest <= held.delivery.record.offset),
        }
    }
}

impl Join {
    /// Closes at once what lies below `committed`, but for market events that a
    /// signal which is not read yet may come of: `unread` says for each signal
    /// partition what lies in it, in the order of offsets, the last entry being
    /// the end that was asked for after `committed`.
    pub fn close_but(&mut self, committed: &[u64], asked_ms: i64, unread: Vec<Vec<Unread>>) {
        for (closed, committed) in self.closed.iter_mut().zip(committed) {
            *closed = (*committed).max(*closed);
        }
        self.closed_ms = asked_ms.max(self.closed_ms);
        self.closing = None;
        self.unread = unread.into_iter().map(VecDeque::from).collect();
    }

    /// The signal partitions that are to be read before the next market event can
    /// be given, whatever waits in memory.
    pub fn needed_signals(&self) -> Vec<bool> {
        let mut needed = vec![self.closing.is_some(); self.lanes[Input::Signals as usize].len()];
        for (partition, held) in self.heads().filter(|(partition, held)| self.is_covered(*partition, held)) {
            for (needed, unread) in needed.iter_mut().zip(&self.unread) {
                *needed |= unread.front().is_some_and(|unread| unread.roots.reach(partition, held));
            }
        }
        needed
    }

    /// Whether a signal that is not read yet may come of this market event.
    pub(super) fn is_ahead_of_signals(&self, partition: usize, held: &Held) -> bool {
        self.unread.iter().any(|unread| unread.front().is_some_and(|unread| unread.roots.reach(partition, held)))
    }

    /// Forgets what was read by now.
    pub(super) fn drop_read(&mut self) {
        for (lane, unread) in self.lanes[Input::Signals as usize].iter().zip(&mut self.unread) {
            while unread.get(1).is_some_and(|next| next.from <= lane.read_to()) {
                unread.pop_front();
            }
        }
        if self.unread.iter().all(|unread| unread.len() <= 1) {
            self.unread.clear();
        }
    }
}
