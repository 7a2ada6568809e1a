//! The paper broker: orders, fills, accounts, risk and the emergency stop.
//!
//! Not here: strategies, and what is shown to people.

pub mod config;
pub mod core;
pub mod join;
pub mod setup;
pub mod shell;

pub use self::core::{Broker, BrokerError, Cause, Output};
pub use setup::{BrokerSetup, SourceInfo};
