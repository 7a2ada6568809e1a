//! Reading explained decisions: by id, by list, by chain.
//!
//! Not here: what their bytes say.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;

use super::super::{
    codec::{self, Time, get, word},
    connect::Session,
    failure::damaged,
    series::{self, Param},
};
use crate::{
    Explained, ExplainedQuery, Origin, PageKey, Result,
    common::{
        explained::id_key,
        values::{key, limit, lower_end, upper_end},
        words::{ACTIONS, OUTCOMES, text},
    },
    merge,
};

const COLUMNS: &str =
    "f.time, f.place, f.topic, f.chain, f.chain_index, f.decision_id, f.hash, f.record, f.feature_set";
const OF_LIST: &str = "l.symbol, l.account, l.action, l.outcome";

/// The explanation of a decision. Its id tells the part and the place of its row.
pub(in crate::postgres) fn explained(session: &mut Session, decision_id: &str) -> Result<Option<Explained>> {
    let place = "SELECT ingested_at, chain, chain_index FROM forensics_ids WHERE id = $1";
    let Some(place) = session.query_opt(place, &[&id_key(decision_id)])? else { return Ok(None) };
    let (ingested, chain, index): (Time, i64, i64) = (get(&place, 0)?, get(&place, 1)?, get(&place, 2)?);
    let sql = format!(
        "SELECT {COLUMNS}, {OF_LIST} FROM forensics f JOIN forensics_lists l ON l.id = f.list \
         WHERE f.ingested_at = $1 AND f.chain = $2 AND f.chain_index = $3"
    );
    session.query_opt(&sql, &[&ingested, &chain, &index])?.map(|row| read(&row)).transpose()
}

/// The newest rows of several lists, each before a (time, place) of its own.
pub(in crate::postgres) fn lists_sql() -> String {
    format!(
        "SELECT f.*, {OF_LIST}, w.n FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bigint[]) \
         AS w (n, list, before, place) JOIN forensics_lists l ON l.id = w.list CROSS JOIN LATERAL (SELECT {COLUMNS} \
         FROM forensics f WHERE f.list = w.list AND f.time >= $5 AND (f.time, f.place) < (w.before, w.place) \
         ORDER BY f.time DESC, f.place DESC LIMIT $6) AS f"
    )
}

/// Explanations, newest first.
pub(in crate::postgres) fn explanations(
    session: &mut Session,
    query: &ExplainedQuery,
) -> Result<Vec<(PageKey, Explained)>> {
    let action = query.action.map(|action| text(ACTIONS, &action));
    let outcome = query.outcome.map(|outcome| text(OUTCOMES, &outcome));
    // A row a list, and they are few beside the rows.
    let lists = session.query(
        "SELECT id FROM forensics_lists WHERE ($1::text IS NULL OR symbol = $1) AND ($2::text IS NULL OR account = $2) \
         AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR outcome = $4) ORDER BY id",
        &[&query.symbol, &query.account, &action, &outcome],
    )?;
    let lists: Vec<i64> = lists.iter().map(|row| get(row, 0)).collect::<Result<_>>()?;
    let (from, before) = (Time(lower_end(query.from)), upper_end(query.to, query.after));
    let sql = lists_sql();
    let found = merge::newest(lists.len(), before, query.limit, |wanted, most| {
        let numbers: Vec<i64> = (0..).take(wanted.len()).collect();
        let of: Vec<i64> = wanted.iter().map(|(list, _)| lists[*list]).collect();
        let times: Vec<Time> = wanted.iter().map(|(_, before)| Time(before.0)).collect();
        let places: Vec<i64> = wanted.iter().map(|(_, before)| before.1).collect();
        let bounds: [&Param<'_>; 6] = [&numbers, &of, &times, &places, &from, &limit(most)];
        series::by_list(&session.query(&sql, &bounds)?, wanted.len(), 13, read)
    })?;
    Ok(found.into_iter().map(|((time_us, place), row)| (key(time_us, place), row)).collect())
}

/// Records of a chain from an index on.
pub(in crate::postgres) fn chain_sql() -> String {
    format!(
        "SELECT {COLUMNS}, {OF_LIST} FROM (SELECT * FROM forensics WHERE chain = $1 AND chain_index >= $2 \
         ORDER BY chain_index LIMIT $3) AS f JOIN forensics_lists l ON l.id = f.list ORDER BY f.chain_index"
    )
}

/// Records of a chain in its order.
pub(in crate::postgres) fn chain(session: &mut Session, chain: u32, from: u64, rows: usize) -> Result<Vec<Explained>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    session.query(&chain_sql(), &[&i64::from(chain), &from, &limit(rows)])?.iter().map(read).collect()
}

/// The last record of each symbol and account in a chain.
pub(in crate::postgres) fn last_of_symbols(session: &mut Session, chain: u32) -> Result<Vec<Explained>> {
    let sql = format!(
        "SELECT {COLUMNS}, {OF_LIST} FROM forensics_symbols s JOIN forensics f ON f.ingested_at = s.ingested_at \
         AND f.chain = s.chain AND f.chain_index = s.chain_index JOIN forensics_lists l ON l.id = f.list \
         WHERE s.chain = $1 ORDER BY s.symbol, s.account"
    );
    session.query(&sql, &[&i64::from(chain)])?.iter().map(read).collect()
}

/// The bytes of a feature set.
pub(in crate::postgres) fn feature_set(session: &mut Session, id: [u8; 16]) -> Result<Option<Bytes>> {
    let row = session.query_opt("SELECT body FROM feature_sets WHERE id = $1", &[&id.as_slice()])?;
    row.map(|row| Ok(Bytes::from(get::<Vec<u8>>(&row, 0)?))).transpose()
}

fn read(row: &Row) -> Result<Explained> {
    let time = codec::time(row, 0)?;
    let key = key(time.micros(), get(row, 1)?);
    Ok(Explained {
        origin: Origin { topic: Arc::from(get::<&str>(row, 2)?), partition: key.partition, offset: key.offset },
        decision_id: get(row, 5)?,
        timestamp: time,
        symbol: get(row, 9)?,
        account: get(row, 10)?,
        action: word(ACTIONS, row, 11)?,
        outcome: word(OUTCOMES, row, 12)?,
        chain: u32::try_from(get::<i64>(row, 3)?).map_err(|_| damaged("the number of a chain"))?,
        index: get::<i64>(row, 4)?.cast_unsigned(),
        hash: get::<&[u8]>(row, 6)?.try_into().map_err(|_| damaged("a hash"))?,
        feature_set: get::<&[u8]>(row, 8)?.try_into().map_err(|_| damaged("the id of a feature set"))?,
        record: Bytes::from(get::<Vec<u8>>(row, 7)?),
    })
}
