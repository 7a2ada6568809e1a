//! The small texts inside headers: whatever a topic, group or source is called,
//! it is read back; what is none is refused.
//!
//! Not here: which record carries which header.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use proptest::prelude::*;
use tapedeck_contracts::headers::{Place, Redrive, Seq};

proptest! {
    #[test]
    fn a_place_is_read_back_whatever_its_topic_is_called(topic in ".{1,20}", partition: u32, offset: u64) {
        let place = Place { topic, partition, offset };
        prop_assert_eq!(Place::parse(&place.to_string()), Some(place));
    }

    #[test]
    fn a_number_of_the_sequencer_is_read_back_whatever_its_source_is_called(source in ".{1,20}", n: u64) {
        let seq = Seq { source, n };
        prop_assert_eq!(Seq::parse(&seq.to_string()), Some(seq));
    }

    #[test]
    fn a_redrive_is_read_back_whatever_its_group_is_called(group in ".{1,20}", n in 1..=u32::MAX) {
        let redrive = Redrive { group, n };
        prop_assert_eq!(Redrive::parse(&redrive.to_string()), Some(redrive));
    }

    #[test]
    fn what_is_read_is_written_as_something_that_means_the_same(text in "[a/+0-9]{0,12}") {
        if let Some(place) = Place::parse(&text) {
            prop_assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        if let Some(seq) = Seq::parse(&text) {
            prop_assert_eq!(Seq::parse(&seq.to_string()), Some(seq));
        }
    }
}

#[test]
fn a_text_without_its_parts_is_refused() {
    for text in ["", "a", "a/1", "/0/1", "a/-1/2", "a/0/", "a/4294967296/0", "a/0/18446744073709551616"] {
        assert_eq!(Place::parse(text), None, "{text}");
    }
    for text in ["", "a", "/1", "a/", "a/-1", "a/18446744073709551616"] {
        assert_eq!(Seq::parse(text), None, "{text}");
    }
    for text in ["", "g", "/1", "g/0", "g/", "g/4294967296"] {
        assert_eq!(Redrive::parse(text), None, "{text}");
    }
}
