//! A log or a store that is not there yet: the process is started and serves while its
//! servers cannot be reached, and goes on by itself when they answer.
//!
//! A thread tries to open it, with a growing wait between tries, until it is
//! open, or fails for a reason that no waiting mends. Until then every call fails at
//! once as transient, with what was tried last; roles wait.
//!
//! Not here: one that goes away later, which its own calls report.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tapedeck_flow::{Stop, backoff::Backoff};
use tapedeck_log::{Log, LogError};
use tapedeck_store::{Store, StoreError};

use crate::{cli::Role, show};

mod log;
mod store;

/// What is said of the one that is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// What it is.
    pub(crate) name: &'static str,
    /// What goes on without it.
    pub(crate) until_then: &'static str,
}

/// So long a start waits for it before it goes on without it: a cluster that is
/// well answers within a fraction of it, and probes of a process are not kept waiting.
const AT_START: Duration = Duration::from_secs(3);
/// The wait after a first try; a try itself takes seconds where nobody answers
/// (`kafka.request_timeout_ms`, `postgres.connect_timeout_ms`), so waits are short beside it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait between tries: servers that are back are used within so long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often a role that waits looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A log or a store, once it is there.
pub(crate) struct Awaited<T: ?Sized> {
    opened: OnceLock<Arc<T>>,
    words: Words,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What was tried last, and what came of it.
    why: String,
    /// Why it is not tried again.
    failed: Option<anyhow::Error>,
    /// The thread has ended: it is there, or never will be.
    is_over: bool,
}

impl<T: ?Sized + Send + Sync + 'static> Awaited<T> {
    /// Opens it on a thread of its own, and waits a moment for it. `at_first`
    /// is what is said to who asks before the first try has ended.
    ///
    /// # Errors
    /// It failed within that moment, and waiting would not help. Where that comes later, `stop`
    /// is requested and [`Awaited::failure`] says why.
    pub(crate) fn open(
        open: impl FnMut() -> anyhow::Result<Arc<T>> + Send + 'static,
        at_first: &str,
        words: Words,
        stop: Stop,
    ) -> anyhow::Result<Arc<Self>> {
        Self::open_within(AT_START, open, at_first, words, stop)
    }

    fn open_within(
        at_start: Duration,
        mut open: impl FnMut() -> anyhow::Result<Arc<T>> + Send + 'static,
        at_first: &str,
        words: Words,
        stop: Stop,
    ) -> anyhow::Result<Arc<Self>> {
        let state = Mutex::new(State { why: at_first.to_owned(), ..State::default() });
        let awaited = Arc::new(Self { opened: OnceLock::new(), words, state, changed: Condvar::new() });
        let own = Arc::clone(&awaited);
        let name = format!("{}-opens", words.name);
        std::thread::Builder::new().name(name).spawn(move || own.try_until_open(&mut open, &stop))?;
        if !awaited.is_open_within(at_start)
            && let Some(error) = awaited.failure()
        {
            return Err(error);
        }
        Ok(awaited)
    }

    fn try_until_open(&self, open: &mut dyn FnMut() -> anyhow::Result<Arc<T>>, stop: &Stop) {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let Words { name, until_then } = self.words;
        while !stop.requested() {
            match open() {
                Ok(opened) => {
                    let _ = self.opened.set(opened);
                    self.state().is_over = true;
                    self.changed.notify_all();
                    if backoff.failures() > 0 {
                        show::say(&format!("the {name} answers: the roles go on"));
                    }
                    return;
                }
                Err(error) if is_transient(&error) => {
                    self.state().why = format!("{error:#}");
                    if backoff.failures() == 0 {
                        show::say(&format!(
                            "the {name} is not there yet: {error:#}.\nThis process goes on by itself when it is; until then \
                             {until_then}"
                        ));
                    }
                    tracing::info!(tries = backoff.failures() + 1, "the {name} cannot be opened yet: {error:#}");
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

    /// Waits until it is there; false where somebody asked to stop before.
    pub(crate) fn wait(&self, stop: &Stop) -> bool {
        while !stop.requested() {
            if self.is_open_within(LOOK_EVERY) {
                return true;
            }
        }
        false
    }

    /// Why it will never be there; the first who asks is told.
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
        self.opened.get().is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It, or what was tried last.
    fn there(&self) -> Result<&Arc<T>, String> {
        self.opened.get().ok_or_else(|| self.state().why.clone())
    }
}

/// A log and a store, where they may come later than their process.
#[derive(Clone, Default)]
pub(crate) struct Later {
    pub(crate) log: Option<Arc<Awaited<dyn Log>>>,
    pub(crate) store: Option<Arc<Awaited<dyn Store>>>,
}

impl Later {
    /// What a role waits for before it begins: the log, and the store where it writes there.
    pub(crate) fn of(&self, role: Role) -> Self {
        let keeps = matches!(role, Role::Recorder | Role::Forensics);
        Self { log: self.log.clone(), store: self.store.clone().filter(|_| keeps) }
    }

    /// Waits until all of it is there; false where somebody asked to stop before.
    pub(crate) fn wait(&self, stop: &Stop) -> bool {
        self.log.as_ref().is_none_or(|log| log.wait(stop)) && self.store.as_ref().is_none_or(|store| store.wait(stop))
    }

    /// Why one of them will never be there; the first who asks is told.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        let of_log = self.log.as_ref().and_then(|log| log.failure());
        of_log.or_else(|| self.store.as_ref().and_then(|store| store.failure()))
    }
}

/// Whether the same may work later, without anybody doing anything here.
fn is_transient(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<LogError>().is_some_and(LogError::is_transient)
            || matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Transient(_)))
    })
}

#[cfg(test)]
mod tests {
    use tapedeck_log::{EmbeddedConfig, EmbeddedLog};

    use super::*;

    const WORDS: Words = Words { name: "log", until_then: "roles wait" };

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
        let awaited = Awaited::open_within(Duration::ZERO, open, "nowhere:1", WORDS, stop.clone()).unwrap();
        assert!(matches!(awaited.topics(), Err(LogError::Transient(why)) if why.contains("nowhere:1")));
        go.send(()).unwrap();
        assert!(awaited.wait(&stop));
        assert_eq!(awaited.topics().unwrap(), Vec::new());
        assert!(awaited.failure().is_none() && !stop.requested());
    }

    #[test]
    fn what_no_waiting_mends_ends_the_start_with_its_words() {
        let open = || -> anyhow::Result<Arc<dyn Log>> { Err(LogError::Fatal("the password is wrong".into()).into()) };
        let error = Awaited::open(open, "somewhere:1", WORDS, Stop::new()).err().unwrap();
        assert!(error.to_string().contains("the password is wrong"), "{error}");
    }

    #[test]
    fn what_no_waiting_mends_and_comes_late_stops_the_process() {
        let (go, may) = std::sync::mpsc::sync_channel::<()>(0);
        let open = move || -> anyhow::Result<Arc<dyn Log>> {
            may.recv()?;
            Err(LogError::Fatal("the password is wrong".into()).into())
        };
        let stop = Stop::new();
        let awaited = Awaited::open_within(Duration::ZERO, open, "somewhere:1", WORDS, stop.clone()).unwrap();
        go.send(()).unwrap();
        assert!(!awaited.wait(&stop));
        assert!(awaited.failure().is_some_and(|error| error.to_string().contains("the password is wrong")));
    }
}
