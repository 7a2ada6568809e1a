//! Avro: the schema of an event, and bodies from JSON to Avro and back, straight
//! from text to text, so that no digit goes through a float.
//!
//! Not here: files of Avro, and resolving one schema to another: a body is read
//! by the schema that wrote it, and the contract takes it from there.

mod derive;
mod plan;
mod read;
mod write;

pub use derive::avro_schema;
pub use plan::Plan;

/// A body and a schema do not fit each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {detail}")]
pub struct Fault {
    /// Where in the body, as a JSON path.
    pub path: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl Fault {
    /// A fault at the place that is looked at.
    fn here(detail: impl Into<String>) -> Self {
        Self { path: "$".to_owned(), detail: detail.into() }
    }

    /// The same, its place seen from further out.
    fn within(self, step: &str) -> Self {
        Self { path: format!("${step}{}", &self.path[1..]), detail: self.detail }
    }
}

#[cfg(test)]
mod tests;
