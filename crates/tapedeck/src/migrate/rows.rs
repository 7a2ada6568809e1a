//! The store's rows: kept again on the target as the events they came from, so
//! that sums and curves are made by the target's own rules; then compared by what
//! both answer.
//!
//! How far it came lies in the target itself, as the position of a group of its
//! own, moved in the transaction that keeps the rows.
//!
//! Not here: the log.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tapedeck_contracts::{
    Event, EventId, Timestamp,
    catalogue::{Catalogue, group_of},
};
use tapedeck_flow::{Stop, record_hash::record_hash};
use tapedeck_log::{Log, TopicPartition};
use tapedeck_roles::recorder;
use tapedeck_store::{
    AlertsQuery, Batch, FillsQuery, OffsetMove, OrdersQuery, Origin, PnlQuery, Row, Store,
    sqlite::{Kept, KeptRow, SqliteStore, session_of},
};

use super::{explained, offsets::Offsets, tape::Tape};
use crate::exit;

/// The group whose positions say how far the move came.
pub(super) const GROUP: &str = "tapedeck.migrate";
/// Rows read and kept at once: a second of work at most.
pub(super) const ROWS: usize = 2_000;
/// Rows that were ingested within so long are kept as ingested at once, the
/// oldest's time: retention counts days.
pub(super) const INGEST_STEP_MS: i64 = 3_600_000;
/// Rows of one page, where all are compared.
pub(super) const PAGE: usize = 1_000;
/// Points of a curve are compared by the day.
const DAY_US: i64 = 86_400_000_000;

/// What is moved, and where to.
pub(super) struct Rows<'a> {
    pub(super) source: &'a SqliteStore,
    pub(super) target: &'a dyn Store,
    pub(super) offsets: &'a Offsets,
    pub(super) stop: &'a Stop,
    pub(super) seen: &'a dyn Fn(u64),
}

/// What both stores answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Answered {
    pub(crate) table: String,
    pub(crate) source: u64,
    pub(crate) target: u64,
    pub(crate) digest_source: String,
    pub(crate) digest_target: String,
    pub(crate) equal: bool,
}

impl Rows<'_> {
    /// Keeps all rows again, from where an earlier run ended.
    ///
    /// # Errors
    /// Those of both stores; the wish to stop.
    pub(super) fn copy(&self) -> anyhow::Result<()> {
        self.copy_sessions()?;
        for table in Kept::ALL {
            let mark = mark(table);
            let at = self.target.resume(GROUP, &[(Arc::clone(&mark), 0)])?;
            let mut expected = at.first().and_then(|at| at.next);
            loop {
                if self.stop.requested() {
                    return Err(exit::Coded::interrupted().into());
                }
                let rows = self.source.kept(table, expected.unwrap_or_default(), ROWS)?;
                let Some(first) = rows.first() else { break };
                let ingested_at_ms = first.ingested_at_ms;
                let together = |row: &KeptRow| row.ingested_at_ms.saturating_sub(ingested_at_ms) < INGEST_STEP_MS;
                let rows: Vec<KeptRow> = rows.into_iter().take_while(together).collect();
                let last = rows.last().map_or(0, |row| row.seq);
                let moved =
                    OffsetMove { topic: Arc::clone(&mark), partition: 0, expected, next: last, last: (last, 0) };
                let count = rows.len() as u64;
                let rows = rows.into_iter().map(|row| self.mapped(row.row)).collect();
                let batch = Batch { group: GROUP.into(), rows, offsets: vec![moved], ingested_at_ms };
                self.target.apply(&batch).with_context(|| format!("{} cannot be kept", table.table()))?;
                expected = Some(last);
                (self.seen)(count);
            }
        }
        self.copy_explained()
    }

    /// What sessions said of their accounts, before anything that belongs to those.
    fn copy_sessions(&self) -> anyhow::Result<()> {
        let session = |account: &tapedeck_store::AccountRow| {
            let event = session_of(account)?;
            let origin = Origin { topic: Arc::from("forward-test-events"), partition: 0, offset: 0 };
            let id = EventId::derived(&EventId::from("migrate"), "migrate", "accounts", &account.account, 0);
            Some(Row { origin, event_id: id, event: Event::ForwardTest(Box::new(event)) })
        };
        let rows: Vec<Row> = self.source.accounts()?.iter().filter_map(session).collect();
        let batch = Batch { group: GROUP.into(), rows, offsets: Vec::new(), ingested_at_ms: 0 };
        self.target.apply(&batch)?;
        Ok(())
    }

    fn mapped(&self, mut row: Row) -> Row {
        row.origin = self.mapped_origin(row.origin);
        row
    }

    pub(super) fn mapped_origin(&self, mut origin: Origin) -> Origin {
        let part = self.offsets.part_of(&origin.topic, origin.partition);
        // A row whose record is gone from the log keeps the number it had.
        if let Some(offset) = part.and_then(|part| part.exact(origin.offset)) {
            origin.offset = offset;
        }
        origin
    }

    /// Puts those who write to the store where they stood, on the target's offsets.
    ///
    /// # Errors
    /// Those of the store and of the target's log.
    pub(super) fn carry_positions(&self, tape: &Tape<'_>, log: &dyn Log) -> anyhow::Result<usize> {
        let groups = ["recorder", "forensics"].map(group_of);
        groups.into_iter().map(|group| self.carry_positions_of(group, tape, log)).sum()
    }

    fn carry_positions_of(&self, group: String, tape: &Tape<'_>, log: &dyn Log) -> anyhow::Result<usize> {
        let mut moves = Vec::new();
        for position in self.source.kept_positions()?.into_iter().filter(|position| position.group == group) {
            let next = self.offsets.next(&position.topic, position.partition, position.next);
            let place = TopicPartition::new(position.topic.as_str(), position.partition);
            // At the beginning there is nothing it could be known by, nor any need.
            let Some(below) = next.checked_sub(1) else { continue };
            let at = self.target.resume(&group, &[(Arc::clone(&place.topic), place.partition)])?;
            let expected = at.first().and_then(|at| at.next);
            let mut last = None;
            let start = log.bounds(&place)?.0;
            tape.each(log, &place, below.max(start), next, &mut |record| {
                last = Some((record.offset, record_hash(&record)));
                Ok(())
            })?;
            // One that the target's retention took already cannot be compared by anybody.
            let last = last.unwrap_or((below, 0));
            moves.push(OffsetMove {
                topic: Arc::clone(&place.topic),
                partition: place.partition,
                expected,
                next,
                last,
            });
        }
        let count = moves.len();
        if count > 0 {
            let batch = Batch { group, rows: Vec::new(), offsets: moves, ingested_at_ms: 0 };
            self.target.apply(&batch)?;
        }
        Ok(count)
    }

    /// Compares what both answer.
    ///
    /// # Errors
    /// Those of both stores.
    pub(super) fn compare(&self) -> anyhow::Result<Vec<Answered>> {
        let (source, target) = (answers(self.source)?, answers(self.target)?);
        let compared = source.into_iter().zip(target).map(|((table, source), (_, target))| Answered {
            table: table.to_owned(),
            source: source.0,
            target: target.0,
            equal: source == target,
            digest_source: source.1,
            digest_target: target.1,
        });
        Ok(compared.collect())
    }
}

/// What a store holds that a move must not mix with; none where it is empty.
///
/// # Errors
/// The store cannot be asked.
pub(super) fn what_is_in(store: &dyn Store) -> anyhow::Result<Option<&'static str>> {
    let begun = |group: &str, places: &[(Arc<str>, u32)]| -> anyhow::Result<bool> {
        Ok(store.resume(group, places)?.iter().any(|at| at.next.is_some()))
    };
    let marks: Vec<_> = Kept::ALL.map(|table| (mark(table), 0)).into_iter().chain(explained::marks()).collect();
    if begun(GROUP, &marks)? || super::mark::of_store(store)?.is_some() {
        return Ok(Some("rows of another move, which was not finished or not from here"));
    }
    let topics = recorder::TOPICS.iter().map(|topic| Arc::<str>::from(*topic));
    let partitions = |topic: Arc<str>| {
        let count = Catalogue::get().topic(&topic).map_or(1, |topic| topic.partitions);
        (0..count).map(move |partition| (Arc::clone(&topic), partition))
    };
    let of_recorder: Vec<(Arc<str>, u32)> = topics.flat_map(partitions).collect();
    if begun(&group_of("recorder"), &of_recorder)? {
        return Ok(Some("what a recorder wrote"));
    }
    if !store.chain_heads()?.is_empty() {
        return Ok(Some("explained decisions"));
    }
    let has_alerts = !store.alerts(&AlertsQuery { limit: 1, ..AlertsQuery::default() })?.is_empty();
    Ok((has_alerts || !store.accounts()?.is_empty()).then_some("accounts or alerts"))
}

/// The topic of the group that says how far a table came; none of the log's.
fn mark(table: Kept) -> Arc<str> {
    format!("store/{}", table.table()).into()
}

/// Number of rows and a digest of them, without offsets, which differ.
pub(super) type Answer = (u64, String);

fn answers(store: &dyn Store) -> anyhow::Result<Vec<(&'static str, Answer)>> {
    let accounts = store.accounts()?;
    let mut executions = Sum::default();
    let mut curve = Sum::default();
    for account in &accounts {
        let mut after = 0;
        loop {
            let rows = store.executions(&account.account, after, PAGE)?;
            let Some(last) = rows.last().and_then(|row| row.execution_number) else { break };
            after = last;
            rows.iter().for_each(|row| {
                executions.add(&(&row.event_id, &row.fill_id, row.price, row.quantity, row.commission))
            });
        }
        let query = PnlQuery {
            account: account.account.clone(),
            symbol: None,
            from: Timestamp::from_micros(0),
            to: account.as_of,
            interval_us: DAY_US,
        };
        for point in store.pnl(&query)? {
            curve.add(&(&account.account, point.timestamp, point.realized, point.unrealized, point.fees));
        }
    }
    let mut sums = Sum::default();
    accounts.iter().for_each(|row| sums.add(&format!("{row:?}")));
    let mut stats = Sum::default();
    store.symbol_stats(None)?.iter().for_each(|row| stats.add(&format!("{row:?}")));
    let mut risk = Sum::default();
    store.latest_risk(None)?.iter().for_each(|row| risk.add(row));
    let mut all = vec![
        ("fills", fills(store)?.done()),
        ("executions", executions.done()),
        ("orders", orders(store)?.done()),
        ("alerts", alerts(store)?.done()),
        ("accounts", sums.done()),
        ("symbol_stats", stats.done()),
        ("latest_risk", risk.done()),
        ("pnl by the day", curve.done()),
    ];
    all.extend(explained::answers(store)?);
    Ok(all)
}

fn fills(store: &dyn Store) -> anyhow::Result<Sum> {
    let (mut sum, mut after) = (Sum::default(), None);
    loop {
        let rows = store.fills(&FillsQuery { after, limit: PAGE, ..FillsQuery::default() })?;
        let Some(last) = rows.last() else { return Ok(sum) };
        after = Some(last.key);
        rows.iter().for_each(|row| {
            sum.add(&(
                row.timestamp,
                &row.event_id,
                &row.account,
                &row.fill_id,
                row.price,
                row.quantity,
                row.realized_pnl,
            ));
        });
    }
}

fn orders(store: &dyn Store) -> anyhow::Result<Sum> {
    let (mut sum, mut after) = (Sum::default(), None);
    loop {
        let rows = store.orders(&OrdersQuery { after, limit: PAGE, ..OrdersQuery::default() })?;
        let Some(last) = rows.last() else { return Ok(sum) };
        after = Some(last.key);
        rows.iter().for_each(|row| sum.add(&(&row.order_id, &row.account, row.status, row.cum_qty, row.updated_at)));
    }
}

fn alerts(store: &dyn Store) -> anyhow::Result<Sum> {
    let (mut sum, mut after) = (Sum::default(), None);
    loop {
        let rows = store.alerts(&AlertsQuery { after, limit: PAGE, ..AlertsQuery::default() })?;
        let Some((last, _)) = rows.last() else { return Ok(sum) };
        after = Some(*last);
        rows.iter().for_each(|(_, alert)| sum.add(alert));
    }
}

/// Rows in any order: what has one time may be listed in another order where
/// offsets differ.
#[derive(Default)]
pub(super) struct Sum(BTreeMap<[u8; 32], u64>);

impl Sum {
    pub(super) fn add(&mut self, row: &impl Serialize) {
        let text = serde_json::to_vec(row).expect("what is shown is plain data");
        *self.0.entry(Sha256::digest(text).into()).or_default() += 1;
    }

    pub(super) fn done(self) -> Answer {
        let mut digest = Sha256::new();
        for (row, times) in &self.0 {
            digest.update(row);
            digest.update(times.to_le_bytes());
        }
        (self.0.values().sum(), digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
