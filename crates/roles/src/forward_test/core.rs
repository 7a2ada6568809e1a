//! The paper broker's core: market events, signals and commands in, reports out.
//!
//! Not here: reading and writing the log, and waiting for signals.

use tapedeck_contracts::{
    Event, EventId, Timestamp,
    events::{MarketData, RiskCommand, Signal},
};

use super::setup::BrokerSetup;

/// What the event at hand is, for ids and headers.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// Its id.
    pub event_id: &'a EventId,
    /// The sequencer's number of the event, or of the last market event taken.
    pub seq: Option<u64>,
}

/// An event that the broker says.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Where it goes.
    pub topic: &'static str,
    /// Derived from its cause.
    pub id: EventId,
    /// The event.
    pub event: Event,
}

/// Why the broker cannot go on. After an error the broker is in between two
/// states: drop it and restore another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// This event cannot be handled, however often it is tried.
    #[error("{0}")]
    Poison(String),
    /// Nothing can be handled.
    #[error("{0}")]
    Fatal(String),
}

/// The paper broker.
pub struct Broker {
    ignored: u64,
}

impl Broker {
    /// A broker whose accounts have not begun.
    ///
    /// # Errors
    /// The first thing that is wrong with the setup.
    pub fn new(setup: BrokerSetup) -> Result<Self, String> {
        match setup.check().into_iter().next() {
            Some(wrong) => Err(wrong),
            None => Ok(Self { ignored: 0 }),
        }
    }

    /// Takes back a key that [`Broker::take_changed`] gave, in any order,
    /// before the first event.
    ///
    /// # Errors
    /// The value is not what this version wrote.
    pub fn restore(&mut self, _key: &str, _value: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Takes a market event: fills, then mark, then ESS, then metrics.
    ///
    /// # Errors
    /// A figure that does not fit.
    pub fn market(&mut self, _cause: Cause<'_>, _data: &MarketData) -> Result<Vec<Output>, BrokerError> {
        Ok(Vec::new())
    }

    /// Takes a signal.
    ///
    /// # Errors
    /// A figure that does not fit.
    pub fn signal(
        &mut self,
        _cause: Cause<'_>,
        _signal: &Signal,
        _event_time: Timestamp,
        _late: bool,
    ) -> Result<Vec<Output>, BrokerError> {
        Ok(Vec::new())
    }

    /// Takes an operator's command.
    ///
    /// # Errors
    /// A figure that does not fit.
    pub fn command(&mut self, _cause: Cause<'_>, _command: &RiskCommand) -> Result<Vec<Output>, BrokerError> {
        Ok(Vec::new())
    }

    /// The alert for numbers of the sequencer that never came.
    pub fn note_gap(&mut self, _source: &str, _from: u64, _to: u64, _cause: Cause<'_>) -> Vec<Output> {
        Vec::new()
    }

    /// The source has no more events: the last figures of its accounts.
    ///
    /// # Errors
    /// A figure that does not fit.
    pub fn end_of_input(&mut self, _source: &str, _cause: Cause<'_>) -> Result<Vec<Output>, BrokerError> {
        Ok(Vec::new())
    }

    /// The keys that changed since the last call; no value deletes.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        Vec::new()
    }

    /// Orders that are open, of all accounts.
    pub fn open_orders(&self) -> usize {
        0
    }

    /// Signals of no configured session.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }
}
