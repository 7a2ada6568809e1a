//! Redriving on a real log: each dead letter once, whatever ends when.
//!
//! Not here: the command line and the api.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod refusals;
mod sending;
mod tape;
