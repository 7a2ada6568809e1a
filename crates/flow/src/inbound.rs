//! From a record to an event with its id and its causes.
//!
//! A value in the frame of a schema registry is opened for it; the record stays
//! as it lies in the log.
//!
//! Not here: polling, and what is done with duplicates.

use tapedeck_contracts::{
    DecodeError, Event, EventId, EventKind, Timestamp,
    catalogue::Catalogue,
    headers::{self, Place, Redrive, Seq},
};
use tapedeck_log::{Headers, LogRecord, Unframe, UnframeError};

use crate::{
    dead_letter::ErrorClass,
    failure::{Failure, path_of},
};

/// What the headers say of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The sequencer's number, of a market event.
    pub seq: Option<Seq>,
    /// The market event at the root of the chain.
    pub root: Option<Place>,
    /// The sequencer's number of that event.
    pub root_seq: Option<Seq>,
    /// For whom and how often it was sent again, where it was.
    pub redrive: Option<Redrive>,
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

/// What is done about a record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It is never read: it is set aside.
    Aside,
    /// What it needs is not known, and may be soon: tried a few times.
    Again,
    /// Who knows cannot be asked: tried until it works.
    Wait,
}

/// A record that is no event of its topic: what is needed for its dead letter.
#[derive(Debug)]
pub struct Unread {
    /// What is done about it.
    pub remedy: Remedy,
    /// The record, as it was.
    pub record: LogRecord,
    /// Undecodable, invalid, or of a schema that it does not fit.
    pub class: ErrorClass,
    /// Where in its body, as a JSON path, if it is the body.
    pub path: Option<String>,
    /// Why.
    pub detail: String,
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

    /// 128 bits by which duplicates are known: those of its id, and of the number
    /// of the redrive where it was sent again, so that it is taken once more.
    pub fn fingerprint(&self) -> u128 {
        mixed(&self.id, self.meta.redrive.as_ref())
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
        Self::read(None, kind, record).map_err(|unread| poison(&unread.record, index, unread.path, unread.detail))
    }

    /// The same, for who makes a dead letter of what cannot be read. What is
    /// framed is opened, where there is something that opens it.
    ///
    /// # Errors
    /// The record, why it is no event of that kind, and whether it may be later.
    pub fn read(unframe: Option<&dyn Unframe>, kind: EventKind, record: LogRecord) -> Result<Self, Box<Unread>> {
        let event = match event_of(unframe, kind, &record) {
            Ok(event) => event,
            Err(why) => return Err(Box::new(why.of(record))),
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
        const REDRIVE: &[u8] = headers::REDRIVE.as_bytes();
        let (mut meta, mut id) = (Self::default(), None);
        for (name, value) in headers.pairs() {
            let text = || std::str::from_utf8(value).ok();
            match name {
                ID => id = text(),
                SEQ => meta.seq = text().and_then(Seq::parse),
                ROOT => meta.root = text().and_then(Place::parse),
                ROOT_SEQ => meta.root_seq = text().and_then(Seq::parse),
                REDRIVE => meta.redrive = text().and_then(Redrive::parse),
                _ => {}
            }
        }
        (meta, id.filter(|id| !id.is_empty()))
    }
}

/// Whether a record was sent again for another group than this one, which then
/// settles it and does nothing else. It is asked before the body is read: what
/// another group could not read is its own affair.
pub fn is_for_others(record: &LogRecord, group: &str) -> bool {
    redrive_of(record).is_some_and(|redrive| redrive.group != group)
}

/// The fingerprint of a record as [`Delivery::fingerprint`] gives it to a group,
/// without reading the body where the contract has no id there; none where the
/// record cannot be read or is for another group.
///
/// # Errors
/// Transient where who knows its frame cannot be asked.
pub fn fingerprint_of(
    unframe: Option<&dyn Unframe>,
    kind: EventKind,
    record: LogRecord,
    group: &str,
) -> Result<Option<u128>, Failure> {
    let redrive = redrive_of(&record);
    if redrive.as_ref().is_some_and(|redrive| redrive.group != group) {
        return Ok(None);
    }
    let id = if in_envelope(kind) {
        id_beside(&record)
    } else {
        match Delivery::read(unframe, kind, record) {
            Ok(delivery) => delivery.id,
            Err(unread) if unread.remedy == Remedy::Wait => return Err(Failure::Transient(unread.detail)),
            Err(_) => return Ok(None),
        }
    };
    Ok(Some(mixed(&id, redrive.as_ref())))
}

/// For whom and how often a record was sent again.
fn redrive_of(record: &LogRecord) -> Option<Redrive> {
    // The last counts where a name comes again, as in `Meta`.
    let found = record.headers.pairs().filter(|(name, _)| *name == headers::REDRIVE.as_bytes()).last();
    found.and_then(|(_, value)| std::str::from_utf8(value).ok()).and_then(Redrive::parse)
}

/// An odd number with well mixed bits, so that the numbers of redrives fall apart.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

fn mixed(id: &EventId, redrive: Option<&Redrive>) -> u128 {
    let n = redrive.map_or(0, |redrive| u128::from(redrive.n));
    id.fingerprint() ^ n.wrapping_mul(SPREAD)
}

/// The event that a topic of the catalogue carries.
pub fn kind_of(topic: &str) -> Option<EventKind> {
    Catalogue::get().topic(topic).and_then(|topic| topic.event)
}

/// Where a record lies.
pub fn place_of(record: &LogRecord) -> Place {
    Place { topic: record.topic.to_string(), partition: record.partition, offset: record.offset }
}

/// The first byte of a framed value; no JSON begins so.
const MAGIC: u8 = 0;

/// Whether a value is in the frame of a schema registry, or as if it were.
pub(crate) fn is_framed(value: &[u8]) -> bool {
    value.first() == Some(&MAGIC)
}

/// The event in a record's value, out of its frame where it is in one.
fn event_of(unframe: Option<&dyn Unframe>, kind: EventKind, record: &LogRecord) -> Result<Event, Why> {
    let Some(value) = &record.value else { return Err(Why::Decode(DecodeError::Empty)) };
    if !is_framed(value) {
        return Event::decode(kind, value).map_err(Why::Decode);
    }
    let Some(unframe) = unframe.filter(|unframe| unframe.is_framed(value)) else { return Err(Why::Framed) };
    let body = unframe.open(&record.topic, value).map_err(Why::Unframe)?;
    Event::decode(kind, &body).map_err(Why::Decode)
}

/// Why a record cannot be read.
enum Why {
    Decode(DecodeError),
    Unframe(UnframeError),
    /// It is framed, and nothing opens it.
    Framed,
}

impl Why {
    fn of(self, record: LogRecord) -> Unread {
        let (remedy, class, path, detail) = match self {
            Self::Decode(error) => {
                let class = match error {
                    DecodeError::Field(_) | DecodeError::UnknownKind(_) => ErrorClass::Invalid,
                    DecodeError::Empty | DecodeError::NotUtf8 { .. } | DecodeError::NotJson { .. } => {
                        ErrorClass::Undecodable
                    }
                };
                (Remedy::Aside, class, path_of(&error), error.to_string())
            }
            Self::Unframe(UnframeError::Away(detail)) => (Remedy::Wait, ErrorClass::Schema, None, detail),
            Self::Unframe(UnframeError::Unknown(detail)) => (Remedy::Again, ErrorClass::Schema, None, detail),
            Self::Unframe(UnframeError::Poison { path, detail }) => (Remedy::Aside, ErrorClass::Schema, path, detail),
            Self::Framed => {
                let detail = "the body begins with byte 0, as in the frame of a schema registry, and none is configured: \
                              set `url` in the section `[registry]` and start again, then replay this dead letter";
                (Remedy::Aside, ErrorClass::Undecodable, None, detail.to_owned())
            }
        };
        Unread { remedy, record, class, path, detail }
    }
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
