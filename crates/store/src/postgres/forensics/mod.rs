//! Explained decisions: one batch, one transaction. As with events every writer
//! waits in this order: offsets, ids, chains, lists, symbols, sums; each in the
//! order of its keys.
//!
//! Not here: chains, sums, reading, retention.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::PoisonError,
};

use super::{
    PostgresStore, apply,
    claims::{at, refuse_unfit_texts},
    codec::get,
    connect::Session,
    partitions::Layout,
    series::Param,
    sheet::{Kind, Sheet, Table},
};
use crate::{
    Applied, Explained, ExplainedBatch, Result, StoreError,
    common::{
        at_row,
        explained::{id_key, unknown_features},
        values,
        words::{ACTIONS, OUTCOMES, text},
    },
};

mod chains;
mod importance;
mod read;
mod retention;

pub(super) use chains::heads;
pub(super) use importance::importance;
pub(super) use read::{chain, explained, explanations, feature_set, last_of_symbols};
#[cfg(test)]
pub(super) use read::{chain_sql, lists_sql};
pub(super) use retention::{cut, trim};

/// Keeps a batch, or nothing of it; see the trait.
pub(super) fn apply(store: &PostgresStore, batch: &ExplainedBatch) -> Result<Vec<usize>> {
    for (index, row) in batch.rows.iter().enumerate() {
        let texts = [
            ("decision_id", row.decision_id.as_str()),
            ("symbol", &row.symbol),
            ("account", row.account.as_deref().unwrap_or_default()),
        ];
        refuse_unfit_texts(&texts).map_err(|error| at_row(index, error))?;
    }
    store.writer.with(|session| {
        let mut memory = store.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if store.layout == Layout::Declarative && !batch.rows.is_empty() {
            memory.make_partitions(session, &store.schema, batch.ingested_at_ms)?;
        }
        let done = session.transaction("BEGIN", |session| {
            let moves = apply::sorted(&batch.offsets);
            if apply::compare(session, &batch.group, &batch.offsets, &moves, memory.unsettled(&batch.group))?.is_some()
            {
                return chains::look_as_after(session, batch)?
                    .then(Vec::new)
                    .ok_or_else(|| apply::taken(&batch.group, &moves));
            }
            let held = claim(session, batch)?;
            if held.is_empty() {
                keep(session, batch, store)?;
                apply::set(session, &batch.group, &moves)?;
                memory.unsettle(&batch.group, &batch.offsets, Applied::default());
            }
            Ok(held)
        });
        if matches!(done, Err(StoreError::Transient(_) | StoreError::Fatal(_))) {
            // Perhaps another process dropped a partition.
            memory.forget_partitions();
        }
        if !session.is_lost() {
            memory.settled(&batch.group);
        }
        done
    })
}

const IDS: Table = Table {
    name: "forensics_ids",
    columns: &[("id", Kind::Bytes), ("ingested_at", Kind::Time), ("chain", Kind::Int), ("chain_index", Kind::Int)],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// Notes the ids of the rows. Answers the indices of those that are held already,
/// or come again in the batch; nothing is noted then.
fn claim(session: &mut Session, batch: &ExplainedBatch) -> Result<Vec<usize>> {
    let mut first = BTreeMap::new();
    let mut held = Vec::new();
    for (index, row) in batch.rows.iter().enumerate() {
        match first.entry(id_key(&row.decision_id)) {
            Entry::Vacant(unseen) => _ = unseen.insert(index),
            Entry::Occupied(_) => held.push(index),
        }
    }
    let mut sheet = Sheet::new(&IDS, false);
    for (id, index) in &first {
        let row = &batch.rows[*index];
        sheet.row().bytes(id).time(ingested_us(batch)).int(i64::from(row.chain)).int(row.index.cast_signed());
    }
    session.batch("SAVEPOINT ids")?;
    let is_all_new = sheet.send(session)? == first.len() as u64;
    if is_all_new && held.is_empty() {
        return Ok(held);
    }
    session.batch("ROLLBACK TO SAVEPOINT ids")?;
    let ids: Vec<&[u8]> = first.keys().map(Vec::as_slice).collect();
    for row in session.query("SELECT id FROM forensics_ids WHERE id = ANY($1::bytea[])", &[&ids])? {
        held.extend(first.get(get::<&[u8]>(&row, 0)?));
    }
    if held.is_empty() {
        // Held by a writer that gave its batch up meanwhile.
        return Err(StoreError::Transient("another process was keeping the same decisions: it is tried again".into()));
    }
    held.sort_unstable();
    Ok(held)
}

const ROWS: Table = Table {
    name: "forensics",
    columns: &[
        ("ingested_at", Kind::Time),
        ("time", Kind::Time),
        ("place", Kind::Int),
        ("topic", Kind::Text),
        ("list", Kind::Int),
        ("feature_set", Kind::Bytes),
        ("chain", Kind::Int),
        ("chain_index", Kind::Int),
        ("decision_id", Kind::Text),
        ("hash", Kind::Bytes),
        ("record", Kind::Bytes),
    ],
    on_conflict: "",
};
const SYMBOLS: Table = Table {
    name: "forensics_symbols",
    columns: &[
        ("chain", Kind::Int),
        ("symbol", Kind::Text),
        ("account", Kind::Text),
        ("ingested_at", Kind::Time),
        ("chain_index", Kind::Int),
    ],
    on_conflict: "ON CONFLICT (chain, symbol, account) DO UPDATE SET ingested_at = excluded.ingested_at, \
                  chain_index = excluded.chain_index",
};

fn keep(session: &mut Session, batch: &ExplainedBatch, store: &PostgresStore) -> Result<()> {
    chains::go_on(session, batch)?;
    keep_feature_sets(session, batch)?;
    let lists = lists(session, &batch.rows)?;
    let mut rows = Sheet::new(&ROWS, store.copies);
    let mut last_of: BTreeMap<(u32, &str, &str), u64> = BTreeMap::new();
    for row in &batch.rows {
        let list = lists.get(&list_of(row)).copied().unwrap_or_default();
        rows.row().time(ingested_us(batch)).time(row.timestamp.micros()).int(values::place(&row.origin)?);
        rows.text(&row.origin.topic).int(list).bytes(&row.feature_set);
        rows.int(i64::from(row.chain)).int(row.index.cast_signed()).text(&row.decision_id);
        rows.bytes(&row.hash).bytes(&row.record);
        last_of.insert((row.chain, &row.symbol, row.account.as_deref().unwrap_or_default()), row.index);
    }
    rows.send(session)?;
    let mut symbols = Sheet::new(&SYMBOLS, false);
    for ((chain, symbol, account), index) in last_of {
        symbols.row().int(i64::from(chain)).text(symbol).text(account);
        symbols.time(ingested_us(batch)).int(index.cast_signed());
    }
    symbols.send(session)?;
    importance::add(session, &store.schema, batch)
}

const FEATURE_SETS: Table = Table {
    name: "feature_sets",
    columns: &[("id", Kind::Bytes), ("body", Kind::Bytes)],
    on_conflict: "ON CONFLICT DO NOTHING",
};

/// Keeps the feature sets that are new, and looks that all that are named are there.
fn keep_feature_sets(session: &mut Session, batch: &ExplainedBatch) -> Result<()> {
    let given: BTreeMap<_, _> = batch.feature_sets.iter().map(|(id, body)| (id, body)).collect();
    let mut sheet = Sheet::new(&FEATURE_SETS, false);
    for (id, body) in given {
        sheet.row().bytes(id).bytes(body);
    }
    sheet.send(session)?;
    let of_sums = batch.importance.iter().map(|sum| sum.feature_set);
    let named: BTreeSet<[u8; 16]> = batch.rows.iter().map(|row| row.feature_set).chain(of_sums).collect();
    if named.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = named.iter().map(<[u8; 16]>::as_slice).collect();
    let known = session.query("SELECT id FROM feature_sets WHERE id = ANY($1::bytea[])", &[&ids])?;
    let known: Vec<&[u8]> = known.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
    match named.iter().find(|id| !known.contains(&id.as_slice())) {
        None => Ok(()),
        Some(unknown) => Err(unknown_features(unknown)),
    }
}

/// What a list is of: symbol, account, action, outcome.
type ListKey<'a> = (&'a str, Option<&'a str>, &'static str, &'static str);

fn list_of(row: &Explained) -> ListKey<'_> {
    (&row.symbol, row.account.as_deref(), text(ACTIONS, &row.action), text(OUTCOMES, &row.outcome))
}

/// The numbers of the lists that the rows belong to; new lists get one.
fn lists<'a>(session: &mut Session, rows: &'a [Explained]) -> Result<BTreeMap<ListKey<'a>, i64>> {
    const KEYS: &str = "unnest($1::text[], $2::text[], $3::text[], $4::text[])";
    let keys: Vec<ListKey<'a>> = rows.iter().map(list_of).collect::<BTreeSet<_>>().into_iter().collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let symbols: Vec<&str> = keys.iter().map(|key| key.0).collect();
    let accounts: Vec<Option<&str>> = keys.iter().map(|key| key.1).collect();
    let actions: Vec<&str> = keys.iter().map(|key| key.2).collect();
    let outcomes: Vec<&str> = keys.iter().map(|key| key.3).collect();
    let columns: [&Param<'_>; 4] = [&symbols, &accounts, &actions, &outcomes];
    let find = format!(
        "SELECT k.n, l.id FROM {KEYS} WITH ORDINALITY AS k(symbol, account, action, outcome, n) \
         JOIN forensics_lists l ON l.symbol = k.symbol AND l.account IS NOT DISTINCT FROM k.account \
         AND l.action = k.action AND l.outcome = k.outcome"
    );
    let mut found = session.query(&find, &columns)?;
    if found.len() < keys.len() {
        let add = format!(
            "INSERT INTO forensics_lists (symbol, account, action, outcome) SELECT * FROM {KEYS} ON CONFLICT DO NOTHING"
        );
        session.execute(&add, &columns)?;
        found = session.query(&find, &columns)?;
    }
    found.iter().map(|row| Ok((*at(row, &keys)?, get(row, 1)?))).collect()
}

fn ingested_us(batch: &ExplainedBatch) -> i64 {
    batch.ingested_at_ms.saturating_mul(1_000)
}
