//! The strategy role: bars in, signals out.
//!
//! `config` says what runs, `rules` when a strategy wants to be long, short or
//! flat, `bars` what a bar is where the market sends quotes and trades, `core`
//! puts them together, `shell` reads and writes.
//!
//! Not here: orders, which the paper broker makes of signals.

pub(crate) mod bars;
pub mod config;
mod core;
mod rules;
pub mod shell;
#[cfg(test)]
mod tests;

pub use self::{config::StrategyConfig, core::Strategies};
