//! A file in memory that one thread fills and one empties: bytes between two
//! positions that only grow. The positions lie in the file, so that they and the
//! bytes between them outlive the process.
//!
//! What makes it sound: a position is moved by one side alone, after it is done
//! with the bytes (release), and read by the other before it touches them
//! (acquire). The writer touches `published..released + capacity`, the reader
//! `released..published`; both are checked at each access. The file is locked
//! by its owner, and only opened here by who made it.
//!
//! Not here: what the bytes mean, and reading what a dead process left, which
//! needs no memory map.

#![expect(unsafe_code, reason = "memory that outlives the process is a mapped file, and its bytes are raw memory")]

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use memmap2::{MmapOptions, MmapRaw};

/// Bytes before the data: one page.
pub(super) const HEAD: usize = 4_096;
/// Where the positions lie in the head, in pairs of cache lines of their own,
/// since each is written by another thread.
pub(super) const PUBLISHED_AT: usize = 128;
pub(super) const RELEASED_AT: usize = 256;
/// So much is asked for ahead: a decision, and no more than a core can wait for.
const WARMED: usize = 1_536;
/// Bytes of a cache line.
const LINE: usize = 64;
/// The smallest page there is.
const PAGE: usize = 4_096;

struct Map {
    raw: MmapRaw,
    capacity: u64,
}

/// The side that fills.
pub(super) struct Writer {
    map: Arc<Map>,
    published: u64,
    released: u64,
}

/// The side that empties.
pub(super) struct Reader {
    map: Arc<Map>,
    released: u64,
}

/// Maps a file of `HEAD + capacity` bytes that was just made, and touches all of
/// it, so that nobody waits for a page later.
///
/// # Errors
/// The file cannot be mapped, or has another size.
pub(super) fn map(file: &File, capacity: u64) -> io::Result<(Writer, Reader)> {
    let len = usize::try_from(capacity).ok().and_then(|capacity| capacity.checked_add(HEAD));
    let len = len.filter(|len| len.is_multiple_of(PAGE)).ok_or(io::ErrorKind::InvalidInput)?;
    if file.metadata()?.len() != len as u64 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw = MmapOptions::new().len(len).populate().map_raw(file)?;
    for page in (HEAD..len).step_by(PAGE) {
        // SAFETY: the byte lies inside the map, and nobody else has it yet.
        unsafe { raw.as_mut_ptr().add(page).write_volatile(0) };
    }
    let map = Arc::new(Map { raw, capacity });
    Ok((Writer { map: Arc::clone(&map), published: 0, released: 0 }, Reader { map, released: 0 }))
}

impl Map {
    fn position(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at == PUBLISHED_AT || at == RELEASED_AT);
        // SAFETY: the head lies inside the map, which is as long as `self`; maps
        // begin at a page, so that the place is aligned; and the two positions
        // are touched through these atomics alone.
        unsafe { AtomicU64::from_ptr(self.raw.as_mut_ptr().add(at).cast()) }
    }

    /// Where the byte at a position lies, if so many bytes do before the end.
    fn place(&self, at: u64, len: usize) -> *mut u8 {
        let offset = at % self.capacity;
        assert!(offset + len as u64 <= self.capacity, "an access does not wrap");
        // SAFETY: head and offset lie inside the map, as just checked; the offset
        // fits `usize` since the whole map does.
        unsafe { self.raw.as_mut_ptr().add(HEAD + offset as usize) }
    }
}

impl Writer {
    /// Bytes that can be filled.
    pub(super) fn capacity(&self) -> u64 {
        self.map.capacity
    }

    /// Up to where all is filled.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// Whether so many bytes behind the filled ones are free.
    pub(super) fn is_free(&mut self, bytes: u64) -> bool {
        let free = |writer: &Self| writer.released + writer.map.capacity - writer.published;
        if free(self) < bytes {
            self.released = self.map.position(RELEASED_AT).load(Ordering::Acquire);
        }
        free(self) >= bytes
    }

    /// Fills bytes that are free, not across the end.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        assert!(at >= self.published && end <= self.released + self.map.capacity, "only free bytes are filled");
        let place = self.map.place(at, bytes.len());
        // SAFETY: `place` has room for the bytes; they are in the part that the
        // reader does not touch, as just checked; and there is one writer, which
        // `&mut self` holds.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
    }

    /// Asks for the memory behind a position, which the next frame goes to: a ring
    /// is larger than the caches, and fetching it is a fifth of an `emit()`.
    pub(super) fn warm(&self, at: u64, len: usize) {
        let offset = (at % self.map.capacity) as usize;
        let len = len.min(WARMED).min(self.map.capacity as usize - offset);
        for line in (0..len).step_by(LINE) {
            prefetch(self.map.place(at + line as u64, 1));
        }
    }

    /// Hands over all up to a position.
    pub(super) fn publish(&mut self, to: u64) {
        assert!(to >= self.published && to <= self.released + self.map.capacity, "a position only grows");
        self.published = to;
        self.map.position(PUBLISHED_AT).store(to, Ordering::Release);
    }
}

/// Asks for the cache line of a byte that will be written; a hint alone.
#[cfg(target_arch = "x86_64")]
fn prefetch(place: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: it touches no memory that the program can see, and never faults.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) };
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_: *const u8) {}

impl Reader {
    /// Bytes that can be filled.
    pub(super) fn capacity(&self) -> u64 {
        self.map.capacity
    }

    /// Up to where all is filled.
    pub(super) fn published(&self) -> u64 {
        self.map.position(PUBLISHED_AT).load(Ordering::Acquire)
    }

    /// Up to where all is free again.
    pub(super) fn released(&self) -> u64 {
        self.released
    }

    /// Copies filled bytes to the end of a buffer, not across the end.
    pub(super) fn copy(&self, at: u64, len: usize, to: &mut Vec<u8>) {
        assert!(at >= self.released && at + len as u64 <= self.published(), "only filled bytes are read");
        let place = self.map.place(at, len);
        // SAFETY: the bytes lie inside the map and in the part that the writer
        // does not touch until this reader releases them, which takes `&mut self`.
        to.extend_from_slice(unsafe { std::slice::from_raw_parts(place, len) });
    }

    /// Frees all up to a position.
    pub(super) fn release(&mut self, to: u64) {
        assert!(to >= self.released && to <= self.published(), "a position only grows");
        self.released = to;
        self.map.position(RELEASED_AT).store(to, Ordering::Release);
    }
}
