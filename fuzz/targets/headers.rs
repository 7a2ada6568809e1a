//! The headers of a record as they lie in the log, and the small texts inside
//! them: places, numbers of the sequencer, marks of a redrive.
//!
//! Not here: what the headers of a dead letter must hold (`letters`).
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::headers::{Place, Redrive, Seq};
use tapedeck_fuzz::seed;
use tapedeck_log::Headers;

fuzz_target!(
    init: {
        let whole = Headers::build([("ce_id", "7"), ("tapedeck-cause", "market.v1/3/41"), ("tapedeck-seq", "btc/9")]);
        seed([whole.as_bytes().to_vec(), b"tapedeck.recorder/2".to_vec(), b"a/b/3/18446744073709551615".to_vec()]);
    },
    |input: &[u8]| {
        if let Some(headers) = Headers::from_bytes(Bytes::copy_from_slice(input)) {
            let pairs: Vec<(&str, &[u8])> = headers.iter().collect();
            assert_eq!(headers.pairs().count(), pairs.len(), "checked headers have names of text");
            assert_eq!(Headers::build(pairs.iter().copied()), headers);
            for (name, _) in &pairs {
                let last = pairs.iter().rev().find(|(other, _)| other == name).map(|(_, value)| *value);
                assert_eq!(headers.get(name), last);
                assert_eq!(headers.text(name), last.and_then(|value| std::str::from_utf8(value).ok()));
            }
            let more = headers.with("one more", input);
            assert_eq!(more.get("one more"), Some(input));
            assert_eq!(more.iter().count(), pairs.len() + 1);
        }
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Some(place) = Place::parse(text) {
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        if let Some(seq) = Seq::parse(text) {
            assert_eq!(Seq::parse(&seq.to_string()), Some(seq));
        }
        if let Some(redrive) = Redrive::parse(text) {
            assert_eq!(Redrive::parse(&redrive.to_string()), Some(redrive));
        }
    }
);
