//! The compact record of one explained decision: everything that is needed to say,
//! in seven years, what was decided, on which numbers, and what each of them did.
//! The bytes are described in `docs/forensics.md`.
//!
//! Not here: names of features, regimes, specialists and checks, which are kept once
//! (`feature_set`); the hash of a record (`chain`); sentences (`sentences`).

mod read;
mod write;

pub(crate) mod wire;

#[cfg(test)]
pub(crate) mod tests;

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Timestamp,
    events::{
        Action,
        decision::{AskingSignal, Outcome},
    },
};
use thiserror::Error;

use super::FeatureSetId;

/// The first byte of a record: the version of its form. One that has no more than this
/// version has is written in it.
pub const VERSION: u8 = 1;
/// The first byte of a record that has more than the first version: numbers of failed
/// checks, a signal.
pub const WITH_MORE: u8 = 2;
/// How many features that moved since the last decision are kept.
pub const MAX_MOVED: usize = 3;
/// A record has at most so many reasons; what follows them is dropped by nobody, the
/// record is refused.
pub const MAX_REASONS: usize = 64;
/// A reason has at most so many bytes: it is a code, not an essay.
pub const MAX_REASON_BYTES: usize = 256;

/// One explained decision. Lists follow the names of the feature set, one by one.
///
/// A writer keeps one and fills it again and again, so that its texts and lists take
/// memory only once.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The chain it belongs to: the partition of the decision.
    pub chain: u32,
    /// Its place in the chain, from 0, without gaps.
    pub index: u64,
    /// The names of its lists.
    pub feature_set: FeatureSetId,
    /// The decision's id.
    pub decision_id: String,
    /// What belongs together.
    pub correlation_id: Option<String>,
    /// When it was decided (event time).
    pub time: Timestamp,
    /// For whom.
    pub account: Option<String>,
    /// The instrument.
    pub symbol: String,
    /// What was to be done.
    pub action: Action,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// How much.
    pub quantity: Decimal,
    /// The intended position before the decision.
    pub position_before: Option<Decimal>,
    /// As the decision said it.
    pub confidence: f64,
    /// The decision's machine-readable reasons.
    pub reasons: Vec<String>,
    /// Probability of each regime.
    pub regime_probs: Vec<f64>,
    /// Each specialist's part.
    pub specialists: Vec<Specialist>,
    /// Whether each risk check passed.
    pub checks: Vec<bool>,
    /// The weighted mean margin over the training data (log-odds).
    pub base: f64,
    /// The weighted margin that the models predicted (log-odds).
    pub margin: f64,
    /// Each feature's value and contribution.
    pub features: Vec<Feature>,
    /// The decision of the same symbol and account before this one, where there is one.
    pub previous: Option<Previous>,
    /// The numbers of checks that failed, in the order of the checks; not of all, where the
    /// decision did not tell them.
    pub failed_checks: Vec<FailedCheck>,
    /// The signal that the decision was made on.
    pub signal: Option<AskingSignal>,
}

/// The numbers of a risk check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCheck {
    /// Its place among the checks.
    pub check: usize,
    /// What was measured.
    pub value: Decimal,
    /// The most that it may be.
    pub limit: Decimal,
}

/// A specialist's part in a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Specialist {
    /// The version of its model that decided.
    pub version: String,
    /// Its weight; those of a decision sum to 1.
    pub weight: f64,
    /// Its own margin (log-odds), before it is weighted.
    pub margin: f32,
}

/// A feature of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Feature {
    /// Its value; none is a missing value.
    pub value: Option<f64>,
    /// Its weighted SHAP value (log-odds).
    pub contribution: f32,
}

/// What is remembered of the symbol's decision before.
#[derive(Clone, Debug, PartialEq)]
pub struct Previous {
    /// Its place in the same chain.
    pub index: u64,
    /// What it did.
    pub action: Action,
    /// Its margin (log-odds).
    pub margin: f32,
    /// Probability of each regime then; empty if the regimes had other names.
    pub regime_probs: Vec<f32>,
    /// Weight of each specialist then; empty if there were other specialists.
    pub weights: Vec<f32>,
    /// The features whose contributions moved most, the largest move first.
    pub moved: Vec<Moved>,
}

/// A feature whose contribution moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moved {
    /// Its place in the feature set.
    pub feature: usize,
    /// Its contribution in the decision before (log-odds).
    pub before: f32,
}

/// Why a record cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A number is NaN or infinite, a text or list is too long.
    #[error("the record cannot be kept: {field} {what}")]
    Unfit {
        /// Which part of the record.
        field: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The bytes were written by a later version, or are something else.
    #[error("version {0} of a record is not known here; a newer tapedeck may read it")]
    Version(u8),
    /// The bytes make no record.
    #[error("the bytes make no record: {what} in {field}, at byte {at}")]
    Broken {
        /// Which part of the record.
        field: &'static str,
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

impl Default for Record {
    fn default() -> Self {
        Self {
            chain: 0,
            index: 0,
            feature_set: FeatureSetId::default(),
            decision_id: String::new(),
            correlation_id: None,
            time: Timestamp::from_micros(0),
            account: None,
            symbol: String::new(),
            action: Action::Hold,
            outcome: Outcome::Accepted,
            quantity: Decimal::ZERO,
            position_before: None,
            confidence: 0.0,
            reasons: Vec::new(),
            regime_probs: Vec::new(),
            specialists: Vec::new(),
            checks: Vec::new(),
            base: 0.0,
            margin: 0.0,
            features: Vec::new(),
            previous: None,
            failed_checks: Vec::new(),
            signal: None,
        }
    }
}

impl Record {
    /// |base + sum of the contributions - margin|, of the numbers as they are kept,
    /// added in f64 in the order of the feature set.
    pub fn additivity_error(&self) -> f64 {
        let sum: f64 = self.features.iter().map(|feature| f64::from(feature.contribution)).sum();
        (self.base + sum - self.margin).abs()
    }
}
