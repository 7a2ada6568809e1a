//! Who has which connection: one for writing, a few for reading, each made when
//! it is first needed, and made again when it was lost.
//!
//! Not here: what a connection is.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    /// Where those who ask do not wait for a server that is away; none where they do.
    away: Option<Away>,
}

/// What is known of a server that is away: one at a time tries it again, and the others
/// are told at once.
#[derive(Default)]
struct Away {
    /// Why the last who tried got nothing; none where the server answers.
    why: Mutex<Option<String>>,
    is_tried: AtomicBool,
}

impl Away {
    /// Lets a call through where the server answers, or nobody else tries it now.
    fn enter(&self) -> Result<Option<Trying<'_>>> {
        let Some(why) = locked(&self.why).clone() else { return Ok(None) };
        if self.is_tried.swap(true, Ordering::AcqRel) {
            return Err(StoreError::Transient(why));
        }
        Ok(Some(Trying(&self.is_tried)))
    }

    fn note<T>(&self, done: &Result<T>, is_lost: bool) {
        *locked(&self.why) = match done {
            Err(StoreError::Transient(why)) if is_lost => Some(why.clone()),
            _ => None,
        };
    }
}

/// Whoever tries a server that is away.
struct Trying<'a>(&'a AtomicBool);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>, places: usize) -> Self {
        let free = Mutex::new((0..places).map(|_| None).collect());
        Self { connector, free, freed: Condvar::new(), places, away: None }
    }

    /// One whose calls fail at once while the server is known to be away.
    pub(super) fn failing_fast(connector: Arc<Connector>, places: usize) -> Self {
        Self { away: Some(Away::default()), ..Self::new(connector, places) }
    }

    /// Runs `work` on a connection, and again on a new one where it was lost in
    /// it, as long as the call lasts. So `work` must be such that it can be done
    /// again when nobody knows whether it was done.
    ///
    /// # Errors
    /// Those of `work`; transient where no connection is to be had in time.
    pub(super) fn with<T>(&self, mut work: impl FnMut(&mut Session) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.connector.call_timeout();
        let trying = self.away.as_ref().map(Away::enter).transpose()?.flatten();
        let mut place = self.take(deadline)?;
        let mut wait = Duration::ZERO;
        loop {
            if place.session.as_mut().is_none_or(|session| !session.look()) {
                place.session = None;
                // Who tries a server that is away waits for nothing but its answer.
                let until = if trying.is_some() { Instant::now() } else { deadline };
                let connected = self.connect(deadline, until);
                if let Some(away) = &self.away {
                    away.note(&connected, true);
                }
                place.session = Some(connected?);
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
                done => {
                    if let Some(away) = &self.away {
                        away.note(&done, is_lost);
                    }
                    return done;
                }
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

    /// A connection by `deadline`; none is tried after `until`.
    fn connect(&self, deadline: Instant, until: Instant) -> Result<Session> {
        let mut wait = BACKOFF.0;
        loop {
            match self.connector.connect(deadline) {
                Err(StoreError::Transient(_)) if Instant::now() + wait < until => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn gone() -> Result<()> {
        Err(StoreError::Transient("nobody at nowhere:1".into()))
    }

    #[test]
    fn one_tries_a_server_that_is_away_and_the_others_are_told_why_at_once() {
        let away = Away::default();
        assert!(away.enter().unwrap().is_none());
        away.note(&gone(), true);
        let trying = away.enter().unwrap();
        assert!(trying.is_some());
        let told = away.enter().err().unwrap();
        assert!(told.to_string().contains("nobody at nowhere:1"), "{told}");
        drop(trying);
        let trying = away.enter().unwrap();
        away.note(&Ok(()), false);
        assert!(away.enter().unwrap().is_none(), "the server answers while {} tries", trying.is_some());
    }

    #[test]
    fn a_query_that_the_server_itself_gave_up_says_nothing_about_the_server() {
        let away = Away::default();
        away.note(&gone(), false);
        assert!(away.enter().unwrap().is_none());
    }
}
