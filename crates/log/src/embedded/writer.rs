//! The one thread that writes. It takes all that waits, writes it in one
//! transaction with one fsync, shows it to readers, and only then answers.
//!
//! Not here: checking records, which the caller's thread did before.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Instant,
};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    cache::Cache,
    change::{self, Change, Piece},
    groups::Ticket,
    shared::{Partition, Shared, lock, write},
    topics,
};
use crate::{
    LogError, Result, TopicConfig,
    batch::{Batch, Segment},
};

/// Calls that may wait for the writer; more wait in their threads.
pub(crate) const QUEUE: usize = 256;
/// Bytes after which one transaction takes no more calls: about what the disk
/// takes in 10 ms, so that the first of them does not wait long for the last.
const GROUP_BYTES: usize = 4 << 20;
/// A batch grows no further than this: a row that a reader takes in one piece.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// Work for the writer, each with where the answer goes.
pub(crate) enum Job {
    /// Records and offsets.
    Write(Write, SyncSender<Result<Vec<u64>>>),
    /// New topics.
    Topics(Vec<TopicConfig>, SyncSender<Result<()>>),
    /// Offsets of a group without members.
    Reset(Arc<str>, Vec<(Arc<Partition>, u64)>, SyncSender<Result<()>>),
    /// Old batches go or are written anew.
    Change(Change, SyncSender<Result<()>>),
}

/// Records and offsets that become visible together.
pub(crate) struct Write {
    /// Pieces of partitions, in order; the answer is the base offset of each.
    pub(crate) segments: Vec<(Arc<Partition>, Segment)>,
    /// Committed offsets, of the ticket's group.
    pub(crate) offsets: Vec<(Arc<Partition>, u64)>,
    /// Who writes, where a group is concerned.
    pub(crate) ticket: Option<Ticket>,
}

/// Batches of one partition, each with the size of its blob.
type Sealed = (Arc<Partition>, Vec<(Batch, usize)>);
/// Batches of one partition to be, each with its base offset.
type Gathered = (Arc<Partition>, Vec<(u64, Segment)>);
type Waiting = (Write, SyncSender<Result<Vec<u64>>>);

/// The thread's state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    connection: Connection,
    cache: Cache,
}

/// What one transaction writes.
#[derive(Default)]
struct Staged {
    batches: Vec<Gathered>,
    by_index: BTreeMap<usize, usize>,
}

impl Write {
    fn bytes(&self) -> usize {
        self.segments.iter().map(|(_, segment)| segment.len()).sum()
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, connection: Connection) -> Self {
        Self { shared, connection, cache: Cache::default() }
    }

    /// Works until nobody can ask any more, or the disk fails.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut group: Vec<Waiting> = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            let mut alone = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Write(write, answer) => {
                        bytes += write.bytes();
                        group.push((write, answer));
                        if bytes < GROUP_BYTES && group.len() < QUEUE {
                            next = queue.try_recv().ok();
                        }
                    }
                    other => alone = Some(other),
                }
            }
            self.write(group);
            if let Some(job) = alone {
                self.do_alone(job);
            }
            if self.shared.check_broken().is_err() {
                return;
            }
        }
    }

    fn do_alone(&mut self, job: Job) {
        // Whoever asked may be gone: nobody then needs the answer.
        match job {
            Job::Write(write, answer) => self.write(vec![(write, answer)]),
            Job::Topics(wanted, answer) => {
                let result = topics::create(&self.shared, &mut self.connection, &wanted);
                let _ = answer.send(self.judge(result));
            }
            Job::Reset(group, offsets, answer) => {
                let result = self.reset(&group, &offsets);
                let _ = answer.send(self.judge(result));
            }
            Job::Change(change, answer) => {
                let result = change.apply(&self.shared, &mut self.connection);
                let _ = answer.send(self.judge(result));
            }
        }
        self.shared.bell.ring();
    }

    /// Writes what may be written, and answers.
    fn write(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let (mut going, mut segments) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        for (mut write, answer) in group {
            if !self.may_write(&write) {
                let ticket = write.ticket.expect("only a ticket can be refused");
                let _ = answer.send(Err(LogError::Fenced { group: ticket.group.to_string() }));
                continue;
            }
            segments.push(std::mem::take(&mut write.segments));
            going.push((write, answer));
        }
        let mut staged = Staged::default();
        let placed: Vec<Vec<u64>> = segments.into_iter().map(|part| staged.take(&self.shared, part)).collect();
        let result = self.commit(staged, &going);
        let result = self.judge(result);
        let now = Instant::now();
        let mut groups = lock(&self.shared.groups);
        for ticket in going.iter().filter_map(|(write, _)| write.ticket.as_ref()) {
            groups.end_write(ticket, now);
        }
        drop(groups);
        self.shared.bell.ring();
        for ((_, answer), bases) in going.into_iter().zip(placed) {
            let _ = answer.send(match &result {
                Ok(()) => Ok(bases),
                Err(error) => Err(again(error)),
            });
        }
    }

    fn may_write(&self, write: &Write) -> bool {
        write.ticket.as_ref().is_none_or(|ticket| {
            let partitions = write.offsets.iter().map(|(partition, _)| &partition.name);
            lock(&self.shared.groups).begin_write(ticket, partitions, Instant::now())
        })
    }

    fn commit(&mut self, staged: Staged, going: &[Waiting]) -> Result<()> {
        let compress = self.shared.config.compress;
        let mut sealed: Vec<Sealed> = Vec::with_capacity(staged.batches.len());
        let failed = |error| self.shared.write_failure(error);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        for (partition, batches) in staged.batches {
            let mut kept = Vec::with_capacity(batches.len());
            for (base, segment) in batches {
                let newest_ms = segment.max_timestamp_ms;
                let (batch, blob) = segment.seal(base, compress);
                let piece = Piece { base, last: batch.last, newest_ms, blob };
                change::insert(&transaction, &partition, &piece).map_err(failed)?;
                kept.push((batch, piece.blob.len()));
            }
            sealed.push((partition, kept));
        }
        for (write, _) in going {
            if let Some(ticket) = &write.ticket {
                commit_offsets(&transaction, &ticket.group, &write.offsets).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        self.publish(sealed, going);
        Ok(())
    }

    /// Shows readers what is on disk now, all of it at once.
    fn publish(&mut self, sealed: Vec<Sealed>, going: &[Waiting]) {
        let mut grown = Vec::with_capacity(sealed.len());
        for (partition, batches) in sealed {
            let end = batches.last().map_or(0, |(batch, _)| batch.last + 1);
            let bytes: usize = batches.iter().map(|(_, bytes)| bytes).sum();
            grown.push((partition.index, end, bytes as u64));
            for (batch, _) in batches {
                self.cache.keep(&partition, Arc::new(batch));
            }
        }
        let mut view = write(&self.shared.view);
        for (index, end, bytes) in grown {
            view.spans[index].end = end;
            view.spans[index].bytes += bytes;
        }
        for (written, _) in going {
            if let Some(ticket) = &written.ticket {
                view.commit(&ticket.group, &written.offsets);
            }
        }
    }

    fn reset(&mut self, group: &Arc<str>, offsets: &[(Arc<Partition>, u64)]) -> Result<()> {
        let failed = |error| self.shared.write_failure(error);
        // Held to the end: nobody joins between the look and the change.
        let mut groups = lock(&self.shared.groups);
        if groups.has_members(group, Instant::now()) {
            return Err(LogError::Fatal(format!("group `{group}` has members: stop them, then reset its offsets")));
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        commit_offsets(&transaction, group, offsets).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        write(&self.shared.view).commit(group, offsets);
        Ok(())
    }

    /// Stops everything where a transaction could not even be undone.
    fn judge(&self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result
            && !self.connection.is_autocommit()
        {
            self.shared.break_for_good(&format!("{error}; it could not be undone: start again"));
        }
        result
    }
}

impl Staged {
    /// Takes a call's pieces and gives each its base offset. Pieces of one
    /// partition that follow each other become one batch while that is small.
    fn take(&mut self, shared: &Shared, segments: Vec<(Arc<Partition>, Segment)>) -> Vec<u64> {
        let mut bases = Vec::with_capacity(segments.len());
        for (partition, segment) in segments {
            let slot = *self.by_index.entry(partition.index).or_insert_with(|| {
                self.batches.push((Arc::clone(&partition), Vec::new()));
                self.batches.len() - 1
            });
            let batches = &mut self.batches[slot].1;
            let base = match batches.last() {
                Some((base, last)) => base + u64::from(last.count),
                None => shared.span(&partition).end,
            };
            bases.push(base);
            match batches.last_mut() {
                Some((_, last)) if last.len() + segment.len() <= BATCH_BYTES => last.absorb(&segment),
                _ => batches.push((base, segment)),
            }
        }
        bases
    }
}

fn commit_offsets(connection: &Connection, group: &str, offsets: &[(Arc<Partition>, u64)]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO committed (group_name, partition_id, next_offset) VALUES (?1, ?2, ?3)
         ON CONFLICT (group_name, partition_id) DO UPDATE SET next_offset = excluded.next_offset",
    )?;
    for (partition, next) in offsets {
        statement.execute(params![group, partition.id, next])?;
    }
    Ok(())
}

/// The same error for each of those who waited.
fn again(error: &LogError) -> LogError {
    match error {
        LogError::Transient(detail) => LogError::Transient(detail.clone()),
        other => LogError::Fatal(other.to_string()),
    }
}
