//! What can go wrong with a store, sorted by what is done about it.
//!
//! Not here: retrying, which `flow` does.

/// The result of a call to a store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It may work when tried again.
    #[error("{0}")]
    Transient(String),
    /// One row can never be kept, however often it is tried.
    #[error("row {index}: {detail}")]
    Poison {
        /// Which row of the batch, from 0.
        index: usize,
        /// Why, and what to do.
        detail: String,
    },
    /// The stored offset is not the expected one: another writer was here.
    #[error("{topic}/{partition} of group `{group}` is at {found:?}, not at {expected:?}: another process wrote")]
    Conflict {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What the writer believed.
        expected: Option<u64>,
        /// What is stored.
        found: Option<u64>,
    },
    /// A person must act; the text says how.
    #[error("{0}")]
    Fatal(String),
}
