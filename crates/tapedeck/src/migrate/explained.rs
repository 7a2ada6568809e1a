//! Explained decisions: kept again on the target byte for byte, so that their chains
//! stay whole, with their anchors, sums and feature sets; then compared.
//!
//! Not here: the decisions themselves, which are records of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context as _;
use tapedeck_contracts::Timestamp;
use tapedeck_store::{
    ChainHead, Explained, ExplainedBatch, Explanations, Importance, OffsetMove, Store, sqlite::KeptExplained,
};

use super::rows::{Answer, GROUP, INGEST_STEP_MS, PAGE, ROWS, Rows, Sum};
use crate::exit;

/// The topics of the group that say how far the rows came, and that the rest was kept.
const MARKS: [&str; 2] = ["store/forensics", "store/forensics_importance"];

const HOUR_US: i64 = 3_600_000_000;
/// The mark of the sums counts hours, and this is 1970's first: no time that can be
/// written has a mark below 0.
const FIRST_HOUR: i64 = 1 << 32;
/// The mark where no sum was kept yet.
const NO_HOUR: u64 = 2;
/// The mark of earlier versions, which kept all sums at once.
const ALL_HOURS: u64 = 1;

/// Where it is seen whether a move began.
pub(super) fn marks() -> impl Iterator<Item = (Arc<str>, u32)> {
    MARKS.into_iter().map(|mark| (Arc::from(mark), 0))
}

impl Rows<'_> {
    /// Keeps all explanations again, from where an earlier run ended.
    ///
    /// # Errors
    /// Those of both stores; the wish to stop.
    pub(super) fn copy_explained(&self) -> anyhow::Result<()> {
        let heads: BTreeMap<u32, ChainHead> =
            self.source.chain_heads()?.into_iter().map(|head| (head.chain, head)).collect();
        let mut expected = self.came_to(MARKS[0])?;
        loop {
            if self.stop.requested() {
                return Err(exit::Coded::interrupted().into());
            }
            let kept = self.source.kept_explained(expected.unwrap_or_default(), ROWS)?;
            let Some(first) = kept.first() else { break };
            let ingested_at_ms = first.ingested_at_ms;
            let together = |row: &KeptExplained| row.ingested_at_ms.saturating_sub(ingested_at_ms) < INGEST_STEP_MS;
            let kept: Vec<KeptExplained> = kept.into_iter().take_while(together).collect();
            let last = kept.last().map_or(0, |row| row.seq);
            let rows: Vec<Explained> = kept.into_iter().map(|kept| self.mapped_explained(kept.row)).collect();
            let count = rows.len() as u64;
            let sets: BTreeSet<[u8; 16]> = rows.iter().map(|row| row.feature_set).collect();
            let heads = heads_of(&rows, &heads);
            let batch = ExplainedBatch { rows, heads, ingested_at_ms, ..self.batch(MARKS[0], expected, last, sets)? };
            self.keep_explained(&batch)?;
            expected = Some(last);
            (self.seen)(count);
        }
        self.copy_importance(heads)
    }

    /// Keeps the sums again, hour by hour, from where an earlier run ended; with the
    /// first of them the chains of which retention left nothing but their heads.
    fn copy_importance(&self, heads: BTreeMap<u32, ChainHead>) -> anyhow::Result<()> {
        let mut expected = self.came_to(MARKS[1])?;
        if expected.is_none() {
            let there: BTreeSet<u32> = self.target.chain_heads()?.iter().map(|head| head.chain).collect();
            let heads = heads.into_values().filter(|head| !there.contains(&head.chain)).collect();
            let batch = self.batch(MARKS[1], None, NO_HOUR, BTreeSet::new())?;
            self.keep_explained(&ExplainedBatch { heads, ..batch })?;
            expected = Some(NO_HOUR);
        }
        while let Some(from) = expected.filter(|mark| *mark != ALL_HOURS) {
            if self.stop.requested() {
                return Err(exit::Coded::interrupted().into());
            }
            let importance = self.source.kept_importance(hour_of(from), ROWS)?;
            let Some(last) = importance.last() else { break };
            let next = mark_after(last.hour);
            let sets = importance.iter().map(|sum| sum.feature_set).collect();
            self.keep_explained(&ExplainedBatch { importance, ..self.batch(MARKS[1], expected, next, sets)? })?;
            expected = Some(next);
            // Sums are no rows, and who watches may want to stop.
            (self.seen)(0);
        }
        Ok(())
    }

    fn came_to(&self, mark: &str) -> anyhow::Result<Option<u64>> {
        Ok(self.target.resume(GROUP, &[(Arc::from(mark), 0)])?.first().and_then(|at| at.next))
    }

    /// A batch of nothing but feature sets, that moves a mark.
    fn batch(
        &self,
        mark: &str,
        expected: Option<u64>,
        next: u64,
        sets: BTreeSet<[u8; 16]>,
    ) -> anyhow::Result<ExplainedBatch> {
        let mut feature_sets = Vec::with_capacity(sets.len());
        for id in sets {
            feature_sets.extend(self.source.feature_set(id)?.map(|body| (id, body)));
        }
        let moved = OffsetMove { topic: Arc::from(mark), partition: 0, expected, next, last: (next, 0) };
        Ok(ExplainedBatch { group: GROUP.into(), feature_sets, offsets: vec![moved], ..ExplainedBatch::default() })
    }

    fn keep_explained(&self, batch: &ExplainedBatch) -> anyhow::Result<()> {
        let held = self.target.apply_explained(batch).context("explanations cannot be kept")?;
        let twice = held.first().and_then(|index| batch.rows.get(*index));
        match twice {
            None => Ok(()),
            Some(row) => Err(exit::input(format!(
                "the target explains decision {} already: something else writes to it; stop that, take an empty \
                 postgres.schema and begin anew",
                row.decision_id
            ))),
        }
    }

    fn mapped_explained(&self, mut row: Explained) -> Explained {
        row.origin = self.mapped_origin(row.origin);
        row
    }
}

/// The hour that a mark says is next.
fn hour_of(mark: u64) -> Timestamp {
    let hours = i64::try_from(mark).unwrap_or(i64::MAX).saturating_sub(FIRST_HOUR);
    Timestamp::from_micros(hours.saturating_mul(HOUR_US))
}

/// The mark that says that an hour was kept.
fn mark_after(hour: Timestamp) -> u64 {
    (hour.micros().div_euclid(HOUR_US) + 1 + FIRST_HOUR).cast_unsigned()
}

/// The heads that rows lead to, with what the source says of their chains.
fn heads_of(rows: &[Explained], of_source: &BTreeMap<u32, ChainHead>) -> Vec<ChainHead> {
    let last: BTreeMap<u32, &Explained> = rows.iter().map(|row| (row.chain, row)).collect();
    let head = |row: &Explained| {
        let records = row.index + 1;
        let of_source = of_source.get(&row.chain);
        let anchored = of_source.and_then(|head| head.anchored).filter(|(anchored, _)| *anchored <= records);
        let begins = of_source.and_then(|head| head.begins);
        ChainHead { chain: row.chain, records, hash: row.hash, anchored, begins }
    };
    last.into_values().map(head).collect()
}

fn all_importance(store: &dyn Store) -> tapedeck_store::Result<Vec<Importance>> {
    store.importance(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX), None)
}

/// What a store answers of its explanations.
pub(super) fn answers(store: &dyn Store) -> anyhow::Result<Vec<(&'static str, Answer)>> {
    let (mut rows, mut chains, mut sets, mut importance) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    let mut named = BTreeSet::new();
    for head in store.chain_heads()? {
        chains.add(&format!("{head:?}"));
        let mut from = 0;
        loop {
            let records = store.chain(head.chain, from, PAGE)?;
            let Some(last) = records.last() else { break };
            from = last.index + 1;
            for row in &records {
                named.insert(row.feature_set);
                let place = (row.chain, row.index, row.hash, row.feature_set, &row.record[..]);
                let found_by = (&row.decision_id, row.timestamp, &row.symbol, &row.account, row.action, row.outcome);
                rows.add(&(place, found_by));
            }
        }
    }
    for sum in all_importance(store)? {
        named.insert(sum.feature_set);
        importance.add(&format!("{sum:?}"));
    }
    for id in named {
        sets.add(&(id, store.feature_set(id)?.as_deref()));
    }
    Ok(vec![
        ("forensics", rows.done()),
        ("forensics chains", chains.done()),
        ("forensics importance", importance.done()),
        ("feature_sets", sets.done()),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tapedeck_flow::Stop;
    use tapedeck_log::TopicPartition;
    use tapedeck_store::{
        Retention, SqliteConfig, SqliteStore,
        conformance::{
            explained::{batch_of, explained},
            samples::START,
        },
    };

    use super::{
        super::{
            offsets::{Offsets, Part},
            rows,
        },
        *,
    };

    const DAY_MS: i64 = 86_400_000;

    /// Chains 0 and 1, their beginnings gone, one anchored; sums of two symbols.
    fn source(store: &dyn Store) {
        for (day, numbers) in [(0, 0..40), (9, 40..2_500), (10, 2_500..5_000)] {
            let mut batch = batch_of(numbers.map(explained).collect());
            batch.ingested_at_ms = START.millis() + day * DAY_MS;
            batch.heads[0].anchored = Some((batch.heads[0].records - 1, [3; 32]));
            batch.importance = ["BTCUSDT", "ETHUSDT"]
                .map(|symbol| Importance {
                    hour: Timestamp::from_micros(3_600_000_000 * day),
                    symbol: symbol.into(),
                    feature_set: batch.feature_sets[0].0,
                    decisions: 20,
                    sums: vec![0.1, 0.25],
                })
                .into();
            assert_eq!(store.apply_explained(&batch).unwrap(), [0_usize; 0]);
        }
        let rule = [Retention { table: "forensics".into(), keep: Duration::from_secs(5 * 86_400) }];
        while store.enforce_retention(&rule, START.millis() + 10 * DAY_MS).unwrap() > 0 {}
    }

    #[test]
    fn explanations_move_with_their_chains_and_sums_also_after_an_end_in_the_middle() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [source_store, target] =
            folders.each_ref().map(|folder| SqliteStore::open(folder.path(), SqliteConfig::default()).unwrap());
        source(&*source_store);
        assert_eq!(source_store.explained_count().unwrap(), 4_960);
        assert_eq!(rows::what_is_in(&*target).unwrap(), None);
        let mut offsets = Offsets::default();
        let mut part = Part::default();
        // The log begins at 20, where retention left it.
        (20..2_500).for_each(|offset| part.push(offset));
        offsets.insert(&TopicPartition::new("trading_decisions", 0), part);
        let stop = Stop::new();
        let ends = |_| stop.request();
        let mut moving = Rows { source: &source_store, target: &*target, offsets: &offsets, stop: &stop, seen: &ends };
        assert!(moving.copy_explained().is_err(), "it was ended in the middle");
        assert!(rows::what_is_in(&*target).unwrap().is_some());
        let (on, seen) = (Stop::new(), |_| ());
        (moving.stop, moving.seen) = (&on, &seen);
        for _ in 0..2 {
            moving.copy_explained().unwrap();
            assert_eq!(answers(&*target).unwrap(), answers(&*source_store).unwrap());
        }
        let heads = target.chain_heads().unwrap();
        assert_eq!(heads, source_store.chain_heads().unwrap());
        assert_eq!((heads[0].begins.unwrap().0, heads[0].anchored.unwrap().0), (20, 2_499));
        assert_eq!(target.explained(&explained(50).decision_id).unwrap().unwrap().origin.offset, 5, "as it is there");
        assert_eq!(target.explained(&explained(51).decision_id).unwrap(), Some(explained(51)));
        assert_eq!(
            target.last_of_symbols(1).unwrap(),
            source_store
                .last_of_symbols(1)
                .unwrap()
                .into_iter()
                .map(|row| moving.mapped_explained(row))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn sums_go_over_by_hours_and_go_on_after_an_end_in_the_middle() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [source_store, target] =
            folders.each_ref().map(|folder| SqliteStore::open(folder.path(), SqliteConfig::default()).unwrap());
        let mut batch = batch_of(vec![explained(0)]);
        let sum = |hour: i64, n: usize| Importance {
            hour: Timestamp::from_micros(HOUR_US * hour),
            symbol: format!("S{n}"),
            feature_set: batch.feature_sets[0].0,
            decisions: 3,
            sums: vec![0.5, n as f64],
        };
        // Before 1970, too; and an hour with more sums than a batch is kept whole.
        batch.importance =
            (-2..4).flat_map(|hour| (0..ROWS / 2 + 1).map(move |n| (hour, n))).map(|(h, n)| sum(h, n)).collect();
        batch.importance.extend((0..ROWS + 5).map(|n| sum(9, n)));
        assert_eq!(source_store.apply_explained(&batch).unwrap(), [0_usize; 0]);
        let (offsets, stop) = (Offsets::default(), Stop::new());
        let ends = |rows| {
            if rows == 0 {
                stop.request()
            }
        };
        let mut moving = Rows { source: &source_store, target: &*target, offsets: &offsets, stop: &stop, seen: &ends };
        assert!(moving.copy_explained().is_err(), "it was ended in the middle");
        let kept = all_importance(&*target).unwrap();
        assert_eq!(kept, all_importance(&*source_store).unwrap()[..2 * (ROWS / 2 + 1)], "two whole hours");
        let (on, seen) = (Stop::new(), |_| ());
        (moving.stop, moving.seen) = (&on, &seen);
        for _ in 0..2 {
            moving.copy_explained().unwrap();
            assert_eq!(answers(&*target).unwrap(), answers(&*source_store).unwrap());
        }
    }

    #[test]
    fn sums_that_an_earlier_version_kept_all_at_once_are_not_kept_again() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [source_store, target] =
            folders.each_ref().map(|folder| SqliteStore::open(folder.path(), SqliteConfig::default()).unwrap());
        source(&*source_store);
        let (offsets, stop) = (Offsets::default(), Stop::new());
        let rows = Rows { source: &source_store, target: &*target, offsets: &offsets, stop: &stop, seen: &|_| () };
        let importance = all_importance(&*source_store).unwrap();
        let sets = importance.iter().map(|sum| sum.feature_set).collect();
        let batch = rows.batch(MARKS[1], None, ALL_HOURS, sets).unwrap();
        rows.keep_explained(&ExplainedBatch { importance, ..batch }).unwrap();
        rows.copy_explained().unwrap();
        assert_eq!(answers(&*target).unwrap(), answers(&*source_store).unwrap());
    }

    #[test]
    fn a_chain_that_retention_took_whole_keeps_its_head() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [source_store, target] =
            folders.each_ref().map(|folder| SqliteStore::open(folder.path(), SqliteConfig::default()).unwrap());
        source(&*source_store);
        let rule = [Retention { table: "forensics".into(), keep: Duration::from_secs(86_400) }];
        while source_store.enforce_retention(&rule, START.millis() + 99 * DAY_MS).unwrap() > 0 {}
        let (offsets, stop) = (Offsets::default(), Stop::new());
        let rows = Rows { source: &source_store, target: &*target, offsets: &offsets, stop: &stop, seen: &|_| () };
        rows.copy_explained().unwrap();
        assert_eq!(target.chain_heads().unwrap(), source_store.chain_heads().unwrap());
        assert_eq!(target.chain_heads().unwrap().len(), 2);
        assert_eq!(answers(&*target).unwrap(), answers(&*source_store).unwrap());
    }
}
