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

/// Dead letters: which sort of failure, as one word.
pub const DLQ_ERROR_CLASS: &str = "tapedeck-error-class";
/// Dead letters: the failure in words.
pub const DLQ_ERROR: &str = "tapedeck-error";
/// Dead letters: where in the body, as a JSON path; absent where it is not the body.
pub const DLQ_ERROR_PATH: &str = "tapedeck-error-path";
/// Dead letters: the dead letter's id, the same however often it is written.
pub const DLQ_ID: &str = "tapedeck-dlq-id";
/// Dead letters: the topic that the record lies in.
pub const DLQ_TOPIC: &str = "tapedeck-original-topic";
/// Dead letters: its partition.
pub const DLQ_PARTITION: &str = "tapedeck-original-partition";
/// Dead letters: its offset.
pub const DLQ_OFFSET: &str = "tapedeck-original-offset";
/// Dead letters: when it was written, in ms since the epoch.
pub const DLQ_TIMESTAMP: &str = "tapedeck-original-timestamp";
/// Dead letters: the group that could not handle it.
pub const DLQ_GROUP: &str = "tapedeck-group";
/// Dead letters: the role of that group.
pub const DLQ_ROLE: &str = "tapedeck-role";
/// Dead letters: the version of tapedeck that failed.
pub const DLQ_VERSION: &str = "tapedeck-version";
/// Dead letters: how often it was tried.
pub const DLQ_ATTEMPTS: &str = "tapedeck-attempts";
/// Dead letters: when it failed first, RFC 3339.
pub const DLQ_FIRST_FAILURE: &str = "tapedeck-first-failure";
/// Dead letters: when it failed last, RFC 3339.
pub const DLQ_LAST_FAILURE: &str = "tapedeck-last-failure";
/// Dead letters: what did not fit and is not in them: `<part>/<bytes>/<sha256>`,
/// once for each of `key`, `value` and `headers` that was left out.
pub const DLQ_OMITTED: &str = "tapedeck-omitted";

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

/// Says of a record that it was sent again for one group: `tapedeck-redrive`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Redrive {
    /// The group that takes it; all others skip it.
    pub group: String,
    /// The how-manieth time, from 1.
    pub n: u32,
}

impl Redrive {
    /// Reads `group/n`.
    pub fn parse(text: &str) -> Option<Self> {
        let (group, n) = text.rsplit_once('/')?;
        let n = n.parse().ok().filter(|n| *n > 0)?;
        (!group.is_empty()).then(|| Self { group: group.to_owned(), n })
    }
}

impl fmt::Display for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.n)
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
