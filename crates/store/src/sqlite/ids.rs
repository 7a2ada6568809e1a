//! Which events are new: every id that was ever taken is remembered, also after
//! retention took its row.
//!
//! Not here: fills, whose own ids are compared with what they say.

use rusqlite::{Connection, params};
use tapedeck_contracts::EventKind;

use super::codec::Id;
use crate::{Result, Row};

/// Kinds whose ids are kept for ever. Metrics and signals are states and hints:
/// they are compared with their neighbours of the same time only.
const KINDS: &[EventKind] = &[EventKind::ExecutionReport, EventKind::Alert, EventKind::ForwardTest];

/// Says of each row whether its event is new, and remembers those that are.
/// Ids are inserted in the order of their hashes, so that a batch walks along
/// the index once instead of jumping about in it.
pub(super) fn remember(conn: &Connection, rows: &[Row]) -> Result<Vec<bool>> {
    let mut is_new = vec![true; rows.len()];
    let mut keys: Vec<(i64, usize)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| KINDS.contains(&row.event.kind()))
        .map(|(index, row)| (hash(&stored_form(row)), index))
        .collect();
    keys.sort_unstable();
    let mut insert = conn.prepare_cached("INSERT INTO event_ids (hash, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for (hash, index) in keys {
        let id = stored_form(&rows[index]);
        if insert.execute(params![hash, id])? == 0 {
            is_new[index] = !seen(conn, hash, &id)?;
        }
    }
    Ok(is_new)
}

/// The hash is taken: by this id, or by another one.
fn seen(conn: &Connection, hash: i64, id: &[u8]) -> Result<bool> {
    let holder: Vec<u8> =
        conn.prepare_cached("SELECT id FROM event_ids WHERE hash = ?1")?.query_row(params![hash], |row| row.get(0))?;
    if holder == id {
        return Ok(true);
    }
    let added = conn
        .prepare_cached("INSERT INTO event_id_collisions (id) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute(params![id])?;
    Ok(added == 0)
}

/// The kind, and the id in its short form: ids of two kinds never meet.
fn stored_form(row: &Row) -> Vec<u8> {
    let kind = KINDS.iter().zip(0_u8..).find(|(known, _)| **known == row.event.kind()).map_or(0, |(_, at)| at);
    let mut bytes = Vec::with_capacity(17);
    match Id::of(row.event_id.as_str()) {
        Id::Uuid(uuid) => {
            bytes.push(kind | 0x80);
            bytes.extend_from_slice(&uuid);
        }
        Id::Text(text) => {
            bytes.push(kind);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn hash(bytes: &[u8]) -> i64 {
    let mut digest = Digest::default();
    digest.bytes(bytes);
    digest.finish()
}

/// A 64-bit hash (FNV-1a with a final mix) that is the same on every machine
/// and for ever, because it is stored. Not for adversaries: whoever trusts a
/// hit compares the whole.
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// A text and its end, so that two texts never run into one.
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }

    pub(super) fn number(&mut self, number: i64) {
        self.bytes(&number.to_le_bytes());
    }

    pub(super) fn finish(&self) -> i64 {
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
        i64::from_ne_bytes(mixed.to_ne_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_whose_hash_is_taken_by_another_is_new_once() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../../migrations/sqlite/0001_first.sql")).unwrap();
        conn.execute("INSERT INTO event_ids (hash, id) VALUES (7, x'01')", []).unwrap();
        assert!(seen(&conn, 7, &[1]).unwrap());
        assert!(!seen(&conn, 7, &[2]).unwrap());
        assert!(seen(&conn, 7, &[2]).unwrap());
    }

    #[test]
    fn hashes_never_change() {
        assert_eq!((hash(b""), hash(b"tapedeck")), (-1_388_729_422_223_754_158, 170_420_292_957_481_369));
    }
}
