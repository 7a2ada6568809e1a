//! The spool that a dead process left: any bytes in its segments and any
//! position are opened, all whole frames are read once, and nothing hangs.
//!
//! Not here: frames for themselves, and rings (`frames`).
#![no_main]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapedeck_flow::emitter::fuzzing::{drain_spool, frame_of, position, right_checksums, segment};
use tapedeck_fuzz::{Input, parts, seed};
use tapedeck_log::{Headers, Record};

/// Segments of an input at most.
const SEGMENTS: usize = 4;

fuzz_target!(
    init: {
        let (one, two) = (frames(1..4), frames(4..9));
        let torn = &two[..two.len() - 9];
        seed([
            sample(0, 1, 32, &[one.clone(), two.clone()]),
            sample(1, 1, 32 + one.len() as u64 / 3, &[one.clone(), torn.to_vec()]),
            sample(2, 2, 40, &[one.clone(), [&one[..50], &two].concat()]),
            sample(3, u64::MAX, 0, &[one, Vec::new()]),
        ]);
    },
    |input: &[u8]| {
        let mut input = Input(input);
        let flags = input.byte();
        let home = PathBuf::from(format!("/dev/shm/tapedeck-fuzz-spool-{}", std::process::id()));
        let spool = home.join("spool");
        fs::create_dir_all(&spool).expect("there is room in memory");
        let place = position(input.number(), input.number());
        if flags & 1 == 0 {
            put(&spool.join("position"), &place);
        }
        for number in 1..=SEGMENTS {
            let mut bytes = input.part().to_vec();
            if flags & 2 == 0 {
                right_checksums(&mut bytes);
            }
            let headless = flags & 4 != 0 && number == 2;
            put(&spool.join(format!("{number:08}.seg")), &if headless { bytes } else { segment(&bytes) });
            if input.0.is_empty() {
                break;
            }
        }
        let read = drain_spool(&home);
        assert!(read.is_ok(), "{read:?}");
        fs::remove_dir_all(&home).expect("it was just written");
    }
);

fn put(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("there is room in memory");
}

fn frames(sequences: std::ops::Range<u64>) -> Vec<u8> {
    let record = |sequence: u64| Record {
        topic: "alerts.v1".into(),
        partition: None,
        key: None,
        value: Some(Bytes::from(vec![b'v'; sequence as usize])),
        headers: Headers::build([("ce_id", sequence.to_string())]),
        timestamp_ms: None,
    };
    sequences.flat_map(|sequence| frame_of(&record(sequence), 9, sequence)).collect()
}

fn sample(flags: u8, segment: u64, offset: u64, segments: &[Vec<u8>]) -> Vec<u8> {
    [&[flags], segment.to_le_bytes().as_slice(), &offset.to_le_bytes(), &parts(segments)].concat()
}
