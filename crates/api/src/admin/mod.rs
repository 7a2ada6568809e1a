//! What the command line can do, for when another process holds the data folder:
//! topics, groups, records, roles, dead letters.
//!
//! Not here: what is asked about trading.

pub(crate) mod chains;
pub(crate) mod commit;
pub(crate) mod dlq;
pub(crate) mod emitter;
pub(crate) mod groups;
mod place;
pub(crate) mod raw;
pub(crate) mod records;
pub(crate) mod reset;
pub(crate) mod roles;
pub(crate) mod skip;
pub(crate) mod topics;
