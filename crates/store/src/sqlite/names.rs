//! The dictionary: accounts, venues, symbols, strategies and currencies are
//! stored as small numbers, which keeps rows and indexes narrow.
//!
//! Not here: ids, which do not repeat.

use std::{collections::HashMap, sync::Arc};

use rusqlite::{Connection, OptionalExtension, params};

use super::failure::damaged;
use crate::Result;

/// Names kept in memory by a connection: some megabytes at most; beyond it the
/// cache starts anew.
const CACHED: usize = 65_536;

/// A connection's view of the dictionary. Names are never deleted or renamed,
/// so what was read once stays right.
#[derive(Default)]
pub(super) struct Names {
    by_name: HashMap<Arc<str>, i64>,
    by_id: HashMap<i64, Arc<str>>,
    /// Whether names were added that no commit has settled yet.
    uncommitted: bool,
}

impl Names {
    /// The number of a name, if it has one.
    pub(super) fn find(&mut self, conn: &Connection, name: &str) -> Result<Option<i64>> {
        if let Some(&id) = self.by_name.get(name) {
            return Ok(Some(id));
        }
        let found = conn
            .prepare_cached("SELECT id FROM names WHERE name = ?1")?
            .query_row(params![name], |row| row.get(0))
            .optional()?;
        if let Some(id) = found {
            self.remember(id, name);
        }
        Ok(found)
    }

    /// The number of a name; it is given one in the open transaction.
    pub(super) fn intern(&mut self, conn: &Connection, name: &str) -> Result<i64> {
        if let Some(id) = self.find(conn, name)? {
            return Ok(id);
        }
        self.uncommitted = true;
        conn.prepare_cached("INSERT INTO names (name) VALUES (?1)")?.execute(params![name])?;
        let id = conn.last_insert_rowid();
        self.remember(id, name);
        Ok(id)
    }

    /// The number of a filter's name: none of a name that nothing is stored
    /// under, and `Some(None)` where there is no filter.
    pub(super) fn filter(&mut self, conn: &Connection, name: Option<&str>) -> Result<Option<Option<i64>>> {
        match name {
            None => Ok(Some(None)),
            Some(name) => Ok(self.find(conn, name)?.map(Some)),
        }
    }

    /// The name of a number.
    pub(super) fn name(&mut self, conn: &Connection, id: i64) -> Result<Arc<str>> {
        if let Some(name) = self.by_id.get(&id) {
            return Ok(Arc::clone(name));
        }
        let name: Option<String> = conn
            .prepare_cached("SELECT name FROM names WHERE id = ?1")?
            .query_row(params![id], |row| row.get(0))
            .optional()?;
        let name = name.ok_or_else(|| damaged("the number of a name"))?;
        Ok(self.remember(id, &name))
    }

    /// Before a transaction: forgets what an aborted one may have added.
    pub(super) fn begin(&mut self) {
        if self.uncommitted {
            *self = Self::default();
        }
    }

    /// After a commit: what was added is there for good.
    pub(super) fn committed(&mut self) {
        self.uncommitted = false;
    }

    fn remember(&mut self, id: i64, name: &str) -> Arc<str> {
        if self.by_id.len() >= CACHED {
            self.by_id.clear();
            self.by_name.clear();
        }
        let name: Arc<str> = Arc::from(name);
        self.by_name.insert(Arc::clone(&name), id);
        self.by_id.insert(id, Arc::clone(&name));
        name
    }
}
