//! Retention of explained decisions: the beginnings of chains go, their ids stay,
//! and each chain says where it now begins.
//!
//! Not here: which parts go, and when.

use tokio_postgres::Row;

use super::super::{
    codec::{Time, get},
    connect::Session,
};
use crate::Result;

/// Notes where the chains begin when a part is gone that is about to be dropped,
/// in the transaction that drops it.
pub(in crate::postgres) fn cut(session: &mut Session, part: &str) -> Result<()> {
    let sql = format!("SELECT chain_index, hash FROM {part} WHERE chain = $1 ORDER BY chain_index DESC LIMIT 1");
    for chain in chains(session)? {
        if let Some(last) = session.query_opt(&sql, &[&chain])? {
            begin_after(session, chain, get(&last, 0)?, get(&last, 1)?)?;
        }
    }
    forget_symbols(session)
}

/// Deletes the beginnings of the chains in a part, up to the first record that is
/// to be kept of each, at most `limit`.
pub(in crate::postgres) fn trim(session: &mut Session, part: &str, before_ms: i64, limit: i64) -> Result<i64> {
    let oldest =
        format!("SELECT chain_index, hash, ingested_at FROM {part} WHERE chain = $1 ORDER BY chain_index LIMIT $2");
    let delete = format!("DELETE FROM {part} WHERE chain = $1 AND chain_index <= $2");
    let before = Time(before_ms.saturating_mul(1_000));
    session.transaction("BEGIN", |session| {
        let mut gone = 0;
        for chain in chains(session)? {
            let rows = session.query(&oldest, &[&chain, &(limit - gone)])?;
            let is_old = |row: &&Row| get::<Time>(row, 2).is_ok_and(|at| at < before);
            let Some(last) = rows.iter().take_while(is_old).last() else { continue };
            let index: i64 = get(last, 0)?;
            gone += i64::try_from(session.execute(&delete, &[&chain, &index])?).unwrap_or(i64::MAX);
            begin_after(session, chain, index, get(last, 1)?)?;
        }
        forget_symbols(session)?;
        Ok(gone)
    })
}

/// The chains, locked in their order as those who write lock them.
fn chains(session: &mut Session) -> Result<Vec<i64>> {
    let rows = session.query("SELECT chain FROM forensics_chains ORDER BY chain FOR UPDATE", &[])?;
    rows.iter().map(|row| get(row, 0)).collect()
}

fn begin_after(session: &mut Session, chain: i64, last: i64, hash: &[u8]) -> Result<()> {
    let sql = "UPDATE forensics_chains SET begins = $2, begins_hash = $3 WHERE chain = $1 \
               AND (begins IS NULL OR begins < $2)";
    session.execute(sql, &[&chain, &(last + 1), &hash]).map(drop)
}

/// A symbol nothing was decided of in all that time has nothing to be compared with.
fn forget_symbols(session: &mut Session) -> Result<()> {
    let sql = "DELETE FROM forensics_symbols s USING forensics_chains c WHERE s.chain = c.chain \
               AND s.chain_index < c.begins";
    session.execute(sql, &[]).map(drop)
}
