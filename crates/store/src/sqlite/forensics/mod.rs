//! Explained decisions: one batch, one transaction. Rows are kept in the order in
//! which they come; what finds them is in two indexes and a table of ids.
//!
//! Not here: ids, chains, sums, and reading.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::{Handle, apply, codec, names::Names};
use crate::{
    Explained, ExplainedBatch, Result,
    common::{
        explained::unknown_features,
        words::{ACTIONS, OUTCOMES, code},
    },
};

mod chains;
mod ids;
mod importance;
mod read;
mod retention;

pub(super) use chains::heads;
pub(super) use ids::Recent;
pub(super) use importance::importance;
pub(super) use read::{chain, explained, explanations, feature_set, kept, last_of_symbols};
pub(super) use retention::trim;
#[cfg(test)]
pub(super) use {
    chains::STRETCHES,
    read::{KEYS, rows_sql},
};

/// Keeps a batch, or nothing of it; see the trait.
pub(super) fn apply(writer: &mut Handle, batch: &ExplainedBatch) -> Result<Vec<usize>> {
    writer.names.begin();
    let transaction = writer.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for moved in &batch.offsets {
        apply::compare(&transaction, &batch.group, moved)?;
    }
    let first_seq = chains::records(&transaction)? + 1;
    let claimed = match writer.ids.claim(&transaction, &batch.rows, first_seq)? {
        Ok(claimed) => claimed,
        Err(held) => return Ok(held),
    };
    chains::go_on(&transaction, batch)?;
    chains::lay(&transaction, &batch.rows, first_seq)?;
    let mut sets = Sets::keep(&transaction, batch)?;
    keep(&transaction, &mut writer.names, &mut sets, batch, first_seq)?;
    importance::add(&transaction, &mut writer.names, &mut sets, batch)?;
    for moved in &batch.offsets {
        apply::set(&transaction, &batch.group, moved)?;
    }
    transaction.commit()?;
    writer.names.committed();
    writer.ids.remember(claimed);
    Ok(Vec::new())
}

const INSERT: &str = "INSERT INTO forensics (seq, time_us, place, ingested_ms, topic, list, feature_set, chain, \
     chain_index, decision_id, hash, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

fn keep(conn: &Connection, names: &mut Names, sets: &mut Sets, batch: &ExplainedBatch, first_seq: i64) -> Result<()> {
    let mut insert = conn.prepare_cached(INSERT)?;
    let mut lists = Lists::default();
    let mut last_of: BTreeMap<(u32, i64, i64), i64> = BTreeMap::new();
    for (row, seq) in batch.rows.iter().zip(first_seq..) {
        let symbol = names.intern(conn, &row.symbol)?;
        let account = row.account.as_deref().map_or(Ok(0), |account| names.intern(conn, account))?;
        insert.execute(params![
            seq,
            row.timestamp.micros(),
            codec::place(&row.origin)?,
            batch.ingested_at_ms,
            names.intern(conn, &row.origin.topic)?,
            lists.of(conn, symbol, account, row)?,
            sets.number(conn, row.feature_set)?,
            row.chain,
            row.index.cast_signed(),
            codec::Id::of(&row.decision_id),
            row.hash,
            &row.record[..],
        ])?;
        last_of.insert((row.chain, symbol, account), seq);
    }
    let mut put = conn.prepare_cached(
        "INSERT OR REPLACE INTO forensics_symbols (chain, symbol, account, seq) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for ((chain, symbol, account), seq) in last_of {
        put.execute(params![chain, symbol, account, seq])?;
    }
    Ok(())
}

/// What a list is of: symbol, account, action, outcome.
type ListKey = (i64, i64, i64, i64);

/// The lists that a batch touches, each looked up once.
#[derive(Default)]
struct Lists(HashMap<ListKey, i64>);

impl Lists {
    fn of(&mut self, conn: &Connection, symbol: i64, account: i64, row: &Explained) -> Result<i64> {
        let key = (symbol, account, code(ACTIONS, &row.action), code(OUTCOMES, &row.outcome));
        if let Some(list) = self.0.get(&key) {
            return Ok(*list);
        }
        let of = params![key.0, key.1, key.2, key.3];
        let found = conn
            .prepare_cached(
                "SELECT id FROM forensics_lists WHERE symbol = ?1 AND account = ?2 AND action = ?3 AND outcome = ?4",
            )?
            .query_row(of, |row| row.get(0))
            .optional()?;
        let list = match found {
            Some(list) => list,
            None => {
                conn.prepare_cached(
                    "INSERT INTO forensics_lists (symbol, account, action, outcome) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(of)?;
                conn.last_insert_rowid()
            }
        };
        self.0.insert(key, list);
        Ok(list)
    }
}

/// The numbers of the feature sets that a batch names, each looked up once.
#[derive(Default)]
struct Sets(HashMap<[u8; 16], i64>);

impl Sets {
    /// Keeps the feature sets that are new.
    fn keep(conn: &Connection, batch: &ExplainedBatch) -> Result<Self> {
        let mut insert =
            conn.prepare_cached("INSERT INTO feature_sets (id, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        for (id, body) in &batch.feature_sets {
            insert.execute(params![id, &body[..]])?;
        }
        Ok(Self::default())
    }

    fn number(&mut self, conn: &Connection, id: [u8; 16]) -> Result<i64> {
        if let Some(number) = self.0.get(&id) {
            return Ok(*number);
        }
        let number = conn
            .prepare_cached("SELECT number FROM feature_sets WHERE id = ?1")?
            .query_row(params![id], |row| row.get(0))
            .optional()?
            .ok_or_else(|| unknown_features(&id))?;
        self.0.insert(id, number);
        Ok(number)
    }
}
