//! The conformance suite on SQLite.
//!
//! Not here: what only SQLite has (its file, its plans, its locks).

use std::sync::Arc;

use tapedeck_store::{
    SqliteConfig, SqliteStore, Store,
    conformance::{ALL, Open},
};

/// Runs a test on a fresh file; each opening is a restart on it.
fn on_sqlite(test: fn(Open<'_>)) {
    let folder = tempfile::tempdir().expect("a folder");
    test(&|| -> Arc<dyn Store> { SqliteStore::open(folder.path(), SqliteConfig::default()).expect("a store") });
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let (_, behaviour) = ALL.iter().find(|(name, _)| *name == stringify!($name)).expect("it is of the list");
            on_sqlite(*behaviour);
        })*
    };
}

tapedeck_store::each_behaviour!(tests);
