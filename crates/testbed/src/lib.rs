//! Real servers for tests, started by the scripts beside the crates, and a TCP
//! proxy that injects faults.
//!
//! Not here: what is tested on them.
