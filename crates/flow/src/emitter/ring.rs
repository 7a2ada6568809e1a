//! Frames in a mapped file: one thread puts, one takes, and what was put and not
//! yet released is found again by the next process.
//!
//! ```text
//! 0    u64  the mark of a ring
//! 8    u32  version of this layout and of the frames
//! 12   u32  CRC-32 of the mark, the version, the stream and the capacity
//! 16   u64  stream: which producer of which start
//! 24   u64  capacity: bytes behind this page
//! 128  u64  position up to which frames are there
//! 256  u64  position up to which they are no longer needed
//! 4096      frames, each in one piece; eight bytes of ones where the next frame
//!           begins at the start again
//! ```
//! All little endian. Positions count bytes since the ring was made.
//!
//! Not here: where rings lie, and what is done with the frames.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use rustix::fs::FallocateFlags;

use super::{
    frame::{self, Found, u32_at, u64_at},
    map,
};

const MAGIC: u64 = u64::from_le_bytes(*b"tapering");
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 32;
/// What lies where the next frame begins at the start again. No frame is so long.
const WRAP: [u8; 8] = [0xff; 8];
/// The smallest ring: a few frames fit, and a page is a page.
const SMALLEST: u64 = 64 << 10;

/// The side that puts frames in.
pub(super) struct RingWriter(map::Writer);

/// The side that takes frames out.
pub(super) struct RingReader(map::Reader);

/// Makes a ring of about so many bytes in a new file that the caller holds. All
/// of it is allocated, so that a full disk is found here and not by a signal.
///
/// # Errors
/// The disk is full, or the file cannot be made or mapped.
pub(super) fn create(file: &File, stream: u64, bytes: u64) -> io::Result<(RingWriter, RingReader)> {
    let capacity = bytes.max(SMALLEST).next_multiple_of(map::HEAD as u64);
    allocate(file, map::HEAD as u64 + capacity)?;
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[16..24].copy_from_slice(&stream.to_le_bytes());
    head[24..].copy_from_slice(&capacity.to_le_bytes());
    let crc = head_crc(&head);
    head[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&head, 0)?;
    let (writer, reader) = map::map(file, capacity)?;
    Ok((RingWriter(writer), RingReader(reader)))
}

impl RingWriter {
    /// The longest frame that always fits an empty ring, wherever it begins.
    pub(super) fn max_frame(&self) -> usize {
        usize::try_from(self.0.capacity() / 2).unwrap_or(usize::MAX)
    }

    /// Puts a frame in, or says that there is no room for it.
    pub(super) fn put(&mut self, frame: &[u8]) -> bool {
        let len = frame.len() as u64;
        let begin = self.0.published();
        let to_end = self.0.capacity() - begin % self.0.capacity();
        let skipped = if len <= to_end { 0 } else { to_end };
        if !self.0.is_free(skipped + len) {
            return false;
        }
        if skipped > 0 {
            self.0.put(begin, &WRAP);
        }
        self.0.put(begin + skipped, frame);
        self.0.publish(begin + skipped + len);
        self.0.warm(begin + skipped + len, frame.len());
        true
    }
}

impl RingReader {
    /// Where the first frame that is still needed begins.
    pub(super) fn released(&self) -> u64 {
        self.0.released()
    }

    /// Bytes of frames that are still needed.
    pub(super) fn used(&self) -> u64 {
        self.0.published() - self.0.released()
    }

    /// Bytes that fit.
    pub(super) fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    /// Where the frames that are there end.
    pub(super) fn published(&self) -> u64 {
        self.0.published()
    }

    /// Copies the frame at a position to the end of a buffer and moves the
    /// position behind it; false where no frame is there.
    pub(super) fn next(&self, at: &mut u64, to: &mut Vec<u8>) -> bool {
        if *at == self.0.published() {
            return false;
        }
        let begin = to.len();
        self.0.copy(*at, WRAP.len(), to);
        if to[begin..] == WRAP {
            *at += self.0.capacity() - *at % self.0.capacity();
            to.truncate(begin);
            self.0.copy(*at, WRAP.len(), to);
        }
        let len = u32_at(&to[begin..], 4) as usize;
        self.0.copy(*at + WRAP.len() as u64, len - WRAP.len(), to);
        *at += len as u64;
        true
    }

    /// Frames before a position are no longer needed.
    pub(super) fn release(&mut self, to: u64) {
        self.0.release(to);
    }
}

/// What a dead process left in a ring.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Whole frames, in order, one behind the other.
    pub(super) frames: Vec<u8>,
    /// The last frame was not finished: its `emit()` had not returned.
    pub(super) unfinished: bool,
    /// Bytes that were accepted and are damaged.
    pub(super) damaged_bytes: u64,
}

/// Reads what a dead process left in a ring; none where the file is no ring of
/// this version. Holds all of it in memory, which a ring's size bounds.
///
/// # Errors
/// The file cannot be read.
pub(super) fn remains(path: &Path) -> io::Result<Option<Remains>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut head = [0; map::HEAD];
    if len < map::HEAD as u64 || file.read_exact_at(&mut head, 0).is_err() {
        return Ok(None);
    }
    let (stream, capacity) = (u64_at(&head, 16), u64_at(&head, 24));
    let ours = u64_at(&head, 0) == MAGIC && u32_at(&head, 8) == VERSION && u32_at(&head, 12) == head_crc(&head);
    if !ours || capacity == 0 || len != map::HEAD as u64 + capacity {
        return Ok(None);
    }
    let (published, released) = (u64_at(&head, map::PUBLISHED_AT), u64_at(&head, map::RELEASED_AT));
    let mut data = vec![0; usize::try_from(capacity).map_err(io::Error::other)?];
    file.read_exact_at(&mut data, map::HEAD as u64)?;
    Ok(Some(collect(&data, stream, released, published)))
}

/// Frames from `released` on, as long as they are whole and follow each other.
/// They may go on behind `published`: a power cut may have taken that page alone.
fn collect(data: &[u8], stream: u64, released: u64, published: u64) -> Remains {
    let capacity = data.len() as u64;
    let mut remains = Remains::default();
    // No ring comes so far: the page with the positions is damaged.
    if released.max(published) > u64::MAX / 2 {
        return Remains { damaged_bytes: capacity, ..remains };
    }
    let (mut at, mut expected) = (released, None);
    while at - released < capacity {
        let offset = (at % capacity) as usize;
        let here = &data[offset..];
        if here.starts_with(&WRAP) {
            at += here.len() as u64;
            continue;
        }
        // Behind `published` only a frame that follows one counts: what lies there
        // else is of an earlier lap.
        let follows = |id: frame::Id| match expected {
            Some(next) => id.stream == stream && id.sequence == next,
            None => id.stream == stream && at < published,
        };
        match frame::read(here) {
            Found::Frame(head) if follows(head.id) => {
                remains.frames.extend_from_slice(&here[..head.len]);
                expected = head.id.sequence.checked_add(1);
                at += head.len as u64;
            }
            Found::Damaged => {
                remains.unfinished = at >= published && frame::peek(here).is_some_and(|head| head.id.stream == stream);
                break;
            }
            _ => break,
        }
    }
    remains.damaged_bytes = published.saturating_sub(at);
    remains
}

fn head_crc(head: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head[..12]);
    crc.update(&head[16..HEAD_BYTES]);
    crc.finalize()
}

/// Gives a new file all its bytes, as zeros.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, bytes),
        result => result.map_err(io::Error::from),
    }
}

fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = 0;
    while at < bytes {
        let len = (bytes - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

/// Makes the file of a ring; it must not be there.
///
/// # Errors
/// It is there, or cannot be made.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use tapedeck_log::{Headers, Record};

    use super::*;
    use crate::emitter::frame::{Id, tests::frame_of};

    const STREAM: u64 = 7;

    struct Made {
        _dir: tempfile::TempDir,
        path: std::path::PathBuf,
        file: File,
        writer: RingWriter,
        reader: RingReader,
    }

    fn made() -> Made {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring");
        let file = new_file(&path).unwrap();
        let (writer, reader) = create(&file, STREAM, SMALLEST).unwrap();
        Made { _dir: dir, path, file, writer, reader }
    }

    fn frame(sequence: u64, bytes: usize) -> Vec<u8> {
        let record = Record {
            topic: "t".into(),
            partition: None,
            key: None,
            value: Some(vec![b'x'; bytes].into()),
            headers: Headers::new(),
            timestamp_ms: None,
        };
        frame_of(&record, Id { stream: STREAM, sequence })
    }

    #[derive(Clone, Debug)]
    enum Act {
        Put(usize),
        Release(usize),
        Die,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            8 => prop_oneof![0_usize..300, 0_usize..20_000].prop_map(Act::Put),
            3 => (1_usize..20).prop_map(Act::Release),
            1 => Just(Act::Die),
        ];
        prop::collection::vec(act, 1..150)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn it_holds_what_was_put_and_not_released_also_when_the_process_dies(acts in acts()) {
            let mut ring = made();
            let (mut model, mut next, mut at) = (VecDeque::<Vec<u8>>::new(), 1, 0);
            for act in acts {
                match act {
                    Act::Put(bytes) => {
                        let frame = frame(next, bytes);
                        if ring.writer.put(&frame) {
                            model.push_back(frame);
                            next += 1;
                        } else {
                            prop_assert!(!model.is_empty(), "an empty ring takes any frame");
                        }
                    }
                    Act::Release(count) => {
                        for _ in 0..count {
                            let mut taken = Vec::new();
                            prop_assert_eq!(ring.reader.next(&mut at, &mut taken), !model.is_empty());
                            prop_assert_eq!(Some(taken).filter(|taken| !taken.is_empty()), model.pop_front());
                        }
                        ring.reader.release(at);
                    }
                    Act::Die => {
                        let left = remains(&ring.path).unwrap().unwrap();
                        let expected: Vec<u8> = model.iter().flatten().copied().collect();
                        prop_assert_eq!(left, Remains { frames: expected, unfinished: false, damaged_bytes: 0 });
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_that_was_not_finished_is_noticed_and_costs_nothing_else() {
        let mut ring = made();
        let first = frame(1, 100);
        assert!(ring.writer.put(&first));
        let second = frame(2, 100);
        ring.file.write_all_at(&second[..90], map::HEAD as u64 + first.len() as u64).unwrap();
        let left = remains(&ring.path).unwrap().unwrap();
        assert_eq!(left, Remains { frames: first, unfinished: true, damaged_bytes: 0 });
    }

    #[test]
    fn damage_among_accepted_frames_is_noticed() {
        let mut ring = made();
        let (first, second) = (frame(1, 100), frame(2, 100));
        assert!(ring.writer.put(&first) && ring.writer.put(&second));
        ring.file.write_all_at(&[0xff], map::HEAD as u64 + first.len() as u64 + 60).unwrap();
        let left = remains(&ring.path).unwrap().unwrap();
        assert_eq!(left, Remains { damaged_bytes: second.len() as u64, frames: first, unfinished: false });
    }

    #[test]
    fn a_file_that_is_no_ring_of_this_version_is_not_read() {
        let ring = made();
        ring.file.write_all_at(&[9], 8).unwrap();
        assert_eq!(remains(&ring.path).unwrap(), None);
    }

    #[test]
    fn positions_that_no_ring_comes_to_are_damage() {
        let data = [0; 64];
        for (released, published) in [(u64::MAX, 64), (0, u64::MAX), (u64::MAX - 8, u64::MAX)] {
            let remains = collect(&data, 1, released, published);
            assert_eq!((remains.frames.len(), remains.damaged_bytes), (0, 64), "{released} {published}");
        }
    }
}
