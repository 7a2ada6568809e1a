//! What every store does alike, whatever it lies in: the words of the contract,
//! places in the log, exact sums, and the rules by which reports become
//! statistics, curves and accounts.
//!
//! Not here: how anything is stored.

pub(crate) mod values;
pub(crate) mod words;
