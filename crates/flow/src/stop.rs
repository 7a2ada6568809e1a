//! The wish to stop, shared by all threads of a process.
//!
//! Not here: signals of the operating system, which the binary turns into it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Says that work should stop; cheap to clone and to ask.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Nobody wants to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop.
    pub fn request(&self) {
        *self.flag() = true;
        self.0.1.notify_all();
    }

    /// Whether somebody asked.
    pub fn requested(&self) -> bool {
        *self.flag()
    }

    /// Waits until somebody asks or the time is out; says whether somebody asked.
    pub fn wait(&self, timeout: Duration) -> bool {
        let guard = self.flag();
        let waited = self.0.1.wait_timeout_while(guard, timeout, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn flag(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
