//! The side of an emitter that a producing thread holds: an event becomes a frame
//! in a buffer of its own, and one copy into the ring.
//!
//! Not here: sending.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tapedeck_log::{HeadersBuilder, Record};

use super::{
    EmitError, Ticket,
    core::Line,
    frame::{Draft, Id},
    ring::RingWriter,
    shared::Shared,
    stats::add,
    topics::Topics,
};
use crate::{Boundary, Outbound};

/// A buffer that one large record made larger is given back.
const BUFFER_BYTES: usize = 64 << 10;
/// So long a spool that refused is not asked again: what `emit()` then answers is
/// known, and asking takes the lock.
const PAUSE: Duration = Duration::from_millis(10);

/// Emits events, from one thread, in order.
pub struct Producer {
    shared: Arc<Shared>,
    line: Arc<Line>,
    ring: RingWriter,
    last: u64,
    buffer: Vec<u8>,
    topics: Arc<Topics>,
    /// The topic that was found last.
    topic: Option<Arc<str>>,
    refused_at: Option<Instant>,
}

/// Says that a thread is in the middle of an `emit()`, until it is dropped.
struct Busy<'a>(&'a Line);

impl<'a> Busy<'a> {
    fn begin(line: &'a Line) -> Self {
        // Before the look whether all is closed, so that who closes and then
        // looks here misses nobody.
        line.busy.store(true, Ordering::SeqCst);
        Self(line)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>, line: Arc<Line>, ring: RingWriter) -> Self {
        let topics = shared.topics.get();
        Self { shared, line, ring, last: 0, buffer: Vec::new(), topics, topic: None, refused_at: None }
    }

    /// Takes an event, as `role` writes it. Never waits for the log; where the
    /// ring is full, it waits for the disk while the ring moves to the spool.
    ///
    /// # Errors
    /// Those of [`EmitError`]; the event is not accepted then.
    pub fn emit(&mut self, event: &Outbound, role: &str) -> Result<Ticket, EmitError> {
        let mut draft = Draft::begin(&mut self.buffer, &event.topic, Some(event.event.key().as_bytes()));
        let headers = HeadersBuilder::behind(std::mem::take(&mut self.buffer));
        self.buffer = event.headers(role, headers).into_buffer();
        draft.headers_end(&self.buffer);
        let written = event.event.write_json(&mut self.buffer);
        written.map_err(|error| EmitError::Io(format!("an event of {role} cannot be written as JSON: {error}")))?;
        draft.value_end(&self.buffer);
        self.accept(&event.topic, &draft)
    }

    /// Takes a record; else like [`Producer::emit`].
    ///
    /// # Errors
    /// Those of [`EmitError`]; the record is not accepted then.
    pub fn emit_record(&mut self, record: &Record) -> Result<Ticket, EmitError> {
        let draft = Draft::of(&mut self.buffer, record);
        self.accept(&record.topic, &draft)
    }

    /// The newest ticket such that it and all before it are durable in the log
    /// (or, where the log can never take one, set aside and counted as refused).
    pub fn durable(&self) -> Ticket {
        Ticket(self.line.durable.load(Ordering::Acquire))
    }

    /// Waits until a ticket is durable in the log or the time is out; says
    /// whether it is. Who waits is not kept waiting for company in a batch.
    pub fn wait_durable(&self, ticket: Ticket, timeout: Duration) -> bool {
        self.shared.wait_durable(timeout, || self.durable() >= ticket)
    }

    /// Says that an event was given up because ring and spool were full: it is
    /// counted, logged (once a second), and alerted when the log is back.
    pub fn drop_counted(&mut self) {
        add(&self.shared.stats.dropped, 1);
        self.shared.alerts.dropped();
    }

    /// Checks what lies in the buffer, and puts it in the ring.
    fn accept(&mut self, topic: &Arc<str>, draft: &Draft) -> Result<Ticket, EmitError> {
        self.find(topic)?;
        let bytes = self.topics.record_overhead + draft.content();
        // A frame adds its head, the topic and a few zeros.
        let beside = (self.buffer.len() - draft.content()).next_multiple_of(8) + 8;
        let fits_ring = self.ring.max_frame().saturating_sub(beside) + self.topics.record_overhead;
        let max = self.topics.max_record_bytes.min(fits_ring);
        if bytes > max {
            self.buffer.shrink_to(BUFFER_BYTES);
            return Err(EmitError::TooLarge { bytes, max });
        }
        let id = Id { stream: self.line.stream, sequence: self.last + 1 };
        draft.seal(&mut self.buffer, id);
        let line = Arc::clone(&self.line);
        let busy = Busy::begin(&line);
        if self.shared.is_closed() {
            return Err(EmitError::Closed);
        }
        if !self.ring.put(&self.buffer) {
            self.make_room()?;
        }
        self.last += 1;
        self.shared.published();
        drop(busy);
        add(&self.shared.stats.emitted, 1);
        self.shared.boundaries.pass(Boundary::Ring);
        Ok(Ticket(self.last))
    }

    fn find(&mut self, topic: &Arc<str>) -> Result<(), EmitError> {
        if self.topic.as_ref().is_some_and(|last| Arc::ptr_eq(last, topic)) {
            return Ok(());
        }
        if self.topics.get(topic).is_none() {
            self.topics = self.shared.topics.get();
            if self.topics.get(topic).is_none() {
                self.shared.want_topics();
                return Err(EmitError::UnknownTopic(topic.to_string()));
            }
        }
        self.topic = Some(Arc::clone(topic));
        Ok(())
    }

    /// The ring is full: this thread moves what lies first in it to the spool, and
    /// puts the frame in.
    #[cold]
    fn make_room(&mut self) -> Result<(), EmitError> {
        let is_early = self.refused_at.is_some_and(|at| at.elapsed() < PAUSE);
        let stream = self.line.stream;
        let mut may_move = !is_early;
        while may_move {
            let mut core = self.shared.core();
            // The sender may have made room while this thread waited for its turn.
            if self.ring.put(&self.buffer) {
                return Ok(());
            }
            let moved = core.move_to_spool(&|slot| slot.line.stream == stream);
            drop(core);
            self.refused_at = moved.is_err().then(Instant::now);
            may_move = moved.is_ok();
            if self.ring.put(&self.buffer) {
                return Ok(());
            }
        }
        add(&self.shared.stats.full, 1);
        Err(EmitError::Full)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.line.gone.store(true, Ordering::Release);
        self.shared.wake_sender();
    }
}
