//! Opening a spool that an earlier process left: what can be sent is found, what
//! cannot is set aside.
//!
//! Not here: what is done with it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Limits, Spool, path_of,
    position::{Position, PositionFile},
    segment::{self, Frames, Kind, Piece},
    topics_file,
};
use crate::{Boundaries, emitter::topics::TopicSet};

/// What was found when a spool was opened.
#[derive(Debug, Default)]
pub(in crate::emitter) struct Opened {
    /// Files set aside unsent, each with why.
    pub(in crate::emitter) kept: Vec<String>,
    /// Ends that were not finished.
    pub(in crate::emitter) torn: u64,
    /// The newest number of each stream.
    pub(in crate::emitter) newest: HashMap<u64, u64>,
}

impl Spool {
    /// Opens the spool of a folder: segments in `spool/`, what cannot be sent in
    /// `kept/`.
    ///
    /// # Errors
    /// A file cannot be read, made or moved.
    pub(in crate::emitter) fn open(
        home: &Path,
        limits: Limits,
        topics: Arc<TopicSet>,
        boundaries: Boundaries,
    ) -> io::Result<(Self, Opened)> {
        let (dir, kept) = (home.join("spool"), home.join("kept"));
        fs::create_dir_all(&dir)?;
        let (position, acked) = PositionFile::open(&dir.join("position"))?;
        let first = Position { segment: 1, offset: segment::HEAD };
        let acked = acked.unwrap_or(first);
        let numbers = numbers(&dir)?;
        let next = numbers.last().map_or(0, |last| last + 1).max(acked.segment + 1);
        let mut spool = Self {
            dir,
            kept,
            limits,
            topics,
            boundaries,
            segments: BTreeMap::new(),
            tail: None,
            reader: None,
            acked,
            read: acked,
            next,
            records: 0,
            is_in_doubt: false,
            position,
            torn: 0,
        };
        let mut opened = Opened::default();
        let mut needed = BTreeSet::new();
        for number in numbers {
            needed.extend(spool.take(number, &mut opened)?);
        }
        topics_file::remove_all_but(&spool.dir, &needed)?;
        spool.clamp_acked(&mut opened);
        spool.look_through(&mut opened)?;
        spool.acked = spool.settle(spool.acked);
        if spool.segments.is_empty() {
            spool.acked = Position { segment: next, offset: segment::HEAD };
        }
        spool.read = spool.acked;
        Ok((spool, opened))
    }

    /// Takes a segment among those to send, and says the fingerprint of its topics;
    /// or sets it aside.
    fn take(&mut self, number: u64, opened: &mut Opened) -> io::Result<Option<u64>> {
        let path = self.path(number);
        let file = File::open(&path)?;
        let why = match segment::kind(&file)? {
            // All of it was sent, of whatever topics it was.
            Kind::Segment(_) if number < self.acked.segment => return fs::remove_file(path).map(|()| None),
            Kind::Segment(fingerprint) if self.is_of_our_topics(fingerprint)? => {
                self.segments.insert(number, file.metadata()?.len());
                return Ok(Some(fingerprint));
            }
            Kind::Segment(_) => "other-topics",
            Kind::Unfinished => {
                opened.torn += 1;
                return fs::remove_file(path).map(|()| None);
            }
            Kind::OtherVersion => "other-version",
        };
        let to = free_path(&self.kept, &format!("{number:08}.{why}"))?;
        fs::rename(&path, &to)?;
        opened.kept.push(to.display().to_string());
        Ok(None)
    }

    /// Whether all topics of a segment are there still, each with as many
    /// partitions; those that were added since do no harm.
    fn is_of_our_topics(&self, fingerprint: u64) -> io::Result<bool> {
        let is_same = fingerprint == self.topics.fingerprint;
        let older = || topics_file::read(&self.dir, fingerprint);
        Ok(is_same || older()?.is_some_and(|older| self.topics.has_all_of(&older)))
    }

    /// The log has no more of a segment than there is of it: one that was cut off
    /// behind our back ends sooner than what was acknowledged.
    fn clamp_acked(&mut self, opened: &mut Opened) {
        if let Some(len) = self.segments.get(&self.acked.segment)
            && self.acked.offset > *len
        {
            tracing::error!(segment = self.acked.segment, "a file of the spool is shorter than what was sent of it");
            self.acked.offset = *len;
            opened.torn += 1;
        }
    }

    /// Counts what is to be sent, and cuts off an end that was not finished.
    fn look_through(&mut self, opened: &mut Opened) -> io::Result<()> {
        let segments: Vec<(u64, u64)> = self.segments.iter().map(|(number, len)| (*number, *len)).collect();
        let last = segments.last().map(|(number, _)| *number);
        for (number, len) in segments {
            let path = path_of(&self.dir, number);
            let file = fs::OpenOptions::new().read(true).write(true).open(&path)?;
            let from = if number == self.acked.segment { self.acked.offset } else { segment::HEAD };
            // What is found here lets go of rings: a kill may have come before its sync.
            file.sync_data()?;
            let mut frames = Frames::new(&file, from, len);
            while let Some(piece) = frames.next()? {
                match piece {
                    Piece::Frame(_, head) => {
                        self.records += 1;
                        let newest = opened.newest.entry(head.id.stream).or_default();
                        *newest = head.id.sequence.max(*newest);
                    }
                    Piece::Damage(begin, end) if end == len && Some(number) == last => {
                        file.set_len(begin)?;
                        self.segments.insert(number, begin);
                        opened.torn += 1;
                    }
                    // Set aside and counted when it is its turn to be sent.
                    Piece::Damage(..) => {}
                }
            }
        }
        Ok(())
    }
}

/// Copies bytes that are no frame to a file of their own, for a person to see.
pub(super) fn set_aside(kept: &Path, file: &File, segment: u64, begin: u64, end: u64) -> io::Result<()> {
    /// Copied at once.
    const PIECE: u64 = 1 << 20;
    let path = free_path(kept, &format!("{segment:08}-{begin}.damaged"))?;
    let to = File::create(&path)?;
    let mut at = begin;
    while at < end {
        let mut bytes = vec![0; (end - at).min(PIECE) as usize];
        file.read_exact_at(&mut bytes, at)?;
        to.write_all_at(&bytes, at - begin)?;
        at += bytes.len() as u64;
    }
    to.sync_data()?;
    tracing::error!(bytes = end - begin, kept = %path.display(), "a part of the spool is damaged and was set aside");
    Ok(())
}

/// A path in a folder that no file has yet; makes the folder.
pub(in crate::emitter) fn free_path(dir: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let paths = (0_u64..).map(|n| if n == 0 { dir.join(name) } else { dir.join(format!("{name}.{n}")) });
    let mut free = paths.filter(|path| !path.exists());
    Ok(free.next().expect("there are more numbers than files"))
}

/// The numbers of the segments of a folder, in order.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse::<u64>().ok());
        // A name that we would not write is somebody else's file.
        let ours = |number: &u64| *number <= u64::MAX / 2 && path_of(dir, *number) == dir.join(&name);
        numbers.extend(number.filter(ours));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a spool with a position in its file and these files beside it.
    fn opened(position: [u64; 2], files: &[&str]) -> Spool {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("spool");
        fs::create_dir(&dir).unwrap();
        let mut slot = [0; 32];
        slot[8] = 1;
        slot[16..24].copy_from_slice(&position[0].to_le_bytes());
        slot[24..].copy_from_slice(&position[1].to_le_bytes());
        let crc = crc32fast::hash(&slot[4..]);
        slot[..4].copy_from_slice(&crc.to_le_bytes());
        fs::write(dir.join("position"), slot).unwrap();
        for file in files {
            fs::write(dir.join(file), "somebody else's").unwrap();
        }
        let limits = Limits { max_bytes: 1 << 20, segment_bytes: 1 << 10 };
        let topics = Arc::new(TopicSet::new([("t", 1)]));
        let (mut spool, opened) = Spool::open(home.path(), limits, topics, Boundaries::default()).unwrap();
        assert_eq!(opened.kept, Vec::<String>::new());
        spool.write(&[0; 64], 1).unwrap();
        spool
    }

    #[test]
    fn a_position_that_no_spool_comes_to_is_none() {
        for position in [[u64::MAX, 0], [u64::MAX - 1, u64::MAX]] {
            assert_eq!(opened(position, &[]).next, 3, "{position:?}");
        }
        assert_eq!(opened([4, u64::MAX], &[]).next, 6);
    }

    #[test]
    fn a_file_whose_name_is_not_ours_is_left_alone() {
        let files = ["1.seg", "+0000002.seg", "18446744073709551615.seg", "00000001.seg.bak", "x.seg"];
        assert_eq!(opened([1, 32], &files).next, 3);
    }
}
