//! The last step of forensics: records are chained, and kept with the heads of the
//! chains, the sums of importance and the offsets in one act. Anchors of what was kept
//! before go to the audit log first.
//!
//! Not here: explaining decisions (`explain`), when a chain is anchored (`anchoring`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use tapedeck_contracts::Timestamp;
use tapedeck_flow::{
    Boundaries, Boundary, Failure, Gauges,
    runtime::{Move, Resume, Step},
};
use tapedeck_log::{Member, TopicPartition};
use tapedeck_store::{ChainHead, Explained, ExplainedBatch, Importance, Origin, Store};

use super::{
    FeatureSetId, Hash, Head, Record,
    anchoring::Anchoring,
    beside::Beside,
    explain::{Draft, Pool},
    symbols::{Before, Symbols},
};
use crate::positions::{self, Positions, now_ms};

/// How often a batch is chained anew where decisions of it are held already. The first
/// time all of them are told; another process may have kept more of them meanwhile,
/// but then it holds the partition, and offsets do not fit any more.
const TRIES: usize = 3;
/// Ids of feature sets that are known to be kept. With more of them around, some are
/// sent again, which does no harm.
const MAX_KNOWN_SETS: usize = 1_024;
const HOUR_US: i64 = 3_600_000_000;

/// A draft and where its decision lies.
#[derive(Debug)]
pub(super) struct Placed {
    /// The partition of the decision, which is the chain.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its record.
    pub draft: Draft,
}

/// One chain that this process writes. Where it may have gone on without us (an answer
/// was lost, a seat), the runtime resumes its partition, and it is read again.
struct Chain {
    /// Its end, as it is stored.
    head: Head,
    /// The last record of each symbol and account.
    symbols: Symbols,
}

/// The step: what it does, it may do on a thread of its own, while decisions are
/// explained on the role's.
pub(super) struct ForensicsStep {
    /// Not here while it works beside.
    keeper: Option<Box<Keeper>>,
    beside: Beside<Job, (Box<Keeper>, Result<(), Failure>)>,
    group: Positions,
}

/// Drafts to keep, and the moves that become visible with them.
struct Job {
    keeper: Box<Keeper>,
    drafts: Vec<Placed>,
    moves: Vec<Move>,
}

/// Chains records and keeps them.
struct Keeper {
    store: Arc<dyn Store>,
    topic: Arc<str>,
    positions: Positions,
    boundaries: Boundaries,
    gauges: Arc<Gauges>,
    pool: Pool,
    anchoring: Arc<Anchoring>,
    chains: BTreeMap<u32, Chain>,
    known_sets: HashSet<FeatureSetId>,
    attempt: Attempt,
}

/// A batch as it is offered to the store, in memory that is used again.
#[derive(Default)]
struct Attempt {
    batch: ExplainedBatch,
    /// The place of each row among the drafts.
    draft_of: Vec<usize>,
    /// The bytes of all records, and where each lies in them.
    bytes: Vec<u8>,
    ranges: Vec<Range<usize>>,
    heads: BTreeMap<u32, Head>,
    /// Where the sums are, by hour, names and symbol.
    sums: HashMap<(i64, FeatureSetId), HashMap<String, usize>>,
    /// Counts attempts, so that what one of them noted means nothing in the next.
    number: u64,
}

/// What a step is made of.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    /// The topic of decisions.
    pub(super) topic: Arc<str>,
    pub(super) group: String,
    pub(super) boundaries: Boundaries,
    pub(super) gauges: Arc<Gauges>,
    pub(super) pool: Pool,
    pub(super) anchoring: Arc<Anchoring>,
}

impl ForensicsStep {
    pub(super) fn new(parts: Parts) -> Self {
        let group = Positions::new(parts.group.clone());
        Self { keeper: Some(Box::new(Keeper::new(parts))), beside: Beside::new("forensics-keeps", keep), group }
    }

    fn keeper(&mut self) -> Result<&mut Keeper, Failure> {
        self.keeper.as_deref_mut().ok_or_else(away)
    }
}

/// What the thread beside does.
fn keep(Job { mut keeper, drafts, moves }: Job) -> (Box<Keeper>, Result<(), Failure>) {
    let kept = keeper.take(drafts, &moves);
    (keeper, kept)
}

fn away() -> Failure {
    Failure::Fatal("the step was asked for something while it works beside".to_owned())
}

impl Keeper {
    fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            topic: parts.topic,
            positions: Positions::new(parts.group),
            boundaries: parts.boundaries,
            gauges: parts.gauges,
            pool: parts.pool,
            anchoring: parts.anchoring,
            chains: BTreeMap::new(),
            known_sets: HashSet::new(),
            attempt: Attempt::default(),
        }
    }

    /// Reads the ends of chains, and the last record of each of their symbols. The ends
    /// come last: where a process that held the partitions still keeps a batch
    /// meanwhile, no symbol is ahead of its chain, and the store refuses what is
    /// written next because its offsets went on.
    fn load(&mut self, chains: &[u32]) -> Result<(), Failure> {
        let symbols = |chain: &u32| Symbols::load(&*self.store, *chain);
        let symbols = chains.iter().map(symbols).collect::<Result<Vec<_>, _>>().map_err(positions::failure)?;
        let heads = self.store.chain_heads().map_err(positions::failure)?;
        for (chain, symbols) in chains.iter().zip(symbols) {
            let kept = heads.iter().find(|head| head.chain == *chain);
            let head = kept.map_or_else(|| Head::start(*chain), Head::from);
            self.anchoring.open(head, kept.and_then(|head| head.anchored));
            self.chains.insert(*chain, Chain { head, symbols });
        }
        Ok(())
    }

    /// Keeps the drafts, chained, without those that are held already.
    fn keep(&mut self, drafts: &mut [Placed], moves: &[Move]) -> Result<(), Failure> {
        let mut held = BTreeSet::new();
        for _ in 0..TRIES {
            self.chain(drafts, &held)?;
            self.offer(moves);
            let batch = &self.attempt.batch;
            let found = self.store.apply_explained(batch).map_err(|error| self.failure(drafts, error))?;
            if found.is_empty() {
                self.boundaries.pass(Boundary::Apply);
                self.accept(drafts, &held);
                return Ok(());
            }
            for at in found.iter().filter_map(|row| self.attempt.draft_of.get(*row).copied()) {
                self.compare(drafts, at)?;
                held.insert(at);
            }
        }
        Err(Failure::Fatal(format!(
            "the store says of {} of {} decisions that it holds them, and of more each time it is asked: see whether \
             another program writes its table `forensics`, then start again",
            held.len(),
            drafts.len(),
        )))
    }

    /// A decision that is held comes again as it was; another one under its id was never
    /// explained, and is not dropped in silence. Where retention took the record, nothing
    /// is left to compare with.
    fn compare(&self, drafts: &[Placed], at: usize) -> Result<(), Failure> {
        let record = &*drafts[at].draft.record;
        let kept = match self.store.explained(&record.decision_id).map_err(positions::failure)? {
            // One that cannot be read is for the check of the chain to tell.
            Some(row) => Record::read(&row.record).ok().map(Box::new),
            None => {
                let earlier = drafts[..at].iter().map(|placed| &placed.draft.record);
                earlier.into_iter().find(|earlier| earlier.decision_id == record.decision_id).cloned()
            }
        };
        match kept {
            Some(kept) if !is_same_decision(&kept, record) => Err(Failure::Poison {
                index: at,
                place: place(&self.topic, &drafts[at]),
                path: Some("$.decision_id".to_owned()),
                detail: format!(
                    "another decision has this id: `{}` was explained as {:?} {} of {} at {}, and this one is {:?} {} \
                     of {} at {}; give every decision an id of its own",
                    record.decision_id,
                    kept.action,
                    kept.quantity,
                    kept.symbol,
                    kept.time,
                    record.action,
                    record.quantity,
                    record.symbol,
                    record.time
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Gives the drafts that are not held their places in the chains, and writes them.
    fn chain(&mut self, drafts: &mut [Placed], held: &BTreeSet<usize>) -> Result<(), Failure> {
        let attempt = &mut self.attempt;
        attempt.begin();
        for at in (0..drafts.len()).filter(|at| !held.contains(at)) {
            let (before, rest) = drafts.split_at_mut(at);
            let Placed { partition, draft, .. } = &mut rest[0];
            let chain = self.chains.get_mut(partition).ok_or_else(|| not_open(*partition))?;
            let head = attempt.heads.entry(*partition).or_insert(chain.head);
            (draft.record.chain, draft.record.index) = (*partition, head.records);
            let previous =
                match chain.symbols.note(&draft.record.symbol, draft.record.account.as_deref(), attempt.number, at) {
                    Before::Draft(noted) => {
                        let before = &before[noted].draft;
                        Some((&*before.record, &**before.mixture.set()))
                    }
                    Before::Stored(record, set) => Some((record, set)),
                    Before::None => None,
                };
            draft.mixture.remember(&mut draft.record, previous);
            let from = attempt.bytes.len();
            draft.record.write(&mut attempt.bytes).map_err(|error| Failure::Poison {
                index: at,
                place: place(&self.topic, &rest[0]),
                path: None,
                detail: error.to_string(),
            })?;
            let hash = head.push(&attempt.bytes[from..]);
            attempt.ranges.push(from..attempt.bytes.len());
            attempt.draft_of.push(at);
            attempt.row(&self.topic, &rest[0], hash);
            attempt.set(&rest[0].draft, &self.known_sets);
            attempt.sum(&rest[0].draft.record);
        }
        attempt.batch.rows.truncate(attempt.draft_of.len());
        Ok(())
    }

    /// Makes the batch complete: bytes, feature sets, heads, offsets.
    fn offer(&mut self, moves: &[Move]) {
        let attempt = &mut self.attempt;
        let bytes = Bytes::copy_from_slice(&attempt.bytes);
        for (row, range) in attempt.batch.rows.iter_mut().zip(&attempt.ranges) {
            row.record = bytes.slice(range.clone());
        }
        let head = |head: &Head| ChainHead {
            chain: head.chain,
            records: head.records,
            hash: head.hash.0,
            begins: None,
            anchored: self.anchoring.last(head.chain).map(|anchor| (anchor.records, anchor.hash.0)),
        };
        attempt.batch.heads = attempt.heads.values().map(head).collect();
        attempt.batch.offsets = self.positions.moves(moves);
        self.positions.group().clone_into(&mut attempt.batch.group);
        attempt.batch.ingested_at_ms = now_ms();
    }

    /// The store has taken the attempt.
    fn accept(&mut self, drafts: &mut [Placed], held: &BTreeSet<usize>) {
        Gauges::add(&self.gauges.duplicates, held.len());
        if self.known_sets.len() > MAX_KNOWN_SETS {
            self.known_sets.clear();
        }
        self.known_sets.extend(self.attempt.batch.feature_sets.iter().map(|(id, _)| FeatureSetId(*id)));
        let now = Timestamp::from_millis(self.attempt.batch.ingested_at_ms);
        for head in self.attempt.heads.values() {
            let Some(chain) = self.chains.get_mut(&head.chain) else { continue };
            chain.head = *head;
            self.anchoring.stored(*head, now);
        }
        for at in &self.attempt.draft_of {
            let Placed { partition, draft, .. } = &mut drafts[*at];
            let Some(chain) = self.chains.get_mut(partition) else { continue };
            chain.symbols.keep(self.attempt.number, *at, draft);
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        let resumes = self.positions.resume(&*self.store, partitions)?;
        let chains: Vec<u32> = partitions.iter().map(|place| place.partition).collect();
        self.load(&chains)?;
        Ok(resumes)
    }

    /// Makes drafts and moves visible, both or neither.
    fn take(&mut self, mut drafts: Vec<Placed>, moves: &[Move]) -> Result<(), Failure> {
        self.anchoring.write_due()?;
        self.boundaries.pass(Boundary::Append);
        if moves.iter().any(|step| step.last.is_some()) {
            self.keep(&mut drafts, moves)?;
            self.positions.moved(moves);
        }
        self.pool.give(drafts.into_iter().map(|placed| placed.draft));
        Ok(())
    }

    fn failure(&self, drafts: &[Placed], error: tapedeck_store::StoreError) -> Failure {
        match positions::failure(error) {
            Failure::Poison { index: row, path, detail, .. } => {
                let index = self.attempt.draft_of.get(row).copied().unwrap_or(usize::MAX);
                let place = drafts.get(index).map(|placed| place(&self.topic, placed)).unwrap_or_default();
                Failure::Poison { index, place, path, detail }
            }
            other => other,
        }
    }
}

impl Step for ForensicsStep {
    type Effect = Vec<Placed>;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Resume>, Failure> {
        self.keeper()?.resume(partitions)
    }

    fn restate(&mut self, partitions: &[TopicPartition]) -> Result<Vec<BTreeMap<String, Bytes>>, Failure> {
        // The handler has no state, and the step sees to its own.
        Ok(vec![BTreeMap::new(); partitions.len()])
    }

    fn perform(&mut self, member: &mut dyn Member, drafts: Vec<Placed>, moves: &[Move]) -> Result<(), Failure> {
        self.keeper()?.take(drafts, moves)?;
        self.publish(member, moves)
    }

    fn works_beside(&self) -> bool {
        true
    }

    fn begin(&mut self, drafts: Vec<Placed>, moves: &[Move]) -> Result<(), Failure> {
        self.beside.start()?;
        let keeper = self.keeper.take().ok_or_else(away)?;
        self.beside.give(Job { keeper, drafts, moves: moves.to_vec() });
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Member) -> Result<(), Failure> {
        let (keeper, kept) = self.beside.answer();
        self.keeper = Some(keeper);
        kept
    }

    fn publish(&mut self, member: &mut dyn Member, moves: &[Move]) -> Result<(), Failure> {
        self.group.publish(member, moves)
    }
}

impl Attempt {
    fn begin(&mut self) {
        self.number += 1;
        self.bytes.clear();
        self.ranges.clear();
        self.draft_of.clear();
        self.heads.clear();
        self.sums.clear();
        self.batch.feature_sets.clear();
        self.batch.importance.clear();
    }

    /// The columns of the next row; its bytes follow when all are written.
    fn row(&mut self, topic: &Arc<str>, placed: &Placed, hash: Hash) {
        let (record, nth) = (&placed.draft.record, self.draft_of.len() - 1);
        let origin = Origin { topic: Arc::clone(topic), partition: placed.partition, offset: placed.offset };
        let Some(row) = self.batch.rows.get_mut(nth) else {
            self.batch.rows.push(Explained {
                origin,
                decision_id: record.decision_id.clone(),
                timestamp: record.time,
                symbol: record.symbol.clone(),
                account: record.account.clone(),
                action: record.action,
                outcome: record.outcome,
                chain: record.chain,
                index: record.index,
                hash: hash.0,
                feature_set: record.feature_set.0,
                record: Bytes::new(),
            });
            return;
        };
        row.origin = origin;
        row.decision_id.clone_from(&record.decision_id);
        row.symbol.clone_from(&record.symbol);
        row.account.clone_from(&record.account);
        (row.timestamp, row.action, row.outcome) = (record.time, record.action, record.outcome);
        (row.chain, row.index, row.hash) = (record.chain, record.index, hash.0);
        row.feature_set = record.feature_set.0;
    }

    /// The names that a row's lists have, where the store may not have them.
    fn set(&mut self, draft: &Draft, known: &HashSet<FeatureSetId>) {
        let id = draft.mixture.id();
        if !known.contains(&id) && !self.batch.feature_sets.iter().any(|(there, _)| *there == id.0) {
            self.batch.feature_sets.push((id.0, Bytes::from(draft.mixture.set().to_bytes())));
        }
    }

    /// Adds a record to the sums of its hour.
    fn sum(&mut self, record: &Record) {
        let hour = record.time.micros().div_euclid(HOUR_US);
        let symbols = self.sums.entry((hour, record.feature_set)).or_default();
        let importance = &mut self.batch.importance;
        let at = symbols.get(&record.symbol).copied().unwrap_or_else(|| {
            symbols.insert(record.symbol.clone(), importance.len());
            importance.push(Importance {
                hour: Timestamp::from_micros(hour * HOUR_US),
                symbol: record.symbol.clone(),
                feature_set: record.feature_set.0,
                decisions: 0,
                sums: vec![0.0; record.features.len()],
            });
            importance.len() - 1
        });
        importance[at].decisions += 1;
        for (sum, feature) in importance[at].sums.iter_mut().zip(&record.features) {
            *sum += f64::from(feature.contribution.abs());
        }
    }
}

fn is_same_decision(one: &Record, other: &Record) -> bool {
    let what = |record: &Record| (record.action, record.time, record.quantity);
    what(one) == what(other) && one.symbol == other.symbol && one.account == other.account
}

fn place(topic: &str, placed: &Placed) -> String {
    format!("{topic}/{}/{}", placed.partition, placed.offset)
}

fn not_open(partition: u32) -> Failure {
    Failure::Fatal(format!("a decision of partition {partition} came, and its chain was never opened"))
}
