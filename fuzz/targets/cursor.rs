//! The cursors of the API: any text is refused or leads to one row, and what
//! was written leads back to where it came from, under its own filters only.
//!
//! Not here: the queries that they belong to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_api::fuzzing::{read_cursor, write_cursor};
use tapedeck_fuzz::{Input, parts, seed};

const KEY: [u8; 32] = [7; 32];

fuzz_target!(
    init: {
        let good = write_cursor(KEY, "fills?account=A", (1_761_057_000_123_456, 3, 77));
        seed([parts(["fills?account=A", &good]), parts(["fills?account=B", &good]), parts(["", ""])]);
    },
    |input: &[u8]| {
        let mut input = Input(input);
        let (filters, text) = (input.text(), input.text());
        if let Some(place) = read_cursor(KEY, &filters, &text) {
            assert_eq!(read_cursor(KEY, &filters, &write_cursor(KEY, &filters, place)), Some(place));
        }
        let place = (input.number() as i64, input.number() as u32, input.number());
        let written = write_cursor(KEY, &filters, place);
        assert_eq!(read_cursor(KEY, &filters, &written), Some(place));
        if filters != text {
            assert_eq!(read_cursor(KEY, &text, &written), None, "a cursor of other filters");
        }
    }
);
