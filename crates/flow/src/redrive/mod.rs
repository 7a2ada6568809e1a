//! Dead letters, seen and sent again: which there are, what became of each, and
//! the one process at a time that sends them to the group that failed, or marks
//! them as purged.
//!
//! What became of a dead letter is a record of the compact topic
//! `tapedeck.dlq.state`, under the dead letter's id. A record that is sent again
//! and its state are one step, so that neither an end in the middle nor a second
//! run sends it twice.
//!
//! Not here: when a record becomes a dead letter (`runtime`), who asks for a
//! redrive and who is told of it (the api), and deleting: a purged dead letter
//! lies where it is until its topic's retention takes it.

mod again;
mod filter;
mod groups;
mod id;
mod pace;
mod recent;
mod register;
mod report;
mod run;
mod scan;

pub use again::{Missing, again, restore};
pub use filter::Filter;
pub use groups::{ErrorGroup, GroupKey, normalised};
pub use id::LetterId;
pub use recent::Recent;
pub use register::{Closed, Entry, Register, Status};
pub use report::{Refusal, Report, Sample};
pub use run::{Action, Ended, MAX_REFUSALS, Order, Redriver, SEAT};
pub use scan::{Forward, Found, Newest, Part, Scanned, ids_within, letter_at, parts};
