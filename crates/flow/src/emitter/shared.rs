//! What producers, the sender and the owner of an emitter share.
//!
//! Not here: what each of them does with it.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::Thread,
    time::{Duration, Instant},
};

use super::{
    alerts::Alerts,
    config::EmitterConfig,
    core::Core,
    stats::EmitterStats,
    topics::{Newest, Topics},
};
use crate::Boundaries;

/// What they share.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) config: EmitterConfig,
    pub(super) boundaries: Boundaries,
    pub(super) stats: Arc<EmitterStats>,
    pub(super) topics: Newest,
    pub(super) alerts: Alerts,
    core: Mutex<Core>,
    /// A batch of leftovers waits to be judged, or is in the log.
    pub(super) leftovers_moved: Condvar,
    /// More is durable than before.
    durable_moved: (Mutex<()>, Condvar),
    /// Nothing is accepted any more.
    closed: AtomicBool,
    /// The sender stops at this time, or when nothing is left.
    close_by: Mutex<Option<Instant>>,
    /// The sender sleeps until it is woken.
    idle: AtomicBool,
    /// Somebody waits for what is in the rings.
    hurried: AtomicBool,
    /// An unknown topic was asked for.
    topics_wanted: AtomicBool,
    sender: OnceLock<Thread>,
}

impl Shared {
    pub(super) fn new(
        name: &str,
        config: &EmitterConfig,
        boundaries: Boundaries,
        topics: Topics,
        core: Core,
        alerts: Alerts,
        stats: EmitterStats,
    ) -> Self {
        Self {
            name: name.to_owned(),
            config: config.clone(),
            boundaries,
            stats: Arc::new(stats),
            topics: Newest::new(topics),
            alerts,
            core: Mutex::new(core),
            leftovers_moved: Condvar::new(),
            durable_moved: (Mutex::new(()), Condvar::new()),
            closed: AtomicBool::new(false),
            close_by: Mutex::new(None),
            idle: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            topics_wanted: AtomicBool::new(false),
            sender: OnceLock::new(),
        }
    }

    /// What is touched in turns. A panic elsewhere leaves it usable: positions
    /// move last.
    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread is the sender.
    pub(super) fn set_sender(&self, thread: Thread) {
        let _ = self.sender.set(thread);
    }

    /// Wakes the sender, whether it sleeps or not.
    pub(super) fn wake_sender(&self) {
        if let Some(sender) = self.sender.get() {
            sender.unpark();
        }
    }

    /// Something was put in a ring: wakes the sender where it sleeps idle.
    pub(super) fn published(&self) {
        // Either the sender sees what was put, or it is seen asleep.
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed) && self.idle.swap(false, Ordering::Relaxed) {
            self.wake_sender();
        }
    }

    /// The sender sleeps until something is put in a ring, it is woken, or the
    /// time is over; not where `has_work` already.
    pub(super) fn sleep_idle(&self, longest: Duration, has_work: impl FnOnce() -> bool) {
        self.idle.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            std::thread::park_timeout(longest);
        }
        self.idle.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is accepted any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// From now on nothing is accepted.
    pub(super) fn refuse_all(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.tell_durable();
    }

    /// The sender is to end by a time.
    pub(super) fn end_sender(&self, by: Instant) {
        *self.close_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(by);
        self.wake_sender();
    }

    /// When the sender is to end, where it is.
    pub(super) fn close_by(&self) -> Option<Instant> {
        *self.close_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody waited for what is in the rings, since this was asked.
    pub(super) fn take_hurry(&self) -> bool {
        self.hurried.load(Ordering::Relaxed) && self.hurried.swap(false, Ordering::Relaxed)
    }

    /// An unknown topic was asked for: the sender has the log asked again.
    pub(super) fn want_topics(&self) {
        self.topics_wanted.store(true, Ordering::Relaxed);
        self.wake_sender();
    }

    /// Whether an unknown topic was asked for, since this was asked.
    pub(super) fn take_topics_wanted(&self) -> bool {
        self.topics_wanted.load(Ordering::Relaxed) && self.topics_wanted.swap(false, Ordering::Relaxed)
    }

    /// More is durable: who waits looks again.
    pub(super) fn tell_durable(&self) {
        drop(self.durable_moved.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.durable_moved.1.notify_all();
    }

    /// Waits until something is durable, the time is over, or nothing more will be.
    pub(super) fn wait_durable(&self, timeout: Duration, is_durable: impl Fn() -> bool) -> bool {
        if is_durable() {
            return true;
        }
        self.hurried.store(true, Ordering::Relaxed);
        self.wake_sender();
        let guard = self.durable_moved.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.durable_moved.1.wait_timeout_while(guard, timeout, |()| !is_durable());
        drop(waited);
        is_durable()
    }
}
