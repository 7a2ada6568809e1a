//! How the join decides: which market event is next, when it is closed, which
//! signals follow it, when a number or a root is given up.
//!
//! The order of the signals of one market event is that of their strategy's id,
//! then of their own id, decisions before all: both are the same in every run, while offsets tell of
//! the timing of partitions.
//!
//! Not here: what is offered to the join, and what it says of itself.

use std::{collections::BTreeMap, sync::Arc};

use tapedeck_contracts::Event;
use tapedeck_flow::{Delivery, inbound::place_of};

use super::{
    ALL_RECORDS, Closing, Handle, Input, Join, MARKET_TOPIC, Next, Offered, Root, Source, Survey, Wait,
    lane::{Held, Lane},
};

impl Join {
    /// Begins a closing: `committed` are the offsets on the market partitions that all
    /// who make signals and decisions have passed, `signal_ends` the ends of the signal partitions, asked for
    /// after those. Once the signals are read to these ends, what lies below the
    /// offsets is closed. Nothing happens while one is open.
    pub fn begin_closing(&mut self, committed: Vec<u64>, signal_ends: Vec<u64>, asked_ms: i64) {
        if self.closing.is_none() {
            self.closing = Some(Closing { committed, signal_ends, asked_ms });
        }
    }

    /// Begins a survey: once the market partitions are read to these ends, what
    /// is not here is not in the log. Nothing happens while one is open.
    pub fn begin_survey(&mut self, ends: Vec<u64>, asked_ms: i64) {
        if self.survey.is_none() {
            self.surveys += 1;
            self.survey = Some(Survey { ends, asked_ms });
        }
    }

    /// Whether a closing with these offsets, begun now, would let a market event
    /// go that waits.
    pub fn closing_helps(&self, committed: &[u64], now_ms: i64) -> bool {
        let helps = |(partition, held): (usize, &Held)| {
            !self.is_covered(partition, held)
                && (held.delivery.record.offset < committed[partition] || self.is_old(held, now_ms))
        };
        self.closing.is_none() && self.heads().any(helps)
    }

    /// The market events that may be next: the lowest of each source, and the
    /// fronts without a number.
    pub(super) fn heads(&self) -> impl Iterator<Item = (usize, &Held)> {
        let numbered = self.sources.iter().filter_map(|source| {
            let (_, &(partition, index)) = source.waiting.first_key_value()?;
            Some((partition, self.lanes[Input::Market as usize][partition].get(index)))
        });
        numbered.chain(self.unnumbered_fronts())
    }

    /// Whether a survey begun now could end the wait for a number or a root.
    pub fn survey_helps(&self, wait: Wait, now_ms: i64) -> bool {
        let hole_is_old = || {
            self.sources.iter().any(|source| {
                let first = source.waiting.first_key_value();
                first.is_some_and(|(&n, &(partition, index))| {
                    n > source.next && self.is_old(self.lanes[Input::Market as usize][partition].get(index), now_ms)
                })
            })
        };
        self.survey.is_none() && (wait.root || (wait.number && hole_is_old()))
    }

    pub(super) fn source(&mut self, name: &str) -> usize {
        if let Some(at) = self.sources.iter().position(|known| &*known.name == name) {
            return at;
        }
        self.sources.push(Source {
            name: Arc::from(name),
            next: 1,
            waiting: Default::default(),
            signals: Default::default(),
            empty: Default::default(),
            done: None,
            ended: None,
        });
        self.sources.len() - 1
    }

    pub(super) fn keep_market(&mut self, partition: usize, held: Held) -> Offered {
        let number = held.delivery.meta.seq.as_ref().map(|seq| (seq.n, self.source(&seq.source)));
        let lane = &mut self.lanes[Input::Market as usize][partition];
        let Some((n, source)) = number else {
            self.unnumbered += 1;
            lane.push(held);
            return Offered::Kept;
        };
        let source = &mut self.sources[source];
        if n < source.next || source.waiting.contains_key(&n) {
            lane.passed(held.delivery.record.offset);
            return Offered::Duplicate;
        }
        source.empty.remove(&n);
        source.waiting.insert(n, (partition, lane.push(held)));
        Offered::Kept
    }

    pub(super) fn keep_signal(&mut self, partition: usize, held: Held) -> Offered {
        if let Some(seq) = &held.delivery.meta.root_seq {
            self.source(&seq.source);
        }
        let root = self.root_of(&held.delivery);
        let index = self.lanes[Input::Signals as usize][partition].push(held);
        let handle = Handle { input: Input::Signals, partition, index };
        match root {
            Root::Nothing => self.free.push_back((handle, false)),
            Root::Number(source, n) if n < self.sources[source].next => self.free.push_back((handle, true)),
            Root::Number(source, n) => self.sources[source].signals.entry(n).or_default().push(handle),
            Root::Place(market, offset) if self.lanes[Input::Market as usize][market].is_past(offset) => {
                self.free.push_back((handle, true));
            }
            Root::Place(market, offset) => self.by_place.entry((market, offset)).or_default().push(handle),
        }
        Offered::Kept
    }

    fn root_of(&self, signal: &Delivery) -> Root {
        let source_of = |name: &str| self.sources.iter().position(|known| &*known.name == name);
        if let Some((source, n)) = signal.meta.root_seq.as_ref().and_then(|seq| Some((source_of(&seq.source)?, seq.n)))
        {
            return Root::Number(source, n);
        }
        match &signal.meta.root {
            Some(place)
                if place.topic == MARKET_TOPIC
                    && (place.partition as usize) < self.lanes[Input::Market as usize].len() =>
            {
                Root::Place(place.partition as usize, place.offset)
            }
            _ => Root::Nothing,
        }
    }

    pub(super) fn take(&mut self, handle: Handle) -> Delivery {
        self.lanes[handle.input as usize][handle.partition].take(handle.index).delivery
    }

    /// A partition whose lowest record that waits has no number and is closed.
    pub(super) fn next_unnumbered(&self) -> Option<usize> {
        let closed = |&(partition, held): &(usize, &Held)| self.is_closed(partition, held);
        self.unnumbered_fronts().find(closed).map(|(partition, _)| partition)
    }

    fn unnumbered_fronts(&self) -> impl Iterator<Item = (usize, &Held)> {
        // Nearly always there are none, and then the lanes are not looked at.
        let lanes: &[Lane] = if self.unnumbered > 0 { &self.lanes[Input::Market as usize] } else { &[] };
        let fronts = lanes.iter().enumerate().filter_map(|(partition, lane)| Some((partition, lane.front()?.1)));
        fronts.filter(|(_, held)| held.delivery.meta.seq.is_none())
    }

    pub(super) fn give_unnumbered(&mut self, partition: usize) -> Next {
        let (index, _) =
            self.lanes[Input::Market as usize][partition].front().expect("the partition was chosen for its front");
        self.unnumbered -= 1;
        self.give(partition, index, Vec::new())
    }

    /// Gives a market event; its signals follow.
    fn give(&mut self, partition: usize, index: u64, mut signals: Vec<Handle>) -> Next {
        let delivery = self.lanes[Input::Market as usize][partition].take(index).delivery;
        if !self.by_place.is_empty() {
            signals.extend(self.by_place.remove(&(partition, delivery.record.offset)).into_iter().flatten());
        }
        if signals.len() > 1 {
            signals.sort_by(|a, b| self.signal_key(*a).cmp(&self.signal_key(*b)));
        }
        self.ready.extend(signals);
        Next::Market(delivery)
    }

    fn signal_key(&self, handle: Handle) -> (&str, &str) {
        let delivery = &self.lanes[handle.input as usize][handle.partition].get(handle.index).delivery;
        let strategy = match &delivery.event {
            Event::Signal(signal) => signal.data.strategy_id.as_str(),
            _ => "",
        };
        (strategy, delivery.id.as_str())
    }

    /// The next step of a source, where it can go on.
    pub(super) fn next_of(&mut self, at: usize) -> Option<Next> {
        if let Some(empty) = self.empty_of(at) {
            return Some(empty);
        }
        let source = &self.sources[at];
        let Some((&n, &(partition, index))) = source.waiting.first_key_value() else {
            return self.end_of(at);
        };
        let held = self.lanes[Input::Market as usize][partition].get(index);
        if n == source.next {
            if !self.is_closed(partition, held) {
                return None;
            }
            let source = &mut self.sources[at];
            source.waiting.pop_first();
            source.next = n + 1;
            let with_signals = source.signals.first_key_value().is_some_and(|(&root, _)| root == n);
            let signals = if with_signals { source.signals.pop_first().map(|(_, signals)| signals) } else { None };
            return Some(self.give(partition, index, signals.unwrap_or_default()));
        }
        self.missing = true;
        let (name, from) = (Arc::clone(&source.name), source.next);
        if !self.hole_is_certain(held) {
            return (self.is_full() && self.wait_ms.is_none()).then_some(Next::Stuck { source: name, n: from });
        }
        let delivery = &held.delivery;
        let after = (delivery.id.clone(), place_of(&delivery.record), delivery.event_time());
        self.pass(at, n);
        Some(Next::Gap { source: name, from, to: n - 1, after })
    }

    fn end_of(&mut self, at: usize) -> Option<Next> {
        let source = &mut self.sources[at];
        let n = source.done.filter(|&n| n + 1 == source.next && source.ended != source.done)?;
        source.ended = Some(n);
        Some(Next::End { source: Arc::clone(&source.name), n })
    }

    /// Goes on at `next`; signals of the numbers that never came are late.
    pub(super) fn pass(&mut self, at: usize, next: u64) {
        let source = &mut self.sources[at];
        source.next = next;
        source.empty = source.empty.split_off(&next);
        while let Some(entry) = source.signals.first_entry().filter(|entry| *entry.key() < next) {
            self.free.extend(entry.remove().into_iter().map(|handle| (handle, true)));
        }
    }

    fn is_closed(&self, partition: usize, held: &Held) -> bool {
        self.is_covered(partition, held) && (self.unread.is_empty() || !self.is_ahead_of_signals(partition, held))
    }

    /// Whether a closing reaches it, of which not all signals may be read.
    pub(super) fn is_covered(&self, partition: usize, held: &Held) -> bool {
        !self.strategies || held.delivery.record.offset < self.closed[partition] || self.is_old(held, self.closed_ms)
    }

    /// Whether the record waited as long as it may, at that time. Its age counts
    /// from its writing or its reading, whichever was later: after a restart the
    /// strategies need their time again, and a restart must change nothing.
    fn is_old(&self, held: &Held, at_ms: i64) -> bool {
        self.wait_ms.is_some_and(|wait_ms| held.seen_ms.saturating_add(wait_ms) <= at_ms)
    }

    /// Whether the number before this event will not come: it waited long enough,
    /// and all that was in the log then was read, as far as memory goes.
    fn hole_is_certain(&self, held: &Held) -> bool {
        self.is_old(held, self.surveyed.1) || (self.wait_ms.is_some() && self.is_full())
    }

    pub(super) fn is_full(&self) -> bool {
        self.lanes[Input::Market as usize].iter().map(Lane::len).sum::<usize>() >= ALL_RECORDS
    }

    /// A signal whose root is not in the log: it was written before the signal,
    /// and all that was there after the signal was read. It is late.
    pub(super) fn rootless(&mut self) -> Option<Handle> {
        let surveyed = self.surveyed.0;
        let (partition, index, _) = self.unseen_roots().find(|(_, _, held)| held.surveys < surveyed)?;
        let handle = Handle { input: Input::Signals, partition, index };
        match self.root_of(&self.lanes[Input::Signals as usize][partition].get(index).delivery) {
            Root::Number(source, n) => forget(&mut self.sources[source].signals, n, handle),
            Root::Place(market, offset) => forget(&mut self.by_place, (market, offset), handle),
            Root::Nothing => {}
        }
        Some(handle)
    }

    /// Fronts of signal partitions whose root was not read.
    fn unseen_roots(&self) -> impl Iterator<Item = (usize, u64, &Held)> {
        let fronts = self.lanes[Input::Signals as usize].iter().enumerate();
        fronts.filter_map(|(partition, lane)| {
            let (index, held) = lane.front()?;
            let unseen = match self.root_of(&held.delivery) {
                Root::Number(source, n) => {
                    let source = &self.sources[source];
                    n >= source.next && !source.waiting.contains_key(&n)
                }
                Root::Place(market, offset) => offset >= self.lanes[Input::Market as usize][market].read_to(),
                Root::Nothing => false,
            };
            unseen.then_some((partition, index, held))
        })
    }

    /// What is waited for, when nothing can be given.
    pub(super) fn waits(&self) -> Wait {
        let heads =
            || self.sources.iter().filter_map(|source| Some((source.next, *source.waiting.first_key_value()?.0)));
        Wait {
            closing: heads().any(|(next, n)| n == next) || self.unnumbered_fronts().next().is_some(),
            number: heads().any(|(next, n)| n > next),
            root: self.unseen_roots().next().is_some(),
        }
    }

    /// Ends what was asked for and is reached by now.
    pub(super) fn finish_asking(&mut self) {
        if !self.unread.is_empty() {
            self.drop_read();
        }
        let reached = |lanes: &[Lane], ends: &[u64]| lanes.iter().zip(ends).all(|(lane, &end)| lane.read_to() >= end);
        if let Some(closing) =
            self.closing.take_if(|asked| reached(&self.lanes[Input::Signals as usize], &asked.signal_ends))
        {
            for (closed, committed) in self.closed.iter_mut().zip(closing.committed) {
                *closed = committed.max(*closed);
            }
            self.closed_ms = closing.asked_ms;
        }
        if let Some(survey) = self.survey.take_if(|asked| reached(&self.lanes[Input::Market as usize], &asked.ends)) {
            self.surveyed = (self.surveys, survey.asked_ms);
        }
    }
}

fn forget<K: Ord>(pending: &mut BTreeMap<K, Vec<Handle>>, root: K, gone: Handle) {
    if let Some(handles) = pending.get_mut(&root) {
        handles.retain(|handle| *handle != gone);
        if handles.is_empty() {
            pending.remove(&root);
        }
    }
}
