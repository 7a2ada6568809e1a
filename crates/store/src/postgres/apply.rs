//! One batch, one transaction: offsets compared, rows kept, offsets moved.
//!
//! Not here: what each kind of event does to the tables.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use tapedeck_contracts::{Event, events::ExecutionReport};

use super::{
    PostgresStore,
    claims::{self, Named, ingested_us},
    codec::get,
    connect::Session,
    partitions::{Known, Layout},
    sheet::{Kind, Sheet, Table},
    states::States,
    sums::Sums,
};
use crate::{
    Applied, Batch, OffsetMove, Result, Resume, StoreError,
    common::{accounts::begun, at_row, refuse_other_kinds, values},
};

/// Who, where, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Series<'a> {
    pub(super) account: &'a str,
    pub(super) venue: &'a str,
    pub(super) symbol: &'a str,
}

impl<'a> Series<'a> {
    pub(super) fn of(report: &'a ExecutionReport) -> Self {
        Self { account: &report.account, venue: &report.venue, symbol: &report.symbol }
    }
}

/// What a store's writer remembers from batch to batch.
#[derive(Default)]
pub(super) struct Writer {
    partitions: Known,
    /// Accounts that have a row: they are never deleted.
    accounts: HashSet<String>,
    /// Of each group the batch whose COMMIT was sent and not answered.
    unsettled: BTreeMap<String, Unsettled>,
}

impl Writer {
    /// Partitions were dropped.
    pub(super) fn forget_partitions(&mut self) {
        self.partitions.clear();
    }

    /// Makes the partitions that hold this time.
    pub(super) fn make_partitions(&mut self, session: &mut Session, schema: &str, ingested_ms: i64) -> Result<()> {
        self.partitions.make(session, schema, ingested_ms)
    }

    /// The batch of a group whose COMMIT was not answered.
    pub(super) fn unsettled(&self, group: &str) -> Option<&Unsettled> {
        self.unsettled.get(group)
    }

    /// Before a COMMIT: this is what it does.
    pub(super) fn unsettle(&mut self, group: &str, offsets: &[OffsetMove], applied: Applied) {
        self.unsettled.insert(group.to_owned(), Unsettled { offsets: offsets.to_vec(), applied });
    }

    /// After an answer.
    pub(super) fn settled(&mut self, group: &str) {
        self.unsettled.remove(group);
    }
}

/// A batch as it is known again.
pub(super) struct Unsettled {
    offsets: Vec<OffsetMove>,
    applied: Applied,
}

pub(super) fn apply(store: &PostgresStore, batch: &Batch) -> Result<Applied> {
    refuse_other_kinds(&batch.rows)?;
    claims::refuse_unfit(&batch.rows)?;
    store.writer.with(|session| {
        let mut memory = store.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if store.layout == Layout::Declarative && !batch.rows.is_empty() {
            memory.make_partitions(session, &store.schema, batch.ingested_at_ms)?;
        }
        let done = in_transaction(session, &mut memory, batch, store.copies);
        if let Err(error) = &done {
            // The accounts that were added are gone again.
            memory.accounts.clear();
            if !matches!(error, StoreError::Poison { .. } | StoreError::Conflict { .. }) {
                // Perhaps another process dropped a partition.
                memory.partitions.clear();
            }
        }
        if !session.is_lost() {
            memory.settled(&batch.group);
        }
        done
    })
}

fn in_transaction(session: &mut Session, memory: &mut Writer, batch: &Batch, copies: bool) -> Result<Applied> {
    session.transaction("BEGIN", |session| {
        let moves = sorted(&batch.offsets);
        if let Some(applied) = compare(session, &batch.group, &batch.offsets, &moves, memory.unsettled(&batch.group))? {
            return Ok(applied);
        }
        let applied = keep(session, memory, batch, copies)?;
        set(session, &batch.group, &moves)?;
        memory.unsettle(&batch.group, &batch.offsets, applied);
        Ok(applied)
    })
}

/// Keeps the rows.
fn keep(session: &mut Session, memory: &mut Writer, batch: &Batch, copies: bool) -> Result<Applied> {
    let mut is_new = claims::events(session, &batch.rows, copies)?;
    let touched = touched_accounts(batch, &is_new);
    claims::accounts(session, &touched, &mut memory.accounts)?;
    claims::fills(session, batch, &mut is_new, copies)?;
    let mut named = Named::load(session, batch, &is_new)?;
    let mut sums = Sums::load(session, batch, &is_new, &touched)?;
    let mut states = States::load(session, batch, &sums, copies)?;
    let mut applied = Applied::default();
    for (index, (row, is_new)) in batch.rows.iter().zip(is_new).enumerate() {
        let is_stored = is_new && {
            let kept = match &row.event {
                Event::ExecutionReport(report) => {
                    let place = values::place(&row.origin)?;
                    let written = states.report(row, report, place);
                    written.and_then(|()| sums.report(report, place, &mut named)).map(|()| true)
                }
                Event::RiskMetrics(metrics) => states.metrics(row, metrics, &mut sums),
                Event::Alert(alert) => states.alert(row, alert).map(|()| true),
                Event::Signal(signal) => states.signal(row, signal),
                Event::ForwardTest(test) => {
                    sums.session(test);
                    Ok(true)
                }
                _ => Ok(false),
            };
            kept.map_err(|error| at_row(index, error))?
        };
        if is_stored {
            applied.stored += 1;
        } else {
            applied.duplicates += 1;
        }
    }
    states.send(session)?;
    sums.send(session, ingested_us(batch), copies)?;
    Ok(applied)
}

/// The accounts that new rows say something about.
fn touched_accounts<'a>(batch: &'a Batch, is_new: &[bool]) -> BTreeSet<&'a str> {
    let rows = batch.rows.iter().zip(is_new).filter(|(_, is_new)| **is_new);
    rows.filter_map(|(row, _)| match &row.event {
        Event::ExecutionReport(report) => Some(report.account.as_str()),
        Event::RiskMetrics(metrics) => Some(metrics.account.as_str()),
        Event::ForwardTest(test) => begun(test),
        _ => None,
    })
    .collect()
}

/// In the order in which every writer locks them.
pub(super) fn sorted(offsets: &[OffsetMove]) -> Vec<&OffsetMove> {
    let mut moves: Vec<&OffsetMove> = offsets.iter().collect();
    moves.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    moves
}

const STORED: &str = "SELECT o.topic, o.partition, o.next, o.last_offset, o.last_hash FROM consumer_offsets o \
     JOIN unnest($2::text[], $3::bigint[]) AS k(topic, partition) ON o.topic = k.topic AND o.partition = k.partition \
     WHERE o.consumer_group = $1 ORDER BY o.topic, o.partition";

/// What is stored of these partitions, in their order.
fn stored<'a>(
    session: &mut Session,
    group: &str,
    partitions: impl Iterator<Item = (&'a str, u32)>,
    lock: &str,
) -> Result<Vec<Resume>> {
    let (topics, numbers): (Vec<&str>, Vec<i64>) =
        partitions.map(|(topic, partition)| (topic, i64::from(partition))).unzip();
    let rows = session.query(&format!("{STORED}{lock}"), &[&group, &topics, &numbers])?;
    let find = |topic: &str, partition: i64| -> Result<Resume> {
        for row in &rows {
            if get::<&str>(row, 0)? == topic && get::<i64>(row, 1)? == partition {
                let number = |column| get::<i64>(row, column).map(i64::cast_unsigned);
                return Ok(Resume { next: Some(number(2)?), held: Vec::new(), last: Some((number(3)?, number(4)?)) });
            }
        }
        Ok(Resume::default())
    };
    topics.iter().zip(&numbers).map(|(topic, partition)| find(topic, *partition)).collect()
}

/// Locks the stored offsets and compares them with those that the writer
/// expects. Where they are what this very batch made them, in a commit that was
/// never answered, it says what that did.
pub(super) fn compare(
    session: &mut Session,
    group: &str,
    offsets: &[OffsetMove],
    moves: &[&OffsetMove],
    unsettled: Option<&Unsettled>,
) -> Result<Option<Applied>> {
    if moves.is_empty() {
        return Ok(None);
    }
    let partitions = moves.iter().map(|moved| (&*moved.topic, moved.partition));
    let found = stored(session, group, partitions, " FOR UPDATE OF o")?;
    if let Some(unsettled) = unsettled.filter(|unsettled| unsettled.offsets == offsets)
        && moves.iter().zip(&found).all(|(to, at)| at.next == Some(to.next) && at.last == Some(to.last))
    {
        return Ok(Some(unsettled.applied));
    }
    match moves.iter().zip(&found).find(|(moved, found)| moved.expected != found.next) {
        None => Ok(None),
        Some((moved, found)) => Err(conflict(group, moved, found.next)),
    }
}

/// The offsets are where a batch brings them, and it was not this batch that did so.
pub(super) fn taken(group: &str, moves: &[&OffsetMove]) -> StoreError {
    match moves.first() {
        Some(moved) => conflict(group, moved, Some(moved.next)),
        None => StoreError::Transient("a batch that moves nothing is known again: it is tried again".into()),
    }
}

fn conflict(group: &str, moved: &OffsetMove, found: Option<u64>) -> StoreError {
    StoreError::Conflict {
        group: group.to_owned(),
        topic: moved.topic.to_string(),
        partition: moved.partition,
        expected: moved.expected,
        found,
    }
}

const COLUMNS: &[(&str, Kind)] = &[
    ("consumer_group", Kind::Text),
    ("topic", Kind::Text),
    ("partition", Kind::Int),
    ("next", Kind::Int),
    ("last_offset", Kind::Int),
    ("last_hash", Kind::Int),
];
/// A partition's first offsets; another writer may put its own first.
const FIRST: Table = Table { name: "consumer_offsets", columns: COLUMNS, on_conflict: "ON CONFLICT DO NOTHING" };
const NEXT: Table = Table {
    name: "consumer_offsets",
    columns: COLUMNS,
    on_conflict: "ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next = excluded.next, \
                  last_offset = excluded.last_offset, last_hash = excluded.last_hash",
};

pub(super) fn set(session: &mut Session, group: &str, moves: &[&OffsetMove]) -> Result<()> {
    let (mut first, mut next) = (Sheet::new(&FIRST, false), Sheet::new(&NEXT, false));
    let mut firsts = 0;
    for moved in moves {
        let sheet = if moved.expected.is_none() { &mut first } else { &mut next };
        firsts += u64::from(moved.expected.is_none());
        sheet.row().text(group).text(&moved.topic).int(i64::from(moved.partition));
        sheet.int(moved.next.cast_signed()).int(moved.last.0.cast_signed()).int(moved.last.1.cast_signed());
    }
    if first.send(session)? < firsts {
        let moved = moves.iter().find(|moved| moved.expected.is_none()).expect("invariant: counted above");
        let at = [(&*moved.topic, moved.partition)];
        let found = stored(session, group, at.into_iter(), "")?.remove(0).next;
        return Err(conflict(group, moved, found));
    }
    next.send(session)?;
    Ok(())
}

pub(super) fn resume(session: &mut Session, group: &str, partitions: &[(Arc<str>, u32)]) -> Result<Vec<Resume>> {
    stored(session, group, partitions.iter().map(|(topic, partition)| (&**topic, *partition)), "")
}

/// The memory of a store's writer.
pub(super) type Memory = Mutex<Writer>;
