//! Who has which connection: one for writing, a few for reading, each made when
//! it is first needed, and made again when it was lost.
//!
//! Not here: what a connection is.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::connect::{Connector, Session};
use crate::{Result, StoreError};

/// Waits between tries to connect: doubled from the first to the last. A server
/// that restarts is back within seconds; more tries only fill its log.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A bounded number of connections.
pub(super) struct Pool {
    connector: Arc<Connector>,
    /// Each place that nobody has, with its connection where there is one.
    free: Mutex<Vec<Option<Session>>>,
    freed: Condvar,
    places: usize,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>, places: usize) -> Self {
        let free = Mutex::new((0..places).map(|_| None).collect());
        Self { connector, free, freed: Condvar::new(), places }
    }

    /// Runs `work` on a connection, and again on a new one where it was lost in
    /// it, as long as the call lasts. So `work` must be such that it can be done
    /// again when nobody knows whether it was done.
    ///
    /// # Errors
    /// Those of `work`; transient where no connection is to be had in time.
    pub(super) fn with<T>(&self, mut work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.connector.call_timeout();
        let mut place = self.take(deadline)?;
        let mut wait = Duration::ZERO;
        loop {
            if place.session.as_mut().is_none_or(|session| !session.look()) {
                place.session = None;
                place.session = Some(self.connect(deadline)?);
            }
            let session = place.session.as_mut().expect("invariant: connected above");
            session.work_until(deadline);
            let done = work(session);
            let is_lost = session.is_lost();
            match done {
                // The first time at once: the connection may have been an old one.
                Err(StoreError::Transient(_)) if is_lost && Instant::now() + wait < deadline => {
                    thread::sleep(wait);
                    wait = next(wait);
                }
                done => return done,
            }
        }
    }

    fn take(&self, deadline: Instant) -> Result<Place<'_>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut free, _) = self
            .freed
            .wait_timeout_while(locked(&self.free), left, |free| free.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        // A place with a connection first: the others are made when all are in use.
        let at = free.iter().position(Option::is_some).unwrap_or(0);
        if free.is_empty() {
            return Err(StoreError::Transient(format!("all {} connections to PostgreSQL are busy", self.places)));
        }
        Ok(Place { pool: self, session: free.swap_remove(at) })
    }

    fn connect(&self, deadline: Instant) -> Result<Session> {
        let mut wait = BACKOFF.0;
        loop {
            match self.connector.connect(deadline) {
                Err(StoreError::Transient(_)) if Instant::now() + wait < deadline => {
                    thread::sleep(wait);
                    wait = next(wait);
                }
                done => return done,
            }
        }
    }
}

fn next(wait: Duration) -> Duration {
    (wait * 2).clamp(BACKOFF.0, BACKOFF.1)
}

/// A place that goes back to its pool; without its connection where that was
/// lost, or where the work panicked in the middle of something.
struct Place<'a> {
    pool: &'a Pool,
    session: Option<Session>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let session = self.session.take().filter(|session| !thread::panicking() && !session.is_lost());
        locked(&self.pool.free).push(session);
        self.pool.freed.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
