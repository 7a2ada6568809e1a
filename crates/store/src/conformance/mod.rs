//! What every store must do, as functions to be called from its tests. Each is
//! given a way to open one and the same store, empty at first: opening it again
//! is a restart. They panic where the store differs.
//!
//! What only a store with transactions can do is in [`with_transactions`]; the
//! others say what a reader sees, whoever wrote it.
//!
//! Not here: how a store is made, and its speed.

use std::sync::Arc;

use crate::Store;

pub mod applying;
pub mod curves;
pub mod lists;
pub mod retention;
pub mod samples;
pub mod with_transactions;

/// Opens the store under test; the same one at each call.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Store>;
