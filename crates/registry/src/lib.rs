//! Bodies as a Confluent-compatible schema registry knows them: a magic byte, the
//! id of a schema, and JSON or Avro behind it. What is read is opened into the
//! JSON that the contract is written in; what is written is framed on its way
//! into the log.
//!
//! Not here: what an event means, and what becomes of a record that cannot be read.

mod avro;
mod client;
mod config;
mod error;
mod frame;
mod framed_log;
mod json_schema;
mod known;
mod opener;
mod registry;
mod subject;
mod verdict;
mod writer;

pub use avro::{Fault, Plan, avro_schema};
pub use config::{Format, RegistryConfig};
pub use error::RegistryError;
pub use frame::{Frame, HEAD_BYTES};
pub use framed_log::FramedLog;
pub use json_schema::json_schema;
pub use registry::Registry;
pub use subject::{Latest, Subject};
pub use verdict::Verdict;
