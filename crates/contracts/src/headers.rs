//! Names of the record headers, and the small texts inside some of them:
//! places in the log (`topic/partition/offset`) and numbers of the sequencer
//! (`source/n`). CloudEvents 1.0, Kafka binding, binary mode.
//!
//! Not here: the header bytes of a record, which the log keeps.

use std::fmt;

/// CloudEvents: the version of that specification, always `1.0`.
pub const CE_SPECVERSION: &str = "ce_specversion";
/// CloudEvents: the event id.
pub const CE_ID: &str = "ce_id";
/// CloudEvents: who wrote it (`tapedeck/<role>`).
pub const CE_SOURCE: &str = "ce_source";
/// CloudEvents: the kind of event.
pub const CE_TYPE: &str = "ce_type";
/// CloudEvents: event time.
pub const CE_TIME: &str = "ce_time";
/// CloudEvents: the JSON Schema of the body, with its version.
pub const CE_DATASCHEMA: &str = "ce_dataschema";
/// What belongs together across topics.
pub const CORRELATION_ID: &str = "correlation-id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Where the event that caused this one lies: `<topic>/<partition>/<offset>`.
pub const CAUSE: &str = "tapedeck-cause";
/// Where the market event lies that the chain began with, same form.
pub const ROOT: &str = "tapedeck-root";
/// The sequencer's number of the event itself: `<source>/<n>`.
pub const SEQ: &str = "tapedeck-seq";
/// The sequencer's number of the market event at the root of the chain.
pub const ROOT_SEQ: &str = "tapedeck-root-seq";
/// A redriven record: `<group>/<n>`.
pub const REDRIVE: &str = "tapedeck-redrive";

/// A place in the log, as `tapedeck-cause` and `tapedeck-root` carry it. It
/// places an event and never names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

impl Place {
    /// Reads `topic/partition/offset`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let offset = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        let topic = parts.next().filter(|topic| !topic.is_empty())?.to_owned();
        Some(Self { topic, partition, offset })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A number of the sequencer: the n-th event of a source, counted from 1
/// without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Seq {
    /// The source that numbered it.
    pub source: String,
    /// Its number.
    pub n: u64,
}

impl Seq {
    /// Reads `source/n`.
    pub fn parse(text: &str) -> Option<Self> {
        let (source, n) = text.rsplit_once('/')?;
        if source.is_empty() {
            return None;
        }
        Some(Self { source: source.to_owned(), n: n.parse().ok()? })
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.n)
    }
}
