//! Changes of old batches, as the writer makes them: remove from the front, or
//! put others in their place.
//!
//! Not here: which ones, which `maintenance` and `compaction` decide.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    cache,
    schema::row_id,
    shared::{Partition, Shared, Span, write},
};
use crate::Result;

/// A change of old batches.
pub(crate) enum Change {
    /// All batches below `start` go, `bytes` of them.
    Remove { partition: Arc<Partition>, start: u64, bytes: u64 },
    /// The batches from `from` to below `to`, `bytes` of them, are replaced.
    Replace { partition: Arc<Partition>, from: u64, to: u64, bytes: u64, with: Option<Piece> },
    /// The file takes note of how many bytes the partitions have, so that
    /// opening it need not count them.
    Count(Vec<Arc<Partition>>),
}

/// A batch written anew.
pub(crate) struct Piece {
    pub(crate) base: u64,
    pub(crate) last: u64,
    pub(crate) newest_ms: i64,
    pub(crate) blob: Bytes,
}

impl Change {
    /// Makes the change, on the writer's thread.
    pub(crate) fn apply(self, shared: &Shared, connection: &mut Connection) -> Result<()> {
        let failed = |error| shared.write_failure(error);
        if let Self::Remove { partition, start, .. } = &self {
            // Readers are told before the batches go, so that none of them takes
            // what is missing for a gap.
            write(&shared.view).spans[partition.index].start = *start;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        match &self {
            Self::Remove { partition, start, bytes } => {
                let span = shared.span(partition);
                remove(&transaction, partition, 0, *start).map_err(failed)?;
                count(&transaction, partition, Span { bytes: span.bytes.saturating_sub(*bytes), ..span })
            }
            Self::Replace { partition, from, to, bytes, with } => {
                let span = shared.span(partition);
                remove(&transaction, partition, *from, *to).map_err(failed)?;
                if let Some(piece) = with {
                    insert(&transaction, partition, piece).map_err(failed)?;
                }
                let now = span.bytes.saturating_sub(*bytes) + size(with.as_ref());
                count(&transaction, partition, Span { bytes: now, ..span })
            }
            Self::Count(partitions) => {
                partitions.iter().try_for_each(|partition| count(&transaction, partition, shared.span(partition)))
            }
        }
        .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.publish(shared);
        Ok(())
    }

    fn publish(self, shared: &Shared) {
        match self {
            Self::Remove { partition, start, bytes } => {
                cache::forget_below(&partition, start);
                let span = &mut write(&shared.view).spans[partition.index];
                span.bytes = span.bytes.saturating_sub(bytes);
            }
            Self::Replace { partition, to, bytes, with, .. } => {
                cache::forget_below(&partition, to);
                let span = &mut write(&shared.view).spans[partition.index];
                span.bytes = span.bytes.saturating_sub(bytes) + size(with.as_ref());
            }
            Self::Count(_) => {}
        }
    }
}

/// Writes a batch.
pub(crate) fn insert(connection: &Connection, partition: &Partition, piece: &Piece) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO batches (id, last_offset, max_timestamp_ms, bytes, data) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            row_id(partition.id, piece.base),
            piece.last,
            piece.newest_ms,
            piece.blob.len(),
            &piece.blob[..]
        ])?;
    Ok(())
}

fn remove(connection: &Connection, partition: &Partition, from: u64, to: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM batches WHERE id >= ?1 AND id < ?2")?
        .execute([row_id(partition.id, from), row_id(partition.id, to)])?;
    Ok(())
}

fn count(connection: &Connection, partition: &Partition, span: Span) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE partitions SET start_offset = ?2, counted_bytes = ?3, counted_to = ?4 WHERE id = ?1")?
        .execute(params![partition.id, span.start, span.bytes, span.end])?;
    Ok(())
}

fn size(piece: Option<&Piece>) -> u64 {
    piece.map_or(0, |piece| piece.blob.len() as u64)
}
