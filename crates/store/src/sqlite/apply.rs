//! One batch, one transaction: offsets compared, rows kept, offsets moved.
//!
//! Not here: what each kind of event does to the tables.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tapedeck_contracts::Event;

use super::{Handle, curves::Curves, ids, names::Names, orders::Orders, reports, risk, stats::Stats, totals::Accounts};
use crate::{
    Applied, Batch, OffsetMove, Result, Resume, Row, StoreError,
    common::{at_row, refuse_other_kinds},
};

/// What a batch is being made into: the open transaction, and the sums and
/// states that are written once at its end.
pub(super) struct Step<'a> {
    pub(super) conn: &'a Connection,
    pub(super) names: &'a mut Names,
    pub(super) ingested_ms: i64,
    pub(super) reports: reports::Statements<'a>,
    pub(super) accounts: Accounts,
    pub(super) curves: Curves,
    pub(super) stats: Stats,
    pub(super) orders: Orders<'a>,
}

pub(super) fn apply(writer: &mut Handle, batch: &Batch) -> Result<Applied> {
    refuse_other_kinds(&batch.rows)?;
    writer.names.begin();
    let transaction = writer.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for moved in &batch.offsets {
        compare(&transaction, &batch.group, moved)?;
    }
    let is_new = ids::remember(&transaction, &batch.rows)?;
    let mut step = Step {
        conn: &transaction,
        names: &mut writer.names,
        ingested_ms: batch.ingested_at_ms,
        reports: reports::Statements::new(&transaction)?,
        accounts: Accounts::default(),
        curves: Curves::default(),
        stats: Stats::default(),
        orders: Orders::default(),
    };
    let mut applied = Applied::default();
    for (index, (row, is_new)) in batch.rows.iter().zip(is_new).enumerate() {
        if is_new && step.keep(row).map_err(|error| at_row(index, error))? {
            applied.stored += 1;
        } else {
            applied.duplicates += 1;
        }
    }
    step.flush()?;
    for moved in &batch.offsets {
        set(&transaction, &batch.group, moved)?;
    }
    transaction.commit()?;
    writer.names.committed();
    Ok(applied)
}

impl<'a> Step<'a> {
    /// Keeps a row whose event id is new; false where it was there all the same.
    fn keep(&mut self, row: &'a Row) -> Result<bool> {
        match &row.event {
            Event::ExecutionReport(report) => reports::keep(self, row, report),
            Event::RiskMetrics(metrics) => risk::keep_metrics(self, row, metrics),
            Event::Alert(alert) => risk::keep_alert(self, row, alert),
            Event::Signal(signal) => risk::keep_signal(self, row, signal),
            Event::ForwardTest(test) => self.accounts.session(self.conn, self.names, test).map(|()| true),
            _ => Ok(false),
        }
    }

    fn flush(self) -> Result<()> {
        self.orders.flush(self.conn, self.names, self.ingested_ms)?;
        self.stats.flush(self.conn)?;
        self.curves.flush(self.conn, self.ingested_ms)?;
        self.accounts.flush(self.conn)
    }
}

pub(super) fn compare(conn: &Connection, group: &str, moved: &OffsetMove) -> Result<()> {
    let found = stored(conn, group, &moved.topic, moved.partition)?.next;
    if found == moved.expected {
        return Ok(());
    }
    Err(StoreError::Conflict {
        group: group.to_owned(),
        topic: moved.topic.to_string(),
        partition: moved.partition,
        expected: moved.expected,
        found,
    })
}

pub(super) fn set(conn: &Connection, group: &str, moved: &OffsetMove) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO consumer_offsets (consumer_group, topic, partition, next, last_offset, last_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
         next = excluded.next, last_offset = excluded.last_offset, last_hash = excluded.last_hash",
    )?
    .execute(params![
        group,
        moved.topic,
        moved.partition,
        moved.next.cast_signed(),
        moved.last.0.cast_signed(),
        moved.last.1.cast_signed()
    ])?;
    Ok(())
}

pub(super) fn resume(conn: &Connection, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
    partitions.iter().map(|(topic, partition)| stored(conn, group, topic, *partition)).collect()
}

fn stored(conn: &Connection, group: &str, topic: &str, partition: u32) -> Result<Resume> {
    let found = conn
        .prepare_cached(
            "SELECT next, last_offset, last_hash FROM consumer_offsets \
             WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3",
        )?
        .query_row(params![group, topic, partition], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(Resume { next: Some(number(0)?), held: Vec::new(), last: Some((number(1)?, number(2)?)) })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}
