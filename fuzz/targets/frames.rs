//! The frames of the emitter, and the rings that a dead process left: as they
//! are, and with their checksums made right.
//!
//! Not here: files on disk (`spool`).
#![no_main]

use std::path::PathBuf;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapedeck_flow::emitter::fuzzing::{frame_of, read_frame, read_ring, right_checksums};
use tapedeck_fuzz::{Input, seed};
use tapedeck_log::{Headers, Record};

fuzz_target!(
    init: {
        let lap = [frame(1), frame(2), frame(3)].concat();
        let around = [frame(7), vec![0xff; 8], vec![0; 40]].concat();
        seed([sample(0, 0, &lap), sample(lap.len() as u64, 0, &lap), sample(500, 144, &around), sample(9, u64::MAX, &lap)]);
    },
    |input: &[u8]| {
        let mut input = Input(input);
        let right = input.byte() & 1 == 1;
        let (stream, published, released) = (u64::from(input.byte()), input.number(), input.number());
        let mut bytes = input.0.to_vec();
        if right {
            right_checksums(&mut bytes);
        }
        let _ = read_frame(&bytes);
        if !bytes.is_empty() {
            let path = PathBuf::from(format!("/dev/shm/tapedeck-fuzz-ring-{}", std::process::id()));
            read_ring(&path, stream, (published, released), &bytes).expect("there is room in memory");
        }
    }
);

fn frame(sequence: u64) -> Vec<u8> {
    let record = Record {
        topic: "alerts.v1".into(),
        partition: (sequence == 2).then_some(3),
        key: Some(Bytes::from_static(b"ACC-1")),
        value: (sequence != 3).then(|| Bytes::from_static(b"{\"a\":1}")),
        headers: Headers::build([("ce_id", sequence.to_string())]),
        timestamp_ms: Some(1_700_000_000_000),
    };
    frame_of(&record, 9, sequence)
}

fn sample(published: u64, released: u64, data: &[u8]) -> Vec<u8> {
    [&[1, 9], published.to_le_bytes().as_slice(), &released.to_le_bytes(), data].concat()
}
