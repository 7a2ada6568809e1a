//! The side of the emitter that a producing thread holds.
//!
//! Not here: sending.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tapedeck_log::Record;

use super::{EmitError, Ticket, sender::Shared, stats::add};
use crate::{Boundary, Outbound};

/// Emits events, from one thread, in order.
pub struct Producer {
    shared: Arc<Shared>,
    durable: Arc<AtomicU64>,
    last: u64,
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, durable: Arc::default(), last: 0 }
    }

    /// Takes an event, as `role` writes it. Never waits for the log.
    ///
    /// # Errors
    /// Those of [`EmitError`]; the event is not accepted then.
    pub fn emit(&mut self, event: &Outbound, role: &str) -> Result<Ticket, EmitError> {
        let record = event.clone().into_record(role).map_err(|error| EmitError::Io(error.to_string()))?;
        self.emit_record(&record)
    }

    /// Takes a record. Never waits for the log.
    ///
    /// # Errors
    /// Those of [`EmitError`]; the record is not accepted then.
    pub fn emit_record(&mut self, record: &Record) -> Result<Ticket, EmitError> {
        self.shared.push(record.clone(), Arc::clone(&self.durable), self.last + 1)?;
        self.last += 1;
        add(&self.shared.stats.emitted, 1);
        self.shared.boundaries.pass(Boundary::Ring);
        Ok(Ticket(self.last))
    }

    /// The newest ticket such that it and all before it are durable in the log.
    pub fn durable(&self) -> Ticket {
        Ticket(self.durable.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Waits until a ticket is durable in the log or the time is out; says
    /// whether it is.
    pub fn wait_durable(&self, ticket: Ticket, timeout: Duration) -> bool {
        self.shared.wait_until(timeout, || self.durable() >= ticket)
    }

    /// Says that an event was given up because ring and spool were full: it is
    /// counted, logged, and alerted when the log is back.
    pub fn drop_counted(&mut self) {
        add(&self.shared.stats.dropped, 1);
    }
}
