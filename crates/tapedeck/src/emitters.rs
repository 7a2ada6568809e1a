//! The emitters of a deck: each in a folder of its own under the data folder,
//! opened before who emits through it, and closed after.
//!
//! Not here: emitting.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use tapedeck_flow::{
    Boundaries,
    emitter::{Emitter, EmitterConfig, EmitterStats},
};
use tapedeck_log::{Log, TopicConfig};

use crate::{
    config::{Config, LogKind},
    exit,
    known_topics::KnownTopics,
};

/// Under the data folder: what ring and spool keep, a folder an emitter.
pub(crate) const DIR: &str = "emitter";

/// The emitters at work.
pub(crate) struct Emitters {
    /// The log as they see it: its topics are known also while it is away.
    log: Arc<dyn Log>,
    dir: PathBuf,
    at_work: Vec<(String, Arc<Emitter>)>,
}

impl Emitters {
    /// None yet; `data` is the data folder, `wanted` are the topics that a log will have
    /// that nobody has seen yet.
    pub(crate) fn on(log: &Arc<dyn Log>, data: &Path, config: &Config, wanted: Vec<TopicConfig>) -> Self {
        let log = match config.log.kind {
            LogKind::Embedded => Arc::clone(log),
            LogKind::Kafka => Arc::new(KnownTopics::before(Arc::clone(log), data, wanted)),
        };
        Self { log, dir: data.join(DIR), at_work: Vec::new() }
    }

    /// Opens one by name; what an earlier process left in its folder waits to be
    /// sent.
    ///
    /// # Errors
    /// The folder or the ring cannot be made.
    pub(crate) fn open(
        &mut self,
        name: &str,
        config: &EmitterConfig,
        boundaries: Boundaries,
    ) -> anyhow::Result<Arc<Emitter>> {
        let opened = Emitter::open(Arc::clone(&self.log), &self.dir.join(name), name, config, boundaries);
        let emitter = Arc::new(opened.map_err(|error| exit::folder(format!("emitter {name}: {error}")))?);
        self.at_work.push((name.to_owned(), Arc::clone(&emitter)));
        Ok(emitter)
    }

    /// How each stands, by name.
    pub(crate) fn stats(&self) -> Vec<(String, Arc<EmitterStats>)> {
        self.at_work.iter().map(|(name, emitter)| (name.clone(), emitter.stats())).collect()
    }

    /// Sends what can be sent by then; the rest stays for the next start.
    pub(crate) fn close(self, deadline: Instant) {
        for (name, emitter) in self.at_work {
            // A role that did not end in time holds its own; it bears the end of
            // the process as it bears a kill.
            let Some(emitter) = Arc::into_inner(emitter) else { continue };
            let closed = emitter.close(deadline.saturating_duration_since(Instant::now()));
            if closed.remaining > 0 {
                tracing::warn!(emitter = name, records = closed.remaining, "not sent yet; the next start sends them");
            }
        }
    }
}
