//! The names that the numbers of a record belong to: features, regimes,
//! specialists and risk checks. They are the same for millions of records, so they
//! are kept once, under an id that is made of them.
//!
//! Not here: the numbers (`record`), and versions of models, which change too often.

use std::fmt;

use sha2::{Digest, Sha256};
use tapedeck_contracts::events::TradingDecision;
use thiserror::Error;

use super::{
    hex,
    record::wire::{Cursor, put_text, put_varint},
};

/// A list of names may be so long: far above any model of ours, and low enough
/// that broken bytes cannot ask for memory without end.
pub const MAX_NAMES: usize = 4_096;
/// A name may have so many bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// The first byte of a set: the version of its form.
const VERSION: u8 = 1;
/// Before the bytes when the id is made, so that no other hash of ours is the same.
const DOMAIN: &[u8] = b"tapedeck feature set\0";

/// The first 16 bytes of the SHA-256 of a set: long enough that nobody finds
/// another set with the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureSetId(pub [u8; 16]);

impl FeatureSetId {
    /// Reads what `Display` writes: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Display for FeatureSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names, each list in the order of their bytes and without a repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet {
    features: Vec<String>,
    regimes: Vec<String>,
    specialists: Vec<String>,
    checks: Vec<String>,
}

/// Why names or bytes are no feature set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FeatureSetError {
    /// A name is there twice, or after one that it sorts before.
    #[error("name `{0}` is there twice or out of order")]
    Order(String),
    /// Too many names.
    #[error("{0} names in a list, at most {MAX_NAMES} are kept")]
    TooMany(usize),
    /// A name that is too long.
    #[error("a name of {0} bytes, at most {MAX_NAME_BYTES} are kept")]
    TooLong(usize),
    /// The bytes were written by a later version, or are something else.
    #[error("version {0} of a feature set is not known here; a newer tapedeck may read it")]
    Version(u8),
    /// The bytes make no set.
    #[error("the bytes make no feature set: {what} at byte {at}")]
    Broken {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

impl FeatureSet {
    /// Takes names, in the order of their bytes.
    ///
    /// # Errors
    /// Names that are out of order, twice, too many, or too long.
    pub fn new(
        features: Vec<String>,
        regimes: Vec<String>,
        specialists: Vec<String>,
        checks: Vec<String>,
    ) -> Result<Self, FeatureSetError> {
        for names in [&features, &regimes, &specialists, &checks] {
            if names.len() > MAX_NAMES {
                return Err(FeatureSetError::TooMany(names.len()));
            }
            if let Some(name) = names.iter().find(|name| name.len() > MAX_NAME_BYTES) {
                return Err(FeatureSetError::TooLong(name.len()));
            }
            if let Some(pair) = names.windows(2).find(|pair| pair[0] >= pair[1]) {
                return Err(FeatureSetError::Order(pair[1].clone()));
            }
        }
        Ok(Self { features, regimes, specialists, checks })
    }

    /// The names of a decision.
    ///
    /// # Errors
    /// Too many names, or too long ones.
    pub fn of(decision: &TradingDecision) -> Result<Self, FeatureSetError> {
        Self::new(
            decision.features.keys().map(str::to_owned).collect(),
            decision.regime_probs.keys().map(str::to_owned).collect(),
            decision.strategy_weights.keys().map(str::to_owned).collect(),
            decision.risk_checks.keys().map(str::to_owned).collect(),
        )
    }

    /// Whether the decision has exactly these names. Takes no memory.
    pub fn is_of(&self, decision: &TradingDecision) -> bool {
        self.features.iter().eq(decision.features.keys())
            && self.regimes.iter().eq(decision.regime_probs.keys())
            && self.specialists.iter().eq(decision.strategy_weights.keys())
            && self.checks.iter().eq(decision.risk_checks.keys())
    }

    /// Names of the features.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Names of the regimes.
    pub fn regimes(&self) -> &[String] {
        &self.regimes
    }

    /// Names of the specialists.
    pub fn specialists(&self) -> &[String] {
        &self.specialists
    }

    /// Names of the risk checks.
    pub fn checks(&self) -> &[String] {
        &self.checks
    }

    /// The set's id: the same names, the same id, on every machine.
    pub fn id(&self) -> FeatureSetId {
        let hash = Sha256::new().chain_update(DOMAIN).chain_update(self.to_bytes()).finalize();
        let mut id = FeatureSetId::default();
        id.0.copy_from_slice(&hash[..16]);
        id
    }

    /// The set as it is kept: a version, then each list as a count and its names.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for names in [&self.features, &self.regimes, &self.specialists, &self.checks] {
            put_varint(&mut out, names.len() as u64);
            names.iter().for_each(|name| put_text(&mut out, name));
        }
        out
    }

    /// Reads [`to_bytes`](Self::to_bytes). Compare the id afterwards with the one it
    /// was looked up by.
    ///
    /// # Errors
    /// The bytes are no feature set of a version known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FeatureSetError> {
        let mut cursor = Cursor::new(bytes);
        let set = Self::read(&mut cursor);
        set.map_err(|what| what.unwrap_or_else(|what| FeatureSetError::Broken { what, at: cursor.at() }))
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Result<FeatureSetError, &'static str>> {
        let version = cursor.byte().map_err(Err)?;
        if version != VERSION {
            return Err(Ok(FeatureSetError::Version(version)));
        }
        let mut lists = [const { Vec::new() }; 4];
        for names in &mut lists {
            let count = cursor.count(MAX_NAMES).map_err(Err)?;
            for _ in 0..count {
                names.push(cursor.text(MAX_NAME_BYTES).map_err(Err)?.to_owned());
            }
        }
        cursor.end().map_err(Err)?;
        let [features, regimes, specialists, checks] = lists;
        Self::new(features, regimes, specialists, checks).map_err(Ok)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_set_comes_back_from_its_bytes_with_the_same_id() {
        let set = FeatureSet::new(
            names(&["macd", "rsi"]),
            names(&["bear", "bull"]),
            names(&["bull_specialist"]),
            names(&["position_limit_ok"]),
        );
        let set = set.unwrap();
        let back = FeatureSet::from_bytes(&set.to_bytes()).unwrap();
        assert_eq!((&back, back.id()), (&set, set.id()));
        // The id of these names for ever: records name it.
        assert_eq!(set.id().to_string().len(), 32);
    }

    #[test]
    fn a_name_that_moves_to_another_list_makes_another_set() {
        let one = FeatureSet::new(names(&["a", "b"]), names(&["c"]), vec![], vec![]).unwrap();
        let other = FeatureSet::new(names(&["a"]), names(&["b", "c"]), vec![], vec![]).unwrap();
        assert_ne!(one.id(), other.id());
    }

    #[test]
    fn names_out_of_order_and_later_versions_are_refused() {
        let found = FeatureSet::new(names(&["b", "a"]), vec![], vec![], vec![]);
        assert_eq!(found, Err(FeatureSetError::Order("a".into())));
        assert_eq!(FeatureSet::from_bytes(&[9]), Err(FeatureSetError::Version(9)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_set_that_gives_the_same_bytes_or_an_error(mut bytes in prop::collection::vec(0_u8..6, 0..60)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(set) = FeatureSet::from_bytes(&bytes) {
                prop_assert_eq!(set.to_bytes(), bytes);
            }
        }
    }
}
