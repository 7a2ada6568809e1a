//! The paper broker: orders, fills, accounts, risk and the emergency stop.
//!
//! Not here: strategies, and what is shown to people.

pub mod config;
