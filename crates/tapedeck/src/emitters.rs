//! The emitters of a deck: each in a folder of its own under the data folder,
//! opened before who emits through it, and closed after.
//!
//! Not here: emitting.

use std::{path::Path, sync::Arc, time::Instant};

use tapedeck_flow::{
    Boundaries,
    emitter::{Emitter, EmitterConfig, EmitterStats},
};
use tapedeck_log::Log;

use crate::exit;

/// Under the data folder: what ring and spool keep, a folder an emitter.
const DIR: &str = "emitter";

/// The emitters at work.
#[derive(Default)]
pub(crate) struct Emitters(Vec<(String, Arc<Emitter>)>);

impl Emitters {
    /// Opens one by name; what an earlier process left in its folder waits to be
    /// sent.
    ///
    /// # Errors
    /// The folder or the ring cannot be made.
    pub(crate) fn open(
        &mut self,
        name: &str,
        log: &Arc<dyn Log>,
        data: &Path,
        config: &EmitterConfig,
        boundaries: Boundaries,
    ) -> anyhow::Result<Arc<Emitter>> {
        let dir = data.join(DIR).join(name);
        let opened = Emitter::open(Arc::clone(log), &dir, name, config, boundaries);
        let emitter = Arc::new(opened.map_err(|error| exit::folder(format!("emitter {name}: {error}")))?);
        self.0.push((name.to_owned(), Arc::clone(&emitter)));
        Ok(emitter)
    }

    /// How each stands, by name.
    pub(crate) fn stats(&self) -> Vec<(String, Arc<EmitterStats>)> {
        self.0.iter().map(|(name, emitter)| (name.clone(), emitter.stats())).collect()
    }

    /// Sends what can be sent by then; the rest stays for the next start.
    pub(crate) fn close(self, deadline: Instant) {
        for (name, emitter) in self.0 {
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
