//! The heads of the chains.
//!
//! Not here: their records, and what a hash is of.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use crate::{ChainHead, ExplainedBatch, Result, common::explained::heads_after};

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
