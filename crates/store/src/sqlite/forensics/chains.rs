//! The heads of the chains, and where their records lie.
//!
//! Not here: the records, and what a hash is of.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::{ChainHead, Explained, ExplainedBatch, Result, common::explained::heads_after};

/// How many records all chains had so far, those that are gone too.
pub(super) fn records(conn: &Connection) -> Result<i64> {
    // A row a chain, and they are as few as the partitions of a topic.
    let mut statement = conn.prepare_cached("SELECT coalesce(sum(records), 0) FROM forensics_chains")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// The heads of all chains, by chain.
pub(in crate::sqlite) fn heads(conn: &Connection) -> Result<Vec<ChainHead>> {
    let mut statement = conn.prepare_cached(
        "SELECT chain, records, hash, anchored, anchored_hash, begins, begins_hash FROM forensics_chains ORDER BY chain",
    )?;
    let heads = statement.query_map([], head)?;
    Ok(heads.collect::<rusqlite::Result<_>>()?)
}

/// Moves the heads to where the batch brings them.
pub(super) fn go_on(conn: &Connection, batch: &ExplainedBatch) -> Result<()> {
    let stored: BTreeMap<u32, ChainHead> = heads(conn)?.into_iter().map(|head| (head.chain, head)).collect();
    let mut put = conn.prepare_cached(
        "INSERT OR REPLACE INTO forensics_chains (chain, records, hash, anchored, anchored_hash, begins, begins_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for head in heads_after(batch, &stored)? {
        let (anchored, anchored_hash) = head.anchored.unzip();
        let (begins, begins_hash) = head.begins.unzip();
        put.execute(params![
            head.chain,
            head.records.cast_signed(),
            head.hash,
            anchored.map(u64::cast_signed),
            anchored_hash,
            begins.map(u64::cast_signed),
            begins_hash
        ])?;
    }
    Ok(())
}

/// Records of a chain that lie in a row.
pub(super) struct Stretch {
    pub(super) first_index: u64,
    pub(super) first_seq: i64,
    pub(super) records: u64,
}

/// Notes where the rows of a batch lie. Where they come partition by partition, as
/// they are taken from the log, it is one stretch a chain; an index of every row
/// would cost each 0.6 us.
pub(super) fn lay(conn: &Connection, rows: &[Explained], first_seq: i64) -> Result<()> {
    let mut put = conn.prepare_cached(
        "INSERT INTO forensics_stretches (chain, first_index, first_seq, records) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut seq = first_seq;
    for stretch in rows.chunk_by(|row, next| row.chain == next.chain) {
        let records = i64::try_from(stretch.len()).unwrap_or(i64::MAX);
        put.execute(params![stretch[0].chain, stretch[0].index.cast_signed(), seq, records])?;
        seq += records;
    }
    Ok(())
}

/// The stretch that holds a record, and those after it.
pub(in crate::sqlite) const STRETCHES: &str = "SELECT first_index, first_seq, records FROM forensics_stretches \
     WHERE chain = ?1 AND first_index >= coalesce((SELECT max(first_index) FROM forensics_stretches \
     WHERE chain = ?1 AND first_index <= ?2), 0) ORDER BY first_index";

/// Calls `each` with the stretches of a chain from the one on that holds a record,
/// until it says that it has enough.
pub(super) fn stretches(
    conn: &Connection,
    chain: u32,
    from: i64,
    mut each: impl FnMut(Stretch) -> Result<bool>,
) -> Result<()> {
    let mut statement = conn.prepare_cached(STRETCHES)?;
    let mut rows = statement.query(params![chain, from])?;
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let stretch = Stretch { first_index: number(0)?, first_seq: row.get(1)?, records: number(2)? };
        if each(stretch)? {
            break;
        }
    }
    Ok(())
}

fn head(row: &Row<'_>) -> rusqlite::Result<ChainHead> {
    let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned));
    Ok(ChainHead {
        chain: row.get(0)?,
        records: row.get::<_, i64>(1)?.cast_unsigned(),
        hash: row.get(2)?,
        anchored: number(3)?.zip(row.get(4)?),
        begins: number(5)?.zip(row.get(6)?),
    })
}
