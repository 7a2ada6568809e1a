//! What can go wrong with a log, sorted by what is done about it.
//!
//! Not here: retrying, which `flow` does.

use crate::TopicPartition;

/// The result of a call to a log.
pub type Result<T> = std::result::Result<T, LogError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It may work when tried again.
    #[error("{0}")]
    Transient(String),
    /// One record can never be written, however often it is tried.
    #[error("record {index}: {detail}")]
    Poison {
        /// Which record of the call, from 0.
        index: usize,
        /// Why, and what to do.
        detail: String,
    },
    /// The seat in the group is lost: another member goes on.
    #[error("this member lost its seat in group `{group}`; another one goes on from the committed offsets")]
    Fenced {
        /// The group.
        group: String,
    },
    /// A position that the log does not hold (any more).
    #[error("{partition} holds offsets {start} to {end}, not {wanted}")]
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position.
        wanted: u64,
        /// The first offset that is there.
        start: u64,
        /// The one after the last.
        end: u64,
    },
    /// A person must act; the text says how.
    #[error("{0}")]
    Fatal(String),
}

impl LogError {
    /// Whether the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}
