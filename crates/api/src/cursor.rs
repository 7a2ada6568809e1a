//! Where the next page begins, as an opaque text: signed with the data folder's
//! key and bound to the filters it was made for.
//!
//! Not here: the filters.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tapedeck_contracts::Timestamp;
use tapedeck_store::PageKey;

use crate::problem::Problem;

/// First byte; another form of cursor takes another number.
const VERSION: u8 = 1;
/// The same, of a cursor of positions.
const VERSION_POSITIONS: u8 = 2;
/// Version, time, partition, offset.
const PLACE_BYTES: usize = 1 + 8 + 4 + 8;
/// Half of SHA-256: nobody guesses 128 bits, and URLs stay short.
const TAG_BYTES: usize = 16;

/// Signs and reads cursors.
#[derive(Clone)]
pub(crate) struct Cursors {
    key: [u8; 32],
}

impl Cursors {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The cursor after a row, for one endpoint and its filters.
    pub(crate) fn write(&self, filters: &str, place: PageKey) -> String {
        let mut bytes = Vec::with_capacity(PLACE_BYTES + TAG_BYTES);
        bytes.push(VERSION);
        bytes.extend(place.timestamp.micros().to_be_bytes());
        bytes.extend(place.partition.to_be_bytes());
        bytes.extend(place.offset.to_be_bytes());
        let tag = self.mac(filters, &bytes).finalize().into_bytes();
        bytes.extend(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The cursor of a list that goes on in several partitions, each by its number
    /// and an offset.
    pub(crate) fn write_positions(&self, filters: &str, positions: &BTreeMap<u32, u64>) -> String {
        let mut bytes = vec![VERSION_POSITIONS];
        for (partition, offset) in positions {
            bytes.extend(partition.to_be_bytes());
            bytes.extend(offset.to_be_bytes());
        }
        let tag = self.mac(filters, &bytes).finalize().into_bytes();
        bytes.extend(&tag[..TAG_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The positions of such a cursor.
    pub(crate) fn read_positions(&self, filters: &str, text: &str) -> Result<BTreeMap<u32, u64>, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let at = bytes.len().checked_sub(TAG_BYTES).ok_or_else(wrong)?;
        let (positions, tag) = bytes.split_at(at);
        self.mac(filters, positions).verify_truncated_left(tag).map_err(|_| wrong())?;
        let Some((&VERSION_POSITIONS, positions)) = positions.split_first() else { return Err(wrong()) };
        let position = |bytes: &[u8]| {
            let (partition, offset) = bytes.split_first_chunk::<4>()?;
            Some((u32::from_be_bytes(*partition), u64::from_be_bytes(offset.try_into().ok()?)))
        };
        positions.chunks(12).map(position).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// The row that a cursor lies after.
    pub(crate) fn read(&self, filters: &str, text: &str) -> Result<PageKey, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let (place, tag) = bytes.split_at_checked(PLACE_BYTES).ok_or_else(wrong)?;
        if place[0] != VERSION || tag.len() != TAG_BYTES {
            return Err(wrong());
        }
        self.mac(filters, place).verify_truncated_left(tag).map_err(|_| wrong())?;
        let (time, rest) = place[1..].split_first_chunk::<8>().expect("checked length");
        let (partition, rest) = rest.split_first_chunk::<4>().expect("checked length");
        let (offset, _) = rest.split_first_chunk::<8>().expect("checked length");
        Ok(PageKey {
            timestamp: Timestamp::from_micros(i64::from_be_bytes(*time)),
            partition: u32::from_be_bytes(*partition),
            offset: u64::from_be_bytes(*offset),
        })
    }

    fn mac(&self, filters: &str, place: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(place);
        mac.update(filters.as_bytes());
        mac
    }
}

fn wrong() -> Problem {
    Problem::bad("cursor", "not a cursor of these filters; begin again without one, or keep the filters as they were")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: PageKey =
        PageKey { timestamp: Timestamp::from_micros(1_761_057_000_123_456), partition: 3, offset: 77 };

    #[test]
    fn a_cursor_leads_back_to_its_row() {
        let cursors = Cursors::new([7; 32]);
        let text = cursors.write("fills?account=A", PLACE);
        assert_eq!(cursors.read("fills?account=A", &text).unwrap(), PLACE);
    }

    #[test]
    fn a_cursor_of_positions_leads_back_to_them_and_no_other_is_taken() {
        let cursors = Cursors::new([7; 32]);
        for positions in [BTreeMap::new(), BTreeMap::from([(0, 7), (91, u64::MAX)])] {
            let text = cursors.write_positions("dlq", &positions);
            assert_eq!(cursors.read_positions("dlq", &text).unwrap(), positions);
            assert!(cursors.read_positions("dlq?topic=t", &text).is_err() && cursors.read("dlq", &text).is_err());
        }
        assert!(cursors.read_positions("f", &cursors.write("f", PLACE)).is_err());
        assert!(cursors.read_positions("f", "").is_err());
    }

    #[test]
    fn a_cursor_of_other_filters_or_another_key_is_refused() {
        let text = Cursors::new([7; 32]).write("fills?account=A", PLACE);
        assert!(Cursors::new([7; 32]).read("fills?account=B", &text).is_err());
        assert!(Cursors::new([8; 32]).read("fills?account=A", &text).is_err());
    }

    #[test]
    fn a_cursor_with_any_byte_changed_is_refused() {
        let cursors = Cursors::new([7; 32]);
        let good = URL_SAFE_NO_PAD.decode(cursors.write("f", PLACE)).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(cursors.read("f", &URL_SAFE_NO_PAD.encode(bytes)).is_err(), "byte {at}");
        }
        assert!(cursors.read("f", "").is_err());
        assert!(cursors.read("f", "!!").is_err());
    }

    proptest! {
        #[test]
        fn a_cursor_leads_to_its_row_under_its_filters_and_key_alone(
            micros: i64, partition: u32, offset: u64, key: [u8; 32], filters in ".{0,40}", others in ".{0,40}", flip in 0..256_usize,
        ) {
            let place = PageKey { timestamp: Timestamp::from_micros(micros), partition, offset };
            let cursors = Cursors::new(key);
            let text = cursors.write(&filters, place);
            prop_assert_eq!(cursors.read(&filters, &text).ok(), Some(place));
            if others != filters {
                prop_assert!(cursors.read(&others, &text).is_err());
            }
            let mut other = key;
            other[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(Cursors::new(other).read(&filters, &text).is_err());
        }

        #[test]
        fn no_text_but_a_written_one_is_a_cursor(text in "[A-Za-z0-9_-]{0,60}") {
            prop_assert!(Cursors::new([7; 32]).read("f", &text).is_err());
        }
    }
}
