//! The strategy role: bars in, signals out.
//!
//! Not here: orders.

pub mod config;
