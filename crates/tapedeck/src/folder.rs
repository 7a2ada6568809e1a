//! The data folder: held by one process at a time, which it tells the command line
//! the address of, and what it keeps of that process itself.
//!
//! Not here: the log and the store in it.

use std::{
    fs::{File, TryLockError},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::exit;

/// What this folder's process is called in groups, after the role.
pub(crate) const MEMBER_FILE: &str = "member";
/// Of the host's name, as much as a person needs to know it by.
const HOST_CHARS: usize = 32;
/// What cursors are signed with.
const CURSOR_KEY_FILE: &str = "cursor.key";
/// Held while a process works in the folder.
const LOCK_FILE: &str = "tapedeck.lock";
/// Names the process that holds the folder, for the command line.
const ADDRESS_FILE: &str = "address";
/// A data folder that this process holds.
pub(crate) struct Folder {
    dir: PathBuf,
    _lock: File,
}

/// A folder, or the address of who holds it.
pub(crate) enum Claim {
    Ours(Folder),
    /// Somebody else's; with its address, where it serves one.
    Taken(Option<String>),
}

impl Folder {
    /// Takes the folder, making it where it is not there.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub(crate) fn claim(dir: &Path) -> anyhow::Result<Claim> {
        let unfit = |what: &str, error: std::io::Error| {
            exit::folder(format!("{what} {}: {error}; give another folder with --data", dir.display()))
        };
        if dir.exists() && !dir.is_dir() {
            return Err(exit::folder(format!(
                "{} is a file, not a folder: give another one with --data",
                dir.display()
            )));
        }
        std::fs::create_dir_all(dir).map_err(|error| unfit("cannot make the data folder", error))?;
        let lock = File::options().create(true).append(true).open(dir.join(LOCK_FILE));
        let lock = lock.map_err(|error| unfit("cannot write in", error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim::Ours(Self { dir: dir.to_owned(), _lock: lock })),
            Err(TryLockError::WouldBlock) => {
                let address = std::fs::read_to_string(dir.join(ADDRESS_FILE)).ok();
                Ok(Claim::Taken(address.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())))
            }
            Err(TryLockError::Error(error)) => Err(unfit("cannot lock", error)),
        }
    }

    /// Takes the folder, or says who has it.
    ///
    /// # Errors
    /// Somebody has it.
    pub(crate) fn claim_alone(dir: &Path) -> anyhow::Result<Self> {
        match Self::claim(dir)? {
            Claim::Ours(folder) => Ok(folder),
            Claim::Taken(address) => Err(exit::folder(format!(
                "another tapedeck works in {}{}: stop it, or give another folder with --data",
                dir.display(),
                address.map(|at| format!(" (at {at})")).unwrap_or_default()
            ))),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tells this process from all others in a group, also those of other machines:
    /// made once, so that after a kill the next one takes the seat and the unfinished
    /// transaction of the one before.
    pub(crate) fn member(&self) -> anyhow::Result<String> {
        let path = self.dir.join(MEMBER_FILE);
        if let Some(name) = std::fs::read_to_string(&path).ok().filter(|name| !name.trim().is_empty()) {
            return Ok(name.trim().to_owned());
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(HOST_CHARS).collect();
        let name = format!("{host}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        std::fs::write(&path, &name).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(name)
    }

    pub(crate) fn publish(&self, address: &str) -> anyhow::Result<()> {
        std::fs::write(self.dir.join(ADDRESS_FILE), address).context("cannot write the folder's address")
    }

    /// The key of cursors: made once, so that a cursor outlives a restart.
    pub(crate) fn cursor_key(&self) -> anyhow::Result<[u8; 32]> {
        let path = self.dir.join(CURSOR_KEY_FILE);
        if let Some(key) = std::fs::read(&path).ok().and_then(|bytes| bytes.try_into().ok()) {
            return Ok(key);
        }
        let mut key = [0; 32];
        for half in key.chunks_exact_mut(16) {
            half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        }
        let mut file = private_file(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(&key)?;
        Ok(key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left behind, it only names a process that does not answer any more.
        let _ = std::fs::remove_file(self.dir.join(ADDRESS_FILE));
    }
}

fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create(true).truncate(true).write(true).mode(0o600).open(path)
}
