//! A door to the cursors for `fuzz/`, in builds with `--cfg fuzzing` alone.
//!
//! Not here: the rest of the api, which is reached by a request.

use tapedeck_contracts::Timestamp;
use tapedeck_store::PageKey;

use crate::cursor::Cursors;

/// Time in µs, partition and offset of the row that a cursor lies after.
pub type Row = (i64, u32, u64);

/// Reads a cursor; none where it is refused.
pub fn read_cursor(key: [u8; 32], filters: &str, text: &str) -> Option<Row> {
    let place = Cursors::new(key).read(filters, text).ok()?;
    Some((place.timestamp.micros(), place.partition, place.offset))
}

/// Writes a cursor.
pub fn write_cursor(key: [u8; 32], filters: &str, (micros, partition, offset): Row) -> String {
    let timestamp = Timestamp::from_micros(micros);
    Cursors::new(key).write(filters, PageKey { timestamp, partition, offset })
}
