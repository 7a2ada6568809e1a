//! How the embedded log lays records down: many in one blob, with a checksum.
//!
//! ```text
//! 0  u8   version, 1
//! 1  u8   flags: 1 body is LZ4, 2 offsets have gaps
//! 2  u16  zero
//! 4  u32  CRC-32 of the other 28 bytes of this head and of the body as stored
//! 8  u64  base offset
//! 16 u64  last offset that the batch stands for
//! 24 u32  number of records
//! 28 u32  length of the body before compression
//! 32      body: with gaps, for each record u32 offset - base; then the records:
//!         i64 timestamp ms, u32 key, u32 value, u32 headers length (all ones:
//!         none), the bytes of key, value, headers
//! ```
//! All little endian.
//!
//! Not here: where blobs are kept.

use bytes::Bytes;

use crate::Headers;

/// Bytes of a batch before its body.
pub(crate) const HEAD: usize = 32;
/// Bytes of a record beside its key, value and headers.
pub(crate) const RECORD_HEAD: usize = 20;
const VERSION: u8 = 1;
const LZ4: u8 = 1;
const GAPS: u8 = 2;
const NONE: u32 = u32::MAX;
/// LZ4 makes nothing smaller than to a 255th: a head that asks for more room lies.
const LZ4_MOST_TIMES: usize = 255;

/// Records on their way into a batch, in order, without offsets yet.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Room for the head, then the body.
    buffer: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) min_timestamp_ms: i64,
    pub(crate) max_timestamp_ms: i64,
}

/// A batch that was sealed or read.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) base: u64,
    pub(crate) last: u64,
    pub(crate) count: u32,
    body: Bytes,
    /// Where the records begin in the body; not 0 where the offsets have gaps.
    records_at: usize,
}

/// A record in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Headers,
}

/// A place in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    nth: u32,
    at: usize,
}

impl Segment {
    /// An empty one, with room for so many bytes of records.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(HEAD + bytes);
        buffer.resize(HEAD, 0);
        Self { buffer, count: 0, min_timestamp_ms: i64::MAX, max_timestamp_ms: i64::MIN }
    }

    /// Bytes of records in it.
    pub(crate) fn len(&self) -> usize {
        self.buffer.len() - HEAD
    }

    /// Adds a record.
    pub(crate) fn push(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[u8]) {
        let mut head = [0; RECORD_HEAD];
        head[..8].copy_from_slice(&timestamp_ms.to_le_bytes());
        head[8..12].copy_from_slice(&length(key).to_le_bytes());
        head[12..16].copy_from_slice(&length(value).to_le_bytes());
        head[16..].copy_from_slice(&length(Some(headers)).to_le_bytes());
        self.buffer.extend_from_slice(&head);
        self.buffer.extend_from_slice(key.unwrap_or_default());
        self.buffer.extend_from_slice(value.unwrap_or_default());
        self.buffer.extend_from_slice(headers);
        self.count += 1;
        self.min_timestamp_ms = self.min_timestamp_ms.min(timestamp_ms);
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
    }

    /// Adds the records of another one after its own.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.buffer.extend_from_slice(&other.buffer[HEAD..]);
        self.count += other.count;
        self.min_timestamp_ms = self.min_timestamp_ms.min(other.min_timestamp_ms);
        self.max_timestamp_ms = self.max_timestamp_ms.max(other.max_timestamp_ms);
    }

    /// Gives the records the offsets from `base` on without gaps; returns the
    /// batch and the blob to keep.
    pub(crate) fn seal(self, base: u64, compress: bool) -> (Batch, Bytes) {
        let (count, last) = (self.count, base + u64::from(self.count) - 1);
        let (body, blob) = finish(self.buffer, Head { flags: 0, base, last, count }, compress);
        (Batch { base, last, count, body, records_at: 0 }, blob)
    }

    /// Gives the records these offsets, in order, each less than 2^32 above
    /// `base`; the batch stands for `base` to `last`.
    pub(crate) fn seal_with_gaps(self, base: u64, last: u64, offsets: &[u64], compress: bool) -> Bytes {
        let mut buffer = Vec::with_capacity(self.buffer.len() + 4 * offsets.len());
        buffer.resize(HEAD, 0);
        for offset in offsets {
            let delta = u32::try_from(offset - base).expect("a batch spans less than 2^32 offsets");
            buffer.extend_from_slice(&delta.to_le_bytes());
        }
        buffer.extend_from_slice(&self.buffer[HEAD..]);
        finish(buffer, Head { flags: GAPS, base, last, count: self.count }, compress).1
    }
}

impl Batch {
    /// Reads a blob.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(blob: Vec<u8>) -> Result<Self, String> {
        let blob = Bytes::from(blob);
        let head: &[u8; HEAD] = blob.first_chunk().ok_or("it is shorter than its head")?;
        if head[0] != VERSION {
            return Err(format!("it has format {}, known is {VERSION}", head[0]));
        }
        if u32_at(head, 4) != checksum(&blob) {
            return Err("its checksum does not match".into());
        }
        let (flags, count, body_len) = (head[1], u32_at(head, 24), u32_at(head, 28) as usize);
        let (base, last) = (u64_at(head, 8), u64_at(head, 16));
        // Offsets are what SQLite keeps as integers; below that no sum of them wraps.
        if base > last || i64::try_from(last).is_err() {
            return Err(format!("it stands for offsets {base} to {last}"));
        }
        let stored = blob.slice(HEAD..);
        if body_len > LZ4_MOST_TIMES * (stored.len() + 1) {
            return Err(format!("{} bytes cannot hold {body_len}", stored.len()));
        }
        let body = if flags & LZ4 == 0 {
            stored
        } else {
            Bytes::from(lz4_flex::block::decompress(&stored, body_len).map_err(|error| error.to_string())?)
        };
        let records_at = if flags & GAPS == 0 { 0 } else { 4 * count as usize };
        if body.len() != body_len || body_len < records_at + RECORD_HEAD * count as usize {
            return Err("its length is not the one in its head".into());
        }
        let in_order = match flags & GAPS {
            0 => u64::from(count) <= last - base + 1,
            _ => ascend(&body[..records_at], last - base),
        };
        if !in_order {
            return Err("its offsets are not in order".into());
        }
        Ok(Self { base, last, count, body, records_at })
    }

    /// Bytes it takes in memory, about.
    pub(crate) fn memory(&self) -> usize {
        /// The struct, its counts and its place in a queue.
        const OVERHEAD: usize = 160;
        self.body.len() + OVERHEAD
    }

    /// The first record.
    pub(crate) fn begin(&self) -> Place {
        Place { nth: 0, at: self.records_at }
    }

    /// How many records are left.
    pub(crate) fn left(&self, place: Place) -> usize {
        self.count.saturating_sub(place.nth) as usize
    }

    /// The first record at or after an offset.
    pub(crate) fn find(&self, offset: u64) -> Result<Place, String> {
        let mut place = self.begin();
        while place.nth < self.count && self.offset(place.nth) < offset {
            place = Place { nth: place.nth + 1, at: self.lengths(place.at)?.3 };
        }
        Ok(place)
    }

    /// Its body under a count of references of its own: a reader that takes its
    /// records out of this shares no cache line with the other readers.
    pub(crate) fn own_body(&self) -> Bytes {
        Bytes::from_owner(self.body.clone())
    }

    /// The record at a place, and the place of the next; none at the end.
    pub(crate) fn read(&self, place: Place) -> Result<Option<(Entry, Place)>, String> {
        self.read_from(&self.body, place)
    }

    /// The same, its parts taken out of this body, which is the batch's.
    pub(crate) fn read_from(&self, body: &Bytes, place: Place) -> Result<Option<(Entry, Place)>, String> {
        if place.nth >= self.count {
            return Ok(None);
        }
        let (key, value, headers, end) = self.lengths(place.at)?;
        let part = |len: Option<usize>, at: &mut usize| {
            len.map(|len| {
                let from = *at;
                *at += len;
                if len == 0 { Bytes::new() } else { body.slice(from..*at) }
            })
        };
        let mut at = place.at + RECORD_HEAD;
        let entry = Entry {
            offset: self.offset(place.nth),
            timestamp_ms: u64_at(&self.body, place.at) as i64,
            key: part(key, &mut at),
            value: part(value, &mut at),
            headers: Headers::unchecked(part(headers, &mut at).unwrap_or_default()),
        };
        Ok(Some((entry, Place { nth: place.nth + 1, at: end })))
    }

    /// All records.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::with_capacity(self.count as usize);
        let mut place = self.begin();
        while let Some((entry, next)) = self.read(place)? {
            entries.push(entry);
            place = next;
        }
        Ok(entries)
    }

    fn offset(&self, nth: u32) -> u64 {
        if self.records_at == 0 {
            self.base + u64::from(nth)
        } else {
            self.base + u64::from(u32_at(&self.body, 4 * nth as usize))
        }
    }

    /// Lengths of key, value and headers of the record at `at`, and where the
    /// next one begins.
    #[expect(clippy::type_complexity, reason = "three lengths and a place, used twice just above")]
    fn lengths(&self, at: usize) -> Result<(Option<usize>, Option<usize>, Option<usize>, usize), String> {
        let head: &[u8; RECORD_HEAD] =
            self.body.get(at..).and_then(<[u8]>::first_chunk).ok_or("it ends within a record")?;
        let len = |from| Some(u32_at(head, from)).filter(|len| *len != NONE).map(|len| len as usize);
        let (key, value, headers) = (len(8), len(12), len(16));
        let end = at + RECORD_HEAD + [key, value, headers].into_iter().flatten().sum::<usize>();
        if end > self.body.len() {
            return Err("it ends within a record".into());
        }
        Ok((key, value, headers, end))
    }
}

/// Whether offsets, each four bytes, go up, and not beyond the last.
fn ascend(deltas: &[u8], last: u64) -> bool {
    let mut before = None;
    deltas.chunks_exact(4).map(|delta| u32_at(delta, 0)).all(|delta| {
        let up = before < Some(delta) && u64::from(delta) <= last;
        before = Some(delta);
        up
    })
}

struct Head {
    flags: u8,
    base: u64,
    last: u64,
    count: u32,
}

/// Writes the head before the body; returns the body as it was and the blob.
fn finish(mut buffer: Vec<u8>, head: Head, compress: bool) -> (Bytes, Bytes) {
    let body_len = u32::try_from(buffer.len() - HEAD).expect("a batch is shorter than 4 GiB");
    // Below this a batch does not get smaller by enough to be worth the time.
    const WORTH_COMPRESSING: u32 = 512;
    let packed = (compress && body_len >= WORTH_COMPRESSING).then(|| pack(&buffer[HEAD..]));
    match packed.filter(|packed| packed.len() < buffer.len()) {
        Some(mut packed) => {
            write_head(&mut packed, Head { flags: head.flags | LZ4, ..head }, body_len);
            (Bytes::from(buffer).slice(HEAD..), Bytes::from(packed))
        }
        None => {
            write_head(&mut buffer, head, body_len);
            let blob = Bytes::from(buffer);
            (blob.slice(HEAD..), blob)
        }
    }
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut packed = vec![0; HEAD + lz4_flex::block::get_maximum_output_size(body.len())];
    let len = lz4_flex::block::compress_into(body, &mut packed[HEAD..]).expect("the output has the largest size");
    packed.truncate(HEAD + len);
    packed
}

fn write_head(blob: &mut [u8], head: Head, body_len: u32) {
    blob[0] = VERSION;
    blob[1] = head.flags;
    blob[8..16].copy_from_slice(&head.base.to_le_bytes());
    blob[16..24].copy_from_slice(&head.last.to_le_bytes());
    blob[24..28].copy_from_slice(&head.count.to_le_bytes());
    blob[28..32].copy_from_slice(&body_len.to_le_bytes());
    let crc = checksum(blob);
    blob[4..8].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) fn checksum(blob: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&blob[..4]);
    crc.update(&blob[8..]);
    crc.finalize()
}

fn length(bytes: Option<&[u8]>) -> u32 {
    bytes.map_or(NONE, |bytes| u32::try_from(bytes.len()).expect("a record is shorter than 4 GiB"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    type Parts = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

    fn parts() -> impl Strategy<Value = Vec<Parts>> {
        let bytes = || vec(any::<u8>(), 0..80);
        vec((any::<i64>(), option::of(bytes()), option::of(bytes()), vec(("[a-z]{1,4}", bytes()), 0..3)), 1..40)
    }

    fn gathered(parts: &[Parts]) -> (Segment, Vec<Entry>) {
        let mut segment = Segment::with_capacity(0);
        let mut entries = Vec::new();
        for (nth, (timestamp_ms, key, value, pairs)) in parts.iter().enumerate() {
            let headers = Headers::build(pairs.iter().map(|(name, value)| (name.as_str(), value)));
            segment.push(*timestamp_ms, key.as_deref(), value.as_deref(), headers.as_bytes());
            let (key, value) = (key.clone().map(Bytes::from), value.clone().map(Bytes::from));
            entries.push(Entry { offset: nth as u64, timestamp_ms: *timestamp_ms, key, value, headers });
        }
        (segment, entries)
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_read_again(parts in parts(), base in 0..1_u64 << 40, compress: bool) {
            let (segment, mut entries) = gathered(&parts);
            entries.iter_mut().for_each(|entry| entry.offset += base);
            let (batch, blob) = segment.seal(base, compress);
            prop_assert_eq!(batch.entries().unwrap(), entries.clone());
            let read = Batch::open(blob.to_vec()).unwrap();
            prop_assert_eq!((read.base, read.last), (base, base + parts.len() as u64 - 1));
            prop_assert_eq!(read.entries().unwrap(), entries);
        }

        #[test]
        fn gaps_between_offsets_are_kept(parts in parts(), steps in vec(1..20_u64, 40), compress: bool) {
            let (segment, mut entries) = gathered(&parts);
            let mut at = 5;
            for (entry, step) in entries.iter_mut().zip(&steps) {
                entry.offset = at;
                at += step;
            }
            let offsets: Vec<_> = entries.iter().map(|entry| entry.offset).collect();
            let blob = segment.seal_with_gaps(2, at, &offsets, compress);
            let read = Batch::open(blob.to_vec()).unwrap();
            prop_assert_eq!((read.base, read.last), (2, at));
            for wanted in 0..=at {
                let found = read.read(read.find(wanted).unwrap()).unwrap().map(|(entry, _)| entry.offset);
                prop_assert_eq!(found, offsets.iter().copied().find(|offset| *offset >= wanted));
            }
            prop_assert_eq!(read.entries().unwrap(), entries);
        }

        #[test]
        fn a_changed_byte_is_noticed(parts in parts(), at: prop::sample::Index, bit in 0..8_u8, compress: bool) {
            let mut blob = gathered(&parts).0.seal(7, compress).1.to_vec();
            let at = at.index(blob.len());
            blob[at] ^= 1 << bit;
            prop_assert!(Batch::open(blob.clone()).is_err());
            blob.truncate(at);
            prop_assert!(Batch::open(blob).is_err());
        }
    }

    /// A blob with a head that lies, its checksum right.
    fn forged(mut blob: Vec<u8>, at: usize, bytes: &[u8]) -> Result<Batch, String> {
        blob[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = checksum(&blob);
        blob[4..8].copy_from_slice(&crc.to_le_bytes());
        Batch::open(blob)
    }

    #[test]
    fn a_head_that_lies_is_refused_and_takes_no_memory() {
        let sealed = |compress| {
            let mut segment = Segment::with_capacity(0);
            (0..9).for_each(|nth| segment.push(nth, None, Some(&[7; 200]), &[]));
            segment.seal(5, compress).1.to_vec()
        };
        assert_eq!(forged(sealed(true), 8, &5_u64.to_le_bytes()).unwrap().entries().unwrap().len(), 9);
        for compress in [false, true] {
            assert!(forged(sealed(compress), 8, &u64::MAX.to_le_bytes()).is_err(), "offsets beyond all numbers");
            assert!(forged(sealed(compress), 16, &u64::MAX.to_le_bytes()).is_err(), "a last offset beyond all numbers");
            assert!(forged(sealed(compress), 24, &u32::MAX.to_le_bytes()).is_err(), "more records than fit");
            assert!(forged(sealed(compress), 28, &u32::MAX.to_le_bytes()).is_err(), "a body of 4 GiB");
        }
        let mut segment = Segment::with_capacity(0);
        (0..2).for_each(|nth| segment.push(nth, None, None, &[]));
        let gaps = segment.seal_with_gaps(1, 9, &[3, 6], false).to_vec();
        for deltas in [[2_u32, 2], [5, 2], [2, 9]] {
            assert!(forged(gaps.clone(), HEAD, &deltas.map(u32::to_le_bytes).concat()).is_err(), "{deltas:?}");
        }
    }
}
