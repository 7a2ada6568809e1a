//! Retention of explained decisions: the oldest go, their ids stay, and each chain
//! says where it now begins.
//!
//! Not here: how long they are kept.

use std::collections::BTreeMap;

use rusqlite::{Connection, params, types::Value};

use crate::Result;

struct Old {
    seq: i64,
    chain: i64,
    index: i64,
    hash: Vec<u8>,
    id: Value,
}

/// Deletes the oldest rows up to the first that is to be kept, at most `limit`.
pub(in crate::sqlite) fn trim(conn: &Connection, before_ms: i64, limit: usize) -> Result<usize> {
    let old = oldest(conn, before_ms, limit)?;
    let Some(last) = old.last().map(|row| row.seq) else { return Ok(0) };
    let mut delete = conn.prepare_cached("DELETE FROM forensics WHERE seq = ?1")?;
    let mut remember = conn.prepare_cached("INSERT INTO forensics_gone_ids (id) VALUES (?1) ON CONFLICT DO NOTHING")?;
    let mut begins = BTreeMap::new();
    let mut gone = 0;
    for Old { seq, chain, index, hash, id } in old {
        gone += delete.execute(params![seq])?;
        remember.execute(params![id])?;
        begins.insert(chain, (index + 1, hash));
    }
    let mut begin =
        conn.prepare_cached("UPDATE forensics_chains SET begins = ?2, begins_hash = ?3 WHERE chain = ?1")?;
    let mut forget = conn.prepare_cached(
        "DELETE FROM forensics_stretches WHERE chain = ?1 AND first_index < ?2 AND first_index + records <= ?2",
    )?;
    for (chain, (index, hash)) in begins {
        begin.execute(params![chain, index, hash])?;
        forget.execute(params![chain, index])?;
    }
    // A symbol nothing was decided of in all that time has nothing to be compared with.
    conn.prepare_cached("DELETE FROM forensics_symbols WHERE seq <= ?1")?.execute(params![last])?;
    Ok(gone)
}

fn oldest(conn: &Connection, before_ms: i64, limit: usize) -> Result<Vec<Old>> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, ingested_ms, chain, chain_index, hash, decision_id FROM forensics ORDER BY seq LIMIT ?1",
    )?;
    let mut rows = statement.query(params![i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut old = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? >= before_ms {
            break;
        }
        old.push(Old { seq: row.get(0)?, chain: row.get(2)?, index: row.get(3)?, hash: row.get(4)?, id: row.get(5)? });
    }
    Ok(old)
}
