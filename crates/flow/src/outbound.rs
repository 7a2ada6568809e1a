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
use tapedeck_log::{HeadersBuilder, Record};

use crate::{Delivery, Failure};

/// Room for the headers of nearly every event, so that they are written in one go.
const HEADERS_BYTES: usize = 512;

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
            correlation_id: cause.correlation_id().map(str::to_owned),
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
        let headers = self.headers(role, HeadersBuilder::with_capacity(HEADERS_BYTES));
        Ok(Record {
            topic: self.topic,
            partition: None,
            key: Some(Bytes::copy_from_slice(self.event.key().as_bytes())),
            value: Some(Bytes::from(value)),
            headers: headers.finish(),
            timestamp_ms: None,
        })
    }

    /// Its headers, as `role` writes them, behind those that are there.
    pub(crate) fn headers(&self, role: &str, mut built: HeadersBuilder) -> HeadersBuilder {
        let kind = self.event.kind().name();
        built.push(headers::CE_SPECVERSION, &["1.0"]);
        built.push(headers::CE_ID, &[self.id.as_str()]);
        built.push(headers::CE_SOURCE, &["tapedeck/", role]);
        built.push(headers::CE_TYPE, &[kind]);
        built.show(headers::CE_TIME, self.event.event_time());
        built.push(headers::CE_DATASCHEMA, &["tapedeck:", kind, "/1.0"]);
        if let Some(correlation_id) = &self.correlation_id {
            built.push(headers::CORRELATION_ID, &[correlation_id]);
        }
        if let Some(place) = &self.cause {
            built.show(headers::CAUSE, place);
        }
        if let Some(seq) = &self.seq {
            built.show(headers::SEQ, seq);
        }
        if let Some((place, seq)) = &self.root {
            built.show(headers::ROOT, place);
            if let Some(seq) = seq {
                built.show(headers::ROOT_SEQ, seq);
            }
        }
        built
    }
}
