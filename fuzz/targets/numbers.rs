//! Decimals, times, lengths of bars and names of events, as texts.
//!
//! Not here: the times that files write (`market`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_contracts::{Dec, EventId, EventKind, Timestamp};
use tapedeck_fuzz::seed;
use tapedeck_roles::market::parse_interval;

fuzz_target!(
    init: seed([
        "1234.5", "-0.0000000001", "1e-10", "999999999999999999", "79228162514264337593543950335", "1E+5",
        "2026-11-21T10:00:00.000001Z", "2026-02-28T23:59:60.9999999+05:30", "0001-01-01T00:00:00-23:59",
        "15m", "1d", "fill", "market_data", "6f1c9a1e-52d3-4c07-9d43-7b0e2f85a6c1",
    ]),
    |input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let wide = Dec::parse_wide(text);
        if let Ok(value) = wide {
            assert_eq!(Dec::parse_wide(&value.to_string()), Ok(value));
        }
        if let Ok(value) = Dec::parse(text) {
            assert_eq!(wide, Ok(value), "what the contract takes is wide enough");
            assert_eq!(Dec::parse(&value.to_string()), Ok(value));
        }
        if let Ok(time) = Timestamp::parse(text) {
            assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
            assert_eq!(time.millis(), time.micros().div_euclid(1_000));
        }
        if let Ok(micros) = parse_interval(text) {
            assert!(micros > 0);
        }
        if let Ok(kind) = text.parse::<EventKind>() {
            assert_eq!(kind.name(), text);
        }
        let id = EventId::from(text);
        assert_eq!(id.fingerprint(), id.clone().fingerprint());
    }
);
