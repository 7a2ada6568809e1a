//! What the fuzz targets share: samples to begin with, and taking an input
//! apart.
//!
//! Not here: what is fuzzed, one file each in `targets/`.

use std::{fs, path::Path};

/// Writes samples into the folder that `TAPEDECK_FUZZ_SEEDS` names, if it does,
/// so that a target does not begin with nothing.
pub fn seed<S: AsRef<[u8]>>(samples: impl IntoIterator<Item = S>) {
    let Some(folder) = std::env::var_os("TAPEDECK_FUZZ_SEEDS") else { return };
    for (nth, sample) in samples.into_iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("seed-{nth}")), sample).expect("the folder of the corpus is there");
    }
}

/// The fixtures of an event, by its name.
pub fn fixtures(event: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/contracts/fixtures").join(event);
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = entries(&folder).flat_map(|version| entries(&version).collect::<Vec<_>>());
    let found: Vec<Vec<u8>> = files.filter_map(|file| fs::read(file).ok()).collect();
    assert!(!found.is_empty(), "{} holds no fixture", folder.display());
    found
}

/// An input, taken apart from its front; when it is empty, zeros.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// The next eight bytes as a number.
    pub fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// A part whose length (two bytes) stands before it.
    pub fn part(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_le_bytes([self.byte(), self.byte()]));
        self.take(len)
    }

    /// The same as text, what is none replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.part()).into_owned()
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Parts with their lengths before them, as [`Input::part`] reads them.
pub fn parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        let part = part.as_ref();
        bytes.extend(u16::try_from(part.len()).expect("a sample is short").to_le_bytes());
        bytes.extend(part);
    }
    bytes
}
