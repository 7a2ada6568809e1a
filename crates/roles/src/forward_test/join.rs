//! The join by cause: market events in the order of their numbers, each only
//! when every signal that it may have caused is here, and those signals right
//! after it. Decisions are to it what signals are: where they are traded, their
//! partitions lie behind those of the signals, as lanes of the same input. Pure: it is offered what was read, told how far reading and the
//! strategies are, and gives what is to be applied next or says what it waits
//! for.
//!
//! Not here: reading, clocks, and what applying does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tapedeck_contracts::{EventId, Timestamp, headers::Place};
use tapedeck_flow::Delivery;

mod empty;
mod lane;
mod order;
#[cfg(test)]
mod tests;
mod unread;

use lane::{Held, Lane};
pub use unread::{Roots, Unread};

/// The topic of the market events, which are the roots of everything.
pub const MARKET_TOPIC: &str = "market-data-updates";
/// A market partition with so many records in memory is not read further. Some
/// 1.2 kB each: 40 MB over eight partitions, and 40 ms of work, so that records
/// do not grow old here while a strategy that runs works through them.
pub const LANE_RECORDS: usize = 4_096;
/// The same in bytes, for records that are larger than any market event should be.
pub const LANE_BYTES: usize = 8 << 20;
/// So many market records in memory (about 160 MB) end all reading ahead, also
/// for a number that could lie behind them.
pub const ALL_RECORDS: usize = 131_072;

/// Which of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Market data.
    Market,
    /// Signals, and decisions where they are traded.
    Signals,
    /// Commands of operators.
    Commands,
}

/// What the join is made for.
#[derive(Clone, Debug)]
pub struct JoinSetup {
    /// Number of partitions: market data, signals and traded decisions, commands.
    pub partitions: [u32; 3],
    /// Whether anybody makes signals or decisions; without, every market event is
    /// closed.
    pub strategies: bool,
    /// How long a price waits for its signals, and a hole for its number, in ms;
    /// none waits without end, as replays do.
    pub wait_ms: Option<i64>,
}

/// What is to be applied next.
#[derive(Debug)]
pub enum Next {
    /// A market event.
    Market(Delivery),
    /// A signal or decision; `late` where its market event was passed without it.
    Signal {
        /// It.
        delivery: Delivery,
        /// Whether it came too late.
        late: bool,
    },
    /// A command.
    Command(Delivery),
    /// Numbers that never came.
    Gap {
        /// Of which source.
        source: Arc<str>,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// The event after them: its id, its place and its time.
        after: (EventId, Place, Timestamp),
    },
    /// Numbers whose records can never be applied: they are passed at once.
    Empty {
        /// Of which source.
        source: Arc<str>,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A source has ended, and everything of it is applied.
    End {
        /// Which.
        source: Arc<str>,
        /// Its last number.
        n: u64,
    },
    /// Nothing can be applied before more is known.
    Wait(Wait),
    /// A number is missing, and no memory is left to look for it.
    Stuck {
        /// Of which source.
        source: Arc<str>,
        /// The number.
        n: u64,
    },
}

/// What the join waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// A market event waits until it is certain that its signals are here.
    pub closing: bool,
    /// A source's next number is missing while later ones are here.
    pub number: bool,
    /// A signal's market event was not seen yet.
    pub root: bool,
}

/// What was offered is to be applied, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It will be given back when its turn comes.
    Kept,
    /// Its number was taken before: dropped.
    Duplicate,
    /// An earlier run applied it.
    Known,
}

/// How a source stands, for the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAt {
    /// Which.
    pub source: Arc<str>,
    /// The number that is taken next.
    pub next: u64,
    /// The last number, where its end was applied.
    pub ended: Option<u64>,
    /// Numbers at or above `next` whose records were set aside.
    pub empty: Vec<u64>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    next: u64,
    /// Partition and index of what is here, by number.
    waiting: BTreeMap<u64, (usize, u64)>,
    /// Signals by the number of their root, all at or above `next`.
    signals: BTreeMap<u64, Vec<Handle>>,
    /// Numbers whose records were set aside, all at or above `next`.
    empty: BTreeSet<u64>,
    done: Option<u64>,
    ended: Option<u64>,
}

/// Where a signal or command waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handle {
    input: Input,
    partition: usize,
    index: u64,
}

#[derive(Debug)]
struct Closing {
    committed: Vec<u64>,
    signal_ends: Vec<u64>,
    asked_ms: i64,
}

#[derive(Debug)]
struct Survey {
    ends: Vec<u64>,
    asked_ms: i64,
}

/// The root of a signal.
enum Root {
    Number(usize, u64),
    Place(usize, u64),
    Nothing,
}

/// The join.
#[derive(Debug)]
pub struct Join {
    strategies: bool,
    wait_ms: Option<i64>,
    lanes: [Vec<Lane>; 3],
    sources: Vec<Source>,
    /// The source that was served last: the next number is likely its.
    current: usize,
    /// Market events without a number that wait.
    unnumbered: usize,
    /// Signals of roots that have no number, by partition and offset.
    by_place: BTreeMap<(usize, u64), Vec<Handle>>,
    /// Signals of the market event that was given last.
    ready: VecDeque<Handle>,
    /// What has no market event to wait for, and whether it is late.
    free: VecDeque<(Handle, bool)>,
    closing: Option<Closing>,
    /// Market events below are closed, by partition.
    closed: Vec<u64>,
    /// All signals that were there at this time are here.
    closed_ms: i64,
    /// By signal partition, what the last closing left unread; mostly nothing.
    unread: Vec<VecDeque<Unread>>,
    survey: Option<Survey>,
    surveys: u64,
    /// The newest survey that is complete, and when it was asked.
    surveyed: (u64, i64),
    missing: bool,
}

impl Join {
    /// A join that begins at the start of everything.
    pub fn new(setup: &JoinSetup) -> Self {
        let lanes = setup.partitions.map(|count| (0..count).map(|_| Lane::default()).collect::<Vec<_>>());
        Self {
            strategies: setup.strategies,
            wait_ms: setup.wait_ms,
            closed: vec![0; lanes[0].len()],
            lanes,
            sources: Vec::new(),
            current: 0,
            unnumbered: 0,
            by_place: BTreeMap::new(),
            ready: VecDeque::new(),
            free: VecDeque::new(),
            closing: None,
            closed_ms: i64::MIN,
            unread: Vec::new(),
            survey: None,
            surveys: 0,
            surveyed: (0, i64::MIN),
            missing: false,
        }
    }

    /// Continues a partition: all below `next`, and `ahead`, is applied.
    pub fn start_at(&mut self, input: Input, partition: usize, next: u64, ahead: &[u64]) {
        self.lanes[input as usize][partition] = Lane::starting_at(next, ahead);
    }

    /// Continues a source.
    pub fn start_source(&mut self, at: &SourceAt) {
        let source = self.source(&at.source);
        self.sources[source].next = at.next;
        self.sources[source].ended = at.ended;
        self.sources[source].empty.extend(&at.empty);
    }

    /// A record was read, of this partition of the input. `now_ms` is the clock, ms
    /// since the epoch.
    pub fn offer(&mut self, input: Input, partition: usize, delivery: Delivery, now_ms: i64) -> Offered {
        let lane = &mut self.lanes[input as usize][partition];
        if lane.known(delivery.record.offset) {
            return Offered::Known;
        }
        let seen_ms = now_ms.max(delivery.record.timestamp_ms);
        let held = Held { delivery, seen_ms, surveys: self.surveys };
        match input {
            Input::Market => self.keep_market(partition, held),
            Input::Signals => self.keep_signal(partition, held),
            Input::Commands => {
                let index = lane.push(held);
                self.free.push_back((Handle { input, partition, index }, false));
                Offered::Kept
            }
        }
    }

    /// A record was read that is not to be applied.
    pub fn skip(&mut self, input: Input, partition: usize, offset: u64) {
        let lane = &mut self.lanes[input as usize][partition];
        if !lane.known(offset) {
            lane.passed(offset);
        }
    }

    /// The reader of a partition stands at this offset.
    pub fn read_up_to(&mut self, input: Input, partition: usize, position: u64) {
        self.lanes[input as usize][partition].read_up_to(position);
    }

    /// A source says that `n` was its last number.
    pub fn source_done(&mut self, source: &str, n: u64) {
        let source = self.source(source);
        self.sources[source].done = Some(n);
    }

    /// What is to be applied next. What is given counts as applied.
    pub fn take_next(&mut self) -> Next {
        self.finish_asking();
        if let Some(handle) = self.ready.pop_front() {
            return Next::Signal { delivery: self.take(handle), late: false };
        }
        if let Some((handle, late)) = self.free.pop_front() {
            let delivery = self.take(handle);
            return match handle.input {
                Input::Commands => Next::Command(delivery),
                _ => Next::Signal { delivery, late },
            };
        }
        if let Some(partition) = self.next_unnumbered() {
            return self.give_unnumbered(partition);
        }
        self.missing = false;
        for step in 0..self.sources.len() {
            let source = (self.current + step) % self.sources.len();
            if let Some(next) = self.next_of(source) {
                self.current = source;
                return next;
            }
        }
        if let Some(handle) = self.rootless() {
            return Next::Signal { delivery: self.take(handle), late: true };
        }
        Next::Wait(self.waits())
    }

    /// Whether a step may end here: between a market event and its signals it
    /// may not, since a restart would take them for late.
    pub fn may_pause(&self) -> bool {
        self.ready.is_empty()
    }

    /// The lowest offset of a partition that is not applied.
    pub fn position(&self, input: Input, partition: usize) -> u64 {
        self.lanes[input as usize][partition].position()
    }

    /// The offsets above the position that are applied. Market data needs none:
    /// its numbers tell, and what has none is applied in the order of offsets.
    pub fn ahead(&self, input: Input, partition: usize) -> Vec<u64> {
        match input {
            Input::Market => Vec::new(),
            _ => self.lanes[input as usize][partition].ahead(),
        }
    }

    /// How the sources stand.
    pub fn sources(&self) -> impl Iterator<Item = SourceAt> {
        self.sources.iter().map(|source| SourceAt {
            source: Arc::clone(&source.name),
            next: source.next,
            ended: source.ended,
            empty: source.empty.iter().copied().collect(),
        })
    }

    /// The number of a source that is taken next.
    pub fn next_number(&self, source: &str) -> u64 {
        self.sources.iter().find(|known| &*known.name == source).map_or(1, |known| known.next)
    }

    /// Whether a market partition may be read further. `exhausted` says that the
    /// other partitions have nothing more for now.
    pub fn may_read(&self, partition: usize, exhausted: bool) -> bool {
        let lanes = &self.lanes[Input::Market as usize];
        let has_room = lanes[partition].len() < LANE_RECORDS && lanes[partition].bytes() < LANE_BYTES;
        has_room || (self.missing && exhausted && !self.is_full())
    }

    /// Whether nothing can be given before more market data is read.
    pub fn needs_market(&self) -> bool {
        self.missing || self.heads().next().is_none()
    }

    /// Where a partition is read on.
    pub fn read_to(&self, input: Input, partition: usize) -> u64 {
        self.lanes[input as usize][partition].read_to()
    }

    /// What waits in memory: records, and their bytes as they lie in the log.
    pub fn held(&self) -> (usize, usize) {
        let lanes = self.lanes.iter().flatten();
        lanes.fold((0, 0), |(records, bytes), lane| (records + lane.len(), bytes + lane.bytes()))
    }

    /// How many records of signals wait, and their bytes.
    pub fn signals_held(&self) -> (usize, usize) {
        let lanes = self.lanes[Input::Signals as usize].iter();
        lanes.fold((0, 0), |(records, bytes), lane| (records + lane.len(), bytes + lane.bytes()))
    }
}
