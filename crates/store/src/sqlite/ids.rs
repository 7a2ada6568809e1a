//! Which events are new: every id that was ever taken is remembered, also after
//! retention took its row.
//!
//! Not here: fills, whose own ids are compared with what they say.

use rusqlite::{Connection, params};

use crate::{
    Result, Row,
    common::identity::{Digest, event_key},
};

/// Says of each row whether its event is new, and remembers those that are.
/// Ids are inserted in the order of their hashes, so that a batch walks along
/// the index once instead of jumping about in it.
pub(super) fn remember(conn: &Connection, rows: &[Row]) -> Result<Vec<bool>> {
    let mut is_new = vec![true; rows.len()];
    let mut keys: Vec<(i64, usize)> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((hash(&event_key(row)?), index))).collect();
    keys.sort_unstable();
    let mut insert = conn.prepare_cached("INSERT INTO event_ids (hash, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for (hash, index) in keys {
        let Some(id) = event_key(&rows[index]) else { continue };
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

fn hash(bytes: &[u8]) -> i64 {
    let mut digest = Digest::default();
    digest.bytes(bytes);
    digest.finish()
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
