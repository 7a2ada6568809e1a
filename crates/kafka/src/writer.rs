//! One started librdkafka producer: sends the records of a call and waits for all
//! of their delivery reports.
//!
//! A record that fails must not be overtaken by a later one of its partition, or
//! whoever writes the call again would write it out of order. librdkafka does let
//! that happen when it gives a single record up after a time. So it is told to
//! wait for ever, and the waiting ends here: a call that runs out of time, or of
//! which any record fails, retires the writer: what is queued is thrown away,
//! nothing more is taken, and the next call begins with a fresh producer. Calls of
//! other threads that are under way are told so, and begin with one too (`producer`).
//!
//! Not here: which partition a record goes to, and when a new writer is made.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer},
};
use tapedeck_log::{Placement, Record};

use crate::{
    client::unsigned,
    error::code_of,
    placing::Places,
    watch::{Book, locked},
};

/// How often a full queue is tried again: a broker acknowledges a batch in a few ms.
const FULL_TICK: Duration = Duration::from_millis(2);
/// The low bits of a delivery's mark are the record's place in its call.
const INDEX_BITS: u32 = 32;

/// How librdkafka says that a connection was never there.
const NEVER_MADE: &str = "in state CONNECT";

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A record was refused: which, and with what code.
    Refused { index: usize, code: Code },
    /// Not all was acknowledged in time.
    TimedOut { acknowledged: usize },
    /// The writer was retired by another call.
    Retired,
    /// librdkafka took no record at all any more.
    Broken { code: Code, reason: String },
}

/// A started producer.
pub(crate) struct Writer {
    native: ThreadedProducer<Deliveries>,
    /// Held for reading while records are handed over, for writing to retire.
    retired: RwLock<bool>,
}

impl Writer {
    /// Starts a producer; nothing is asked of the cluster yet.
    pub(crate) fn start(config: &ClientConfig, book: &Arc<Book>, kind: &'static str) -> Result<Self, KafkaError> {
        let deliveries = Deliveries {
            book: Arc::clone(book),
            kind,
            calls: Mutex::default(),
            arrived: Condvar::new(),
            has_broken: AtomicBool::new(false),
        };
        Ok(Self { native: config.create_with_context(deliveries)?, retired: RwLock::new(false) })
    }

    /// The producer, for what belongs to transactions.
    pub(crate) fn native(&self) -> &ThreadedProducer<Deliveries> {
        &self.native
    }

    /// Sends records and waits until all are acknowledged. Where it fails the
    /// writer is retired already.
    pub(crate) fn write(
        &self,
        records: &[Record],
        places: &Places,
        deadline: Instant,
    ) -> Result<Vec<Placement>, Failure> {
        let call = self.begin(records.len());
        let result = self.send(call, records, places, deadline).and_then(|()| self.wait(call, deadline));
        if result.is_err() {
            self.retire();
        }
        self.end(call);
        result
    }

    /// Begins a call of so many records.
    pub(crate) fn begin(&self, records: usize) -> u32 {
        self.deliveries().begin(records)
    }

    /// Waits until all records of a call are acknowledged, or one failed.
    pub(crate) fn wait(&self, call: u32, deadline: Instant) -> Result<Vec<Placement>, Failure> {
        self.deliveries().wait(call, deadline)
    }

    /// Ends a call: reports that are still to come for it find it gone.
    pub(crate) fn end(&self, call: u32) {
        self.deliveries().end(call);
    }

    /// Whether another call must begin with a fresh producer.
    pub(crate) fn is_retired(&self) -> bool {
        *self.retired.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection of it ended, other than by idleness.
    /// Told only where the config lets librdkafka say `Info`.
    pub(crate) fn has_broken(&self) -> bool {
        // What was told is handled here, if the producer's own thread has not yet.
        self.native.poll(Duration::ZERO);
        self.deliveries().has_broken.load(Relaxed)
    }

    /// Throws away what is queued and takes nothing more.
    pub(crate) fn retire(&self) {
        let mut retired = self.retired.write().unwrap_or_else(PoisonError::into_inner);
        if !*retired {
            *retired = true;
            self.native.purge(PurgeConfig::default().queue().inflight());
        }
    }

    fn deliveries(&self) -> &Arc<Deliveries> {
        self.native.client().context()
    }

    /// Hands all records of a call to librdkafka, waiting where its queue is full.
    pub(crate) fn send(
        &self,
        call: u32,
        records: &[Record],
        places: &Places,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let mut next = 0;
        while next < records.len() {
            {
                let retired = self.retired.read().unwrap_or_else(PoisonError::into_inner);
                if *retired {
                    return Err(Failure::Retired);
                }
                next = self.hand_over(call, next, records, places)?;
            }
            if next < records.len() {
                // The queue is full; what it holds must leave it first.
                self.deliveries().check(call)?;
                if Instant::now() >= deadline {
                    return Err(Failure::TimedOut { acknowledged: 0 });
                }
                std::thread::sleep(FULL_TICK);
            }
        }
        Ok(())
    }

    /// Hands records over until the queue is full; returns the next one to send.
    fn hand_over(&self, call: u32, from: usize, records: &[Record], places: &Places) -> Result<usize, Failure> {
        for (index, record) in records.iter().enumerate().skip(from) {
            let (topic, partition) = places.of(index);
            let message = BaseRecord {
                topic,
                partition: Some(partition),
                payload: record.value.as_deref(),
                key: record.key.as_deref(),
                timestamp: record.timestamp_ms,
                headers: headers(record),
                delivery_opaque: mark(call, index),
            };
            match self.native.send(message) {
                Ok(()) => {}
                Err((KafkaError::MessageProduction(Code::QueueFull), _)) => return Ok(index),
                Err((error, _)) => return Err(self.refused(&error, index)),
            }
        }
        Ok(records.len())
    }

    fn refused(&self, error: &KafkaError, index: usize) -> Failure {
        if let Some((code, reason)) = self.native.client().fatal_error() {
            return Failure::Broken { code, reason };
        }
        Failure::Refused { index, code: code_of(error).unwrap_or(Code::Fail) }
    }

    /// What librdkafka says is wrong with the whole producer.
    pub(crate) fn fatal_error(&self) -> Option<(Code, String)> {
        self.native.client().fatal_error()
    }
}

fn headers(record: &Record) -> Option<OwnedHeaders> {
    if record.headers.as_bytes().is_empty() {
        return None;
    }
    let begun = OwnedHeaders::new_with_capacity(record.headers.pairs().count());
    Some(record.headers.iter().fold(begun, |headers, (key, value)| headers.insert(Header { key, value: Some(value) })))
}

fn mark(call: u32, index: usize) -> usize {
    ((call as usize) << INDEX_BITS) | index
}

/// Matches delivery reports to the calls that wait for them.
pub(crate) struct Deliveries {
    book: Arc<Book>,
    kind: &'static str,
    calls: Mutex<Calls>,
    arrived: Condvar,
    has_broken: AtomicBool,
}

#[derive(Default)]
struct Calls {
    last: u32,
    open: HashMap<u32, Call>,
}

struct Call {
    placements: Vec<Placement>,
    left: usize,
    failed: Option<(usize, Code)>,
}

impl Deliveries {
    fn begin(&self, records: usize) -> u32 {
        let mut calls = locked(&self.calls);
        calls.last = calls.last.wrapping_add(1);
        let id = calls.last;
        let nowhere = Placement { partition: 0, offset: 0 };
        calls.open.insert(id, Call { placements: vec![nowhere; records], left: records, failed: None });
        id
    }

    fn end(&self, call: u32) {
        locked(&self.calls).open.remove(&call);
    }

    /// Whether a record of the call has failed already.
    fn check(&self, call: u32) -> Result<(), Failure> {
        match locked(&self.calls).open.get(&call).and_then(|call| call.failed) {
            Some((index, code)) => Err(failure(index, code)),
            None => Ok(()),
        }
    }

    fn wait(&self, id: u32, deadline: Instant) -> Result<Vec<Placement>, Failure> {
        let mut calls = locked(&self.calls);
        loop {
            let Some(call) = calls.open.get_mut(&id) else { return Err(Failure::Retired) };
            if let Some((index, code)) = call.failed {
                return Err(failure(index, code));
            }
            if call.left == 0 {
                return Ok(std::mem::take(&mut call.placements));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::TimedOut { acknowledged: call.placements.len() - call.left });
            }
            calls = self.arrived.wait_timeout(calls, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn delivered(&self, mark: usize, result: Result<Placement, Code>) {
        let (id, index) = ((mark >> INDEX_BITS) as u32, mark & ((1 << INDEX_BITS) - 1));
        let mut calls = locked(&self.calls);
        let Some(call) = calls.open.get_mut(&id) else { return };
        call.left -= 1;
        match result {
            Ok(placement) => call.placements[index] = placement,
            // Of a batch that was refused for one record, that one is named.
            Err(code) => match call.failed {
                Some((_, known)) if !is_bystander(known) => {}
                _ => call.failed = Some((index, code)),
            },
        }
        if call.left == 0 || call.failed.is_some() {
            self.arrived.notify_all();
        }
    }
}

/// Whether a record failed only because another one did.
fn is_bystander(code: Code) -> bool {
    matches!(code, Code::InvalidDifferentRecord | Code::PurgeQueue | Code::PurgeInflight)
}

fn failure(index: usize, code: Code) -> Failure {
    match code {
        Code::PurgeQueue | Code::PurgeInflight => Failure::Retired,
        code => Failure::Refused { index, code },
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // librdkafka's word for a connection that ended. One that was still being made
        // carried no request that could arrive late; while a broker is dead there are
        // many of these, and a producer for each transaction costs a second each.
        if facility == "FAIL" && !line.contains(NEVER_MADE) {
            self.has_broken.store(true, Relaxed);
        }
        self.book.note_log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.book.note_error(&error, reason);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.book.note_statistics(self.kind, json);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, mark: usize) {
        let placement = match result {
            Ok(message) => Ok(Placement {
                partition: u32::try_from(message.partition()).unwrap_or(0),
                offset: unsigned(message.offset()),
            }),
            Err((error, _)) => Err(code_of(error).unwrap_or(Code::Fail)),
        };
        self.delivered(mark, placement);
    }
}
