//! The market role: files and generators become numbered market events.
//!
//! Not here: strategies and fills.

pub mod config;
