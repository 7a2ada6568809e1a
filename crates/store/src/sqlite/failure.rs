//! From SQLite's errors to the store's: what will be done about each.
//!
//! Not here: poison, which is found by looking at a row, not by SQLite.

use rusqlite::ErrorCode;

use crate::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Transient(format!("the store is busy with another writer: {error}"))
            }
            Some(ErrorCode::DiskFull) => {
                Self::Transient(format!("disk full: free some space, the store goes on by itself ({error})"))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Fatal(format!(
                "the store's file is damaged ({error}): stop, keep a copy of the file, restore it from a backup, or \
                 move it away and start again: what the log still holds is read into a new one"
            )),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Self::Fatal(format!(
                "the store's file cannot be opened for writing ({error}): check its owner and rights"
            )),
            // A failed read or sync leaves unknown what is on the disk.
            Some(ErrorCode::SystemIoFailure) => {
                Self::Fatal(format!("the disk failed under the store ({error}): check the disk, then start again"))
            }
            Some(ErrorCode::OutOfMemory) => Self::Transient(format!("no memory for the store ({error})")),
            _ => Self::Fatal(format!("the store cannot go on: {error}")),
        }
    }
}

/// What is stored cannot be what was stored.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Fatal(format!("the store holds {what} that cannot be read: restore its file from a backup"))
}
