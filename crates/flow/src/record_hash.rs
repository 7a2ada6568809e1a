//! A number that stands for a record's content, by which a store knows whether
//! the log still holds what it read there.
//!
//! Not here: anything that must resist an attacker.

use tapedeck_log::LogRecord;

/// 64 bits over key, value and headers: FNV-1a, each part after its length, so
/// that no byte can move from one part to the next unseen. Stores keep this
/// number, so it never changes.
pub fn record_hash(record: &LogRecord) -> u64 {
    let mut hash = Fnv::new();
    hash.part(record.key.as_deref());
    hash.part(record.value.as_deref());
    hash.part(Some(record.headers.as_bytes()));
    hash.0
}

/// FNV-1a with 64 bits; the two numbers are its published parameters.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn part(&mut self, bytes: Option<&[u8]>) {
        // None and empty differ: a tombstone is not an empty value.
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.update(&length.to_le_bytes());
        self.update(bytes.unwrap_or_default());
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tapedeck_log::Headers;

    use super::*;

    fn record(key: &'static str, value: Option<&'static str>) -> LogRecord {
        LogRecord {
            topic: Arc::from("alerts.v1"),
            partition: 0,
            offset: 3,
            timestamp_ms: 0,
            key: Some(Bytes::from_static(key.as_bytes())),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
            headers: Headers::new().with("a", "b"),
        }
    }

    #[test]
    fn fnv_gives_its_published_values() {
        let mut hash = Fnv::new();
        assert_eq!(hash.0, 0xcbf2_9ce4_8422_2325);
        hash.update(b"a");
        assert_eq!(hash.0, 0xaf63_dc4c_8601_ec8c);
        let mut hash = Fnv::new();
        hash.update(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_part_counts_and_the_place_does_not() {
        let one = record("ab", Some("c"));
        assert_ne!(record_hash(&one), record_hash(&record("a", Some("bc"))));
        assert_ne!(record_hash(&record("a", None)), record_hash(&record("a", Some(""))));
        assert_ne!(record_hash(&one), record_hash(&LogRecord { headers: Headers::new(), ..one.clone() }));
        assert_eq!(record_hash(&one), record_hash(&LogRecord { offset: 9, timestamp_ms: 5, ..one.clone() }));
    }
}
