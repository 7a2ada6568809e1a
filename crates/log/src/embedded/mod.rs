//! The log of one machine: record batches in one SQLite file, one thread that
//! writes, readers that see only what is on disk.
//!
//! Not here: how a blob is laid out (`batch`), SQL (`schema`, `writer`, `reader`).

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc::sync_channel},
    thread::JoinHandle,
    time::Duration,
};

mod assign;
mod cache;
mod change;
mod compaction;
mod groups;
mod maintenance;
mod member;
mod prepare;
mod reader;
mod schema;
mod shared;
mod topics;
mod writer;

pub use self::maintenance::Swept;
use self::{
    maintenance::Maintenance,
    member::EmbeddedMember,
    prepare::prepare,
    reader::EmbeddedReader,
    schema::failure,
    shared::{Shared, lock, read, write},
    writer::{Job, Write, Writer},
};
use crate::{
    GroupInfo, GroupOffset, Log, LogError, Member, PartitionInfo, Placement, Reader, Record, Result, TopicConfig,
    TopicInfo, TopicPartition,
};

/// How an embedded log behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// The largest record, in bytes: key, value, headers and 20.
    pub max_record_bytes: usize,
    /// Bytes that a partition of a topic that deletes may hold, also where the
    /// topic itself has no such limit; 0 for none.
    pub max_topic_bytes: u64,
    /// Bytes that the file may have; beyond it writing is refused as on a full
    /// disk. 0 for none.
    pub max_disk_bytes: u64,
    /// Batches are compressed (LZ4).
    pub compress: bool,
    /// A member that does not poll for so long loses its seat.
    pub session_timeout: Duration,
    /// How long a compacted topic keeps a tombstone, so that its readers see it.
    pub tombstone_retention: Duration,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            // Kafka's own limit of a message.
            max_record_bytes: 1 << 20,
            max_topic_bytes: 0,
            max_disk_bytes: 0,
            compress: false,
            // Kafka's own, and half as long again as handling a batch may take.
            session_timeout: Duration::from_secs(45),
            // Kafka's own.
            tombstone_retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// A log in a folder, of one process.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    maintenance: Arc<Maintenance>,
    threads: Mutex<Threads>,
}

/// What ends when the log closes.
struct Threads {
    writer: Option<JoinHandle<()>>,
    maintenance: Option<JoinHandle<()>>,
    lock: Option<File>,
}

impl EmbeddedLog {
    /// Opens the log in a folder; makes both where they are not there.
    ///
    /// # Errors
    /// Fatal where another process holds the folder, or the file is damaged, of
    /// a newer version, or cannot be opened; nothing is changed then.
    pub fn open(dir: &Path, config: EmbeddedConfig) -> Result<Arc<Self>> {
        let lock = take_folder(dir)?;
        let file = dir.join("log.db");
        let connection = schema::open_to_write(&file, config.max_disk_bytes)?;
        let loaded = schema::load(&connection).map_err(|error| failure(&file, error))?;
        let (queue, jobs) = sync_channel(writer::QUEUE);
        let shared = Arc::new(Shared::new(file, config, loaded, queue));
        let writer = Writer::new(Arc::clone(&shared), connection);
        let writer = spawn("log-writer", &shared, move || writer.run(&jobs))?;
        let maintenance = Arc::new(Maintenance::new(Arc::clone(&shared)));
        let sweeper = Arc::clone(&maintenance);
        let sweeper = spawn("log-maintenance", &shared, move || sweeper.run())?;
        let threads = Threads { writer: Some(writer), maintenance: Some(sweeper), lock: Some(lock) };
        Ok(Arc::new(Self { shared, maintenance, threads: Mutex::new(threads) }))
    }

    /// Writes what waits, and ends. Later calls fail.
    pub fn close(&self) {
        self.shared.close();
        self.maintenance.stop();
        *write(&self.shared.queue) = None;
        let mut threads = lock(&self.threads);
        for thread in [threads.maintenance.take(), threads.writer.take()].into_iter().flatten() {
            // A panic there was told to all who waited.
            let _ = thread.join();
        }
        threads.lock = None;
    }

    /// Removes what is older or more than topics keep as of a time (ms since the
    /// epoch), and compacts, all that can be. The log does it by itself every
    /// half minute, where there is enough of it.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub fn run_retention(&self, now_ms: i64) -> Result<Swept> {
        self.maintenance.sweep(now_ms, true)
    }

    /// Bytes of the log's files.
    pub fn disk_bytes(&self) -> u64 {
        let beside = |end: &str| PathBuf::from(format!("{}{end}", self.shared.file.display()));
        let size = |file: PathBuf| file.metadata().map_or(0, |file| file.len());
        ["", "-wal"].map(beside).map(size).iter().sum()
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log for EmbeddedLog {
    fn max_record_bytes(&self) -> usize {
        self.shared.config.max_record_bytes
    }

    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.shared.ask(|answer| Job::Topics(topics.to_vec(), answer))
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.shared.check_open()?;
        let topics = read(&self.shared.topics).clone();
        let view = read(&self.shared.view);
        let info = |partition: &Arc<shared::Partition>| {
            let span = view.spans[partition.index];
            PartitionInfo { partition: partition.name.partition, start: span.start, end: span.end, bytes: span.bytes }
        };
        let of = |topic: &Arc<shared::Topic>| TopicInfo {
            config: read(&topic.config).clone(),
            partitions: topic.partitions.iter().map(info).collect(),
            replication: None,
        };
        Ok(topics.values().map(of).collect())
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.append_kept(&records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.shared.check_open()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let (segments, places) = prepare(&self.shared, records)?.split();
        let write = Write { segments, offsets: Vec::new(), ticket: None };
        let bases = self.shared.ask(|answer| Job::Write(write, answer))?;
        Ok(places.at(&bases))
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        let span = self.shared.span(&*self.shared.partition(partition)?);
        Ok((span.start, span.end))
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        reader::offset_at(&self.shared, &*self.shared.partition(partition)?, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.shared.check_open()?;
        Ok(Box::new(EmbeddedReader::new(Arc::clone(&self.shared))))
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        Ok(Box::new(EmbeddedMember::join(Arc::clone(&self.shared), group, member, topics)?))
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.shared.check_open()?;
        Ok(read(&self.shared.view).committed_of(group))
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.shared.check_open()?;
        let mut members = lock(&self.shared.groups).members();
        let view = read(&self.shared.view);
        for group in view.committed.keys() {
            members.entry(Arc::clone(group)).or_default();
        }
        let info = |(group, members): (Arc<str>, _)| GroupInfo {
            offsets: view.committed_of(&group),
            group: group.to_string(),
            members,
        };
        Ok(members.into_iter().map(info).collect())
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        let offsets = member::find(&self.shared, offsets)?;
        self.shared.ask(|answer| Job::Reset(Arc::from(group), offsets, answer))
    }
}

/// Makes the folder, and keeps other processes out of it.
fn take_folder(dir: &Path) -> Result<File> {
    let cannot = |error: std::io::Error| {
        LogError::Fatal(format!("the folder {} cannot be used: {error}; check its owner and its rights", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(cannot)?;
    let options = File::options().create(true).truncate(false).write(true).open(dir.join("log.lock"));
    let file = options.map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Fatal(format!(
            "another tapedeck holds the folder {}: stop it first, or use another folder",
            dir.display()
        ))),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
    }
}

/// Starts a thread whose panic breaks the log, so that nobody waits for it in vain.
fn spawn(name: &str, shared: &Arc<Shared>, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    struct OnPanic(Arc<Shared>, String);
    impl Drop for OnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.break_for_good(&format!("the thread {} failed: see its message above, and start again", self.1));
            }
        }
    }
    let guard = OnPanic(Arc::clone(shared), name.to_owned());
    let run = move || {
        let _guard = guard;
        work();
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| LogError::Fatal(format!("no thread for {name}: {error}")))
}
