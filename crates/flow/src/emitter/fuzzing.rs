//! A door to the readers of frames, rings and spools for `fuzz/`, in builds with
//! `--cfg fuzzing` alone. What is read here was left by a process that is gone.
//!
//! Not here: what a finding is; a panic, a hang, or what was counted and not read.

use std::{fs, io, path::Path, sync::Arc};

use bytes::Bytes;
use tapedeck_log::Record;

use super::{
    frame::{self, Draft, Found, Id},
    ring,
    spool::{Limits, SEGMENT_HEAD, Spool},
    topics::TopicSet,
};
use crate::Boundaries;

/// Topics that the spool is opened with.
fn topics() -> TopicSet {
    TopicSet::new([("t", 1)])
}

/// The frame of a record.
pub fn frame_of(record: &Record, stream: u64, sequence: u64) -> Vec<u8> {
    let mut buffer = Vec::new();
    Draft::of(&mut buffer, record).seal(&mut buffer, Id { stream, sequence });
    buffer
}

/// Makes the checksum of everything right that may be a frame.
pub fn right_checksums(bytes: &mut [u8]) {
    for at in 0..bytes.len() {
        let len = frame::peek(&bytes[at..]).map_or(0, |head| head.len);
        if len >= frame::HEAD && at + len <= bytes.len() {
            let crc = crc32fast::hash(&bytes[at + 4..at + len]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// Reads a frame; a whole one is laid down again and must read the same.
pub fn read_frame(bytes: &[u8]) -> Option<Record> {
    let Found::Frame(head) = frame::read(bytes) else { return None };
    let source = Bytes::copy_from_slice(bytes);
    let record = frame::record(&source, 0, &head, &mut |topic| topic.into())?;
    let again = frame_of(&record, head.id.stream, head.id.sequence);
    let Found::Frame(other) = frame::read(&again) else { panic!("a frame that was just made") };
    let again = frame::record(&Bytes::from(again), 0, &other, &mut |topic| topic.into());
    assert_eq!((again.as_ref(), other.id), (Some(&record), head.id));
    Some(record)
}

/// Reads what a process left in a ring with these positions and these bytes
/// behind its head; how many bytes of frames there were.
///
/// # Errors
/// The file cannot be written or read.
pub fn read_ring(path: &Path, stream: u64, positions: (u64, u64), data: &[u8]) -> io::Result<usize> {
    let mut file = vec![0; 4_096];
    file[..8].copy_from_slice(b"tapering");
    file[8..12].copy_from_slice(&1_u32.to_le_bytes());
    file[16..24].copy_from_slice(&stream.to_le_bytes());
    file[24..32].copy_from_slice(&(data.len() as u64).to_le_bytes());
    let crc = crc32fast::hash(&[&file[..12], &file[16..32]].concat());
    file[12..16].copy_from_slice(&crc.to_le_bytes());
    file[128..136].copy_from_slice(&positions.0.to_le_bytes());
    file[256..264].copy_from_slice(&positions.1.to_le_bytes());
    file.extend_from_slice(data);
    fs::write(path, file)?;
    let remains = ring::remains(path)?.expect("the head is that of a ring, unless it is empty");
    let mut at = 0;
    while let Found::Frame(head) = frame::read(&remains.frames[at..]) {
        assert_eq!(head.id.stream, stream);
        at += head.len;
    }
    assert_eq!(at, remains.frames.len(), "only whole frames are taken out of a ring");
    Ok(at)
}

/// A segment with these bytes behind a right head.
pub fn segment(frames: &[u8]) -> Vec<u8> {
    let mut file = vec![0; SEGMENT_HEAD as usize];
    file[..8].copy_from_slice(b"tapespol");
    file[8..12].copy_from_slice(&1_u32.to_le_bytes());
    file[16..24].copy_from_slice(&topics().fingerprint.to_le_bytes());
    let crc = crc32fast::hash(&[&file[..12], &file[16..]].concat());
    file[12..16].copy_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(frames);
    file
}

/// A file with a position in it.
pub fn position(segment: u64, offset: u64) -> Vec<u8> {
    let mut slot = vec![0; 32];
    slot[8] = 1;
    slot[16..24].copy_from_slice(&segment.to_le_bytes());
    slot[24..].copy_from_slice(&offset.to_le_bytes());
    let crc = crc32fast::hash(&slot[4..]);
    slot[..4].copy_from_slice(&crc.to_le_bytes());
    slot
}

/// Opens the spool of a folder, reads it to its end as a sender does, and opens
/// it again; how many frames were read.
///
/// # Errors
/// A file cannot be read or written.
pub fn drain_spool(home: &Path) -> io::Result<u64> {
    let limits = Limits { max_bytes: 1 << 20, segment_bytes: 512 };
    let open = || Spool::open(home, limits, Arc::new(topics()), Boundaries::default());
    let (mut spool, _) = open()?;
    let (counted, mut read) = (spool.records(), 0);
    let more = frame_of(&empty_record(), 1, 1);
    // Something new may come while the old is read; it lies behind it.
    let written = spool.write(&more, 1).is_ok();
    while !spool.is_read() {
        let (frames, end) = spool.read(3, 400, None)?;
        read += frames.heads.len() as u64;
        spool.acknowledge(end, frames.heads.len() as u64);
    }
    assert_eq!(read, counted + u64::from(written), "what is there is sent, once");
    assert!(spool.is_drained() && spool.records() == 0);
    drop(spool);
    let (spool, _) = open()?;
    assert_eq!(spool.records(), 0, "what was sent is not there again");
    Ok(read)
}

fn empty_record() -> Record {
    Record {
        topic: "t".into(),
        partition: None,
        key: None,
        value: None,
        headers: tapedeck_log::Headers::new(),
        timestamp_ms: None,
    }
}
