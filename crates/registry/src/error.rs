//! What a registry's answer means for who asked.
//!
//! Not here: retrying.

/// Why the registry gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or is in trouble itself; later it may answer.
    #[error("{0}")]
    Away(String),
    /// It knows no such schema, subject or version; in its words.
    #[error("{0}")]
    NotFound(String),
    /// It will not: the rights are missing, or what was sent is wrong or breaks
    /// others. A person must act.
    #[error("{0}")]
    Refused(String),
}
