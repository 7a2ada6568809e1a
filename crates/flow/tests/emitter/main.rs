//! The emitter on a real log that stops, hangs, answers late and refuses.
//!
//! Not here: ring, spool, frame and breaker alone, which have tests of their own.

#![expect(clippy::unwrap_used, reason = "these are tests: an error that was not expected ends them")]

mod faulty;
mod full;
mod kills;
mod left;
mod outage;
mod simple;
mod stage;
