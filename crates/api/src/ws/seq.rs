//! A place in the log as clients carry it: the offset of the next record in
//! each partition, as one opaque text. Any process of the same log reads it.
//!
//! Not here: reading from there.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// First byte; another form takes another number.
const VERSION: u8 = 1;
/// Partitions at most, so that the text stays below 512 bytes.
const MAX_PARTITIONS: usize = 40;

/// The text of the positions, in partition order.
pub(crate) fn write(next: &[u64]) -> String {
    let mut bytes = Vec::with_capacity(1 + next.len() * 8);
    bytes.push(VERSION);
    bytes.extend(next.iter().flat_map(|offset| offset.to_be_bytes()));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The positions of a text, where it is one for so many partitions.
pub(crate) fn read(text: &str, partitions: usize) -> Option<Vec<u64>> {
    if partitions > MAX_PARTITIONS {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (version, offsets) = bytes.split_first()?;
    let (offsets, rest) = offsets.as_chunks::<8>();
    (*version == VERSION && rest.is_empty() && offsets.len() == partitions)
        .then(|| offsets.iter().map(|offset| u64::from_be_bytes(*offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_leads_back_to_its_positions() {
        let next = vec![0, 1, u64::MAX, 77];
        assert_eq!(read(&write(&next), 4), Some(next));
        assert!(write(&vec![u64::MAX; MAX_PARTITIONS]).len() <= 512);
    }

    #[test]
    fn a_text_that_is_no_seq_is_refused() {
        let good = write(&[1, 2]);
        for bad in ["", "x", "!!", &good[1..], &write(&[1])] {
            assert_eq!(read(bad, 2), None, "{bad}");
        }
    }
}
