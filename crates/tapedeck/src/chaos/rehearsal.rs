//! What a process that is rehearsed with is told from outside: where to end
//! itself, and which file says how log and store shall fail.
//!
//! Not here: the faults themselves (`faults`), and who asks for them (`mod`).

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use tapedeck_flow::{Boundaries, Boundary};
use tapedeck_log::Log;
use tapedeck_store::Store;

use super::faults::{Faults, FaultyLog, FaultyStore};

/// `<boundary>:<n>`: the process ends itself when it passes it the n-th time.
pub(crate) const KILL_AT: &str = "TAPEDECK_KILL_AT";
/// The file that says how log and store fail.
pub(crate) const FAULTS: &str = "TAPEDECK_CHAOS_FAULTS";

/// What a rehearsal does to this process; by default nothing.
#[derive(Clone, Default)]
pub(crate) struct Rehearsal {
    boundaries: Boundaries,
    faults: Option<Arc<Faults>>,
}

impl Rehearsal {
    /// Reads what the environment asks for.
    ///
    /// # Errors
    /// Names the variable and what it may say.
    pub(crate) fn of(variables: &BTreeMap<String, String>) -> Result<Self, String> {
        let boundaries = match variables.get(KILL_AT) {
            Some(text) => killing(text.parse().map_err(|why| format!("{KILL_AT}: {why}"))?),
            None => Boundaries::default(),
        };
        let faults = variables.get(FAULTS).map(|path| Arc::new(Faults::new(PathBuf::from(path))));
        if faults.is_some() {
            // A rehearsal that dies must not leave a deck behind that nobody knows of.
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("{FAULTS}: {error}"))?;
        }
        Ok(Self { boundaries, faults })
    }

    pub(crate) fn boundaries(&self) -> Boundaries {
        self.boundaries.clone()
    }

    /// The log, with faults around it where they are asked for.
    pub(crate) fn log(&self, log: Arc<dyn Log>) -> Arc<dyn Log> {
        match &self.faults {
            Some(faults) => Arc::new(FaultyLog::new(log, Arc::clone(faults), self.boundaries())),
            None => log,
        }
    }

    /// The store, with faults around it where they are asked for.
    pub(crate) fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match &self.faults {
            Some(faults) => Arc::new(FaultyStore::new(store, Arc::clone(faults))),
            None => store,
        }
    }
}

/// Where a process ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KillAt {
    pub(crate) boundary: Boundary,
    /// The how-manieth time it is passed, from 1.
    pub(crate) nth: u64,
}

impl std::fmt::Display for KillAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.boundary.name(), self.nth)
    }
}

impl std::str::FromStr for KillAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (boundary, nth) = text.split_once(':').ok_or_else(|| {
            format!("expected a boundary and how often it is passed, such as `apply:3`, found `{text}`")
        })?;
        let boundary = boundary.parse()?;
        match nth.parse() {
            Ok(nth) if nth > 0 => Ok(Self { boundary, nth }),
            _ => Err(format!("expected a number from 1 on after `{}:`, found `{nth}`", boundary.name())),
        }
    }
}

fn killing(at: KillAt) -> Boundaries {
    let left = AtomicU64::new(at.nth);
    Boundaries::calling(move |boundary| {
        if boundary == at.boundary && left.fetch_sub(1, Relaxed) == 1 {
            // Nothing of this process runs on: no buffer is flushed, no file closed.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_end_is_a_boundary_and_a_number() {
        let at: KillAt = "spool-write:3".parse().unwrap();
        assert_eq!(at, KillAt { boundary: Boundary::SpoolWrite, nth: 3 });
        assert_eq!(at.to_string(), "spool-write:3");
    }

    #[test]
    fn an_unknown_boundary_is_an_error_with_all_names() {
        let variables = BTreeMap::from([(KILL_AT.to_owned(), "ringg:1".to_owned())]);
        let error = Rehearsal::of(&variables).err().unwrap();
        for boundary in Boundary::ALL {
            assert!(error.contains(boundary.name()), "{error}");
        }
        assert!(error.starts_with("TAPEDECK_KILL_AT: "), "{error}");
    }

    #[test]
    fn a_number_below_one_is_an_error() {
        assert!("apply:0".parse::<KillAt>().unwrap_err().contains("from 1"));
        assert!("apply".parse::<KillAt>().unwrap_err().contains("apply:3"));
    }
}
