//! The rules of the house, checked: which crate may name which, which library
//! has one home, how a file begins, and that documents name tests that exist.
//!
//! Not here: taste that clippy and rustfmt check.

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn dependencies(manifest: &Path, table: &str) -> BTreeSet<String> {
    let manifest: toml::Table = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    manifest.get(table).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys).cloned().collect()
}

fn crates() -> BTreeMap<String, PathBuf> {
    let dirs = fs::read_dir(root().join("crates")).unwrap();
    dirs.map(|dir| dir.unwrap().path())
        .map(|dir| (dir.file_name().unwrap().to_string_lossy().into_owned(), dir))
        .collect()
}

#[test]
fn crates_name_only_the_crates_that_the_map_allows() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("contracts", &[] as &[&str]),
        ("log", &[]),
        ("kafka", &["log"]),
        ("registry", &["contracts", "flow", "log"]),
        ("shap", &[]),
        ("testbed", &[]),
        ("flow", &["contracts", "log"]),
        ("store", &["contracts"]),
        ("roles", &["contracts", "flow", "log", "shap", "store"]),
        ("api", &["contracts", "flow", "log", "store"]),
        ("tapedeck", &["api", "contracts", "flow", "kafka", "log", "registry", "roles", "shap", "store"]),
    ]);
    for (name, dir) in crates() {
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("crate `{name}` is not on the map"));
        for dependency in dependencies(&dir.join("Cargo.toml"), "dependencies") {
            if let Some(ours) = dependency.strip_prefix("tapedeck-") {
                assert!(allowed.contains(&ours), "{name} may not depend on {ours}");
            }
        }
    }
}

#[test]
fn libraries_with_one_home_are_named_nowhere_else() {
    let homes: [(&str, &[&str]); 9] = [
        ("axum", &["api"]),
        ("utoipa", &["api"]),
        ("rusqlite", &["log", "store"]),
        ("rdkafka", &["kafka"]),
        ("rdkafka-sys", &["kafka"]),
        ("tokio-postgres", &["store"]),
        ("apache-avro", &["registry"]),
        ("clap", &["tapedeck"]),
        ("anyhow", &["tapedeck"]),
    ];
    for (name, dir) in crates() {
        let named = dependencies(&dir.join("Cargo.toml"), "dependencies");
        for (library, homes) in homes {
            assert!(!named.contains(library) || homes.contains(&name.as_str()), "{name} may not name {library}");
        }
    }
}

#[test]
fn contracts_do_no_io_and_read_no_clock() {
    for file in sources(&root().join("crates/contracts/src")) {
        let text = fs::read_to_string(&file).unwrap();
        for word in ["std::fs", "std::net", "SystemTime", "Instant::now", "Timestamp::now", "tokio"] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}

/// Where raw memory is handled: the emitter's mapped ring, calls into librdkafka's
/// C API that `rdkafka` does not wrap, and the vector instructions of one processor
/// family, without which explaining takes five times as long.
const BY_HAND: [&str; 4] = [
    "crates/flow/src/emitter/map.rs",
    "crates/kafka/src/native.rs",
    "crates/kafka/src/native/queue.rs",
    "crates/shap/src/explain/width.rs",
];

#[test]
fn named_files_alone_touch_memory_by_hand() {
    // Written in two so that this file is none of them.
    let words = [concat!("unsafe", "_code"), concat!("unsafe", " {")];
    let is_by_hand = |file: &PathBuf| {
        let code = fs::read_to_string(file).unwrap();
        words.iter().any(|word| code.contains(word))
    };
    let found: BTreeSet<PathBuf> = sources(&root().join("crates"))
        .into_iter()
        .filter(is_by_hand)
        .map(|file| file.strip_prefix(root()).unwrap().to_owned())
        .collect();
    assert_eq!(found, BTreeSet::from(BY_HAND.map(PathBuf::from)));
}

#[test]
fn every_file_says_what_it_is_and_what_is_not_there() {
    for (_, dir) in crates() {
        for file in sources(&dir.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let opening: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
            assert!(!opening.is_empty(), "{} does not open with what it is", file.display());
            assert!(opening.contains("Not here"), "{} does not say what is not there", file.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    for (_, dir) in crates() {
        for file in sources(&dir) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= 500, "{} has {lines} lines: find the rooms inside it", file.display());
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let code: String =
        sources(&root().join("crates")).iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
    let documents = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents.chain([root().join("README.md"), root().join("ARCHITECTURE.md")]);
    let mut named = 0;
    for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        for name in text.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)) {
            named += 1;
            assert!(code.contains(&format!("fn {name}(")), "{} names {name}, which is no test", document.display());
        }
    }
    assert!(named > 10, "only {named} names of tests were found: is a name told from other words?");
}

/// A behaviour in five words or more; keys of the config have fewer, and
/// metrics begin with our name.
fn is_test_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && text.matches('_').count() >= 4
        && !text.starts_with("tapedeck_")
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
