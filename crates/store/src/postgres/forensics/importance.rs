//! Sums of absolute contributions: what a batch adds to an hour is read, added to
//! in memory, and written again, one writer at a time.
//!
//! Not here: what is summed.

use std::collections::BTreeMap;

use tapedeck_contracts::Timestamp;
use tokio_postgres::Row;

use super::super::{
    codec::{Time, get, time},
    connect::Session,
    failure::damaged,
    sheet::{Kind, Sheet, Table},
};
use crate::{
    ExplainedBatch, Importance, Result,
    common::explained::{add_up, bytes_of, sums_of, together},
};

const TABLE: Table = Table {
    name: "forensics_importance",
    columns: &[
        ("hour", Kind::Time),
        ("symbol", Kind::Text),
        ("feature_set", Kind::Bytes),
        ("decisions", Kind::Int),
        ("sums", Kind::Bytes),
    ],
    on_conflict: "ON CONFLICT (hour, symbol, feature_set) DO UPDATE SET decisions = excluded.decisions, \
                  sums = excluded.sums",
};

const READ: &str = "SELECT hour, symbol, feature_set, decisions, sums FROM forensics_importance";

/// Adds the sums of a batch. Whoever else adds waits until this transaction ends,
/// which is at once: this is its last step but the offsets.
pub(super) fn add(session: &mut Session, schema: &str, batch: &ExplainedBatch) -> Result<()> {
    let more = together(batch)?;
    if more.is_empty() {
        return Ok(());
    }
    let lock = format!("tapedeck.{schema}.importance");
    session.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", &[&lock])?;
    let hours: Vec<Time> = more.iter().map(|sum| Time::of(sum.hour)).collect();
    let symbols: Vec<&str> = more.iter().map(|sum| sum.symbol.as_str()).collect();
    let sets: Vec<&[u8]> = more.iter().map(|sum| sum.feature_set.as_slice()).collect();
    let sql = format!(
        "{READ} JOIN unnest($1::timestamptz[], $2::text[], $3::bytea[]) AS k(hour, symbol, feature_set) \
         USING (hour, symbol, feature_set)"
    );
    let stored = session.query(&sql, &[&hours, &symbols, &sets])?.iter().map(sum).collect::<Result<Vec<_>>>()?;
    let key = |sum: &Importance| (sum.hour, sum.symbol.clone(), sum.feature_set);
    let mut stored: BTreeMap<_, Importance> = stored.into_iter().map(|sum| (key(&sum), sum)).collect();
    let mut sheet = Sheet::new(&TABLE, false);
    for more in more {
        let sum = match stored.remove(&key(&more)) {
            None => more,
            Some(mut sum) => {
                add_up(&mut sum, &more)?;
                sum
            }
        };
        sheet.row().time(sum.hour.micros()).text(&sum.symbol).bytes(&sum.feature_set);
        sheet.int(sum.decisions.cast_signed()).bytes(&bytes_of(&sum.sums));
    }
    sheet.send(session)?;
    Ok(())
}

/// Sums of the hours that begin in [from, to), oldest first, then by symbol.
pub(in crate::postgres) fn importance(
    session: &mut Session,
    from: Timestamp,
    to: Timestamp,
    symbol: Option<&str>,
) -> Result<Vec<Importance>> {
    let sql = format!(
        "{READ} WHERE hour >= $1 AND hour < $2 AND ($3::text IS NULL OR symbol = $3) ORDER BY hour, symbol, feature_set"
    );
    session.query(&sql, &[&Time::of(from), &Time::of(to), &symbol])?.iter().map(sum).collect()
}

fn sum(row: &Row) -> Result<Importance> {
    Ok(Importance {
        hour: time(row, 0)?,
        symbol: get(row, 1)?,
        feature_set: get::<&[u8]>(row, 2)?.try_into().map_err(|_| damaged("the id of a feature set"))?,
        decisions: get::<i64>(row, 3)?.unsigned_abs(),
        sums: sums_of(get(row, 4)?).ok_or_else(|| damaged("sums"))?,
    })
}
