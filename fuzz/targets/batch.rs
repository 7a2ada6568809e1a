//! The batches of the embedded log: as they are, and with their checksum made
//! right, as a fault before the checksum was taken would leave them.
//!
//! Not here: the tables that they lie in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapedeck_fuzz::seed;
use tapedeck_log::fuzzing::{batch_samples, read_batch};

fuzz_target!(
    init: seed(batch_samples()),
    |input: &[u8]| {
        let _ = read_batch(input, false);
        let _ = read_batch(input, true);
    }
);
