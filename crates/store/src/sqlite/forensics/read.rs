//! Reading explained decisions: by id, by list, by chain.
//!
//! Not here: what their bytes say.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tapedeck_contracts::Timestamp;

use super::{
    super::{codec, export::KeptExplained, failure::damaged, names::Names},
    chains, ids,
};
use crate::{
    Explained, ExplainedQuery, Origin, PageKey, Result, StoreError,
    common::words::{ACTIONS, OUTCOMES, code},
    merge,
};

/// A row with what its numbers stand for.
fn select(which: &str) -> String {
    format!(
        "SELECT f.seq, f.time_us, f.place, f.topic, f.chain, f.chain_index, f.decision_id, f.hash, f.record, s.id, \
         l.symbol, l.account, l.action, l.outcome, f.ingested_ms FROM forensics f \
         CROSS JOIN forensics_lists l ON l.id = f.list CROSS JOIN feature_sets s ON s.number = f.feature_set \
         WHERE {which}"
    )
}

/// The explanation of a decision.
pub(in crate::sqlite) fn explained(
    conn: &Connection,
    names: &mut Names,
    decision_id: &str,
) -> Result<Option<Explained>> {
    match ids::find(conn, decision_id)? {
        None => Ok(None),
        Some(seq) => at(conn, names, seq),
    }
}

/// The keys of one list, newest first, from the index alone.
pub(in crate::sqlite) const KEYS: &str = "SELECT time_us, place, seq FROM forensics INDEXED BY forensics_time \
     WHERE list = ?1 AND time_us >= ?2 AND (time_us, place) < (?3, ?4) ORDER BY time_us DESC, place DESC LIMIT ?5";

/// Explanations, newest first.
pub(in crate::sqlite) fn explanations(
    conn: &Connection,
    names: &mut Names,
    query: &ExplainedQuery,
) -> Result<Vec<(PageKey, Explained)>> {
    let Some(account) = names.filter(conn, query.account.as_deref())? else { return Ok(Vec::new()) };
    let Some(symbol) = names.filter(conn, query.symbol.as_deref())? else { return Ok(Vec::new()) };
    // A row a list, and they are few beside the rows.
    let lists: Vec<i64> = conn
        .prepare_cached(
            "SELECT id FROM forensics_lists WHERE (?1 IS NULL OR symbol = ?1) AND (?2 IS NULL OR account = ?2) \
             AND (?3 IS NULL OR action = ?3) AND (?4 IS NULL OR outcome = ?4)",
        )?
        .query_map(
            params![
                symbol,
                account,
                query.action.map(|action| code(ACTIONS, &action)),
                query.outcome.map(|outcome| code(OUTCOMES, &outcome))
            ],
            |row| row.get(0),
        )?
        .collect::<rusqlite::Result<_>>()?;
    let from_us = codec::lower_end(query.from);
    let mut keys = conn.prepare_cached(KEYS)?;
    let found = merge::newest(lists.len(), codec::upper_end(query.to, query.after), query.limit, |wanted, most| {
        let of_list = |(list, before): &(usize, (i64, i64))| {
            let bounds = params![lists[*list], from_us, before.0, before.1, codec::limit(most)];
            let keys = keys.query_map(bounds, |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
            Ok(keys.collect::<rusqlite::Result<_>>()?)
        };
        wanted.iter().map(of_list).collect()
    })?;
    let row_of = |((time_us, place), seq)| {
        let row = at(conn, names, seq)?.ok_or_else(|| damaged("an index that has lost its row"))?;
        Ok((codec::key(time_us, place), row))
    };
    found.into_iter().map(row_of).collect()
}

/// Rows by their numbers.
pub(in crate::sqlite) fn rows_sql() -> String {
    select("f.seq >= ?1 AND f.seq < ?2 ORDER BY f.seq LIMIT ?3")
}

/// Records of a chain in its order.
pub(in crate::sqlite) fn chain(
    conn: &Connection,
    names: &mut Names,
    chain: u32,
    from: u64,
    limit: usize,
) -> Result<Vec<Explained>> {
    let mut statement = conn.prepare_cached(&rows_sql())?;
    let mut records = Vec::new();
    chains::stretches(conn, chain, i64::try_from(from).unwrap_or(i64::MAX), |stretch| {
        let skipped = from.saturating_sub(stretch.first_index).min(stretch.records);
        let (first, end) =
            (stretch.first_seq + skipped.cast_signed(), stretch.first_seq + stretch.records.cast_signed());
        let mut rows = statement.query(params![first, end, codec::limit(limit - records.len())])?;
        while let Some(row) = rows.next()? {
            records.push(read(conn, names, row)?);
        }
        Ok(records.len() >= limit)
    })?;
    Ok(records)
}

/// The last record of each symbol and account in a chain.
pub(in crate::sqlite) fn last_of_symbols(conn: &Connection, names: &mut Names, chain: u32) -> Result<Vec<Explained>> {
    let seqs: Vec<i64> = conn
        .prepare_cached("SELECT seq FROM forensics_symbols WHERE chain = ?1")?
        .query_map(params![chain], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let lost = || {
        StoreError::Fatal(format!(
            "chain {chain} of explanations has lost records, the last one of a symbol among them: `tapedeck audit verify \
             --chain {chain}` names the first; restore the store's file from a backup"
        ))
    };
    let row_of = |seq| at(conn, names, seq)?.ok_or_else(lost);
    let mut records = seqs.into_iter().map(row_of).collect::<Result<Vec<_>>>()?;
    records.sort_by(|a, b| (&a.symbol, &a.account).cmp(&(&b.symbol, &b.account)));
    Ok(records)
}

/// The bytes of a feature set.
pub(in crate::sqlite) fn feature_set(conn: &Connection, id: [u8; 16]) -> Result<Option<Bytes>> {
    let body: Option<Vec<u8>> = conn
        .prepare_cached("SELECT body FROM feature_sets WHERE id = ?1")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    Ok(body.map(Bytes::from))
}

/// Rows in the order of their arrival.
pub(in crate::sqlite) fn kept(
    conn: &Connection,
    names: &mut Names,
    after: i64,
    limit: usize,
) -> Result<Vec<KeptExplained>> {
    let mut statement = conn.prepare_cached(&select("f.seq > ?1 ORDER BY f.seq LIMIT ?2"))?;
    let mut rows = statement.query(params![after, codec::limit(limit)])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, ingested_at_ms) = (row.get::<_, i64>(0)?.unsigned_abs(), row.get(14)?);
        all.push(KeptExplained { seq, ingested_at_ms, row: read(conn, names, row)? });
    }
    Ok(all)
}

fn at(conn: &Connection, names: &mut Names, seq: i64) -> Result<Option<Explained>> {
    let mut statement = conn.prepare_cached(&select("f.seq = ?1"))?;
    let mut rows = statement.query(params![seq])?;
    rows.next()?.map(|row| read(conn, names, row)).transpose()
}

fn read(conn: &Connection, names: &mut Names, row: &Row<'_>) -> Result<Explained> {
    let key = codec::key(row.get(1)?, row.get(2)?);
    let account: i64 = row.get(11)?;
    let mut name = |id| names.name(conn, id);
    Ok(Explained {
        origin: Origin { topic: name(row.get(3)?)?, partition: key.partition, offset: key.offset },
        decision_id: codec::id(row, 6)?,
        timestamp: Timestamp::from_micros(row.get(1)?),
        symbol: name(row.get(10)?)?.to_string(),
        account: if account == 0 { None } else { Some(name(account)?.to_string()) },
        action: codec::word(ACTIONS, row, 12)?,
        outcome: codec::word(OUTCOMES, row, 13)?,
        chain: row.get(4)?,
        index: row.get::<_, i64>(5)?.cast_unsigned(),
        hash: row.get(7)?,
        feature_set: row.get(9)?,
        record: Bytes::from(row.get::<_, Vec<u8>>(8)?),
    })
}
