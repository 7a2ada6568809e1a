//! The forensics role between a real log and a real store: decisions of the demo's
//! models in, explained records out, each once, in unbroken chains, whatever dies when.
//!
//! Not here: one decision's explanation, one chain's check.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nothing to show")]

mod audit;
mod common;
mod crashes;
mod role;
mod wrapped;
