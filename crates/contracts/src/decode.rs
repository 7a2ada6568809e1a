//! From bytes to an event, or to the exact place where the bytes are wrong.
//!
//! Not here: headers and framing, which `flow` strips, and duplicates.

use serde::{Serialize, de::DeserializeOwned};

use crate::{EventId, EventKind, Timestamp, wording};

/// What every event on the wire can say of itself.
pub trait Body: Serialize + DeserializeOwned {
    /// Which event of the contract this is.
    const KIND: EventKind;

    /// Checks what types cannot: signs, ranges, sums.
    ///
    /// # Errors
    /// The first field that lies, with its JSON path.
    fn validate(&self) -> Result<(), FieldError>;

    /// The record key that the catalogue prescribes.
    fn key(&self) -> &str;

    /// When it happened.
    fn event_time(&self) -> Timestamp;

    /// Reads a body that is written plainly, as our own are, faster than the general
    /// reader does. None says nothing: the general reader is asked then.
    fn read_plain(_text: &str) -> Option<Self> {
        None
    }

    /// The id in the body, where the contract has one there. Events in the
    /// standard envelope carry theirs in the `ce_id` header.
    fn event_id(&self) -> Option<&EventId> {
        None
    }
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct FieldError {
    /// JSON path, from `$`.
    pub path: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl FieldError {
    /// An error at a path.
    pub fn new(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { path: path.into(), detail: detail.into() }
    }

    /// The same error at another path.
    #[must_use]
    pub(crate) fn at(self, path: String) -> Self {
        Self { path, ..self }
    }

    /// The same error, its path seen from further out.
    #[must_use]
    pub fn within(self, path: &str) -> Self {
        Self { path: format!("{path}.{}", self.path), detail: self.detail }
    }
}

/// Why bytes are not an event of the contract. Always permanent: the same bytes
/// fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No value where the contract has one.
    #[error("the record has no value; only compacted topics take tombstones")]
    Empty,
    /// Not UTF-8.
    #[error("the body is not UTF-8 (byte {at})")]
    NotUtf8 {
        /// The first bad byte.
        at: usize,
    },
    /// Not JSON.
    #[error("the body is not JSON: {detail}")]
    NotJson {
        /// What the parser says, with line and column.
        detail: String,
    },
    /// JSON, but a field is missing, of the wrong type, or lies.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No event of that kind.
    #[error("there is no event `{0}` in the contract")]
    UnknownKind(String),
}

/// Reads and checks one event.
///
/// # Errors
/// Says exactly where the body is wrong.
pub fn decode<T: Body>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_boxed(bytes).map(|body| *body)
}

/// The same in a box from the start: an event is some hundred bytes, and every
/// move of it a copy.
///
/// # Errors
/// Says exactly where the body is wrong.
pub(crate) fn decode_boxed<T: Body>(bytes: &[u8]) -> Result<Box<T>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|e| DecodeError::NotUtf8 { at: e.valid_up_to() })?;
    // serde would fill a type's fields from an array by their order, which no contract names.
    if text.trim_start().starts_with('[') {
        return Err(FieldError::new("$", "expected an object, found an array").into());
    }
    // The fast ways first; only a body that fails is read again to find its path.
    let body: Box<T> = match T::read_plain(text) {
        Some(body) => Box::new(body),
        None => serde_json::from_str(text).map_err(|_| locate::<T>(text))?,
    };
    body.validate()?;
    Ok(body)
}

fn locate<T: Body>(text: &str) -> DecodeError {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => DecodeError::NotJson { detail: "more than one value".into() },
        Err(error) => {
            let path = error.path().to_string();
            let path = if path == "." { "$".to_owned() } else { format!("$.{path}") };
            wording::explain(text, path, &error.into_inner())
        }
    }
}
