//! The broker as the shell calls it: an event that it refuses or panics over
//! leaves nothing behind. The core itself is then in between two states; it is
//! put back to where it stood before the event, from the visible state and from
//! what was applied since.
//!
//! Not here: what becomes of the event.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tapedeck_contracts::{Event, EventId, Timestamp};
use tapedeck_flow::{Delivery, Stop, backoff::Backoff};

use super::{letters::now, text_of};
use crate::forward_test::{Broker, BrokerError, BrokerSetup, Cause, Output};

/// The core is a function of its state and of the event: what it refuses it
/// refuses again. The second try is against a state that was spoilt.
const REFUSALS: u32 = 2;
/// A panic may have come of the machine rather than of the event.
const PANICS: u32 = 5;
/// The first and the longest wait between two tries: all records wait with this
/// one, since the order goes across them, so 5 tries take some 30 ms at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));

/// One thing that the broker is told.
#[derive(Debug)]
pub(super) enum Call {
    /// A market event and its number.
    Market { delivery: Delivery, seq: Option<u64> },
    /// A signal and the number that its orders count from.
    Signal { delivery: Delivery, seq: Option<u64>, late: bool },
    /// A decision and the number that its order counts from.
    Decision { delivery: Delivery, seq: Option<u64>, late: bool },
    /// A signal or decision that no account may trade.
    Ignored,
    /// A command and the number that it is taken after.
    Command { delivery: Delivery, seq: Option<u64> },
    /// Numbers without an event, told at this event.
    Gap { source: Arc<str>, from: u64, to: u64, event_id: EventId, time: Timestamp },
    /// The end of a source.
    End { source: Arc<str>, n: u64, event_id: EventId },
}

impl Call {
    /// The delivery in it.
    pub(super) fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Market { delivery, .. }
            | Self::Signal { delivery, .. }
            | Self::Decision { delivery, .. }
            | Self::Command { delivery, .. } => Some(delivery),
            Self::Ignored | Self::Gap { .. } | Self::End { .. } => None,
        }
    }

    fn tell(&self, broker: &mut Broker) -> Result<Vec<Output>, BrokerError> {
        match self {
            Self::Market { delivery, seq } => {
                let Event::MarketData(body) = &delivery.event else { return Ok(Vec::new()) };
                #[cfg(test)]
                super::tests::fault(&body.data.symbol)?;
                broker.market(Cause { event_id: &delivery.id, seq: *seq }, &body.data)
            }
            Self::Signal { delivery, seq, late } => {
                let Event::Signal(body) = &delivery.event else { return Ok(Vec::new()) };
                #[cfg(test)]
                super::tests::fault(&body.data.market_data.symbol)?;
                let cause = Cause { event_id: &delivery.id, seq: *seq };
                broker.signal(cause, &body.data, delivery.event_time(), *late)
            }
            Self::Decision { delivery, seq, late } => {
                let Event::TradingDecision(decision) = &delivery.event else { return Ok(Vec::new()) };
                let cause = Cause { event_id: &delivery.id, seq: *seq };
                broker.decision(cause, decision, delivery.event_time(), *late)
            }
            Self::Ignored => {
                broker.ignore();
                Ok(Vec::new())
            }
            Self::Command { delivery, seq } => {
                let Event::RiskCommand(command) = &delivery.event else { return Ok(Vec::new()) };
                broker.command(Cause { event_id: &delivery.id, seq: *seq }, command)
            }
            Self::Gap { source, from, to, event_id, time } => {
                Ok(broker.note_gap(source, *from, *to, Cause { event_id, seq: Some(to + 1) }, *time))
            }
            Self::End { source, n, event_id } => broker.end_of_input(source, Cause { event_id, seq: Some(*n) }),
        }
    }
}

/// What the broker would not take, however often it was tried.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) call: Call,
    /// What it said.
    pub(super) detail: String,
    pub(super) panicked: bool,
    pub(super) attempts: u32,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Untaken {
    /// The one event; the broker is as it was before it.
    Refused(Box<Refused>),
    /// The broker can take nothing more.
    Fatal(String),
}

/// The broker, and what it takes to put it back.
pub(super) struct Guarded {
    broker: Broker,
    setup: BrokerSetup,
    /// The visible state: as much as the state's topic holds of it.
    visible: BTreeMap<String, Bytes>,
    /// Where the broker stood when it was put back last since then: it is copied
    /// only once something failed, since failures seldom come alone.
    copy: Option<Box<Broker>>,
    /// What was applied since the copy or, without one, since the visible state.
    since: Vec<Call>,
}

impl Guarded {
    /// A broker in this state.
    ///
    /// # Errors
    /// The state or the setup cannot be read.
    pub(super) fn new(setup: BrokerSetup, visible: BTreeMap<String, Bytes>) -> Result<Self, String> {
        let broker = restored(&setup, &visible)?;
        Ok(Self { broker, setup, visible, copy: None, since: Vec::new() })
    }

    /// Tells the broker, and gives back what it said and what it was told.
    ///
    /// # Errors
    /// It was refused, or panicked over, as often as it is tried.
    pub(super) fn call(&mut self, call: Call, stop: &Stop) -> Result<(Vec<Output>, &Call), Untaken> {
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut attempts = 0;
        let mut first = None;
        loop {
            let told = catch_unwind(AssertUnwindSafe(|| call.tell(&mut self.broker)));
            let (detail, panicked) = match told {
                Ok(Ok(outputs)) => {
                    self.since.push(call);
                    return Ok((outputs, &self.since[self.since.len() - 1]));
                }
                Ok(Err(BrokerError::Fatal(detail))) => return Err(Untaken::Fatal(detail)),
                Ok(Err(BrokerError::Poison(detail))) => (detail, false),
                Err(panic) => (text_of(&*panic), true),
            };
            self.put_back().map_err(Untaken::Fatal)?;
            attempts += 1;
            let last = now();
            let first = *first.get_or_insert(last);
            if attempts >= if panicked { PANICS } else { REFUSALS } {
                return Err(Untaken::Refused(Box::new(Refused { call, detail, panicked, attempts, first, last })));
            }
            if panicked {
                stop.wait(backoff.next_wait());
            }
        }
    }

    /// The keys that changed, which are visible from now on.
    pub(super) fn take_changed(&mut self) -> Vec<(String, Option<Bytes>)> {
        self.copy = None;
        self.since.clear();
        let changed = self.broker.take_changed().into_iter().map(|(key, value)| (key, value.map(Bytes::from)));
        let changed: Vec<_> = changed.collect();
        for (key, value) in &changed {
            match value {
                Some(value) => self.visible.insert(key.clone(), value.clone()),
                None => self.visible.remove(key),
            };
        }
        changed
    }

    /// Puts the broker back to where it stood before the last call.
    fn put_back(&mut self) -> Result<(), String> {
        let mut broker = match self.copy.take() {
            Some(copy) => *copy,
            None => restored(&self.setup, &self.visible)?,
        };
        for call in self.since.drain(..) {
            // It was taken before from the same state, so it is taken again.
            call.tell(&mut broker).map_err(|error| format!("what was applied cannot be applied again: {error}"))?;
        }
        self.copy = Some(Box::new(broker.clone()));
        self.broker = broker;
        Ok(())
    }
}

fn restored(setup: &BrokerSetup, state: &BTreeMap<String, Bytes>) -> Result<Broker, String> {
    let mut broker = Broker::new(setup.clone())?;
    for (key, value) in state {
        broker.restore(key, value).map_err(|detail| format!("key `{key}`: {detail}"))?;
    }
    Ok(broker)
}
