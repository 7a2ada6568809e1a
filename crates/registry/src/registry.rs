//! A schema registry: what is asked of it, and what it said.
//!
//! Not here: how it is asked (`client`), opening values (`opener`) and judging
//! schemas (`verdict`).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tapedeck_flow::backoff::Backoff;

use crate::{Format, RegistryConfig, RegistryError, Subject, Verdict, client::Client, known::Known, writer::Writer};

/// A registry that is configured.
#[derive(Debug)]
pub struct Registry {
    pub(crate) config: RegistryConfig,
    /// Before the names of topics on the cluster.
    prefix: String,
    pub(crate) client: Client,
    pub(crate) known: Known,
}

impl Registry {
    /// Nothing is asked yet. `prefix` stands before the names of topics on the
    /// cluster, and so before those of subjects.
    ///
    /// # Errors
    /// The config cannot be used.
    pub fn open(config: RegistryConfig, prefix: &str) -> Result<Self, RegistryError> {
        let client = Client::new(&config)?;
        Ok(Self { config, prefix: prefix.to_owned(), client, known: Known::default() })
    }

    /// The schema of a topic as this version writes it, in a form or in the
    /// config's; none where the topic carries no event.
    pub fn subject(&self, topic: &str, format: Option<Format>) -> Option<Subject> {
        Subject::of(topic, &self.prefix, format.unwrap_or(self.config.format))
    }

    /// Those of all topics that the config says are written framed.
    pub fn subjects(&self) -> Vec<Subject> {
        Subject::written(&self.config, &self.prefix)
    }

    /// Whether what is written is framed.
    pub fn writes(&self) -> bool {
        self.config.write
    }

    /// The writers of all topics that are written framed, their ids looked up, or
    /// registered where the config allows it.
    ///
    /// # Errors
    /// Refused where a schema is not there and may not be registered, or breaks
    /// readers; away where the registry cannot be asked.
    pub(crate) fn writers(&self) -> Result<BTreeMap<Arc<str>, Writer>, RegistryError> {
        let subjects = self.subjects().into_iter();
        subjects
            .map(|subject| Ok((subject.topic.as_str().into(), Writer::new(&subject, self.id(&subject)?)?)))
            .collect()
    }

    /// The same; where the registry is away, it is asked again for a while.
    ///
    /// # Errors
    /// Those of [`Registry::writers`].
    pub(crate) fn writers_at_last(&self) -> Result<BTreeMap<Arc<str>, Writer>, RegistryError> {
        let until = Instant::now() + Duration::from_millis(self.config.start_wait_ms);
        let mut backoff = Backoff::default();
        loop {
            match self.writers() {
                Err(RegistryError::Away(why)) if Instant::now() < until => {
                    tracing::warn!(why, "the ids of schemas are asked for again");
                    std::thread::sleep(backoff.next_wait().min(until.saturating_duration_since(Instant::now())));
                }
                answer => return answer,
            }
        }
    }

    fn id(&self, subject: &Subject) -> Result<u32, RegistryError> {
        if self.config.auto_register {
            return self.register(subject);
        }
        match self.judge(subject)? {
            Verdict::Registered { id, .. } => Ok(id),
            _ => Err(RegistryError::Refused(format!(
                "the schema that `{}` is written with is not in subject `{}` of the schema registry: register it with \
                 `tapedeck schema register {}`, or set `auto_register = true` in `[registry]`",
                subject.topic, subject.name, subject.topic
            ))),
        }
    }
}
