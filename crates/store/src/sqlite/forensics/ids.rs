//! Which decisions are held: an 8-byte hash of each id leads to its row, where the
//! whole id is compared.
//!
//! Not here: the rows.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::codec::{Id, optional_id};
use crate::{
    Explained, Result,
    common::{explained::id_key, identity::Digest},
};

/// Notes the ids of these rows, whose numbers go on from `first_seq`. Answers the
/// indices of those that are held already, or come again here; the transaction is
/// then to be given up. Hashes go in by their order, so that a batch walks along
/// the table once instead of jumping about in it.
pub(super) fn claim(conn: &Connection, rows: &[Explained], first_seq: i64) -> Result<Vec<usize>> {
    let mut keys: Vec<(i64, usize)> =
        rows.iter().enumerate().map(|(index, row)| (hash(&row.decision_id), index)).collect();
    keys.sort_unstable();
    let mut insert =
        conn.prepare_cached("INSERT INTO forensics_ids (hash, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    let mut held = Vec::new();
    for (hash, index) in keys {
        let seq = first_seq.saturating_add_unsigned(index as u64);
        if insert.execute(params![hash, seq])? == 0 && !is_second(conn, rows, first_seq, hash, index)? {
            held.push(index);
        }
    }
    held.sort_unstable();
    Ok(held)
}

/// The hash is taken: by this id (false), or by another one (true), and then this
/// one is noted apart.
fn is_second(conn: &Connection, rows: &[Explained], first_seq: i64, hash: i64, index: usize) -> Result<bool> {
    let id = &rows[index].decision_id;
    let holder: i64 = conn
        .prepare_cached("SELECT seq FROM forensics_ids WHERE hash = ?1")?
        .query_row(params![hash], |row| row.get(0))?;
    let of_batch = usize::try_from(holder - first_seq).ok().and_then(|at| rows.get(at));
    let is_ours = match of_batch {
        Some(row) => row.decision_id == *id,
        None => id_at(conn, holder)?.is_some_and(|holder| holder == *id) || is_gone(conn, id)?,
    };
    if is_ours {
        return Ok(false);
    }
    let seq = first_seq.saturating_add_unsigned(index as u64);
    let added = conn
        .prepare_cached("INSERT INTO forensics_id_collisions (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![Id::of(id), seq])?;
    Ok(added == 1)
}

/// The number of the row of an id; it may be of one that retention took.
pub(super) fn find(conn: &Connection, id: &str) -> Result<Option<i64>> {
    let holder: Option<i64> = conn
        .prepare_cached("SELECT seq FROM forensics_ids WHERE hash = ?1")?
        .query_row(params![hash(id)], |row| row.get(0))
        .optional()?;
    let Some(holder) = holder else { return Ok(None) };
    if id_at(conn, holder)?.is_some_and(|holder| holder == id) {
        return Ok(Some(holder));
    }
    Ok(conn
        .prepare_cached("SELECT seq FROM forensics_id_collisions WHERE id = ?1")?
        .query_row(params![Id::of(id)], |row| row.get(0))
        .optional()?)
}

fn id_at(conn: &Connection, seq: i64) -> Result<Option<String>> {
    let mut statement = conn.prepare_cached("SELECT decision_id FROM forensics WHERE seq = ?1")?;
    let mut rows = statement.query(params![seq])?;
    rows.next()?.map_or(Ok(None), |row| optional_id(row, 0))
}

fn is_gone(conn: &Connection, id: &str) -> Result<bool> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM forensics_gone_ids WHERE id = ?1")?;
    Ok(statement.exists(params![Id::of(id)])?)
}

fn hash(id: &str) -> i64 {
    let mut digest = Digest::default();
    digest.bytes(&id_key(id));
    digest.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tapedeck_contracts::{
        Timestamp,
        events::{Action, decision::Outcome},
    };

    use super::*;
    use crate::{Origin, sqlite::schema::MIGRATIONS};

    fn row(id: &str) -> Explained {
        Explained {
            origin: Origin { topic: Arc::from("trading_decisions"), partition: 0, offset: 0 },
            decision_id: id.into(),
            timestamp: Timestamp::from_micros(0),
            symbol: "BTCUSDT".into(),
            account: None,
            action: Action::Buy,
            outcome: Outcome::Accepted,
            chain: 0,
            index: 0,
            hash: [0; 32],
            feature_set: [0; 16],
            record: Bytes::new(),
        }
    }

    /// The row of another id lies under the hash of `id`, and `gone` says that retention took it.
    fn taken(id: &str, by: &str, gone: bool) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&MIGRATIONS.concat()).unwrap();
        conn.execute("INSERT INTO forensics_ids (hash, seq) VALUES (?1, 1)", params![hash(id)]).unwrap();
        if gone {
            conn.execute("INSERT INTO forensics_gone_ids (id) VALUES (?1)", params![Id::of(by)]).unwrap();
        } else {
            conn.execute(
                "INSERT INTO forensics VALUES (1, 0, 0, 0, 1, 1, 1, 0, 0, ?1, zeroblob(32), x'')",
                params![Id::of(by)],
            )
            .unwrap();
        }
        conn
    }

    #[test]
    fn an_id_whose_hash_is_taken_by_another_is_kept_and_found() {
        for gone in [false, true] {
            let conn = taken("D2", "D1", gone);
            assert_eq!(find(&conn, "D2").unwrap(), None);
            assert_eq!(claim(&conn, &[row("D2")], 2).unwrap(), [0_usize; 0]);
            assert_eq!(find(&conn, "D2").unwrap(), Some(2));
            assert_eq!(claim(&conn, &[row("D3"), row("D2")], 3).unwrap(), [1], "it is held from then on");
        }
    }

    #[test]
    fn an_id_is_held_also_when_retention_took_its_row() {
        for gone in [false, true] {
            assert_eq!(claim(&taken("D1", "D1", gone), &[row("D0"), row("D1")], 2).unwrap(), [1]);
        }
    }

    #[test]
    fn an_id_that_comes_twice_is_held_the_second_time() {
        let conn = taken("D1", "D1", false);
        let rows = ["D5", "D6", "D5", "D5"].map(row);
        assert_eq!(claim(&conn, &rows, 2).unwrap(), [2, 3]);
    }
}
