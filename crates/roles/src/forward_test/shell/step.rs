//! One step of the active process: read, apply in the join's order, and make
//! what came of it visible in one transact with the state and the positions.
//!
//! Not here: how it became active, and what happens when a step fails.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    headers::{self, Place, Seq},
};
use tapedeck_flow::{
    Aside, Delivery, Failure, Gauges, Outbound, Seat,
    boundary::Boundary,
    state::{self, AT, At},
};
use tapedeck_log::Record;

use super::{
    Broken, GivenUp, ROLE,
    guarded::{Call, Guarded, Refused, Untaken},
    inputs::Inputs,
    open::{SOURCE, SourceNote},
};
use crate::{
    Context,
    forward_test::{
        Output,
        join::{Join, Next, Wait},
    },
};

/// A batch with so many bytes of records is full: it is held in memory, and holds
/// back the readers of its partitions.
const BATCH_BYTES: usize = 4 << 20;

/// The role while it is the active process.
pub(super) struct Active {
    pub(super) context: Context,
    pub(super) batch_max_events: usize,
    pub(super) listens: Listens,
    /// The state's topic.
    pub(super) topic: Arc<str>,
    pub(super) broker: Guarded,
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
    Record(Place),
    /// A number of a source that never came, or its last.
    Number(Arc<str>, u64),
}

/// What an output is said of: its headers are made of it.
enum About {
    /// The delivery that caused it.
    Delivery,
    /// The same, of a delivery without a market event as its root: outputs record
    /// the number that it was taken before.
    DeliveryBefore(Seq),
    /// What has no delivery, but a number and perhaps a place.
    Number { place: Option<Place>, source: Arc<str>, n: u64 },
}

impl Active {
    /// Reads, applies, transacts.
    pub(super) fn step(&mut self, seat: &mut Seat) -> Result<(), Broken> {
        self.inputs.read(&mut self.join, self.wait, &self.context.gauges)?;
        self.wait = self.apply()?;
        self.flush(seat)?;
        let Some(wait) = self.wait else { return Ok(()) };
        if self.inputs.ask(&mut self.join, wait)? {
            self.wait = None; // There may be more to apply at once.
        }
        Ok(())
    }

    /// Makes what was applied visible: outputs, changed state, positions.
    ///
    /// # Errors
    /// Those of the log; what was applied since the last time is to be dropped.
    pub(super) fn flush(&mut self, seat: &mut Seat) -> Result<(), Failure> {
        let Context { log, boundaries, gauges, .. } = &self.context;
        self.inputs.letters.write(&**log, boundaries, gauges)?;
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
            batch.records.push(Record { value, ..state::record(&self.topic, 0, &key, None) });
        }
        for source in self.join.sources() {
            let note = SourceNote { next: source.next, ended: source.ended, empty: source.empty };
            if self.sources.get(&source.source) != Some(&note) {
                batch.records.push(note_record(&self.topic, &format!("{SOURCE}{}", source.source), &note)?);
                self.sources.insert(source.source, note);
            }
        }
        batch.records.push(note_record(&self.topic, AT, &at)?);
        boundaries.pass(Boundary::Commit);
        seat.transact(batch.records, &offsets)?;
        boundaries.pass(Boundary::Append);
        self.visible = at;
        Gauges::add(&gauges.records, batch.applied);
        Gauges::add(&gauges.late, batch.late);
        gauges.gaps.fetch_add(batch.gaps, Relaxed);
        gauges.batches.fetch_add(1, Relaxed);
        if let Some(n) = batch.last_seq {
            gauges.last_seq.store(n, Relaxed);
        }
        if let Some(began) = self.inputs.began.take() {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            gauges.batch_us.store(us, Relaxed);
        }
        Ok(())
    }

    /// What is being applied, for messages.
    pub(super) fn at(&self) -> String {
        match &self.current {
            Current::Nothing => ROLE.into(),
            Current::Record(place) => place.to_string(),
            Current::Number(source, n) => format!("number {n} of source `{source}`"),
        }
    }

    /// Applies until the batch is full (none) or the join waits.
    fn apply(&mut self) -> Result<Option<Wait>, Broken> {
        loop {
            let bytes = self.batch.bytes + self.inputs.letters.bytes();
            let full = self.batch.market >= self.batch_max_events || bytes >= BATCH_BYTES;
            if full && self.join.may_pause() {
                return Ok(None);
            }
            match self.join.take_next() {
                Next::Wait(wait) => return Ok(Some(wait)),
                next => self.apply_one(next)?,
            }
        }
    }

    fn apply_one(&mut self, next: Next) -> Result<(), Broken> {
        self.batch.applied += 1;
        match next {
            Next::Market(delivery) => {
                self.current = Current::Record(delivery.place());
                let seq = delivery.meta.seq.as_ref().map(|seq| seq.n);
                self.batch.market += 1;
                self.batch.last_seq = seq.or(self.batch.last_seq);
                self.tell(Call::Market { delivery, seq }, About::Delivery)
            }
            Next::Signal { delivery, late } => self.apply_signal(delivery, late),
            Next::Command(delivery) => self.apply_command(delivery),
            Next::Gap { source, from, to, after: (event_id, place, time) } => {
                self.batch.gaps += to - from + 1;
                tracing::warn!(role = ROLE, source = &*source, from, to, "numbers that never came");
                let about = About::Number { place: Some(place), source: Arc::clone(&source), n: to + 1 };
                self.tell_of_gap(source, from, to, (event_id, time), about)
            }
            Next::Empty { source, from, to } => {
                self.batch.gaps += to - from + 1;
                // The records cannot be read, so that their numbers name them.
                let event_id = derived_of(&source, to, "dead-letters");
                let about = About::Number { place: None, source: Arc::clone(&source), n: to + 1 };
                self.tell_of_gap(source, from, to, (event_id, Timestamp::default()), about)
            }
            Next::End { source, n } => {
                self.current = Current::Number(Arc::clone(&source), n);
                // The end has no event of its own: its id is that of its number.
                let event_id = derived_of(&source, n, "end-of-input");
                let about = About::Number { place: None, source: Arc::clone(&source), n };
                self.tell(Call::End { source, n, event_id }, about)
            }
            Next::Stuck { source, n } => Err(Broken::Failed(Failure::Fatal(format!(
                "number {n} of source `{source}` is not in the log, though {} events after it are: a replay with a hole \
                 is no evidence. Replay the source into a new data folder",
                crate::forward_test::join::ALL_RECORDS
            )))),
            Next::Wait(_) => Ok(()),
        }
    }

    fn tell_of_gap(
        &mut self,
        source: Arc<str>,
        from: u64,
        to: u64,
        (event_id, time): (EventId, Timestamp),
        about: About,
    ) -> Result<(), Broken> {
        self.current = Current::Number(Arc::clone(&source), from);
        self.tell(Call::Gap { source, from, to, event_id, time }, about)
    }

    fn apply_signal(&mut self, delivery: Delivery, late: bool) -> Result<(), Broken> {
        self.current = Current::Record(delivery.place());
        let source = match &delivery.event {
            Event::Signal(body) => self.listens.sessions.get(&body.data.session_id),
            Event::TradingDecision(decision) => decision.account.as_ref().and_then(|it| self.listens.accounts.get(it)),
            _ => return Ok(()),
        };
        let from = delivery.meta.root_seq.as_ref().map(|seq| &seq.source);
        if source.zip(from).is_some_and(|(source, from)| source != from) {
            return self.tell(Call::Ignored, About::Delivery);
        }
        let root = delivery.meta.root_seq.as_ref().filter(|_| !late).map(|seq| seq.n);
        let before = source.map(|source| (source.clone(), self.join.next_number(source)));
        let seq = root.or_else(|| Some(before.as_ref()?.1 - 1));
        self.batch.late += usize::from(late);
        let about = About::taken_before(before.filter(|_| delivery.meta.root.is_none()));
        let call = match &delivery.event {
            Event::Signal(_) => Call::Signal { delivery, seq, late },
            _ => Call::Decision { delivery, seq, late },
        };
        self.tell(call, about)
    }

    fn apply_command(&mut self, delivery: Delivery) -> Result<(), Broken> {
        self.current = Current::Record(delivery.place());
        let Event::RiskCommand(command) = &delivery.event else { return Ok(()) };
        let source = self.listens.accounts.get(&command.account);
        let before = source.map(|source| (source.clone(), self.join.next_number(source)));
        let seq = before.as_ref().map(|(_, next)| next - 1);
        self.tell(Call::Command { delivery, seq }, About::taken_before(before))
    }

    /// Tells the broker, and keeps what it says until the step is visible.
    fn tell(&mut self, call: Call, about: About) -> Result<(), Broken> {
        match self.broker.call(call, &self.context.stop) {
            Ok((outputs, call)) => self.batch.say(&about, call.delivery(), outputs),
            Err(Untaken::Fatal(detail)) => Err(Broken::Failed(Failure::Fatal(format!("{}: {detail}", self.at())))),
            Err(Untaken::Refused(refused)) => self.refused(*refused),
        }
    }

    /// A record that the broker will not take becomes a dead letter, and what
    /// follows it goes on; what is no record ends the step.
    fn refused(&mut self, refused: Refused) -> Result<(), Broken> {
        let place = self.at();
        let Some(delivery) = refused.call.delivery().filter(|_| self.context.aside == Aside::DeadLetter) else {
            return Err(Broken::Refused(GivenUp { place, detail: refused.detail }));
        };
        Gauges::add(&self.context.gauges.poison, 1);
        self.inputs.letters.refused(&delivery.record, &refused);
        if !matches!(refused.call, Call::Market { .. }) {
            return Ok(());
        }
        // Its price was never there: nothing may be traded as if it were.
        self.join.give_up_given();
        let Some(Seq { source, n }) = delivery.meta.seq.clone() else { return Ok(()) };
        self.batch.gaps += 1;
        let source: Arc<str> = source.into();
        let about = About::Number { place: Some(delivery.place()), source: Arc::clone(&source), n };
        let after = (delivery.id.clone(), delivery.event_time());
        self.tell_of_gap(source, n, n, after, about)
    }
}

impl About {
    /// Of what has no market event as its root: it is taken before this number.
    fn taken_before(number: Option<(String, u64)>) -> Self {
        number.map_or(Self::Delivery, |(source, n)| Self::DeliveryBefore(Seq { source, n }))
    }
}

impl Batch {
    /// Keeps what the broker said of a delivery, or of what is none.
    fn say(&mut self, about: &About, delivery: Option<&Delivery>, outputs: Vec<Output>) -> Result<(), Broken> {
        for Output { topic, id, event } in outputs {
            let outbound = match (about, delivery) {
                (About::Number { place, source, n }, _) => {
                    let seq = Seq { source: source.to_string(), n: *n };
                    let root = place.clone().map(|place| (place, Some(seq)));
                    Outbound { cause: place.clone(), root, ..Outbound::first(topic, id, event) }
                }
                (_, Some(delivery)) => Outbound::caused_by(delivery, topic, id, event),
                (_, None) => Outbound::first(topic, id, event),
            };
            let mut record = outbound.into_record(ROLE)?;
            if let About::DeliveryBefore(seq) = about {
                record.headers = record.headers.with(headers::ROOT_SEQ, seq.to_string());
            }
            self.bytes += record.value.as_ref().map_or(0, bytes::Bytes::len) + record.headers.as_bytes().len();
            self.records.push(record);
        }
        Ok(())
    }
}

/// The id of what a number is said of that has no event.
fn derived_of(source: &str, n: u64, what: &str) -> EventId {
    EventId::derived(&EventId(format!("{source}/{n}")), ROLE, what, source, 0)
}

fn note_record(topic: &Arc<str>, key: &str, value: &impl serde::Serialize) -> Result<Record, Failure> {
    let value = serde_json::to_vec(value).map_err(|error| Failure::Fatal(format!("{key}: {error}")))?;
    Ok(state::record(topic, 0, key, Some(value)))
}
