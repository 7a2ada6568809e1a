//! The HTTP side over real TCP, with a real log and a real store behind it.
//!
//! Not here: roles; what they would have written is put into log and store.

#![expect(clippy::unwrap_used, reason = "what helpers of tests unwrap fails the test that asked")]

mod admin;
mod answers;
mod away;
mod commands;
mod dlq;
mod posting;
mod refusals;
mod serving;
mod sockets;
mod spooling;
mod support;
