//! Reading the files that XGBoost and LightGBM write. What is read is checked
//! wholly: a tree that comes out has no cycle, no number that is none, and no
//! column that is not there.
//!
//! Not here: the formats themselves, one file each; and what rows do in a tree (`predict`).

mod build;
mod lightgbm;
mod ubjson;
mod xgboost;

use thiserror::Error;

use crate::Ensemble;

/// A row is dense here, and every feature has a name. Without the bound, a number in a
/// short file would ask for any amount of memory.
const MAX_FEATURES: usize = 100_000;

/// Classes or targets; bounded for the same reason.
const MAX_OUTPUTS: usize = 10_000;

/// Why a model's file cannot be used. Reading it again gives the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ModelError {
    /// It begins like none of the formats.
    #[error("no model of a known format (XGBoost's JSON or UBJSON, LightGBM's text): {0}")]
    Unknown(String),
    /// It is not what its format asks for: cut off, changed, or made by something else.
    #[error("broken model file, {place}: {reason}")]
    Broken {
        /// Where: `tree 3, node 5`, a line, an offset, or a field's path.
        place: String,
        /// What is wrong there.
        reason: String,
    },
    /// It may well be sound, but no sum of plain trees.
    #[error("this model cannot be used: {0}")]
    Refused(String),
}

impl ModelError {
    fn broken(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Broken { place: place.into(), reason: reason.into() }
    }
}

/// Which trees of a file to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trees {
    /// Up to the best iteration where the file says which that was (XGBoost after early
    /// stopping; scikit-learn's interface predicts so), else all.
    Best,
    /// All (XGBoost's `Booster.predict` without `iteration_range`).
    All,
}

impl Ensemble {
    /// The model in a file of XGBoost (`save_model` as JSON or UBJSON) or LightGBM
    /// (`save_model`); the format is seen from its first bytes. Memory stays within some
    /// thirty times the file's size. Trees after the best iteration are left out.
    ///
    /// # Errors
    /// When it is of no known format, broken, or no sum of plain trees.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::read_trees(bytes, Trees::Best)
    }

    /// As [`read`](Self::read), with the trees that are asked for.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_trees(bytes: &[u8], trees: Trees) -> Result<Self, ModelError> {
        let start = bytes.trim_ascii_start();
        match start {
            [] => Err(ModelError::Unknown("the file is empty".to_owned())),
            [b'{', b'i' | b'U' | b'I' | b'l' | b'L' | b'$' | b'#', ..] => xgboost::read_ubjson(start, trees),
            dump if dump.starts_with(b"{\"name\":\"tree\"") => {
                Err(ModelError::Unknown("it is what LightGBM's `dump_model` gives; use `save_model`".to_owned()))
            }
            [b'{', ..] => xgboost::read_json(start, trees),
            [b't', b'r', b'e', b'e', b'\r' | b'\n', ..] => lightgbm::read(start),
            [b'b', b'i', b'n', b'f', ..] => {
                Err(ModelError::Unknown("XGBoost's old binary format; save the model as JSON".to_owned()))
            }
            [0x1f, 0x8b, ..] => Err(ModelError::Unknown("it is compressed; unpack it first".to_owned())),
            _ => Err(ModelError::Unknown(format!(
                "it begins with `{}`",
                String::from_utf8_lossy(&start[..start.len().min(16)]).escape_debug()
            ))),
        }
    }
}

/// Names for columns that have none.
fn made_up_names(count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("f{nth}")).collect()
}

fn bounded(what: &str, count: usize, max: usize) -> Result<usize, ModelError> {
    if count == 0 || count > max {
        return Err(ModelError::broken("header", format!("{count} {what}; between 1 and {max} can be used")));
    }
    Ok(count)
}
