//! The id of a dead letter as a number: a million of them must fit in memory.
//!
//! Not here: how the id is made (`dead_letter`).

use std::{fmt, str::FromStr};

/// The id of a dead letter, which is a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(u128);

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hyphens = [8, 13, 18, 23];
        let formed = text.len() == 36 && text.bytes().enumerate().all(|(at, b)| (b == b'-') == hyphens.contains(&at));
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| formed && !digits.starts_with('+'));
        number.map(Self).ok_or_else(|| {
            format!("`{text}` is no id of a dead letter, which looks like 4a0e8c7e-62a1-5c2b-9f5e-0b1d2c3e4f50")
        })
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            n >> 96,
            (n >> 80) & 0xffff,
            (n >> 64) & 0xffff,
            (n >> 48) & 0xffff,
            n & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tapedeck_contracts::EventId;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_written_as_it_was_read(offset: u64) {
            let id = EventId::from_place("alerts.v1", 3, offset).0;
            prop_assert_eq!(id.parse::<LetterId>().unwrap().to_string(), id);
        }

        #[test]
        fn no_text_makes_reading_an_id_panic(text in ".{0,40}") {
            let _ = text.parse::<LetterId>();
        }
    }

    #[test]
    fn what_is_no_uuid_is_refused_in_words() {
        for bad in
            ["", "17", "alerts.v1.dlq/0/3", "4a0e8c7e62a15c2b9f5e0b1d2c3e4f50", "4a0e8c7e-62a1-5c2b-9f5e-0b1d2c3e4f5g"]
        {
            assert!(bad.parse::<LetterId>().unwrap_err().contains("is no id of a dead letter"), "{bad}");
        }
    }
}
