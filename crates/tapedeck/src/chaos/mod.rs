//! Rehearsals: the real binary under load, killed, paused and starved by a seeded
//! schedule, and at the end an account of what was lost.
//!
//! Not here: flags and help (`cli`, `commands::chaos`).

mod faults;
pub(crate) mod rehearsal;
