//! Records that the log can never take, set aside in a file, as the spool would
//! hold them, so that nothing is lost silently.
//!
//! Not here: deciding that a record is one.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use tapedeck_log::Record;

use super::{
    frame::{Draft, Id},
    spool::{SEGMENT_HEAD, create_segment, free_path},
};

/// The file of one run; it is made with the first record.
pub(super) struct Refused {
    dir: PathBuf,
    start: u32,
    max_bytes: u64,
    fingerprint: u64,
    file: Option<(File, u64)>,
}

impl Refused {
    /// For the files of an emitter, at most so many bytes of each run.
    pub(super) fn new(home: &Path, start: u32, max_bytes: u64, fingerprint: u64) -> Self {
        Self { dir: home.join("refused"), start, max_bytes, fingerprint, file: None }
    }

    /// Sets a record aside, and waits until it is on disk.
    ///
    /// # Errors
    /// The disk is full, or the file is as large as it may be.
    pub(super) fn put(&mut self, record: &Record, id: Id) -> io::Result<()> {
        let mut frame = Vec::new();
        Draft::of(&mut frame, record).seal(&mut frame, id);
        if self.file.is_none() {
            let path = free_path(&self.dir, &format!("{:08}.seg", self.start))?;
            self.file = Some((create_segment(&path, self.fingerprint)?, SEGMENT_HEAD));
        }
        let (file, len) = self.file.as_mut().expect("the file was just made");
        if *len + frame.len() as u64 > self.max_bytes {
            return Err(io::Error::other(
                "as many bytes of refused records as the spool may have: look at them, correct what writes them, and start again",
            ));
        }
        file.write_all_at(&frame, *len)?;
        file.sync_data()?;
        *len += frame.len() as u64;
        Ok(())
    }
}
