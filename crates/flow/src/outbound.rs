//! From an event to a record: key, body, and the headers that say who wrote it
//! and what caused it.
//!
//! Not here: writing it.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck_contracts::{
    Event, EventId,
    headers::{self, Place, Seq},
};
use tapedeck_log::{Headers, Record};

use crate::{Delivery, Failure};

/// An event on its way to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Where to.
    pub topic: Arc<str>,
    /// Its id; equal to that of the body, where the body has one.
    pub id: EventId,
    /// The event.
    pub event: Event,
    /// Where its cause lies.
    pub cause: Option<Place>,
    /// The market event at the root of the chain, and its number.
    pub root: Option<(Place, Option<Seq>)>,
    /// The sequencer's number, where this is a market event.
    pub seq: Option<Seq>,
    /// What belongs together across topics.
    pub correlation_id: Option<String>,
}

impl Outbound {
    /// An event that another one caused; `id` is derived from the cause's.
    pub fn caused_by(cause: &Delivery, topic: impl Into<Arc<str>>, id: EventId, event: Event) -> Self {
        let own_root = || Some((cause.place(), cause.meta.seq.clone()));
        let root = match (&cause.event, &cause.meta.root) {
            (Event::MarketData(_), _) => own_root(),
            (_, Some(root)) => Some((root.clone(), cause.meta.root_seq.clone())),
            _ => None,
        };
        Self {
            topic: topic.into(),
            id,
            event,
            cause: Some(cause.place()),
            root,
            seq: None,
            correlation_id: cause.meta.correlation_id.clone(),
        }
    }

    /// An event that begins a chain.
    pub fn first(topic: impl Into<Arc<str>>, id: EventId, event: Event) -> Self {
        Self { topic: topic.into(), id, event, cause: None, root: None, seq: None, correlation_id: None }
    }

    /// The record, as `role` writes it.
    ///
    /// # Errors
    /// [`Failure::Fatal`] for a body that JSON cannot carry, which the cores
    /// never make.
    pub fn into_record(self, role: &str) -> Result<Record, Failure> {
        let value = self.event.to_json().map_err(|error| Failure::Fatal(format!("an event of {role}: {error}")))?;
        let kind = self.event.kind().name();
        let mut pairs: Vec<(&str, String)> = vec![
            (headers::CE_SPECVERSION, "1.0".into()),
            (headers::CE_ID, self.id.0),
            (headers::CE_SOURCE, format!("tapedeck/{role}")),
            (headers::CE_TYPE, kind.into()),
            (headers::CE_TIME, self.event.event_time().to_string()),
            (headers::CE_DATASCHEMA, format!("tapedeck:{kind}/1.0")),
        ];
        let mut put = |name, value: Option<String>| pairs.extend(value.map(|value| (name, value)));
        put(headers::CORRELATION_ID, self.correlation_id);
        put(headers::CAUSE, self.cause.map(|place| place.to_string()));
        put(headers::SEQ, self.seq.map(|seq| seq.to_string()));
        if let Some((place, seq)) = self.root {
            put(headers::ROOT, Some(place.to_string()));
            put(headers::ROOT_SEQ, seq.map(|seq| seq.to_string()));
        }
        Ok(Record {
            topic: self.topic,
            partition: None,
            key: Some(Bytes::copy_from_slice(self.event.key().as_bytes())),
            value: Some(Bytes::from(value)),
            headers: Headers::build(pairs.iter().map(|(name, value)| (*name, value.as_bytes()))),
            timestamp_ms: None,
        })
    }
}
