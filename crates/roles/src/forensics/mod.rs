//! Why a decision was made: its exact explanation, the compact record of it, the
//! reasons as codes and sentences, and the chain of hashes that a change to any
//! record breaks. Everything here is pure.
//!
//! Not here: reading decisions from a log, keeping records in a store, HTTP.

pub mod chain;
pub mod explained;
pub mod feature_set;
pub mod reasons;
pub mod record;

pub use chain::{Anchor, AnchorRule, Anchors, Fault, FaultKind, Hash, Head, Stored, Verified, Verifier, verify};
pub use explained::{ExplainError, Explanation, Mixture, Model, Part};
pub use feature_set::{FeatureSet, FeatureSetError, FeatureSetId};
pub use reasons::{Reason, Share, reasons};
pub use record::{Feature, MAX_MOVED, Moved, Previous, Record, RecordError, Specialist};
