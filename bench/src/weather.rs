//! A log over which the weather changes: healthy, stopped, slow, or on a full disk;
//! behind it an embedded log on disk.
//!
//! Not here: what the emitter makes of it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tapedeck_flow::topics;
use tapedeck_log::{EmbeddedConfig, EmbeddedLog, Log, LogAround, LogError, Placement, Record, Result};

/// How a log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sky {
    /// As it is.
    Healthy,
    /// Every append fails at once.
    Stopped,
    /// Every append takes five seconds longer.
    Slow,
    /// Every append meets a disk that is full.
    Full,
}

impl Sky {
    pub(crate) const ALL: [Self; 4] = [Self::Healthy, Self::Stopped, Self::Slow, Self::Full];

    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|sky| sky.name() == name)
            .ok_or_else(|| anyhow::anyhow!("a log is one of {names}, not `{name}`"))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Stopped => "stopped",
            Self::Slow => "slow",
            Self::Full => "full",
        }
    }
}

/// How much longer an append takes when it is slow: the emitter's own patience.
const SLOW: Duration = Duration::from_secs(5);
/// The file that is full: a tenth of it is the empty tables.
const FULL_BYTES: u64 = 2 << 20;

/// An embedded log, and what is between it and its writers.
pub(crate) struct Weather {
    log: Arc<EmbeddedLog>,
    /// A log on a file that may not grow, so that the failure is SQLite's own.
    full: Arc<EmbeddedLog>,
    sky: AtomicU8,
}

impl Weather {
    /// A new log with all topics, in a folder.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Arc<Self>> {
        let log = EmbeddedLog::open(&dir.join("log"), EmbeddedConfig::default())?;
        log.create_topics(&topics::of_catalogue(None))?;
        let small = EmbeddedConfig { max_disk_bytes: FULL_BYTES, ..EmbeddedConfig::default() };
        let full = EmbeddedLog::open(&dir.join("full"), small)?;
        full.create_topics(&topics::of_catalogue(None))?;
        Ok(Arc::new(Self { log, full, sky: AtomicU8::new(Sky::Healthy as u8) }))
    }

    pub(crate) fn becomes(&self, sky: Sky) {
        self.sky.store(sky as u8, Relaxed);
    }

    fn sky(&self) -> Sky {
        Sky::ALL[usize::from(self.sky.load(Relaxed))]
    }
}

impl LogAround for Weather {
    fn under(&self) -> &dyn Log {
        &*self.log
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        LogAround::append_kept(self, &records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        match self.sky() {
            Sky::Healthy => {}
            Sky::Stopped => return Err(LogError::Transient("the log is stopped".into())),
            Sky::Slow => thread::sleep(SLOW),
            // What still fitted in counts as refused too: a failed call leaves open
            // what it wrote.
            Sky::Full => {
                self.full.append_kept(records)?;
                return Err(LogError::Transient("the disk is nearly full".into()));
            }
        }
        self.log.append_kept(records)
    }
}
