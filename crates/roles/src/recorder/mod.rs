//! The recorder: events worth asking for go from the log to the store.
//!
//! Not here: the tables and the questions, which are the store's.
