//! A file of the spool: a head that says what it is, and frames behind it.
//!
//! ```text
//! 0  u64  the mark of a segment
//! 8  u32  version of this layout and of the frames
//! 12 u32  CRC-32 of the other 28 bytes
//! 16 u64  fingerprint of the topics that were there
//! 24 u64  zero
//! 32      frames
//! ```
//! All little endian.
//!
//! Not here: which segments there are.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::super::frame::{self, Found, Head, MARK, MARK_AT, u32_at, u64_at};

/// Bytes before the first frame.
pub(in crate::emitter) const HEAD: u64 = 32;
const MAGIC: u64 = u64::from_le_bytes(*b"tapespol");
const VERSION: u32 = 1;
/// Bytes that are read at once: large enough that the disk streams, small enough
/// to be there twice.
const WINDOW: usize = 1 << 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment, of topics with this fingerprint.
    Segment(u64),
    /// Its head was not finished; there is nothing behind it.
    Unfinished,
    /// No segment, or of a version that this program does not read.
    OtherVersion,
}

/// Makes a segment; it must not be there.
///
/// # Errors
/// The disk is full, or the file cannot be made.
pub(in crate::emitter) fn create(path: &Path, fingerprint: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let mut head = [0; HEAD as usize];
    head[..8].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&fingerprint.to_le_bytes());
    let crc = head_crc(&head);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    let made = file.write_all_at(&head, 0).and_then(|()| File::open(path.parent().unwrap_or(path))?.sync_all());
    if made.is_err() {
        // What cannot be removed is found unfinished, and removed, by the next start.
        let _ = std::fs::remove_file(path);
    }
    made.map(|()| file)
}

/// What a file is.
///
/// # Errors
/// It cannot be read.
pub(super) fn kind(file: &File) -> io::Result<Kind> {
    let len = file.metadata()?.len();
    let mut head = [0; HEAD as usize];
    if len >= HEAD {
        file.read_exact_at(&mut head, 0)?;
    }
    let whole = u64_at(&head, 0) == MAGIC && u32_at(&head, 12) == head_crc(&head);
    Ok(match whole {
        false if len <= HEAD => Kind::Unfinished,
        true if u32_at(&head, 8) == VERSION => Kind::Segment(u64_at(&head, 16)),
        _ => Kind::OtherVersion,
    })
}

fn head_crc(head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..12]);
    crc.update(&head[16..]);
    crc.finalize()
}

/// What lies next in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole frame, here.
    Frame(u64, Head),
    /// Bytes that are no frame, from here to there; there is the next frame, or
    /// the end.
    Damage(u64, u64),
}

/// The frames of a segment, one after the other.
pub(super) struct Frames<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Frames<'a> {
    /// From an offset to an end.
    pub(super) fn new(file: &'a File, at: u64, end: u64) -> Self {
        Self { file, at, end, window: Vec::new(), window_at: at }
    }

    /// The next frame or damage; none at the end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Piece>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let begin = self.at;
        if let Some(head) = self.frame_at(begin)? {
            self.at += head.len as u64;
            return Ok(Some(Piece::Frame(begin, head)));
        }
        let mut next = begin + 1;
        loop {
            match self.mark_from(next)? {
                None => next = self.end,
                Some(place) if self.frame_at(place)?.is_none() => {
                    next = place + 1;
                    continue;
                }
                Some(place) => next = place,
            }
            self.at = next;
            return Ok(Some(Piece::Damage(begin, next)));
        }
    }

    /// The bytes of a frame that [`Frames::next`] just gave.
    pub(super) fn bytes(&self, at: u64, head: &Head) -> &[u8] {
        let from = (at - self.window_at) as usize;
        &self.window[from..from + head.len]
    }

    fn frame_at(&mut self, at: u64) -> io::Result<Option<Head>> {
        let Some(head) = frame::peek(self.load(at, frame::HEAD)?) else { return Ok(None) };
        if head.len as u64 > self.end - at {
            return Ok(None);
        }
        Ok(match frame::read(self.load(at, head.len)?) {
            Found::Frame(head) => Some(head),
            _ => None,
        })
    }

    /// The first place from which a mark lies where a frame has it.
    fn mark_from(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mark = MARK.to_le_bytes();
        let mut at = from + MARK_AT as u64;
        while at + mark.len() as u64 <= self.end {
            let bytes = self.load(at, WINDOW)?;
            if let Some(place) = bytes.windows(mark.len()).position(|four| four == mark) {
                return Ok(Some(at + place as u64 - MARK_AT as u64));
            }
            at += (bytes.len() - mark.len() + 1) as u64;
        }
        Ok(None)
    }

    /// Bytes from an offset on: so many, or fewer before the end.
    fn load(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let left = self.end.saturating_sub(at);
        let len = left.min(len as u64) as usize;
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.window.resize(left.min(WINDOW.max(len) as u64) as usize, 0);
            self.window_at = at;
            // Nothing of the window counts unless all of it was read.
            if let Err(error) = self.file.read_exact_at(&mut self.window, at) {
                self.window.clear();
                return Err(error);
            }
        }
        let from = (at - self.window_at) as usize;
        Ok(&self.window[from..from + len])
    }
}
