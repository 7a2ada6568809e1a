//! The paper broker's rules, seen from outside: worked examples, the emergency
//! stop, and properties over random order flow.
//!
//! Not here: the log around it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod decisions;
mod desk;
mod ess;
mod figures;
mod fills;
mod flow;
mod orders;
