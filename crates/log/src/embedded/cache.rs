//! The newest batches in memory, so that who reads at the tail does not touch
//! the file.
//!
//! Not here: finding a record in them.

use std::{collections::VecDeque, sync::Arc};

use super::shared::{Partition, lock};
use crate::batch::Batch;

/// Memory for the newest batches of all partitions: some 30,000 records of 1 KB,
/// a third of a second of the fastest writing. A reader further behind reads
/// the file in larger pieces anyway.
const BYTES: usize = 32 << 20;

/// Counts what the partitions' queues hold; the oldest leaves first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    order: VecDeque<(Arc<Partition>, u64, usize)>,
    bytes: usize,
}

impl Cache {
    /// Keeps a batch, and lets go of the oldest where there is no room.
    pub(crate) fn keep(&mut self, partition: &Arc<Partition>, batch: Arc<Batch>) {
        let bytes = batch.memory();
        self.order.push_back((Arc::clone(partition), batch.base, bytes));
        self.bytes += bytes;
        lock(&partition.newest).push_back(batch);
        while self.bytes > BYTES {
            let Some((oldest, base, bytes)) = self.order.pop_front() else { break };
            self.bytes -= bytes;
            let mut newest = lock(&oldest.newest);
            // It may have left already, when its partition was compacted.
            if newest.front().is_some_and(|batch| batch.base == base) {
                newest.pop_front();
            }
        }
    }
}

/// The batch in memory that holds the offset or follows it; none where memory
/// does not reach back so far.
pub(crate) fn find(partition: &Partition, offset: u64) -> Option<Arc<Batch>> {
    let newest = lock(&partition.newest);
    if newest.front()?.base > offset {
        return None;
    }
    newest.get(newest.partition_point(|batch| batch.last < offset)).cloned()
}

/// Lets go of what lies below an offset, since the file has it otherwise now.
pub(crate) fn forget_below(partition: &Partition, offset: u64) {
    let mut newest = lock(&partition.newest);
    while newest.front().is_some_and(|batch| batch.base < offset) {
        newest.pop_front();
    }
}
