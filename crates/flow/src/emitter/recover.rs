//! What the rings of a process that is gone still hold goes to the spool, before
//! anything new.
//!
//! Not here: sending it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use super::{
    EmitError,
    alerts::Alerts,
    frame::{self, Found},
    home::Home,
    map,
    ring::{self, Remains},
    spool::{Opened, Spool, free_path},
    stats::{EmitterStats, add},
};

/// Frames are written to the spool in pieces of about so many bytes.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// Takes over the rings that the list of the folder names.
///
/// # Errors
/// A ring is in use by another process, or the disk is full or fails: nothing is
/// lost then, and the next start tries again.
pub(super) fn take_over(
    home: &mut Home,
    spool: &mut Spool,
    opened: &Opened,
    stats: &EmitterStats,
    alerts: &Alerts,
) -> Result<(), EmitError> {
    let mut newest = opened.newest.clone();
    for path in home.rings() {
        let failed = |error: io::Error| EmitError::Io(format!("ring {}: {error}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its process ended while it made the ring or deleted it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !home.is_there(&path) => {
                home.forget_ring(&path).map_err(failed)?;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(ring = %path.display(), "a ring of an earlier run is gone: what was in it is lost");
                alerts.gone(path.display().to_string());
                home.forget_ring(&path).map_err(failed)?;
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        if let Err(error) = file.try_lock() {
            return Err(EmitError::Io(format!(
                "ring {} is in use by another process ({error}): is this folder a copy of one that is in use?",
                path.display()
            )));
        }
        match ring::remains(&path).map_err(failed)? {
            Some(remains) => {
                let mark = spool.mark();
                move_frames(&remains, spool, &mut newest).map_err(|error| {
                    // The next start must not take for safe what only seems written.
                    spool.go_back(&mark);
                    failed(error)
                })?;
                report(&path, &remains, stats);
                if remains.damaged_bytes > 0 {
                    keep(home, &path, alerts, stats).map_err(failed)?;
                }
            }
            // Its process ended while it made the ring: nothing was ever in it.
            None if is_blank(&file).map_err(failed)? => {}
            None => keep(home, &path, alerts, stats).map_err(failed)?,
        }
        home.remove_ring(&path).map_err(failed)?;
    }
    Ok(())
}

/// Writes the frames that the spool does not hold yet, and waits for the disk.
fn move_frames(remains: &Remains, spool: &mut Spool, newest: &mut HashMap<u64, u64>) -> io::Result<()> {
    let (mut piece, mut records, mut at) = (Vec::new(), 0, 0);
    while let Found::Frame(head) = frame::read(&remains.frames[at..]) {
        let known = newest.entry(head.id.stream).or_default();
        if head.id.sequence > *known {
            *known = head.id.sequence;
            piece.extend_from_slice(&remains.frames[at..at + head.len]);
            records += 1;
        }
        at += head.len;
        if piece.len() >= WRITTEN_AT_ONCE || (at == remains.frames.len() && !piece.is_empty()) {
            // Beyond the limit too: it is bounded by the ring, and must go somewhere.
            spool.write_anyway(&piece, records).map_err(io::Error::other)?;
            piece.clear();
            records = 0;
        }
    }
    spool.sync().map_err(io::Error::other)
}

fn report(path: &Path, remains: &Remains, stats: &EmitterStats) {
    if remains.unfinished {
        tracing::warn!(ring = %path.display(), "the last record of a ring was not finished, and never accepted");
        add(&stats.torn, 1);
    }
    if remains.damaged_bytes > 0 {
        let bytes = remains.damaged_bytes;
        tracing::error!(ring = %path.display(), bytes, "a ring is damaged; what could be read is sent");
        add(&stats.torn, 1);
    }
}

/// Whether neither a head nor a first frame was ever written; the head is written
/// before a ring takes frames.
fn is_blank(file: &File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.take(2 * map::HEAD as u64).read_to_end(&mut start)?;
    Ok(start.iter().all(|byte| *byte == 0))
}

/// Sets a ring aside that this program cannot read.
fn keep(home: &Home, path: &Path, alerts: &Alerts, stats: &EmitterStats) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let to = free_path(&home.dir().join("kept"), &name)?;
    // Not renamed: it may lie on another file system.
    fs::copy(path, &to)?;
    File::open(&to)?.sync_all()?;
    tracing::error!(kept = %to.display(), "a ring of an earlier run cannot be sent and was set aside");
    alerts.kept(to.display().to_string());
    add(&stats.kept_files, 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_ring_that_was_not_made_to_its_end_is_blank_and_one_with_a_frame_or_a_head_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let is_blank = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            File::create(&path).unwrap().write_all(bytes).unwrap();
            super::is_blank(&File::open(path).unwrap()).unwrap()
        };
        assert!(is_blank("made", b""));
        let mut bytes = vec![0; map::HEAD + 100];
        assert!(is_blank("allocated", &bytes));
        bytes[map::HEAD] = 1;
        assert!(!is_blank("without its head", &bytes));
        bytes[map::HEAD] = 0;
        bytes[0] = 1;
        assert!(!is_blank("without a frame", &bytes));
    }

    #[test]
    fn only_a_ring_that_was_made_and_not_deleted_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let list = |text: &str| {
            std::fs::write(dir.path().join("rings"), format!("id 1\nstart 1\n{text}")).unwrap();
            let home = Home::open(dir.path(), "test").unwrap();
            home.rings().iter().map(|ring| home.is_there(ring)).collect::<Vec<_>>()
        };
        assert_eq!(list("ring ring/a\nmaybe ring/b\n"), [true, false]);
    }
}
