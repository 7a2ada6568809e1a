//! A log that is not there yet: the process is started and serves while brokers
//! cannot be reached, and goes on by itself when they answer.
//!
//! A thread tries to open the log, with a growing wait between tries, until it is
//! open, or fails for a reason that no waiting mends. Until then every call fails at
//! once as transient, with what was tried last; roles wait.
//!
//! Not here: a log that goes away later, which its own calls report.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tapedeck_flow::{Stop, backoff::Backoff};
use tapedeck_log::{
    Figure, GroupInfo, GroupOffset, Log, LogError, Member, Placement, Reader, Record, Replication, Result, TopicConfig,
    TopicInfo, TopicPartition, Unframe,
};

use crate::show;

/// So long a start waits for the log before it goes on without it: a cluster that is
/// well answers within a fraction of it, and probes of a process are not kept waiting.
const AT_START: Duration = Duration::from_secs(3);
/// The wait after a first try; a try itself takes `kafka.request_timeout_ms` where
/// nobody answers, so waits are short beside it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between tries: brokers that are back are used within so long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often a role that waits looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A log, once it is there.
pub(crate) struct Awaited {
    log: OnceLock<Arc<dyn Log>>,
    max_record_bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What was tried last, and what came of it.
    why: String,
    /// Why it is not tried again.
    failed: Option<anyhow::Error>,
    /// The thread has ended: the log is there, or never will be.
    is_over: bool,
}

impl Awaited {
    /// Opens a log on a thread of its own, and waits a moment for it. `at_first`
    /// is what is said to who asks before the first try has ended.
    ///
    /// # Errors
    /// It failed within that moment, and waiting would not help. Where that comes later, `stop`
    /// is requested and [`Awaited::failure`] says why.
    pub(crate) fn open(
        open: impl FnMut() -> anyhow::Result<Arc<dyn Log>> + Send + 'static,
        at_first: &str,
        max_record_bytes: usize,
        stop: Stop,
    ) -> anyhow::Result<Arc<Self>> {
        Self::open_within(AT_START, open, at_first, max_record_bytes, stop)
    }

    fn open_within(
        at_start: Duration,
        mut open: impl FnMut() -> anyhow::Result<Arc<dyn Log>> + Send + 'static,
        at_first: &str,
        max_record_bytes: usize,
        stop: Stop,
    ) -> anyhow::Result<Arc<Self>> {
        let state = State { why: at_first.to_owned(), ..State::default() };
        let awaited = Arc::new(Self {
            log: OnceLock::new(),
            max_record_bytes,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&awaited);
        std::thread::Builder::new().name("log-opens".into()).spawn(move || own.try_until_open(&mut open, &stop))?;
        if !awaited.is_open_within(at_start)
            && let Some(error) = awaited.failure()
        {
            return Err(error);
        }
        Ok(awaited)
    }

    fn try_until_open(&self, open: &mut dyn FnMut() -> anyhow::Result<Arc<dyn Log>>, stop: &Stop) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        while !stop.requested() {
            match open() {
                Ok(log) => {
                    let _ = self.log.set(log);
                    self.state().is_over = true;
                    self.changed.notify_all();
                    if backoff.failures() > 0 {
                        show::say("the log answers: the roles go on");
                    }
                    return;
                }
                Err(error) if is_transient(&error) => {
                    self.state().why = format!("{error:#}");
                    if backoff.failures() == 0 {
                        show::say(&format!(
                            "the log is not there yet: {error:#}.\nThis process goes on by itself when it is; until then roles \
                             wait, and POST /api/v1/events/{{topic}}?ack=spool is taken"
                        ));
                    }
                    tracing::info!(tries = backoff.failures() + 1, "the log cannot be opened yet: {error:#}");
                    stop.wait(backoff.next_wait());
                }
                Err(error) => {
                    let mut state = self.state();
                    state.why = format!("{error:#}");
                    state.failed = Some(error);
                    state.is_over = true;
                    drop(state);
                    self.changed.notify_all();
                    stop.request();
                    return;
                }
            }
        }
    }

    /// Waits until the log is there; false where somebody asked to stop before.
    pub(crate) fn wait(&self, stop: &Stop) -> bool {
        while !stop.requested() {
            if self.is_open_within(LOOK_EVERY) {
                return true;
            }
        }
        false
    }

    /// Why the log will never be there; the first who asks is told.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        self.state().failed.take()
    }

    fn is_open_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while !state.is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.log.get().is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn there(&self) -> Result<&Arc<dyn Log>> {
        self.log.get().ok_or_else(|| LogError::Transient(self.state().why.clone()))
    }
}

/// Whether the same may work later, without anybody doing anything here.
fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().find_map(|cause| cause.downcast_ref::<LogError>()).is_some_and(LogError::is_transient)
}

impl Log for Awaited {
    fn create_topics(&self, topics: &[TopicConfig]) -> Result<()> {
        self.there()?.create_topics(topics)
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.there()?.topics()
    }

    fn add_partitions(&self, topic: &str, partitions: u32) -> Result<()> {
        self.there()?.add_partitions(topic, partitions)
    }

    fn delete_topics(&self, topics: &[Arc<str>]) -> Result<()> {
        self.there()?.delete_topics(topics)
    }

    fn wanted_replication(&self) -> Result<Option<Replication>> {
        self.there()?.wanted_replication()
    }

    fn figures(&self) -> Vec<Figure> {
        self.log.get().map(|log| log.figures()).unwrap_or_default()
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        self.there()?.append(records)
    }

    fn unframe(&self) -> Option<&dyn Unframe> {
        self.log.get()?.unframe()
    }

    fn max_record_bytes(&self) -> usize {
        self.max_record_bytes
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        self.there()?.append_kept(records)
    }

    fn bounds(&self, partition: &TopicPartition) -> Result<(u64, u64)> {
        self.there()?.bounds(partition)
    }

    fn written_end(&self, partition: &TopicPartition) -> Result<u64> {
        self.there()?.written_end(partition)
    }

    fn offset_at(&self, partition: &TopicPartition, timestamp_ms: i64) -> Result<u64> {
        self.there()?.offset_at(partition, timestamp_ms)
    }

    fn reader(&self) -> Result<Box<dyn Reader>> {
        self.there()?.reader()
    }

    fn join(&self, group: &str, member: &str, topics: &[Arc<str>]) -> Result<Box<dyn Member>> {
        self.there()?.join(group, member, topics)
    }

    fn committed(&self, group: &str) -> Result<Vec<GroupOffset>> {
        self.there()?.committed(group)
    }

    fn groups(&self) -> Result<Vec<GroupInfo>> {
        self.there()?.groups()
    }

    fn reset_offsets(&self, group: &str, offsets: &[GroupOffset]) -> Result<()> {
        self.there()?.reset_offsets(group, offsets)
    }
}

#[cfg(test)]
mod tests {
    use tapedeck_log::{EmbeddedConfig, EmbeddedLog};

    use super::*;

    fn embedded(dir: &tempfile::TempDir) -> Arc<dyn Log> {
        EmbeddedLog::open(dir.path(), EmbeddedConfig::default()).unwrap()
    }

    #[test]
    fn a_log_that_is_there_at_the_third_try_is_used_and_was_transient_before() {
        let dir = tempfile::tempdir().unwrap();
        let (go, may) = std::sync::mpsc::sync_channel::<()>(0);
        let mut tries = 0;
        let opened = embedded(&dir);
        let open = move || {
            tries += 1;
            if tries < 3 {
                return Err(LogError::Transient("nobody at nowhere:1".into()).into());
            }
            may.recv()?;
            Ok(Arc::clone(&opened))
        };
        let stop = Stop::new();
        let awaited = Awaited::open_within(Duration::ZERO, open, "nowhere:1", 1 << 20, stop.clone()).unwrap();
        assert!(matches!(awaited.topics(), Err(LogError::Transient(why)) if why.contains("nowhere:1")));
        go.send(()).unwrap();
        assert!(awaited.wait(&stop));
        assert_eq!(awaited.topics().unwrap(), Vec::new());
        assert!(awaited.failure().is_none() && !stop.requested());
    }

    #[test]
    fn what_no_waiting_mends_ends_the_start_with_its_words() {
        let open = || Err(LogError::Fatal("the password is wrong".into()).into());
        let error = Awaited::open(open, "somewhere:1", 1 << 20, Stop::new()).err().unwrap();
        assert!(error.to_string().contains("the password is wrong"), "{error}");
    }

    #[test]
    fn what_no_waiting_mends_and_comes_late_stops_the_process() {
        let (go, may) = std::sync::mpsc::sync_channel::<()>(0);
        let open = move || {
            may.recv()?;
            Err(LogError::Fatal("the password is wrong".into()).into())
        };
        let stop = Stop::new();
        let awaited = Awaited::open_within(Duration::ZERO, open, "somewhere:1", 1 << 20, stop.clone()).unwrap();
        go.send(()).unwrap();
        assert!(!awaited.wait(&stop));
        assert!(awaited.failure().is_some_and(|error| error.to_string().contains("the password is wrong")));
    }
}
