//! The emitters of a deck: each in a folder of its own under the data folder,
//! opened before who emits through it, and closed after.
//!
//! Not here: emitting.

use std::{path::Path, sync::Arc, time::Instant};

use tapedeck_flow::{
    Boundaries, Stop,
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
            tracing::debug!(emitter = name, ?closed, "closed");
        }
    }
}

/// Sends what an earlier process left, all of it, beside the start: the log may
/// be away, and who asks for health must be answered meanwhile.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn send_leftovers(emitter: Arc<Emitter>, stop: Stop) -> anyhow::Result<()> {
    std::thread::Builder::new().name("leftovers".into()).spawn(move || {
        match emitter.send_leftovers(&mut |_| true, &stop) {
            Ok(leftovers) => tracing::debug!(?leftovers, "sent what an earlier process left"),
            Err(failure) => tracing::error!("what an earlier process left is not sent: {failure}"),
        }
    })?;
    Ok(())
}
