//! The paper broker: orders, fills, accounts, risk and the emergency stop.
//!
//! Not here: strategies, and what is shown to people.

mod account;
mod book;
pub mod config;
pub mod core;
mod ess;
mod fills;
pub mod join;
mod money;
mod params;
mod performance;
mod report;
mod risk;
pub mod setup;
pub mod shell;
mod state;
mod tape;
mod var;

pub use self::core::{Broker, BrokerError, Cause, Output};
pub use setup::{BrokerSetup, SourceInfo};
