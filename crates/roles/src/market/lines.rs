//! The lines of a file, plain or gzip by content, one at a time, with their
//! numbers; and the hash of the whole file.
//!
//! Not here: what is in a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::bad_input::BadInput;

/// A line of market data is below 1 KB; what is longer is no such file, and
/// would fill the memory.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Large enough that system calls cost nothing, small enough for the cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How far the sources of a process have come; only grows.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the files, as they lie on disk.
    pub bytes_total: AtomicU64,
    /// Bytes of them that were read.
    pub bytes_read: AtomicU64,
    /// Events that were appended in this run.
    pub events: AtomicU64,
}

/// A file, line by line.
pub(super) struct Lines {
    pub(super) file: String,
    /// The number of the line in the buffer, from 1.
    pub(super) line: u64,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
}

impl Lines {
    /// Opens a file; `progress` counts what is read of it.
    pub(super) fn open(path: &Path, progress: Option<Arc<Progress>>) -> Result<Self, BadInput> {
        let file = path.display().to_string();
        let fail = |error: io::Error| whole(&file, open_error(&error));
        let handle = File::open(path).map_err(fail)?;
        if handle.metadata().map_err(fail)?.is_dir() {
            return Err(whole(&file, "is a folder; name the files in it".into()));
        }
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, Counted { file: handle, progress });
        let start = reader.fill_buf().map_err(fail)?;
        if let Some(detail) = foreign(start) {
            return Err(whole(&file, detail));
        }
        let mut reader: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(reader)))
        } else {
            Box::new(reader)
        };
        let start = reader.fill_buf().map_err(|error| whole(&file, read_error(&error)))?;
        if start.starts_with(b"\xef\xbb\xbf") {
            reader.consume(3);
        }
        Ok(Self { file, line: 0, reader, buffer: Vec::new() })
    }

    /// Goes to the next line that is not blank; false at the end.
    pub(super) fn advance(&mut self) -> Result<bool, BadInput> {
        loop {
            self.buffer.clear();
            let read = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer);
            let count = read.map_err(|error| BadInput {
                file: self.file.clone(),
                line: self.line + 1,
                column: None,
                detail: read_error(&error),
            })?;
            if count == 0 {
                return Ok(false);
            }
            self.line += 1;
            if count as u64 == MAX_LINE_BYTES {
                return Err(self.bad(None, "a line of more than 1 MB: this is no CSV or NDJSON of market data".into()));
            }
            if !self.buffer.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// The line, without its end.
    pub(super) fn text(&self) -> Result<&str, BadInput> {
        let end = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        std::str::from_utf8(end).map_err(|error| {
            let at = error.valid_up_to() + 1;
            self.bad(None, format!("byte {at} of the line is not UTF-8: save the file as UTF-8"))
        })
    }

    /// A mistake in this line.
    pub(super) fn bad(&self, column: Option<String>, detail: String) -> BadInput {
        BadInput { file: self.file.clone(), line: self.line, column, detail }
    }
}

/// A mistake of the file as a whole.
pub(super) fn whole(file: &str, detail: String) -> BadInput {
    BadInput { file: file.to_owned(), line: 0, column: None, detail }
}

fn open_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "no such file: check the path, which is relative to the folder that tapedeck runs in".into()
        }
        io::ErrorKind::PermissionDenied => "may not be read: check its permissions".into(),
        _ => format!("cannot be read: {error}"),
    }
}

fn read_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip ends in the middle: fetch the file again".into(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            format!("the gzip is damaged ({error}): fetch the file again")
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// What a file is instead, where its first bytes say so.
fn foreign(start: &[u8]) -> Option<String> {
    let name = match start {
        [b'P', b'K', 3, 4, ..] => "a zip archive (or a spreadsheet)",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed with zstd",
        [b'B', b'Z', b'h', ..] => "compressed with bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "compressed with xz",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16 text",
        _ => return None,
    };
    Some(format!("is {name}; tapedeck reads CSV and NDJSON in UTF-8, plain or gzip: convert it first"))
}

/// The SHA-256 of a file's bytes as they lie on disk, in hex, and their number.
pub(super) fn hash_file(path: &Path) -> Result<(String, u64), BadInput> {
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(|error| whole(&name, open_error(&error)))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(|error| whole(&name, open_error(&error)))? {
            0 => return Ok((hex(&hasher.finalize()), bytes)),
            count => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// Bytes in hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Counted {
    file: File,
    progress: Option<Arc<Progress>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(progress) = &self.progress {
            progress.bytes_read.fetch_add(count as u64, Relaxed);
        }
        Ok(count)
    }
}
