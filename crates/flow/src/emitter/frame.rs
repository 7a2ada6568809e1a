//! A record as ring and spool hold it: one encoding for both, with a checksum
//! over all of it.
//!
//! ```text
//! 0  u32  CRC-32 of all that follows
//! 4  u32  length of the frame, a multiple of 8
//! 8  u64  stream: which producer of which start
//! 16 u64  number of the record in its stream: 1, 2, 3…
//! 24 i64  timestamp in ms, where the record brings one
//! 32 u32  partition, where the record names one
//! 36 u32  length of the key
//! 40 u32  length of the headers
//! 44 u32  length of the value
//! 48 u16  length of the topic
//! 50 u8   1 partition, 2 key, 4 value, 8 timestamp are there
//! 51 u8   zero
//! 52 u32  the mark of a frame, by which one is found again behind damage
//! 56      topic, key, headers, value, zeros up to the length
//! ```
//! All little endian.
//!
//! Not here: files and memory.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck_log::{Headers, Record};

/// Bytes of a frame before its topic.
pub(super) const HEAD: usize = 56;
/// Frames begin and end at multiples of this, so that a marker always fits
/// between the last frame and the end of a ring.
pub(super) const ALIGN: usize = 8;
/// The mark of a frame.
pub(super) const MARK: u32 = 0x3146_4454;
/// Where the mark lies in a frame.
pub(super) const MARK_AT: usize = 52;

const PARTITION: u8 = 1;
const KEY: u8 = 2;
const VALUE: u8 = 4;
const TIMESTAMP: u8 = 8;

/// Which record of which stream a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) stream: u64,
    pub(super) sequence: u64,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: Id,
    /// Bytes of the whole frame.
    pub(super) len: usize,
    timestamp_ms: i64,
    partition: u32,
    key: usize,
    headers: usize,
    value: usize,
    topic: usize,
    flags: u8,
}

/// What lies at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame.
    Frame(Head),
    /// Nothing: the bytes end here.
    End,
    /// A frame that was not finished, or bytes that changed since.
    Damaged,
}

/// What lies at the beginning of these bytes.
pub(super) fn read(bytes: &[u8]) -> Found {
    if bytes.is_empty() {
        return Found::End;
    }
    let Some(head) = peek(bytes) else { return Found::Damaged };
    let Some(frame) = bytes.get(..head.len) else { return Found::Damaged };
    let whole = crc32fast::hash(&frame[4..]) == u32_at(frame, 0);
    let topic = &frame[HEAD..HEAD + head.topic];
    if whole && std::str::from_utf8(topic).is_ok() { Found::Frame(head) } else { Found::Damaged }
}

/// The head of what may be a frame, where it agrees with itself; the frame may
/// still be damaged, or longer than these bytes.
pub(super) fn peek(bytes: &[u8]) -> Option<Head> {
    let head = bytes.get(..HEAD)?;
    if u32_at(head, MARK_AT) != MARK || head[51] != 0 {
        return None;
    }
    let length = |at| u32_at(head, at) as usize;
    let head = Head {
        id: Id { stream: u64_at(head, 8), sequence: u64_at(head, 16) },
        len: length(4),
        timestamp_ms: u64_at(head, 24).cast_signed(),
        partition: u32_at(head, 32),
        key: length(36),
        headers: length(40),
        value: length(44),
        topic: usize::from(u16::from_le_bytes([head[48], head[49]])),
        flags: head[50],
    };
    let content = HEAD as u64 + (head.topic + head.key) as u64 + (head.headers + head.value) as u64;
    (content.next_multiple_of(ALIGN as u64) == head.len as u64).then_some(head)
}

/// The record of a whole frame that begins at `at`; its parts share `source`.
/// None where the headers are not what a log writes.
pub(super) fn record(
    source: &Bytes,
    at: usize,
    head: &Head,
    topic_of: &mut dyn FnMut(&str) -> Arc<str>,
) -> Option<Record> {
    let has = |flag| head.flags & flag != 0;
    let topic_end = at + HEAD + head.topic;
    let key_end = topic_end + head.key;
    let headers_end = key_end + head.headers;
    Some(Record {
        topic: topic_of(std::str::from_utf8(&source[at + HEAD..topic_end]).ok()?),
        partition: has(PARTITION).then_some(head.partition),
        key: has(KEY).then(|| source.slice(topic_end..key_end)),
        value: has(VALUE).then(|| source.slice(headers_end..headers_end + head.value)),
        headers: Headers::from_bytes(source.slice(key_end..headers_end))?,
        timestamp_ms: has(TIMESTAMP).then_some(head.timestamp_ms),
    })
}

/// A frame in the making: topic and key first, then headers, then value.
pub(super) struct Draft {
    partition: Option<u32>,
    timestamp_ms: Option<i64>,
    topic: usize,
    key: Option<usize>,
    headers: usize,
    value: Option<usize>,
}

impl Draft {
    /// Begins a frame in a buffer, from its beginning.
    pub(super) fn begin(buffer: &mut Vec<u8>, topic: &str, key: Option<&[u8]>) -> Self {
        buffer.clear();
        buffer.resize(HEAD, 0);
        buffer.extend_from_slice(topic.as_bytes());
        buffer.extend_from_slice(key.unwrap_or_default());
        let key = key.map(<[u8]>::len);
        Self { partition: None, timestamp_ms: None, topic: topic.len(), key, headers: 0, value: None }
    }

    /// Everything of a record.
    pub(super) fn of(buffer: &mut Vec<u8>, record: &Record) -> Self {
        let mut draft = Self::begin(buffer, &record.topic, record.key.as_deref());
        draft.partition = record.partition;
        draft.timestamp_ms = record.timestamp_ms;
        buffer.extend_from_slice(record.headers.as_bytes());
        draft.headers_end(buffer);
        if let Some(value) = &record.value {
            buffer.extend_from_slice(value);
            draft.value_end(buffer);
        }
        draft
    }

    /// All that was written behind the key is headers.
    pub(super) fn headers_end(&mut self, buffer: &[u8]) {
        self.headers = buffer.len() - HEAD - self.topic - self.key.unwrap_or(0);
    }

    /// All that was written behind the headers is the value.
    pub(super) fn value_end(&mut self, buffer: &[u8]) {
        self.value = Some(buffer.len() - HEAD - self.topic - self.key.unwrap_or(0) - self.headers);
    }

    /// Bytes of key, headers and value, which a log's limit is about.
    pub(super) fn content(&self) -> usize {
        self.key.unwrap_or(0) + self.headers + self.value.unwrap_or(0)
    }

    /// Fills in the head. The parts must be shorter than 4 GiB together, and the
    /// topic than 64 KiB.
    pub(super) fn seal(&self, buffer: &mut Vec<u8>, id: Id) {
        let len = buffer.len().next_multiple_of(ALIGN);
        buffer.resize(len, 0);
        let flag = |there: bool, flag: u8| if there { flag } else { 0 };
        let flags = flag(self.partition.is_some(), PARTITION)
            | flag(self.key.is_some(), KEY)
            | flag(self.value.is_some(), VALUE)
            | flag(self.timestamp_ms.is_some(), TIMESTAMP);
        let length = |len: usize| u32::try_from(len).expect("a frame is shorter than 4 GiB").to_le_bytes();
        let topic = u16::try_from(self.topic).expect("a topic is shorter than 64 KiB");
        buffer[4..8].copy_from_slice(&length(len));
        buffer[8..16].copy_from_slice(&id.stream.to_le_bytes());
        buffer[16..24].copy_from_slice(&id.sequence.to_le_bytes());
        buffer[24..32].copy_from_slice(&self.timestamp_ms.unwrap_or(0).to_le_bytes());
        buffer[32..36].copy_from_slice(&self.partition.unwrap_or(0).to_le_bytes());
        buffer[36..40].copy_from_slice(&length(self.key.unwrap_or(0)));
        buffer[40..44].copy_from_slice(&length(self.headers));
        buffer[44..48].copy_from_slice(&length(self.value.unwrap_or(0)));
        buffer[48..50].copy_from_slice(&topic.to_le_bytes());
        buffer[50] = flags;
        buffer[51] = 0;
        buffer[MARK_AT..HEAD].copy_from_slice(&MARK.to_le_bytes());
        let crc = crc32fast::hash(&buffer[4..]);
        buffer[..4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A number in bytes that are known to hold it.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

/// A number in bytes that are known to hold it.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frame of a record.
    pub(in crate::emitter) fn frame_of(record: &Record, id: Id) -> Vec<u8> {
        let mut buffer = Vec::new();
        Draft::of(&mut buffer, record).seal(&mut buffer, id);
        buffer
    }

    /// The record of a whole frame.
    pub(in crate::emitter) fn record_of(frame: &[u8]) -> Option<(Id, Record)> {
        let Found::Frame(head) = read(frame) else { return None };
        let bytes = Bytes::copy_from_slice(frame);
        Some((head.id, record(&bytes, 0, &head, &mut |topic| topic.into())?))
    }

    /// Any record.
    pub(in crate::emitter) fn records() -> impl Strategy<Value = Record> {
        let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        let headers = prop::collection::vec(("[a-zé-]{0,9}", prop::collection::vec(any::<u8>(), 0..20)), 0..4);
        ("[a-z.é]{0,12}", prop::option::of(any::<u32>()), bytes(), bytes(), headers, prop::option::of(any::<i64>()))
            .prop_map(|(topic, partition, key, value, headers, timestamp_ms)| Record {
                topic: topic.into(),
                partition,
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
                headers: Headers::build(headers.iter().map(|(name, value)| (name.as_str(), value))),
                timestamp_ms,
            })
    }

    fn ids() -> impl Strategy<Value = Id> {
        (any::<u64>(), any::<u64>()).prop_map(|(stream, sequence)| Id { stream, sequence })
    }

    proptest! {
        #[test]
        fn any_record_comes_back_as_it_was(record in records(), id in ids()) {
            let frame = frame_of(&record, id);
            prop_assert_eq!(frame.len() % ALIGN, 0);
            prop_assert_eq!(record_of(&frame), Some((id, record)));
        }

        #[test]
        fn what_follows_a_frame_does_not_matter(record in records(), id in ids(), rest in any::<[u8; 9]>()) {
            let mut bytes = frame_of(&record, id);
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(record_of(&bytes), Some((id, record)));
        }

        #[test]
        fn a_changed_byte_is_noticed(record in records(), id in ids(), at in any::<prop::sample::Index>(), change in 1_u8..) {
            let mut frame = frame_of(&record, id);
            let at = at.index(frame.len());
            frame[at] ^= change;
            prop_assert_eq!(read(&frame), Found::Damaged);
        }

        #[test]
        fn a_cut_is_noticed(record in records(), id in ids(), cut in any::<prop::sample::Index>()) {
            let frame = frame_of(&record, id);
            let cut = cut.index(frame.len());
            prop_assert_eq!(read(&frame[..cut]), if cut == 0 { Found::End } else { Found::Damaged });
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(read(&bytes), Found::Frame(_)), "chance wrote a checksum");
        }
    }
}
