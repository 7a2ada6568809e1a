//! The spool: frames in files, in order, for as long as the log is away.
//!
//! What is written is on disk before anyone relies on it; what the log has
//! acknowledged is deleted a segment at a time, and nothing else ever is: what
//! cannot be sent is set aside in a folder of its own.
//!
//! Not here: when frames come here, and sending them.

mod open;
mod position;
mod segment;
#[cfg(test)]
mod tests;
mod topics_file;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) use self::{
    open::{Opened, free_path},
    position::Position,
    segment::{HEAD as SEGMENT_HEAD, create as create_segment},
};
use self::{
    position::PositionFile,
    segment::{Frames, Piece},
};
use super::{frame::Head, topics::TopicSet};
use crate::{Boundaries, Boundary};

/// How large the spool and its files may grow, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    pub(super) segment_bytes: u64,
}

/// Why frames could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It is as large as it may be.
    #[error("the spool has reached its {0} bytes: bring the log back, or raise `emitter.spool_max_bytes`")]
    Limit(u64),
    /// The disk is full, or fails.
    #[error("the spool cannot be written: {0}")]
    Disk(#[from] io::Error),
}

/// Frames that were read: their bytes, and where each begins.
#[derive(Debug, Default)]
pub(super) struct Frameset {
    pub(super) bytes: Vec<u8>,
    pub(super) heads: Vec<(usize, Head)>,
}

impl Frameset {
    /// One frame more.
    pub(super) fn push(&mut self, frame: &[u8], head: Head) {
        self.heads.push((self.bytes.len(), head));
        self.bytes.extend_from_slice(frame);
    }
}

/// A place to which writing can go back.
pub(super) struct Mark {
    segment: Option<(u64, u64)>,
    records: u64,
}

/// The spool of one emitter.
pub(super) struct Spool {
    dir: PathBuf,
    kept: PathBuf,
    limits: Limits,
    topics: Arc<TopicSet>,
    boundaries: Boundaries,
    /// Segments and their lengths.
    segments: BTreeMap<u64, u64>,
    /// The segment that is written now.
    tail: Option<(u64, File)>,
    /// The segment that was read last.
    reader: Option<(u64, File)>,
    /// All before it is in the log.
    acked: Position,
    /// All before it was read.
    read: Position,
    /// The number of the next segment.
    next: u64,
    records: u64,
    /// A sync failed, or a file was given up before one: what was written since the
    /// last sync may be lost, though a second sync of the same file says it is not.
    is_in_doubt: bool,
    position: PositionFile,
    /// Damaged places that were found and not told of.
    torn: u64,
}

impl Spool {
    /// Whether the log has all of it.
    pub(super) fn is_drained(&self) -> bool {
        self.settle(self.acked) == self.end()
    }

    /// Whether all of it was read.
    pub(super) fn is_read(&self) -> bool {
        self.settle(self.read) == self.end()
    }

    /// Records that the log does not have.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().sum()
    }

    /// Damaged places found since this was asked.
    pub(super) fn take_torn(&mut self) -> u64 {
        std::mem::take(&mut self.torn)
    }

    /// Whether the log has all before a place.
    pub(super) fn has_passed(&self, place: Position) -> bool {
        self.settle(self.acked) >= self.settle(place)
    }

    /// Whether all before a place was read.
    pub(super) fn has_read(&self, place: Position) -> bool {
        self.settle(self.read) >= self.settle(place)
    }

    /// Where what is written next will lie.
    pub(super) fn end(&self) -> Position {
        match self.segments.last_key_value() {
            Some((segment, len)) => Position { segment: *segment, offset: *len },
            None => self.acked,
        }
    }

    /// New segments are of these topics.
    pub(super) fn set_topics(&mut self, topics: Arc<TopicSet>) {
        if self.topics.fingerprint != topics.fingerprint {
            self.tail = None;
        }
        self.topics = topics;
    }

    /// A place to which [`Spool::go_back`] can return.
    pub(super) fn mark(&self) -> Mark {
        let segment = self.segments.last_key_value().map(|(segment, len)| (*segment, *len));
        Mark { segment, records: self.records }
    }

    /// Undoes what was written since a mark, behind which a sync was; none of it
    /// may have been read. After a sync that failed, what is written next lies in
    /// a new segment.
    pub(super) fn go_back(&mut self, mark: &Mark) {
        let (last, len) = mark.segment.unwrap_or((0, 0));
        while let Some((number, _)) = self.segments.last_key_value().filter(|(number, _)| **number > last) {
            let number = *number;
            self.forget(number);
        }
        if self.segments.get(&last).is_some_and(|known| *known > len || self.is_in_doubt) {
            self.cut(last, len);
        }
        self.records = mark.records;
        self.is_in_doubt = false;
    }

    /// Cuts a segment off; where that fails, what lies behind is not read now and
    /// is there twice, with the same ids, for the next start.
    fn cut(&mut self, number: u64, len: u64) {
        self.segments.insert(number, len);
        let cut = match &self.tail {
            Some((tail, file)) if *tail == number => file.set_len(len),
            _ => File::options().write(true).open(self.path(number)).and_then(|file| file.set_len(len)),
        };
        if let Err(error) = cut {
            tracing::warn!(%error, segment = number, "a segment cannot be cut off: a restart may send a little twice");
            self.tail = None;
        }
    }

    /// Writes whole frames, so many, behind the others. They are not on disk
    /// until [`Spool::sync`].
    ///
    /// # Errors
    /// The limit is reached, or the disk is full; nothing of them is written then.
    pub(super) fn write(&mut self, frames: &[u8], records: u64) -> Result<(), Refused> {
        if self.bytes() + frames.len() as u64 > self.limits.max_bytes {
            return Err(Refused::Limit(self.limits.max_bytes));
        }
        self.write_anyway(frames, records)
    }

    /// The same without the limit: for what must leave a ring of a dead process.
    ///
    /// # Errors
    /// The disk is full; nothing of them is written then.
    pub(super) fn write_anyway(&mut self, frames: &[u8], records: u64) -> Result<(), Refused> {
        let number = self.tail_for_writing()?;
        let (_, file) = self.tail.as_ref().expect("there is a segment to write to");
        let len = self.segments[&number];
        if let Err(error) = put(file, frames, len, &self.boundaries) {
            if file.set_len(len).is_err() {
                // What is there of the frames is found damaged; the next go elsewhere.
                self.give_up_tail();
            }
            return Err(error.into());
        }
        self.segments.insert(number, len + frames.len() as u64);
        self.records += records;
        Ok(())
    }

    /// Waits until all that was written is on disk.
    ///
    /// # Errors
    /// The disk fails, or failed since the last time: what was written since may be
    /// lost, and only [`Spool::go_back`] ends that.
    pub(super) fn sync(&mut self) -> Result<(), Refused> {
        if let Some((_, file)) = &self.tail
            && let Err(error) = file.sync_data()
        {
            self.give_up_tail();
            return Err(error.into());
        }
        if self.is_in_doubt {
            return Err(Refused::Disk(io::Error::other("a write or a sync before this one failed")));
        }
        Ok(())
    }

    /// What the tail holds since the last sync nobody knows: the next frames go
    /// elsewhere.
    fn give_up_tail(&mut self) {
        self.tail = None;
        self.is_in_doubt = true;
    }

    /// Reads the next frames, at least one where there is one, and says where
    /// they end. Damage is set aside, counted and passed over.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn read(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        until: Option<Position>,
    ) -> io::Result<(Frameset, Position)> {
        let until = self.settle(until.unwrap_or(self.end()));
        let mut frames = Frameset::default();
        while frames.heads.is_empty() {
            let from = self.settle(self.read);
            if from >= until {
                break;
            }
            let end = if from.segment == until.segment { until.offset } else { self.segments[&from.segment] };
            self.read = self.read_segment(from, end, &mut frames, max_records, max_bytes)?;
        }
        Ok((frames, self.read))
    }

    /// What was written before a place counts as read: the log has been given it.
    pub(super) fn skip_to(&mut self, place: Position) {
        self.read = place;
    }

    /// The log has all before a place, so many frames more.
    pub(super) fn acknowledge(&mut self, place: Position, frames: u64) {
        self.acked = self.settle(place);
        self.records = self.records.saturating_sub(frames);
        let drained = self.is_drained();
        if drained {
            self.records = 0;
            self.acked = Position { segment: self.next, offset: segment::HEAD };
            self.read = self.acked;
        }
        if let Err(error) = self.position.write(self.acked) {
            tracing::warn!(%error, "the spool's position cannot be written: after a kill a little is sent twice");
        }
        while let Some((number, _)) = self.segments.first_key_value().filter(|(n, _)| **n < self.acked.segment) {
            let number = *number;
            self.forget(number);
        }
    }

    /// The place itself, or the beginning of the segment behind where it is the
    /// end of one.
    fn settle(&self, mut place: Position) -> Position {
        while self.segments.get(&place.segment).is_none_or(|len| place.offset >= *len) {
            let Some((next, _)) = self.segments.range(place.segment + 1..).next() else { break };
            place = Position { segment: *next, offset: segment::HEAD };
        }
        place
    }

    fn read_segment(
        &mut self,
        from: Position,
        end: u64,
        to: &mut Frameset,
        max_records: usize,
        max_bytes: usize,
    ) -> io::Result<Position> {
        let file = match self.reader.take().filter(|(number, _)| *number == from.segment) {
            Some((_, file)) => file,
            None => File::open(self.path(from.segment))?,
        };
        let mut frames = Frames::new(&file, from.offset, end);
        let mut offset = from.offset;
        while to.heads.len() < max_records && to.bytes.len() < max_bytes {
            match frames.next()? {
                Some(Piece::Frame(at, head)) => {
                    to.push(frames.bytes(at, &head), head);
                    offset = at + head.len as u64;
                }
                Some(Piece::Damage(begin, after)) => {
                    open::set_aside(&self.kept, &file, from.segment, begin, after)?;
                    self.torn += 1;
                    offset = after;
                }
                None => break,
            }
        }
        self.reader = Some((from.segment, file));
        Ok(Position { segment: from.segment, offset })
    }

    /// The number of a segment that takes more, a new one where the last is full.
    fn tail_for_writing(&mut self) -> Result<u64, Refused> {
        if let Some((number, _)) = &self.tail {
            if self.segments[number] < self.limits.segment_bytes {
                return Ok(*number);
            }
            // A failure is reported once: nobody may ask again and believe it.
            self.sync()?;
        }
        let number = self.next;
        topics_file::write(&self.dir, &self.topics)?;
        let file = segment::create(&self.path(number), self.topics.fingerprint)?;
        self.next += 1;
        if self.segments.is_empty() {
            self.acked = Position { segment: number, offset: segment::HEAD };
            self.read = self.acked;
        }
        self.segments.insert(number, segment::HEAD);
        self.tail = Some((number, file));
        Ok(number)
    }

    fn forget(&mut self, number: u64) {
        if let Err(error) = fs::remove_file(self.path(number)) {
            tracing::warn!(%error, segment = number, "a segment that was sent cannot be deleted");
        }
        self.segments.remove(&number);
        for held in [&mut self.tail, &mut self.reader] {
            if held.as_ref().is_some_and(|(held, _)| *held == number) {
                *held = None;
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        path_of(&self.dir, number)
    }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.seg"))
}

/// One write, or two halves where somebody watches what lies between them.
fn put(file: &File, bytes: &[u8], at: u64, boundaries: &Boundaries) -> io::Result<()> {
    if !boundaries.are_watched() {
        return file.write_all_at(bytes, at);
    }
    let half = bytes.len() / 2;
    file.write_all_at(&bytes[..half], at)?;
    boundaries.pass(Boundary::SpoolWrite);
    file.write_all_at(&bytes[half..], at + half as u64)
}
