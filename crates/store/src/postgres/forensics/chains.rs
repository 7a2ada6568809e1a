//! The heads of the chains.
//!
//! Not here: their records, and what a hash is of.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::super::{
    codec::get,
    connect::Session,
    failure::damaged,
    sheet::{Kind, Sheet, Table},
};
use crate::{ChainHead, ExplainedBatch, Result, StoreError, common::explained::heads_after};

const HEADS: &str = "SELECT chain, records, hash, anchored, anchored_hash, begins, begins_hash FROM forensics_chains";

/// The heads of all chains, by chain.
pub(in crate::postgres) fn heads(session: &mut Session) -> Result<Vec<ChainHead>> {
    session.query(&format!("{HEADS} ORDER BY chain"), &[])?.iter().map(head).collect()
}

/// Whether the chains end as this batch leaves them. Offsets alone do not tell: another
/// process that explained the same decisions moved them alike.
pub(super) fn look_as_after(session: &mut Session, batch: &ExplainedBatch) -> Result<bool> {
    let stored = heads(session)?;
    let is_stored = |head: &ChainHead| {
        stored.iter().any(|at| (at.chain, at.records, at.hash) == (head.chain, head.records, head.hash))
    };
    Ok(batch.heads.iter().filter(|head| head.records > 0).all(is_stored))
}

const COLUMNS: &[(&str, Kind)] = &[
    ("chain", Kind::Int),
    ("records", Kind::Int),
    ("hash", Kind::Bytes),
    ("anchored", Kind::Int),
    ("anchored_hash", Kind::Bytes),
    ("begins", Kind::Int),
    ("begins_hash", Kind::Bytes),
];
const FIRST: Table = Table { name: "forensics_chains", columns: COLUMNS, on_conflict: "ON CONFLICT DO NOTHING" };
const NEXT: Table = Table {
    name: "forensics_chains",
    columns: COLUMNS,
    on_conflict: "ON CONFLICT (chain) DO UPDATE SET records = excluded.records, hash = excluded.hash, \
                  anchored = excluded.anchored, anchored_hash = excluded.anchored_hash",
};

/// Locks the heads of the batch's chains and moves them to where it brings them.
pub(super) fn go_on(session: &mut Session, batch: &ExplainedBatch) -> Result<()> {
    let of_rows = batch.rows.iter().map(|row| i64::from(row.chain));
    let mut chains: Vec<i64> = batch.heads.iter().map(|head| i64::from(head.chain)).chain(of_rows).collect();
    chains.sort_unstable();
    chains.dedup();
    if chains.is_empty() {
        return Ok(());
    }
    let sql = format!("{HEADS} WHERE chain = ANY($1) ORDER BY chain FOR UPDATE");
    let stored = session.query(&sql, &[&chains])?.iter().map(head).collect::<Result<Vec<_>>>()?;
    let stored: BTreeMap<u32, ChainHead> = stored.into_iter().map(|head| (head.chain, head)).collect();
    let (mut first, mut next) = (Sheet::new(&FIRST, false), Sheet::new(&NEXT, false));
    let mut firsts = 0;
    for head in heads_after(batch, &stored)? {
        let is_first = !stored.contains_key(&head.chain);
        firsts += u64::from(is_first);
        let sheet = if is_first { &mut first } else { &mut next };
        sheet.row().int(i64::from(head.chain)).int(head.records.cast_signed()).bytes(&head.hash);
        for place in [head.anchored, head.begins] {
            sheet.optional_int(place.map(|(records, _)| records.cast_signed()));
            sheet.optional_bytes(place.as_ref().map(|(_, hash)| hash.as_slice()));
        }
    }
    if first.send(session)? < firsts {
        return Err(StoreError::Transient("another process began a chain meanwhile: it is tried again".into()));
    }
    next.send(session)?;
    Ok(())
}

fn head(row: &Row) -> Result<ChainHead> {
    let hash = |bytes: &[u8]| bytes.try_into().map_err(|_| damaged("a hash"));
    let place = |column| -> Result<Option<(u64, [u8; 32])>> {
        let records = get::<Option<i64>>(row, column)?.map(i64::cast_unsigned);
        Ok(records.zip(get::<Option<&[u8]>>(row, column + 1)?.map(hash).transpose()?))
    };
    Ok(ChainHead {
        chain: u32::try_from(get::<i64>(row, 0)?).map_err(|_| damaged("the number of a chain"))?,
        records: get::<i64>(row, 1)?.cast_unsigned(),
        hash: hash(get(row, 2)?)?,
        anchored: place(3)?,
        begins: place(5)?,
    })
}
