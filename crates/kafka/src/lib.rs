//! The log on Apache Kafka or Redpanda, through librdkafka. The only crate that
//! names it.
//!
//! Not here: delivery. What a failure means for a record is said by the kind of
//! its error; what is done about it, `flow` decides.

pub mod config;

pub use config::KafkaConfig;
