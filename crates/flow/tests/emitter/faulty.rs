//! A log that fails as it is told, before the real one.
//!
//! Not here: what is tested.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use tapedeck_log::{Log, LogAround, LogError, Placement, Record, Result, TopicInfo};

/// How it treats what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As the real one does.
    Well,
    /// Fails at once; it may work later.
    Down,
    /// Writes nothing and does not answer until it is in another mood; then fails.
    Hanging,
    /// Writes, and does not answer until it is in another mood.
    Late,
    /// Writes, and says that it failed.
    Lying,
    /// Refuses records whose value begins with `bad`.
    Picky,
    /// Writes, and takes so many milliseconds longer.
    Slow(u64),
    /// Panics when it is asked for its topics; writes as the real one does.
    Panicking,
}

pub(crate) struct Faulty {
    inner: Arc<dyn Log>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mood: Mood,
    calls: u64,
    out: u64,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Log>, mood: Mood) -> Arc<Self> {
        let state = Mutex::new(State { mood, calls: 0, out: 0 });
        Arc::new(Self { inner, state, changed: Condvar::new() })
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.lock().mood = mood;
        self.changed.notify_all();
    }

    /// How often it was asked to write, or panicked.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Waits until it was asked to write so often.
    pub(crate) fn wait_calls(&self, calls: u64) {
        drop(self.changed.wait_while(self.lock(), |state| state.calls < calls).unwrap());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn write(&self, records: &[Record], mood: Mood) -> Result<Vec<Placement>> {
        match mood {
            Mood::Well | Mood::Panicking => self.inner.append_kept(records),
            Mood::Down => Err(LogError::Transient("down".into())),
            Mood::Hanging => {
                drop(self.changed.wait_while(self.lock(), |state| state.mood == mood).unwrap());
                Err(LogError::Transient("gave up".into()))
            }
            Mood::Late => {
                let written = self.inner.append_kept(records);
                drop(self.changed.wait_while(self.lock(), |state| state.mood == mood).unwrap());
                written
            }
            Mood::Lying => {
                self.inner.append_kept(records)?;
                Err(LogError::Transient("who knows".into()))
            }
            Mood::Picky => match records.iter().position(is_bad) {
                Some(index) => Err(LogError::Poison { index, detail: "it is bad".into() }),
                None => self.inner.append_kept(records),
            },
            Mood::Slow(ms) => {
                let state = self.lock();
                let waited = self.changed.wait_timeout_while(state, Duration::from_millis(ms), |s| s.mood == mood);
                drop(waited.unwrap());
                self.inner.append_kept(records)
            }
        }
    }
}

fn is_bad(record: &Record) -> bool {
    record.value.as_deref().is_some_and(|value| value.starts_with(b"bad"))
}

impl LogAround for Faulty {
    fn under(&self) -> &dyn Log {
        &*self.inner
    }

    fn topics(&self) -> Result<Vec<TopicInfo>> {
        let mut state = self.lock();
        if state.mood == Mood::Panicking {
            state.calls += 1;
            drop(state);
            self.changed.notify_all();
            panic!("a log that panics");
        }
        drop(state);
        self.inner.topics()
    }

    fn append(&self, records: Vec<Record>) -> Result<Vec<Placement>> {
        LogAround::append_kept(self, &records)
    }

    fn append_kept(&self, records: &[Record]) -> Result<Vec<Placement>> {
        let mood = {
            let mut state = self.lock();
            state.calls += 1;
            state.out += 1;
            assert_eq!(state.out, 1, "one call at a time");
            state.mood
        };
        self.changed.notify_all();
        let result = self.write(records, mood);
        self.lock().out -= 1;
        result
    }
}
