//! Topics of a cluster beside those of the catalogue, and who may do what on them.
//!
//! Not here: flags and tables (`commands::topics`).

pub(crate) mod acls;
pub(crate) mod plan;
