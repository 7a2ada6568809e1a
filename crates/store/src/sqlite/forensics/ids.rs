//! Which decisions are held: an 8-byte hash of each id leads to its row, where the
//! whole id is compared. New hashes are written in runs and settled among the
//! others later, as the schema says; the writer remembers them until then.
//!
//! Measured among 5 million hashes, in batches of 4,096, on a busy machine: 9 us of
//! processor for each that is put in its place at once, one where half a million are
//! put there stretch by stretch; and one for a look whether it is there.
//!
//! Not here: the rows.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{
    codec::{Id, optional_id},
    failure::damaged,
};
use crate::{Explained, Result, common::identity::Digest};

/// Hashes that are settled together: 512 of each batch of 4,096 then share each of
/// the 60,000 pages of 10 million, and 30 MB hold what the writer remembers.
const TOGETHER: usize = 1 << 19;
/// Hashes of a run, at least: 16 parts of a page each. A reader looks into a part of each of
/// some 250 runs.
const RUN: usize = 4_096;
/// Settled runs that one batch deletes at most.
const RUNS_DELETED: i64 = 2;

/// The hashes that are not settled, as the writer knows them.
pub(in crate::sqlite) struct Recent {
    /// The number of the next row when this was known; another process may have
    /// written since. None before the first look.
    next_seq: Option<i64>,
    /// The run that is written to, and its hashes, sorted.
    run: (i64, Vec<(i64, i64)>),
    /// Of the runs that are not being settled.
    open: HashMap<i64, i64>,
    /// Those that are being settled, sorted, and how many of them are.
    closing: (Vec<(i64, i64)>, usize),
    /// The last run that is being settled.
    closed: i64,
    /// See [`TOGETHER`] and [`RUN`].
    together: usize,
    of_run: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            next_seq: None,
            run: (1, Vec::new()),
            open: HashMap::new(),
            closing: (Vec::new(), 0),
            closed: 0,
            together: TOGETHER,
            of_run: RUN,
        }
    }
}

/// What a transaction did; the writer remembers it once that is committed.
#[derive(Default)]
pub(super) struct Claimed {
    next_seq: i64,
    run: (i64, Vec<(i64, i64)>),
    new: Vec<(i64, i64)>,
    settled: usize,
    closes: bool,
}

impl Recent {
    /// Notes the ids of these rows, whose numbers go on from `first_seq`. Answers the
    /// indices of those that are held already, or come again here; the transaction is
    /// then to be given up. Hashes are looked up and written by their order, so that a
    /// batch walks along the tables once instead of jumping about in them.
    pub(super) fn claim(
        &mut self,
        conn: &Connection,
        rows: &[Explained],
        first_seq: i64,
    ) -> Result<std::result::Result<Claimed, Vec<usize>>> {
        if self.next_seq != Some(first_seq) {
            self.load(conn, first_seq)?;
        }
        let mut keys: Vec<(i64, usize)> =
            rows.iter().enumerate().map(|(index, row)| (hash(&row.decision_id), index)).collect();
        keys.sort_unstable();
        let mut held = Vec::new();
        let mut new: Vec<(i64, i64)> = Vec::with_capacity(keys.len());
        let mut settled = conn.prepare_cached(SETTLED)?;
        for (hash, index) in keys {
            let seq = first_seq.saturating_add_unsigned(index as u64);
            let holder = match new.last().filter(|last| last.0 == hash) {
                Some((_, seq)) => Some(*seq),
                None => match self.remembered(hash) {
                    Some(seq) => Some(seq),
                    None => settled.query_row(params![hash], |row| row.get(0)).optional()?,
                },
            };
            match holder {
                None => new.push((hash, seq)),
                Some(holder) if is_second(conn, rows, first_seq, holder, index)? => {}
                Some(_) => held.push(index),
            }
        }
        if !held.is_empty() {
            held.sort_unstable();
            return Ok(Err(held));
        }
        let next_seq = first_seq.saturating_add_unsigned(rows.len() as u64);
        self.write(conn, new, next_seq).map(Ok)
    }

    /// After the commit.
    pub(super) fn remember(&mut self, claimed: Claimed) {
        self.next_seq = Some(claimed.next_seq);
        self.run = claimed.run;
        self.open.extend(claimed.new);
        self.closing.1 += claimed.settled;
        if claimed.closes {
            let mut closing: Vec<(i64, i64)> = self.open.drain().collect();
            closing.sort_unstable();
            (self.closing, self.closed) = ((closing, 0), self.run.0);
            self.run = (self.run.0 + 1, Vec::new());
        }
    }

    /// Writes new hashes into the open run, and brings the settling on by twice as many.
    fn write(&self, conn: &Connection, new: Vec<(i64, i64)>, next_seq: i64) -> Result<Claimed> {
        let mut run = if self.run.1.len() < self.of_run { self.run.clone() } else { (self.run.0 + 1, Vec::new()) };
        run.1.extend_from_slice(&new);
        run.1.sort_unstable();
        let mut put = conn.prepare_cached("INSERT OR REPLACE INTO forensics_new_ids (part, ids) VALUES (?1, ?2)")?;
        // Both are sorted, so the parts come one after the other.
        for of_part in new.chunk_by(|(hash, _), (next, _)| part(run.0, *hash) == part(run.0, *next)) {
            let number = part(run.0, of_part[0].0);
            let start = run.1.partition_point(|(hash, _)| part(run.0, *hash) < number);
            let whole = run.1[start..].iter().take_while(|(hash, _)| part(run.0, *hash) == number);
            put.execute(params![number, bytes_of(whole)])?;
        }
        let closed_run = run.0;
        let mut claimed = Claimed { next_seq, run, new, settled: 0, closes: false };
        if claimed.new.is_empty() {
            // Nothing else is done then: what is known of the tables goes by the number of rows.
            return Ok(claimed);
        }
        let rest = &self.closing.0[self.closing.1..];
        if !rest.is_empty() {
            claimed.settled = rest.len().min(claimed.new.len() * 2);
            let mut insert = conn.prepare_cached("INSERT INTO forensics_ids (hash, seq) VALUES (?1, ?2)")?;
            for (hash, seq) in &rest[..claimed.settled] {
                insert.execute(params![hash, seq])?;
            }
            let upto = rest[claimed.settled - 1].0;
            conn.prepare_cached("UPDATE forensics_settled SET hash = ?1")?.execute(params![upto])?;
        } else if !delete_runs(conn, self.closed)? && self.open.len() + claimed.new.len() >= self.together {
            claimed.closes = true;
            conn.prepare_cached("UPDATE forensics_settled SET run = ?1, hash = NULL")?.execute(params![closed_run])?;
        }
        Ok(claimed)
    }

    fn remembered(&self, hash: i64) -> Option<i64> {
        let (closing, settled) = &self.closing;
        let rest = &closing[*settled..];
        let at = rest.binary_search_by_key(&hash, |(hash, _)| *hash);
        at.map(|at| rest[at].1).ok().or_else(|| self.open.get(&hash).copied())
    }

    /// Reads what a start, or another process, left.
    fn load(&mut self, conn: &Connection, first_seq: i64) -> Result<()> {
        let (closed, settled): (i64, Option<i64>) = conn
            .prepare_cached("SELECT run, hash FROM forensics_settled")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (together, of_run) = (self.together, self.of_run);
        let mut fresh = Self { closed, run: (closed + 1, Vec::new()), together, of_run, ..Self::default() };
        let mut statement = conn.prepare_cached("SELECT part, ids FROM forensics_new_ids ORDER BY part")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (run, ids) = (row.get::<_, i64>(0)? >> PART_BITS, ids_of(row, 1)?);
            if run <= closed {
                fresh.closing.0.extend(ids.filter(|(hash, _)| settled.is_none_or(|settled| *hash > settled)));
                continue;
            }
            if run != fresh.run.0 {
                fresh.run = (run, Vec::new());
            }
            for id in ids {
                fresh.run.1.push(id);
                fresh.open.insert(id.0, id.1);
            }
        }
        fresh.closing.0.sort_unstable();
        fresh.next_seq = Some(first_seq);
        *self = fresh;
        Ok(())
    }
}

const SETTLED: &str = "SELECT seq FROM forensics_ids WHERE hash = ?1";

/// Deletes some of the runs up to this one; false where there are none.
fn delete_runs(conn: &Connection, upto: i64) -> Result<bool> {
    let first: Option<i64> =
        conn.prepare_cached("SELECT min(part) FROM forensics_new_ids")?.query_row([], |row| row.get(0))?;
    let Some(first) = first.map(|first| first >> PART_BITS).filter(|first| *first <= upto) else { return Ok(false) };
    let end = (upto + 1).min(first + RUNS_DELETED) << PART_BITS;
    conn.prepare_cached("DELETE FROM forensics_new_ids WHERE part < ?1")?.execute(params![end])?;
    Ok(true)
}

/// A hash is taken: by this id (false), or by another one (true), and then this one
/// is noted apart.
fn is_second(conn: &Connection, rows: &[Explained], first_seq: i64, holder: i64, index: usize) -> Result<bool> {
    let id = &rows[index].decision_id;
    let of_batch = usize::try_from(holder - first_seq).ok().and_then(|at| rows.get(at));
    let is_ours = match of_batch {
        Some(row) => row.decision_id == *id,
        None => id_at(conn, holder)?.is_some_and(|holder| holder == *id) || is_gone(conn, id)?,
    };
    if is_ours {
        return Ok(false);
    }
    let seq = first_seq.saturating_add_unsigned(index as u64);
    let added = conn
        .prepare_cached("INSERT INTO forensics_id_collisions (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![Id::of(id), seq])?;
    Ok(added == 1)
}

/// The number of the row of an id; it may be of one that retention took.
pub(super) fn find(conn: &Connection, id: &str) -> Result<Option<i64>> {
    let Some(holder) = holder(conn, hash(id))? else { return Ok(None) };
    if id_at(conn, holder)?.is_some_and(|holder| holder == id) {
        return Ok(Some(holder));
    }
    Ok(conn
        .prepare_cached("SELECT seq FROM forensics_id_collisions WHERE id = ?1")?
        .query_row(params![Id::of(id)], |row| row.get(0))
        .optional()?)
}

/// The row under a hash, settled or in any of the runs.
fn holder(conn: &Connection, hash: i64) -> Result<Option<i64>> {
    let settled = conn.prepare_cached(SETTLED)?.query_row(params![hash], |row| row.get(0)).optional()?;
    if settled.is_some() {
        return Ok(settled);
    }
    let ends: (Option<i64>, Option<i64>) = conn
        .prepare_cached("SELECT (SELECT min(part) FROM forensics_new_ids), (SELECT max(part) FROM forensics_new_ids)")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(first), Some(last)) = ends else { return Ok(None) };
    let mut of_part = conn.prepare_cached("SELECT ids FROM forensics_new_ids WHERE part = ?1")?;
    for run in (first >> PART_BITS..=last >> PART_BITS).rev() {
        let mut rows = of_part.query(params![part(run, hash)])?;
        let Some(row) = rows.next()? else { continue };
        let ids = row.get_ref(0)?.as_blob().unwrap_or_default().as_chunks::<16>().0;
        if let Ok(at) = ids.binary_search_by_key(&hash, |id| id_of(id).0) {
            return Ok(Some(id_of(&ids[at]).1));
        }
    }
    Ok(None)
}

/// A run's parts are by so many of the first bits of a hash.
const PART_BITS: u32 = 4;

/// Where a hash is in a run. Sorted hashes are in sorted parts.
fn part(run: i64, hash: i64) -> i64 {
    let first_bits = (hash >> (i64::BITS - PART_BITS)) + (1 << (PART_BITS - 1));
    run << PART_BITS | first_bits
}

/// 16 bytes for each hash and its row.
fn bytes_of<'a>(ids: impl Iterator<Item = &'a (i64, i64)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4_096);
    for (hash, seq) in ids {
        bytes.extend_from_slice(&hash.to_be_bytes());
        bytes.extend_from_slice(&seq.to_be_bytes());
    }
    bytes
}

/// Hash and row of 16 bytes.
fn id_of(bytes: &[u8; 16]) -> (i64, i64) {
    let half = |at: usize| i64::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    (half(0), half(8))
}

fn ids_of<'a>(row: &'a Row<'_>, column: usize) -> Result<impl Iterator<Item = (i64, i64)> + 'a> {
    let (ids, rest) = row.get_ref(column)?.as_blob().unwrap_or_default().as_chunks::<16>();
    if rest.is_empty() { Ok(ids.iter().map(id_of)) } else { Err(damaged("a list of ids")) }
}

fn id_at(conn: &Connection, seq: i64) -> Result<Option<String>> {
    let mut statement = conn.prepare_cached("SELECT decision_id FROM forensics WHERE seq = ?1")?;
    let mut rows = statement.query(params![seq])?;
    rows.next()?.map_or(Ok(None), |row| optional_id(row, 0))
}

fn is_gone(conn: &Connection, id: &str) -> Result<bool> {
    let mut statement = conn.prepare_cached("SELECT 1 FROM forensics_gone_ids WHERE id = ?1")?;
    Ok(statement.exists(params![Id::of(id)])?)
}

fn hash(id: &str) -> i64 {
    let mut digest = Digest::default();
    match Id::of(id) {
        Id::Uuid(bytes) => digest.bytes(&bytes),
        Id::Text(text) => digest.text(text),
    }
    digest.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tapedeck_contracts::{
        Timestamp,
        events::{Action, decision::Outcome},
    };

    use super::*;
    use crate::{Origin, sqlite::schema::MIGRATIONS};

    /// Keeps what [`is_second`] looks at.
    const KEEP: &str = "INSERT INTO forensics VALUES (?1, 0, 0, 0, 1, 1, 1, 0, 0, ?2, zeroblob(32), x'')";

    fn row(id: &str) -> Explained {
        Explained {
            origin: Origin { topic: Arc::from("trading_decisions"), partition: 0, offset: 0 },
            decision_id: id.into(),
            timestamp: Timestamp::from_micros(0),
            symbol: "BTCUSDT".into(),
            account: None,
            action: Action::Buy,
            outcome: Outcome::Accepted,
            chain: 0,
            index: 0,
            hash: [0; 32],
            feature_set: [0; 16],
            record: Bytes::new(),
        }
    }

    /// The ids of a batch, as a process that just started takes them.
    fn claim(conn: &Connection, ids: &[&str], first_seq: i64) -> Vec<usize> {
        let rows: Vec<Explained> = ids.iter().map(|id| row(id)).collect();
        Recent::default().claim(conn, &rows, first_seq).unwrap().err().unwrap_or_default()
    }

    /// The row of another id lies under the hash of `id`, and `gone` says that retention took it.
    fn taken(id: &str, by: &str, gone: bool) -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(&MIGRATIONS.concat()).unwrap();
        conn.execute("INSERT INTO forensics_ids (hash, seq) VALUES (?1, 1)", params![hash(id)]).unwrap();
        if gone {
            conn.execute("INSERT INTO forensics_gone_ids (id) VALUES (?1)", params![Id::of(by)]).unwrap();
        } else {
            conn.execute(KEEP, params![1, Id::of(by)]).unwrap();
        }
        conn
    }

    #[test]
    fn an_id_whose_hash_is_taken_by_another_is_kept_and_found() {
        for gone in [false, true] {
            let conn = taken("D2", "D1", gone);
            assert_eq!(find(&conn, "D2").unwrap(), None);
            assert_eq!(claim(&conn, &["D2"], 2), [0_usize; 0]);
            assert_eq!(find(&conn, "D2").unwrap(), Some(2));
            assert_eq!(claim(&conn, &["D3", "D2"], 3), [1], "it is held from then on");
        }
    }

    #[test]
    fn an_id_is_held_also_when_retention_took_its_row() {
        for gone in [false, true] {
            assert_eq!(claim(&taken("D1", "D1", gone), &["D0", "D1"], 2), [1]);
        }
    }

    #[test]
    fn hashes_of_ids_never_change() {
        let hashes = ["D1", "550e8400-e29b-41d4-a716-446655440000"].map(hash);
        assert_eq!(hashes, [942_000_347_195_636_162, -7_255_228_661_377_444_699]);
    }

    #[test]
    fn an_id_that_comes_twice_is_held_the_second_time() {
        let conn = taken("D1", "D1", false);
        assert_eq!(claim(&conn, &["D5", "D6", "D5", "D5"], 2), [2, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Batches of new and of held ids; some are given up, some processes start anew.
        #[test]
        fn an_id_is_held_from_its_commit_on_wherever_it_lies(
            steps in prop::collection::vec((0..60_usize, 0..4_u8, 0..1_000_000_usize, any::<bool>()), 1..80),
        ) {
            let mut conn = Connection::open_in_memory().unwrap();
            conn.execute_batch(&MIGRATIONS.concat()).unwrap();
            let start = || Recent { together: 300, of_run: 40, ..Recent::default() };
            let mut recent = start();
            let mut kept: Vec<String> = Vec::new();
            for (number, (count, what, old, commits)) in steps.into_iter().enumerate() {
                let mut rows: Vec<Explained> = (0..count).map(|at| row(&format!("D{number}-{at}"))).collect();
                let repeats = what == 0 && count > 0 && !kept.is_empty();
                if repeats {
                    rows[count / 2].decision_id.clone_from(&kept[old % kept.len()]);
                }
                if what == 1 {
                    recent = start();
                }
                let first_seq = i64::try_from(kept.len()).unwrap() + 1;
                let step = conn.transaction().unwrap();
                match recent.claim(&step, &rows, first_seq).unwrap() {
                    Err(held) => prop_assert_eq!((held, repeats), (vec![count / 2], true)),
                    Ok(claimed) => {
                        prop_assert!(!repeats);
                        for (row, seq) in rows.iter().zip(first_seq..) {
                            step.execute(KEEP, params![seq, Id::of(&row.decision_id)]).unwrap();
                        }
                        if commits {
                            step.commit().unwrap();
                            recent.remember(claimed);
                            kept.extend(rows.into_iter().map(|row| row.decision_id));
                        }
                    }
                }
            }
            for (id, seq) in kept.iter().zip(1..) {
                prop_assert_eq!(find(&conn, id).unwrap(), Some(seq));
            }
            let of = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, usize>(0)).unwrap();
            let settled = of("SELECT count(*) FROM forensics_ids");
            prop_assert!(kept.len() < 1_200 || settled > 0, "{} of {} are settled", settled, kept.len());
        }
    }
}
