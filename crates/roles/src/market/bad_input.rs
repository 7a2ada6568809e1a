//! What is wrong with a file, where, and what helps.
//!
//! Not here: finding it.

use tapedeck_flow::Failure;

/// A mistake in a file; nothing after it was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", self.place())]
pub struct BadInput {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 where it is the file as a whole.
    pub line: u64,
    /// The column, as `column 3 \`high\``.
    pub column: Option<String>,
    /// What is wrong, and what helps.
    pub detail: String,
}

impl BadInput {
    fn place(&self) -> String {
        let mut place = self.file.clone();
        if self.line > 0 {
            place += &format!(":{}", self.line);
        }
        if let Some(column) = &self.column {
            place += &format!(": {column}");
        }
        place
    }
}

impl From<BadInput> for Failure {
    fn from(error: BadInput) -> Self {
        Self::Fatal(error.to_string())
    }
}
