//! The folder of an emitter: its lock, and the list of its rings, which may lie
//! elsewhere.
//!
//! ```text
//! lock      held by the process that uses the folder
//! rings     the list: an id of the folder, the number of the last start, and
//!           a line for each ring: `ring` where it is there, `maybe` while it is
//!           made or deleted
//! ring/     rings, where they lie here
//! spool/    what waits for the log
//! kept/     what an earlier run left and this one cannot send
//! refused/  records that the log can never take
//! ```
//!
//! Not here: what is in those files.

use std::{
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{EmitError, config::AUTO};

/// Memory that looks like a disk.
const SHARED_MEMORY: &str = "/dev/shm";
/// Rings go to shared memory where so many of them would fit: containers often
/// have 64 MB of it, and others want some.
const ROOM_FOR_RINGS: u64 = 4;
/// How the folder of an emitter's rings begins, where others have theirs too.
const FOLDER: &str = "tapedeck";

/// The folder, held by this process.
pub(super) struct Home {
    dir: PathBuf,
    name: String,
    id: String,
    start: u32,
    rings: Vec<Listed>,
    producers: u32,
    lock: Option<File>,
}

/// A ring in the list.
struct Listed {
    /// From the folder on, or from the root.
    path: PathBuf,
    /// It was made and is not being deleted: without it something was lost.
    is_there: bool,
}

impl Home {
    /// Takes the folder, as the start after the last one.
    ///
    /// # Errors
    /// Another process holds it, or a file cannot be read or written.
    pub(super) fn open(dir: &Path, name: &str) -> Result<Self, EmitError> {
        let failed = |what: &str, error: io::Error| EmitError::Io(format!("{what} of {}: {error}", dir.display()));
        fs::create_dir_all(dir).map_err(|error| failed("the folder", error))?;
        let lock = File::create(dir.join("lock")).map_err(|error| failed("the lock", error))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => EmitError::Io(format!(
                "{} is in use by another emitter: stop it, or give this one a folder of its own",
                dir.display()
            )),
            fs::TryLockError::Error(error) => failed("the lock", error),
        })?;
        let text = match fs::read_to_string(dir.join("rings")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let text = text.map_err(|error| failed("the list of rings", error))?;
        let of = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
        let id = of("id ").map_or_else(random_id, str::to_owned);
        let start = of("start ").and_then(|start| start.parse().ok()).unwrap_or(0_u32).saturating_add(1);
        let listed = |line: &str| {
            let (word, path) = line.split_once(' ')?;
            let is_there = word == "ring";
            (is_there || word == "maybe").then(|| Listed { path: PathBuf::from(path), is_there })
        };
        let rings = text.lines().filter_map(listed).collect();
        let home =
            Self { dir: dir.to_owned(), name: name.to_owned(), id, start, rings, producers: 0, lock: Some(lock) };
        home.write_list().map_err(|error| failed("the list of rings", error))?;
        Ok(home)
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Which start this is: 1, 2, 3…
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// Lets go of the folder.
    pub(super) fn leave(&mut self) {
        self.lock = None;
    }

    /// Rings that the list names, each where it lies.
    pub(super) fn rings(&self) -> Vec<PathBuf> {
        // What lies inside the folder is listed by its path from there, so that a
        // folder that was moved finds it.
        self.rings.iter().map(|ring| self.dir.join(&ring.path)).collect()
    }

    /// Whether a ring of the list was made and not deleted, as far as this folder
    /// knows.
    pub(super) fn is_there(&self, path: &Path) -> bool {
        self.rings.iter().any(|ring| ring.is_there && self.dir.join(&ring.path) == path)
    }

    /// A new file for a ring of so many bytes, held by this process, where the
    /// config says, and the number of its stream.
    ///
    /// # Errors
    /// A file cannot be made.
    pub(super) fn new_ring(&mut self, ring_dir: &str, bytes: u64) -> io::Result<(PathBuf, File, u64)> {
        self.producers += 1;
        let stream = u64::from(self.start) << 32 | u64::from(self.producers);
        let name = format!("{}-{}-{}.ring", self.name.replace('/', "-"), self.start, self.producers);
        let of_this_folder = format!("{FOLDER}-{}", self.id);
        if ring_dir != AUTO {
            let (path, file) = self.make_ring(std::path::absolute(ring_dir)?.join(of_this_folder).join(name))?;
            return Ok((path, file, stream));
        }
        let memory = Path::new(SHARED_MEMORY);
        if has_room(memory, bytes.saturating_mul(ROOM_FOR_RINGS)) {
            match self.make_ring(memory.join(of_this_folder).join(&name)) {
                Ok((path, file)) => return Ok((path, file, stream)),
                Err(error) => tracing::warn!(%error, "no ring in {SHARED_MEMORY}: it goes to the emitter's folder"),
            }
        }
        let (path, file) = self.make_ring(Path::new("ring").join(name))?;
        Ok((path, file, stream))
    }

    /// Makes a ring that is in the list before it is there.
    fn make_ring(&mut self, listed: PathBuf) -> io::Result<(PathBuf, File)> {
        let path = self.dir.join(&listed);
        // What is emitted is nobody else's business.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(&self.dir))?;
        self.rings.push(Listed { path: listed, is_there: false });
        let made = self.write_list().and_then(|()| super::ring::new_file(&path)).and_then(|file| {
            file.lock()?;
            self.mark(&path, true)?;
            Ok(file)
        });
        if made.is_err() {
            self.rings.pop();
        }
        Ok((path, made?))
    }

    /// Deletes a ring that holds nothing any more, and takes it from the list.
    ///
    /// # Errors
    /// The file cannot be deleted, or the list not written.
    pub(super) fn remove_ring(&mut self, path: &Path) -> io::Result<()> {
        self.mark(path, false)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Its folder goes with the last ring; it is not empty where others are.
        let _ = path.parent().map(fs::remove_dir);
        self.forget_ring(path)
    }

    /// Takes a ring from the list.
    ///
    /// # Errors
    /// The list cannot be written.
    pub(super) fn forget_ring(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir.clone();
        self.rings.retain(|ring| dir.join(&ring.path) != path);
        self.write_list()
    }

    /// Says in the list whether a ring is surely there.
    fn mark(&mut self, path: &Path, is_there: bool) -> io::Result<()> {
        let dir = self.dir.clone();
        self.rings.iter_mut().filter(|ring| dir.join(&ring.path) == path).for_each(|ring| ring.is_there = is_there);
        self.write_list()
    }

    /// Writes the list beside the old one and puts it in its place.
    fn write_list(&self) -> io::Result<()> {
        let mut text = format!("id {}\nstart {}\n", self.id, self.start);
        for ring in &self.rings {
            text.push_str(if ring.is_there { "ring " } else { "maybe " });
            text.push_str(&ring.path.to_string_lossy());
            text.push('\n');
        }
        let beside = self.dir.join("rings.new");
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, self.dir.join("rings"))?;
        File::open(&self.dir)?.sync_all()
    }
}

/// Whether a file system has so many bytes free.
fn has_room(dir: &Path, bytes: u64) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= bytes)
}

/// 128 random bits. The keys of a hash map are the only randomness that the
/// standard library hands out.
fn random_id() -> String {
    let number = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", number(), number())
}
