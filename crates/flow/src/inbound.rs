//! From a record to an event with its id and its causes.
//!
//! Not here: polling, and what is done with duplicates.

use tapedeck_contracts::{
    Event, EventId, EventKind, Timestamp,
    catalogue::Catalogue,
    headers::{self, Place, Seq},
};
use tapedeck_log::LogRecord;

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
    /// What belongs together across topics.
    pub correlation_id: Option<String>,
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
        let kind = kind_of(&record, index)?;
        let event = Event::decode(kind, record.value.as_deref().unwrap_or_default()).map_err(|error| {
            let path = path_of(&error);
            Failure::Poison { index, place: place_of(&record).to_string(), path, detail: error.to_string() }
        })?;
        let id = event_id(&record, &event);
        let text = |name| record.headers.text(name);
        let meta = Meta {
            seq: text(headers::SEQ).and_then(Seq::parse),
            root: text(headers::ROOT).and_then(Place::parse),
            root_seq: text(headers::ROOT_SEQ).and_then(Seq::parse),
            correlation_id: text(headers::CORRELATION_ID).map(str::to_owned),
        };
        Ok(Self { record, id, meta, event })
    }
}

/// Where a record lies.
pub fn place_of(record: &LogRecord) -> Place {
    Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset }
}

fn kind_of(record: &LogRecord, index: usize) -> Result<EventKind, Failure> {
    Catalogue::get().topic(&record.topic).and_then(|topic| topic.event).ok_or_else(|| Failure::Poison {
        index,
        place: place_of(record).to_string(),
        path: None,
        detail: format!("topic `{}` carries no event of the contract", record.topic),
    })
}

fn event_id(record: &LogRecord, event: &Event) -> EventId {
    if let Some(id) = event.event_id() {
        return id.clone();
    }
    match record.headers.text(headers::CE_ID) {
        Some(id) if !id.is_empty() => EventId::from(id),
        _ => EventId::from_place(&record.topic, record.partition, record.offset),
    }
}
