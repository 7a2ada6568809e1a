//! The inference role, the trading path: final bars in, decisions out.
//!
//! `bars` says what a final bar is, `features` makes numbers of bars, `regime` says
//! what kind of market it is, `weights` how much each specialist counts in it,
//! `models` holds the specialists, `book` what was intended, `risk` whether more of it
//! is wise; `decide` makes one decision of all that, `core` keeps it for every symbol,
//! `posted` answers who asks with features of their own, `shell` reads and writes.
//!
//! Not here: explaining a decision, and trading on it.

pub mod bars;
pub mod book;
pub mod config;
pub mod core;
pub mod decide;
pub mod features;
pub mod models;
pub mod posted;
pub mod regime;
pub mod risk;
pub mod shell;
pub mod weights;

pub use self::{config::InferenceConfig, models::Models};
