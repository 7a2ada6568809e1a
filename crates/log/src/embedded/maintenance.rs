//! What keeps the log from growing for ever: retention by time and size.
//!
//! Not here: compaction.

use rusqlite::Connection;

use super::shared::Shared;
use crate::Result;

/// A change of old batches, made by the writer.
pub(crate) enum Change {}

impl Change {
    pub(crate) fn apply(self, _shared: &Shared, _connection: &mut Connection) -> Result<()> {
        match self {}
    }
}
