//! A door to the batch reader for `fuzz/`, in builds with `--cfg fuzzing` alone.
//!
//! Not here: what a finding is; a panic, or memory out of proportion.

use crate::{
    Headers,
    batch::{Batch, Segment, checksum},
};

/// Reads a blob to its end as the log does, with its checksum made right first
/// if asked; what was read is laid down again and must read the same.
///
/// # Errors
/// What is wrong with it.
pub fn read_batch(blob: &[u8], right_checksum: bool) -> Result<usize, String> {
    let mut blob = blob.to_vec();
    if right_checksum && blob.len() >= 8 {
        let crc = checksum(&blob);
        blob[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    let batch = Batch::open(blob)?;
    for offset in [0, batch.base, batch.last, batch.last / 2, u64::MAX] {
        if let Some((entry, next)) = batch.read(batch.find(offset)?)? {
            assert!(entry.offset >= offset && batch.left(next) < batch.count as usize);
        }
    }
    let entries = batch.entries()?;
    assert_eq!(entries.len(), batch.count as usize);
    let mut segment = Segment::with_capacity(0);
    let mut offsets = Vec::new();
    for entry in &entries {
        let _ = entry.headers.iter().count();
        segment.push(entry.timestamp_ms, entry.key.as_deref(), entry.value.as_deref(), entry.headers.as_bytes());
        offsets.push(entry.offset);
    }
    if !entries.is_empty() && batch.last - batch.base < u32::MAX.into() {
        let again = segment.seal_with_gaps(batch.base, batch.last, &offsets, true);
        assert_eq!(Batch::open(again.to_vec())?.entries()?, entries);
    }
    Ok(entries.len())
}

/// Blobs to begin with: dense, with gaps, packed.
pub fn batch_samples() -> Vec<Vec<u8>> {
    let segment = |count: i64, len: usize| {
        let mut segment = Segment::with_capacity(0);
        for nth in 0..count {
            let headers = Headers::build([("ce_id", nth.to_string())]);
            let value = vec![b'v'; len];
            segment.push(
                nth,
                Some(b"key"),
                Some(&value).filter(|_| nth % 2 == 0).map(Vec::as_slice),
                headers.as_bytes(),
            );
        }
        segment
    };
    vec![
        segment(3, 9).seal(41, false).1.to_vec(),
        segment(1, 0).seal(0, false).1.to_vec(),
        segment(20, 90).seal(7, true).1.to_vec(),
        segment(3, 9).seal_with_gaps(5, 90, &[6, 17, 80], false).to_vec(),
        segment(20, 90).seal_with_gaps(5, 90, &(10..50).step_by(2).collect::<Vec<_>>(), true).to_vec(),
    ]
}
