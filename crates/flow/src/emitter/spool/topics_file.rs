//! Which topics a fingerprint stands for: a file beside the segments for each,
//! there before the first of them, so that a later start can say what is missing.
//! The name of a file is the checksum of what is in it.
//!
//! Not here: what becomes of a segment.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::emitter::topics::TopicSet;

const PREFIX: &str = "topics-";

/// Sees to it that the file of these topics is on disk.
///
/// # Errors
/// The disk is full, or the file cannot be written.
pub(super) fn write(dir: &Path, topics: &TopicSet) -> io::Result<()> {
    if read(dir, topics.fingerprint)?.is_some() {
        return Ok(());
    }
    let path = path(dir, topics.fingerprint);
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(topics.text().as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    File::open(dir)?.sync_all()
}

/// The topics of a fingerprint; none where the file is gone or damaged.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(dir: &Path, fingerprint: u64) -> io::Result<Option<TopicSet>> {
    match fs::read(path(dir, fingerprint)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(bytes) => {
            let topics = String::from_utf8(bytes).ok().map(TopicSet::of_text);
            Ok(topics.filter(|topics| topics.fingerprint == fingerprint))
        }
    }
}

/// Removes the files that no segment needs any more.
///
/// # Errors
/// The folder cannot be read, or a file not be deleted.
pub(super) fn remove_all_but(dir: &Path, needed: &BTreeSet<u64>) -> io::Result<()> {
    let needed: BTreeSet<PathBuf> = needed.iter().map(|fingerprint| path(dir, *fingerprint)).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && !needed.contains(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn path(dir: &Path, fingerprint: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{fingerprint:016x}"))
}
