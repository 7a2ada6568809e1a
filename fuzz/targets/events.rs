//! Every event of the contract: the first byte chooses it, the rest is its
//! body. What decodes must encode, and decode again to the same.
//!
//! Not here: headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::{Event, EventKind};
use tapedeck_fuzz::{fixtures, seed};

fuzz_target!(
    init: {
        seed(EventKind::ALL.iter().zip(0_u8..).flat_map(|(kind, nth)| {
            fixtures(kind.name()).into_iter().map(move |body| [&[nth], body.as_slice()].concat())
        }));
    },
    |input: &[u8]| {
        let Some((nth, body)) = input.split_first() else { return };
        let kind = EventKind::ALL[usize::from(*nth) % EventKind::ALL.len()];
        let event = match Event::decode(kind, body) {
            Ok(event) => event,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        let (_, _, _) = (event.key(), event.event_time(), event.event_id());
        let json = event.to_json().expect("what was read can be written");
        let again = Event::decode(kind, &json);
        assert_eq!(again.as_ref(), Ok(&event), "{}", String::from_utf8_lossy(&json));
    }
);
