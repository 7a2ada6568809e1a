//! What went wrong, sorted by what is done about it: tried again, set aside, or
//! stopped for a person.
//!
//! Not here: doing it.

use tapedeck_contracts::DecodeError;
use tapedeck_log::LogError;

/// A failure on the way from the log through a role to its effect.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It may work when tried again; nothing was lost.
    #[error("{0}")]
    Transient(String),
    /// One record fails however often it is tried.
    #[error("{place}: {detail}")]
    Poison {
        /// Which record of the batch, from 0.
        index: usize,
        /// Where it lies: `topic/partition/offset`.
        place: String,
        /// Where in its body, as a JSON path, if it is the body.
        path: Option<String>,
        /// Why, and what to do.
        detail: String,
    },
    /// One record fails now and may not later: what it needs has not come, or the
    /// handler fails on it. Tried a few times, its partition held, then set aside.
    #[error("{place}: {detail}")]
    Unready {
        /// Which record of the batch, from 0.
        index: usize,
        /// Where it lies: `topic/partition/offset`.
        place: String,
        /// Where in its body, as a JSON path, if it is the body.
        path: Option<String>,
        /// Why, and what to do.
        detail: String,
    },
    /// The batch is refused for a record that nobody names: halved until it is
    /// alone.
    #[error("{0}")]
    Refused(String),
    /// The seat in the group is lost: drop the state and begin again.
    #[error("{0}")]
    Fenced(String),
    /// A person must act; the text says how.
    #[error("{0}")]
    Fatal(String),
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Transient(detail) => Self::Transient(detail),
            LogError::Fenced { .. } => Self::Fenced(error.to_string()),
            other => Self::Fatal(other.to_string()),
        }
    }
}

/// The JSON path of a decode error, where it has one.
pub fn path_of(error: &DecodeError) -> Option<String> {
    match error {
        DecodeError::Field(field) => Some(field.path.clone()),
        _ => None,
    }
}
