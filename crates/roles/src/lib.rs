//! What tapedeck does with events, one module a role: a pure core that takes
//! state and events and gives events, and a thin shell that reads and writes.
//!
//! Not here: a concrete log or store, HTTP, the environment.

pub mod context;
mod emitting;
pub mod forensics;
pub mod forward_test;
pub mod inference;
pub mod instruments;
pub mod market;
mod positions;
mod price;
pub mod recorder;
pub mod strategy;

pub use context::Context;
