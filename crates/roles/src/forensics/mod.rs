//! Why a decision was made: its exact explanation, the compact record of it, the
//! reasons as codes and sentences, and the chain of hashes that a change to any
//! record breaks. The role that does this for every decision is `shell`; all but it,
//! its step and its anchors is pure.
//!
//! Not here: making decisions, the tables of a store, HTTP.

mod anchoring;
pub mod answer;
mod beside;
pub mod chain;
pub mod explain;
pub mod explained;
pub mod feature_set;
mod hex;
pub mod items;
pub mod re_decide;
pub mod reasons;
pub mod record;
pub mod sentences;
pub mod shell;
mod step;
mod symbols;
pub mod what_if;

pub use anchoring::AUDIT;
pub use answer::{Answer, AnswerError, TOP};
pub use chain::{
    Anchor, AnchorRule, Anchors, CheckError, Fault, FaultKind, Hash, Head, Stored, Verified, Verifier, start_of,
    verify, verify_pages, verify_store,
};
pub use explained::{ExplainError, Explanation, Mixture, Model, Part};
pub use feature_set::{FeatureSet, FeatureSetError, FeatureSetId};
pub use items::item;
pub use re_decide::{ReDecideError, ReDecided, ReDecider};
pub use reasons::{Failed, Reason, Share, reasons};
pub use record::{FailedCheck, Feature, MAX_MOVED, Moved, Previous, Record, RecordError, Specialist};
pub use sentences::{Sentences, sentences};
pub use shell::{DECISIONS, ROLE, run};
pub use what_if::{WhatIf, WhatIfError, models_of, what_if};
