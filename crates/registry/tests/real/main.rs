//! Against a real schema registry and a real log.
//!
//! Not here: bodies and schemas by themselves, which are tested beside their code.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod reading;
mod rules;
mod stage;
mod writing;
