//! Up to where the spool is in the log: two slots in a small file, written in
//! turn, so that a torn write leaves the other.
//!
//! Not here: what follows from it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::super::frame::{u32_at, u64_at};

/// A place in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::emitter) struct Position {
    /// The number of the segment.
    pub(super) segment: u64,
    /// The offset in its file.
    pub(super) offset: u64,
}

/// Bytes of a slot: CRC-32, zero, how often it was written, segment, offset.
const SLOT: usize = 32;
/// Slots lie in disk sectors of their own, so that one write tears one at most.
const SECTOR: u64 = 4_096;

/// The file.
pub(super) struct PositionFile {
    file: File,
    writes: u64,
}

impl PositionFile {
    /// Opens the file, and reads the position where one was written.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Position>)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [slot(&file, 0)?, slot(&file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|(writes, _)| *writes);
        let writes = newest.map_or(0, |(writes, _)| writes);
        Ok((Self { file, writes }, newest.map(|(_, position)| position)))
    }

    /// Writes a position. It is not forced to disk: after a power cut a little
    /// is sent twice.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&mut self, position: Position) -> io::Result<()> {
        self.writes += 1;
        let mut bytes = [0; SLOT];
        bytes[8..16].copy_from_slice(&self.writes.to_le_bytes());
        bytes[16..24].copy_from_slice(&position.segment.to_le_bytes());
        bytes[24..].copy_from_slice(&position.offset.to_le_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&bytes, self.writes % 2 * SECTOR)
    }
}

fn slot(file: &File, index: u64) -> io::Result<Option<(u64, Position)>> {
    let mut bytes = [0; SLOT];
    match file.read_exact_at(&mut bytes, index * SECTOR) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let position = Position { segment: u64_at(&bytes, 16), offset: u64_at(&bytes, 24) };
    // No spool comes so far, and numbers behind it must not wrap.
    let plausible = position.segment.max(u64_at(&bytes, 8)) <= u64::MAX / 2;
    let whole = plausible && crc32fast::hash(&bytes[4..]) == u32_at(&bytes, 0);
    Ok(whole.then(|| (u64_at(&bytes, 8), position)))
}
