//! From a record to an event with its id and its causes.
//!
//! Not here: polling, and what is done with duplicates.

use tapedeck_contracts::{
    DecodeError, Event, EventId, EventKind, Timestamp,
    catalogue::Catalogue,
    headers::{self, Place, Seq},
};
use tapedeck_log::{Headers, LogRecord};

use crate::failure::{Failure, path_of};

/// What the headers say of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The sequencer's number, of a market event.
    pub seq: Option<Seq>,
    /// The market event at the root of the chain.
    pub root: Option<Place>,
    /// The sequencer's number of that event.
    pub root_seq: Option<Seq>,
}

/// An event as it reaches a role.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The record it came in.
    pub record: LogRecord,
    /// Its id: from its body, else its headers, else its place.
    pub id: EventId,
    /// What its headers say.
    pub meta: Meta,
    /// The event.
    pub event: Event,
}

impl Delivery {
    /// Where the record lies.
    pub fn place(&self) -> Place {
        place_of(&self.record)
    }

    /// What it belongs to across topics. Read when it is asked for: most events
    /// cause nothing.
    pub fn correlation_id(&self) -> Option<&str> {
        self.record.headers.text(headers::CORRELATION_ID)
    }

    /// When it happened.
    pub fn event_time(&self) -> Timestamp {
        self.event.event_time()
    }

    /// Reads and checks a record of a catalogue topic. `index` is its place in
    /// the batch, for the error.
    ///
    /// # Errors
    /// [`Failure::Poison`], with the place in the body.
    pub fn decode(record: LogRecord, index: usize) -> Result<Self, Failure> {
        let kind = kind_of(&record.topic)
            .ok_or_else(|| poison(&record, index, None, format!("topic `{}` carries no event", record.topic)))?;
        Self::decode_as(kind, record, index)
    }

    /// The same, for who knows already which kind the topic carries.
    ///
    /// # Errors
    /// [`Failure::Poison`], with the place in the body.
    pub fn decode_as(kind: EventKind, record: LogRecord, index: usize) -> Result<Self, Failure> {
        let event = match Event::decode(kind, record.value.as_deref().unwrap_or_default()) {
            Ok(event) => event,
            Err(_) if record.value.is_none() => {
                return Err(poison(&record, index, None, DecodeError::Empty.to_string()));
            }
            Err(error) => return Err(poison(&record, index, path_of(&error), error.to_string())),
        };
        let (meta, ce_id) = Meta::read(&record.headers);
        let id = event.event_id().cloned().or_else(|| ce_id.map(EventId::from));
        let id = id.unwrap_or_else(|| EventId::from_place(&record.topic, record.partition, record.offset));
        Ok(Self { record, id, meta, event })
    }
}

impl Meta {
    /// One pass over the headers, for what they say and for the event's id; where
    /// a name comes again, the last counts.
    fn read(headers: &Headers) -> (Self, Option<&str>) {
        const ID: &[u8] = headers::CE_ID.as_bytes();
        const SEQ: &[u8] = headers::SEQ.as_bytes();
        const ROOT: &[u8] = headers::ROOT.as_bytes();
        const ROOT_SEQ: &[u8] = headers::ROOT_SEQ.as_bytes();
        let (mut meta, mut id) = (Self::default(), None);
        for (name, value) in headers.pairs() {
            let text = || std::str::from_utf8(value).ok();
            match name {
                ID => id = text(),
                SEQ => meta.seq = text().and_then(Seq::parse),
                ROOT => meta.root = text().and_then(Place::parse),
                ROOT_SEQ => meta.root_seq = text().and_then(Seq::parse),
                _ => {}
            }
        }
        (meta, id.filter(|id| !id.is_empty()))
    }
}

/// The id of a record's event as [`Delivery::decode_as`] finds it, without
/// reading the body where the contract has no id there; none where the record
/// cannot be read.
pub fn id_of(kind: EventKind, record: LogRecord) -> Option<EventId> {
    if in_envelope(kind) {
        return Some(id_beside(&record));
    }
    Delivery::decode_as(kind, record, 0).ok().map(|delivery| delivery.id)
}

/// The event that a topic of the catalogue carries.
pub fn kind_of(topic: &str) -> Option<EventKind> {
    Catalogue::get().topic(topic).and_then(|topic| topic.event)
}

/// Where a record lies.
pub fn place_of(record: &LogRecord) -> Place {
    Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset }
}

fn poison(record: &LogRecord, index: usize, path: Option<String>, detail: String) -> Failure {
    Failure::Poison { index, place: place_of(record).to_string(), path, detail }
}

/// The id of an event that has none in its body.
fn id_beside(record: &LogRecord) -> EventId {
    match record.headers.text(headers::CE_ID) {
        Some(id) if !id.is_empty() => EventId::from(id),
        _ => EventId::from_place(&record.topic, record.partition, record.offset),
    }
}

/// Events in the standard envelope have no id in their body.
fn in_envelope(kind: EventKind) -> bool {
    use EventKind as K;
    matches!(
        kind,
        K::MarketData
            | K::Subscription
            | K::Signal
            | K::Compilation
            | K::TradeExecution
            | K::Portfolio
            | K::ForwardTest
            | K::Notification
            | K::Dashboard
            | K::Health
            | K::Audit
    )
}
