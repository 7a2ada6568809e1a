//! One step of the active process: read, apply in the join's order, and make
//! what came of it visible in one transact with the state and the positions.
//!
//! Not here: how it became active, and what happens when a step fails.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tapedeck_contracts::{
    Event, EventId,
    headers::{self, Place, Seq},
};
use tapedeck_flow::{
    Delivery, Failure, Gauges, Outbound, Seat,
    state::{self, AT, At},
};
use tapedeck_log::Record;

use super::{
    Broken, ROLE,
    inputs::{INPUTS, Inputs},
    open::{SOURCE, SourceNote},
};
use crate::forward_test::{
    Broker, BrokerError, Cause, Output,
    join::{Input, Join, Next, Wait},
};

/// A batch with so many bytes of records is full: it is held in memory, and holds
/// back the readers of its partitions.
const BATCH_BYTES: usize = 4 << 20;

/// The role while it is the active process.
pub(super) struct Active {
    pub(super) gauges: Arc<Gauges>,
    pub(super) batch_max_events: usize,
    pub(super) listens: Listens,
    /// The state's topic.
    pub(super) topic: Arc<str>,
    pub(super) broker: Broker,
    pub(super) join: Join,
    pub(super) inputs: Inputs,
    /// How the sources stand in the visible state.
    pub(super) sources: BTreeMap<Arc<str>, SourceNote>,
    /// The positions of the visible state.
    pub(super) visible: At,
    pub(super) batch: Batch,
    /// What the join waited for when it was asked last.
    pub(super) wait: Option<Wait>,
    pub(super) current: Current,
    /// What the last careful step made visible.
    pub(super) careful: Vec<String>,
}

/// Which market source an account listens to.
pub(super) struct Listens {
    pub(super) sessions: BTreeMap<String, String>,
    pub(super) accounts: BTreeMap<String, String>,
}

/// What was applied and is not visible yet.
#[derive(Default)]
pub(super) struct Batch {
    records: Vec<Record>,
    bytes: usize,
    applied: usize,
    market: usize,
    late: usize,
    gaps: u64,
    last_seq: Option<u64>,
}

/// What is being applied.
pub(super) enum Current {
    /// Nothing yet.
    Nothing,
    /// A record.
    Record(Input, u32, u64),
    /// A number of a source that never came, or its last.
    Number(Arc<str>, u64),
}

/// What an output is said of: its headers are made of it.
enum About<'a> {
    Delivery(&'a Delivery),
    Number { place: Option<Place>, source: &'a str, n: u64 },
}

impl Active {
    /// Reads, applies, transacts. When `careful`, each market event on its own.
    pub(super) fn step(&mut self, seat: &mut Seat, careful: bool) -> Result<(), Broken> {
        self.careful.clear();
        self.inputs.read(&mut self.join, self.wait, &self.gauges)?;
        self.wait = self.apply(careful)?;
        self.flush(seat)?;
        let Some(wait) = self.wait else { return Ok(()) };
        if self.inputs.ask(&mut self.join, wait)? {
            self.wait = None; // There may be more to apply at once.
        }
        Ok(())
    }

    /// Makes what was applied visible: outputs, changed state, positions.
    pub(super) fn flush(&mut self, seat: &mut Seat) -> Result<(), Failure> {
        let offsets = self.inputs.positions(&self.join);
        let mut at = At::default();
        for (offset, (input, index)) in offsets.iter().zip(self.inputs.lanes()) {
            let name = offset.partition.to_string();
            let ahead = self.join.ahead(input, index);
            if !ahead.is_empty() {
                at.ahead.insert(name.clone(), ahead);
            }
            at.next.insert(name, offset.next);
        }
        let mut batch = std::mem::take(&mut self.batch);
        if batch.applied == 0 && at == self.visible {
            return Ok(());
        }
        for (key, value) in self.broker.take_changed() {
            batch.records.push(state::record(&self.topic, 0, &key, value));
        }
        for source in self.join.sources() {
            let note = SourceNote { next: source.next, ended: source.ended };
            if self.sources.get(&source.source) != Some(&note) {
                batch.records.push(self.note(&format!("{SOURCE}{}", source.source), &note)?);
                self.sources.insert(source.source, note);
            }
        }
        batch.records.push(self.note(AT, &at)?);
        seat.transact(batch.records, &offsets)?;
        self.visible = at;
        Gauges::add(&self.gauges.records, batch.applied);
        Gauges::add(&self.gauges.late, batch.late);
        self.gauges.gaps.fetch_add(batch.gaps, Relaxed);
        self.gauges.batches.fetch_add(1, Relaxed);
        if let Some(n) = batch.last_seq {
            self.gauges.last_seq.store(n, Relaxed);
        }
        if let Some(began) = self.inputs.began.take() {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.gauges.batch_us.store(us, Relaxed);
        }
        Ok(())
    }

    /// What is being applied, for messages.
    pub(super) fn at(&self) -> String {
        match &self.current {
            Current::Nothing => ROLE.into(),
            Current::Record(input, partition, offset) => {
                format!("{}/{partition}/{offset}", INPUTS[*input as usize].1)
            }
            Current::Number(source, n) => format!("number {n} of source `{source}`"),
        }
    }

    /// Whether the last careful step made this visible.
    pub(super) fn is_past(&self, place: &str) -> bool {
        self.careful.iter().any(|past| past == place)
    }

    /// Applies until the batch is full (none) or the join waits.
    fn apply(&mut self, careful: bool) -> Result<Option<Wait>, Broken> {
        let most = if careful { 1 } else { self.batch_max_events };
        loop {
            let full = self.batch.market >= most || self.batch.bytes >= BATCH_BYTES;
            if full && self.join.may_pause() {
                return Ok(None);
            }
            match self.join.take_next() {
                Next::Wait(wait) => return Ok(Some(wait)),
                next => self.apply_one(next)?,
            }
            if careful {
                self.careful.push(self.at());
            }
        }
    }

    fn apply_one(&mut self, next: Next) -> Result<(), Broken> {
        self.batch.applied += 1;
        match next {
            Next::Market(delivery) => self.apply_market(&delivery),
            Next::Signal { delivery, late } => self.apply_signal(&delivery, late),
            Next::Command(delivery) => self.apply_command(&delivery),
            Next::Gap { source, from, to, after: (event_id, place, time) } => {
                self.current = Current::Number(Arc::clone(&source), from);
                self.batch.gaps += to - from + 1;
                tracing::warn!(role = ROLE, source = &*source, from, to, "numbers that never came");
                let cause = Cause { event_id: &event_id, seq: Some(to + 1) };
                let outputs = self.broker.note_gap(&source, from, to, cause, time);
                self.say(&About::Number { place: Some(place), source: &source, n: to + 1 }, outputs)
            }
            Next::End { source, n } => {
                self.current = Current::Number(Arc::clone(&source), n);
                // The end has no event of its own: its id is that of its number.
                let event_id = EventId::derived(&EventId(format!("{source}/{n}")), ROLE, "end-of-input", &source, 0);
                let ended = self.broker.end_of_input(&source, Cause { event_id: &event_id, seq: Some(n) });
                let outputs = ended.map_err(|error| self.refused(error))?;
                self.say(&About::Number { place: None, source: &source, n }, outputs)
            }
            Next::Stuck { source, n } => Err(Broken::Failed(Failure::Fatal(format!(
                "number {n} of source `{source}` is not in the log, though {} events after it are: a replay with a hole \
                 is no evidence. Replay the source into a new data folder",
                crate::forward_test::join::ALL_RECORDS
            )))),
            Next::Wait(_) => Ok(()),
        }
    }

    fn apply_market(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        self.begin(Input::Market, delivery);
        let Event::MarketData(body) = &delivery.event else { return Ok(()) };
        let seq = delivery.meta.seq.as_ref().map(|seq| seq.n);
        self.batch.market += 1;
        self.batch.last_seq = seq.or(self.batch.last_seq);
        let applied = self.broker.market(Cause { event_id: &delivery.id, seq }, &body.data);
        let outputs = applied.map_err(|error| self.refused(error))?;
        self.say(&About::Delivery(delivery), outputs)
    }

    fn apply_signal(&mut self, delivery: &Delivery, late: bool) -> Result<(), Broken> {
        self.begin(Input::Signals, delivery);
        let Event::Signal(body) = &delivery.event else { return Ok(()) };
        let source = self.listens.sessions.get(&body.data.session_id);
        let from = delivery.meta.root_seq.as_ref().map(|seq| &seq.source);
        if source.zip(from).is_some_and(|(source, from)| source != from) {
            self.broker.ignore();
            return Ok(());
        }
        let root = delivery.meta.root_seq.as_ref().filter(|_| !late).map(|seq| seq.n);
        let seq = root.or_else(|| Some(self.join.next_number(source?) - 1));
        self.batch.late += usize::from(late);
        let applied =
            self.broker.signal(Cause { event_id: &delivery.id, seq }, &body.data, delivery.event_time(), late);
        let outputs = applied.map_err(|error| self.refused(error))?;
        match source.filter(|_| delivery.meta.root.is_none()) {
            Some(source) => self.say_before(delivery, &source.clone(), outputs),
            None => self.say(&About::Delivery(delivery), outputs),
        }
    }

    fn apply_command(&mut self, delivery: &Delivery) -> Result<(), Broken> {
        self.begin(Input::Commands, delivery);
        let Event::RiskCommand(command) = &delivery.event else { return Ok(()) };
        let source = self.listens.accounts.get(&command.account).cloned();
        let seq = source.as_ref().map(|source| self.join.next_number(source) - 1);
        let applied = self.broker.command(Cause { event_id: &delivery.id, seq }, command);
        let outputs = applied.map_err(|error| self.refused(error))?;
        match source {
            Some(source) => self.say_before(delivery, &source, outputs),
            None => self.say(&About::Delivery(delivery), outputs),
        }
    }

    fn begin(&mut self, input: Input, delivery: &Delivery) {
        self.current = Current::Record(input, delivery.record.partition, delivery.record.offset);
    }

    fn refused(&self, error: BrokerError) -> Broken {
        match error {
            BrokerError::Poison(detail) => Broken::Refused { place: self.at(), detail, panicked: false },
            BrokerError::Fatal(detail) => Broken::Failed(Failure::Fatal(format!("{}: {detail}", self.at()))),
        }
    }

    /// Outputs of what has no market event as its root: they record the number
    /// that it was taken before.
    fn say_before(&mut self, delivery: &Delivery, source: &str, outputs: Vec<Output>) -> Result<(), Broken> {
        let before = Seq { source: source.to_owned(), n: self.join.next_number(source) }.to_string();
        let from = self.batch.records.len();
        self.say(&About::Delivery(delivery), outputs)?;
        for record in &mut self.batch.records[from..] {
            record.headers = record.headers.with(headers::ROOT_SEQ, &before);
        }
        Ok(())
    }

    fn say(&mut self, about: &About<'_>, outputs: Vec<Output>) -> Result<(), Broken> {
        for Output { topic, id, event } in outputs {
            let outbound = match about {
                About::Delivery(delivery) => Outbound::caused_by(delivery, topic, id, event),
                About::Number { place, source, n } => {
                    let seq = Seq { source: (*source).to_owned(), n: *n };
                    let root = place.clone().map(|place| (place, Some(seq)));
                    Outbound { cause: place.clone(), root, ..Outbound::first(topic, id, event) }
                }
            };
            let record = outbound.into_record(ROLE)?;
            self.batch.bytes += record.value.as_ref().map_or(0, bytes::Bytes::len) + record.headers.as_bytes().len();
            self.batch.records.push(record);
        }
        Ok(())
    }

    fn note(&self, key: &str, value: &impl serde::Serialize) -> Result<Record, Failure> {
        let value = serde_json::to_vec(value).map_err(|error| Failure::Fatal(format!("{key}: {error}")))?;
        Ok(state::record(&self.topic, 0, key, Some(value)))
    }
}
