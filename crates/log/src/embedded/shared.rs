//! What the threads of an embedded log share: topics, the ends that readers may
//! read to, committed offsets, the newest batches, and the bell that wakes who waits.
//!
//! Not here: SQL, and who changes any of it (the writer does).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{EmbeddedConfig, groups::Groups, schema, writer::Job};
use crate::{GroupOffset, LogError, Result, TopicConfig, TopicPartition, batch::Batch};

/// Everything that is shared.
pub(crate) struct Shared {
    pub(crate) file: PathBuf,
    pub(crate) config: EmbeddedConfig,
    pub(crate) topics: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
    pub(crate) view: RwLock<View>,
    pub(crate) groups: Mutex<Groups>,
    pub(crate) bell: Bell,
    pub(crate) queue: RwLock<Option<SyncSender<Job>>>,
    pub(crate) spread: AtomicU64,
    idle: Mutex<Vec<Connection>>,
    closed: AtomicBool,
    broken: OnceLock<String>,
}

/// A topic and its partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) config: RwLock<TopicConfig>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

/// A partition.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Its number in the file.
    pub(crate) id: i64,
    /// Its place in [`View::spans`].
    pub(crate) index: usize,
    pub(crate) name: TopicPartition,
    /// The newest batches without a gap up to the end; fewer when memory is short.
    pub(crate) newest: Mutex<VecDeque<Arc<Batch>>>,
}

/// What readers may see. All that one commit wrote appears here at once.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) spans: Vec<Span>,
    pub(crate) committed: HashMap<Arc<str>, BTreeMap<TopicPartition, u64>>,
}

/// How far a partition reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes of its blobs.
    pub(crate) bytes: u64,
}

/// Wakes who waits for something new.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    waiting: Condvar,
}

impl View {
    /// Takes a group's offsets.
    pub(crate) fn commit(&mut self, group: &Arc<str>, offsets: &[(Arc<Partition>, u64)]) {
        if offsets.is_empty() {
            return;
        }
        let committed = self.committed.entry(Arc::clone(group)).or_default();
        committed.extend(offsets.iter().map(|(partition, next)| (partition.name.clone(), *next)));
    }

    /// A group's offsets, in order.
    pub(crate) fn committed_of(&self, group: &str) -> Vec<GroupOffset> {
        let of = |(partition, next): (&TopicPartition, &u64)| GroupOffset { partition: partition.clone(), next: *next };
        self.committed.get(group).map(|offsets| offsets.iter().map(of).collect()).unwrap_or_default()
    }
}

impl Bell {
    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        *lock(&self.rings)
    }

    /// Wakes all who wait.
    pub(crate) fn ring(&self) {
        *lock(&self.rings) += 1;
        self.waiting.notify_all();
    }

    /// Waits until it has rung more than `heard` times, or the time is over.
    pub(crate) fn wait(&self, heard: u64, timeout: Duration) {
        let rings = lock(&self.rings);
        drop(self.waiting.wait_timeout_while(rings, timeout, |rings| *rings <= heard));
    }
}

impl Shared {
    pub(crate) fn new(file: PathBuf, config: EmbeddedConfig, loaded: schema::Loaded, queue: SyncSender<Job>) -> Self {
        let topics = loaded.topics.into_iter().map(|topic| (Arc::clone(&topic.name), Arc::new(topic))).collect();
        Self {
            groups: Mutex::new(Groups::new(config.session_timeout)),
            file,
            config,
            topics: RwLock::new(topics),
            view: RwLock::new(loaded.view),
            bell: Bell::default(),
            queue: RwLock::new(Some(queue)),
            spread: AtomicU64::new(0),
            idle: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            broken: OnceLock::new(),
        }
    }

    /// Refuses where the log broke.
    pub(crate) fn check_broken(&self) -> Result<()> {
        self.broken.get().map_or(Ok(()), |why| Err(LogError::Fatal(why.clone())))
    }

    /// Refuses where the log is closed or broke.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_broken()?;
        if self.closed.load(Ordering::Acquire) {
            return Err(LogError::Fatal(format!("the log in {} is closed", self.file.display())));
        }
        Ok(())
    }

    /// From now on every call fails with this.
    pub(crate) fn break_for_good(&self, why: &str) {
        // The first reason is the one that helps.
        let _ = self.broken.set(why.to_owned());
        self.bell.ring();
    }

    /// What an error of the writer's means. After a failed fsync nobody knows
    /// what is on the disk, and a damaged file must not be written on: then the
    /// log stops.
    pub(crate) fn write_failure(&self, error: rusqlite::Error) -> LogError {
        let stops = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        );
        let error = schema::failure(&self.file, error);
        if stops {
            self.break_for_good(&error.to_string());
        }
        error
    }

    /// From now on every call fails as closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.idle).clear();
        self.bell.ring();
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.topics).get(name).cloned()
    }

    pub(crate) fn partition(&self, wanted: &TopicPartition) -> Result<Arc<Partition>> {
        self.check_open()?;
        let topic = self.topic(&wanted.topic);
        topic.as_ref().and_then(|topic| topic.partitions.get(wanted.partition as usize)).cloned().ok_or_else(|| {
            LogError::Fatal(match topic {
                None => format!("topic `{}` does not exist: create it first", wanted.topic),
                Some(topic) => {
                    format!("{wanted} does not exist: the topic has partitions 0 to {}", topic.partitions.len() - 1)
                }
            })
        })
    }

    pub(crate) fn span(&self, partition: &Partition) -> Span {
        read(&self.view).spans[partition.index]
    }

    /// Uses a connection that only reads.
    pub(crate) fn with_reader<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        /// Idle connections that are kept; each holds a page cache of 2 MB.
        const KEPT: usize = 8;
        self.check_open()?;
        let taken = lock(&self.idle).pop();
        let connection = match taken {
            Some(connection) => connection,
            None => schema::open_to_read(&self.file)?,
        };
        let result = work(&connection);
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT && result.is_ok() && !self.closed.load(Ordering::Acquire) {
            idle.push(connection);
        }
        result
    }

    /// Hands work to the writer and waits for its answer.
    pub(crate) fn ask<T>(&self, make: impl FnOnce(SyncSender<Result<T>>) -> Job) -> Result<T> {
        self.check_open()?;
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let sent = match &*read(&self.queue) {
            Some(queue) => queue.send(make(answer)).is_ok(),
            None => false,
        };
        if sent && let Ok(result) = answered.recv() {
            return result;
        }
        self.check_open()?;
        Err(LogError::Fatal(format!("the log in {} is closed", self.file.display())))
    }
}

/// Locks; what a panic left behind is whole, since each change under these locks
/// is a single assignment or is made again from the file.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, likewise.
pub(crate) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, likewise.
pub(crate) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
