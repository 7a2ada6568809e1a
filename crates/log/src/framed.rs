//! Values that lie in the log in a frame: what opens them, and what may go wrong.
//! A log that was given an opener hands it to whoever reads a value.
//!
//! Not here: any frame. The bytes in the log stay as they are, and so do the
//! records that a reader is given.

use bytes::Bytes;

/// Opens values of one sort of frame.
pub trait Unframe: Send + Sync {
    /// Whether a value lies in such a frame.
    fn is_framed(&self, value: &[u8]) -> bool;

    /// The body that a framed value of a topic carries, as JSON.
    ///
    /// # Errors
    /// Sorted by what is done about it.
    fn open(&self, topic: &str, value: &Bytes) -> Result<Bytes, UnframeError>;
}

/// Why a framed value cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnframeError {
    /// Who knows what is in the frame cannot be asked now: nothing is known of
    /// the record, and it waits.
    #[error("{0}")]
    Away(String),
    /// What the frame names is not known, and may be a moment later.
    #[error("{0}")]
    Unknown(String),
    /// The same bytes fail again.
    #[error("{detail}")]
    Poison {
        /// Where in the body, as a JSON path, if it is the body.
        path: Option<String>,
        /// Why, and what to do.
        detail: String,
    },
}
