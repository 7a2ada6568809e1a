//! What the tests of this role share: configs, files, and the shared data.
//!
//! Not here: tests.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::config::{BarTime, SourceConfig, SourceKind, Speed, VolumeUnit};

/// A file source at full speed.
pub(super) fn file_source(id: &str, path: impl Into<PathBuf>) -> SourceConfig {
    SourceConfig {
        id: id.into(),
        kind: SourceKind::File,
        venue: "SIM".into(),
        volume_unit: VolumeUnit::Base,
        speed: Speed::Max,
        paths: Vec::new(),
        path: Some(path.into()),
        symbol: None,
        columns: std::collections::BTreeMap::new(),
        tz: "UTC".into(),
        time_format: None,
        bar_time: BarTime::Open,
        interval: None,
        seed: 0,
        symbols: Vec::new(),
        start: None,
        events: None,
        step_ms: 1_000,
    }
}

/// A generator of 1,000 quotes.
pub(super) fn generator_source(id: &str) -> SourceConfig {
    SourceConfig {
        kind: SourceKind::Generator,
        path: None,
        seed: 7,
        start: Some("2024-01-01T00:00:00Z".into()),
        events: Some(1_000),
        ..file_source(id, "")
    }
}

/// Adds columns to a source.
pub(super) fn with_columns(mut source: SourceConfig, columns: &[(&str, &str)]) -> SourceConfig {
    source.columns.extend(columns.iter().map(|(ours, theirs)| ((*ours).to_owned(), (*theirs).to_owned())));
    source
}

/// Writes a file.
pub(super) fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The bytes as gzip.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file of the data beside the workspace; none, and a word about it, where it
/// is not there.
pub(super) fn shared_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/market").join(name);
    if path.exists() {
        return Some(path);
    }
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: {} is not there", path.display());
    }
    None
}
