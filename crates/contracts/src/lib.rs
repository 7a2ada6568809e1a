//! The words of tapedeck: every event that is on the wire, the envelope around
//! it, ids, decimals, times, and the catalogue of topics, with the reading and
//! the checking of all of them.
//!
//! Not here: I/O, clocks, threads. Everything in this crate is a function of
//! its arguments.

mod by_name;
pub mod catalogue;
mod check;
pub mod compat;
pub mod decimal;
pub mod decode;
pub mod events;
pub mod headers;
pub mod ids;
mod plain;
pub mod time;
pub mod unique;
mod wording;

pub use by_name::ByName;
pub use decimal::Dec;
pub use decode::{Body, DecodeError, FieldError};
pub use events::{Event, EventKind};
pub use ids::EventId;
pub use time::Timestamp;
