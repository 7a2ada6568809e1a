//! Bodies as a Confluent-compatible schema registry knows them: a magic byte, the
//! id of a schema, and JSON or Avro behind it.
//!
//! Not here: what an event means, and what becomes of a record that cannot be read.
