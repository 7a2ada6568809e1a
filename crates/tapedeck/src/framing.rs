//! The schema registry that the config names, put before the log.
//!
//! Not here: what it does (`tapedeck-registry`).

use std::sync::Arc;

use tapedeck_log::Log;
use tapedeck_registry::{FramedLog, Registry};

use crate::{
    config::{Config, LogKind},
    exit,
};

/// What is done before roles start on a log with a registry before it.
#[derive(Default)]
pub(crate) struct Framing(Option<Arc<FramedLog>>);

impl Framing {
    /// Finds the ids of the schemas that are written with.
    ///
    /// # Errors
    /// The registry does not answer, or a schema is not there or breaks readers.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        match &self.0 {
            Some(framed) => framed.prepare().map_err(exit::input),
            None => Ok(()),
        }
    }
}

/// The log with the registry before it, where one is configured.
///
/// # Errors
/// The config of the registry cannot be used.
pub(crate) fn before(log: Arc<dyn Log>, config: &Config) -> anyhow::Result<(Arc<dyn Log>, Framing)> {
    if !config.registry_section.is_on() {
        return Ok((log, Framing::default()));
    }
    let framed = Arc::new(FramedLog::new(log, registry(config)?));
    Ok((Arc::clone(&framed) as Arc<dyn Log>, Framing(Some(framed))))
}

/// The registry; nothing is asked yet. Subjects are named by the topics of the
/// cluster that the config names: a replay writes with the same schemas.
///
/// # Errors
/// The config of the registry cannot be used.
pub(crate) fn registry(config: &Config) -> anyhow::Result<Registry> {
    let prefix = if config.log.kind == LogKind::Kafka { config.kafka_section.prefix.as_str() } else { "" };
    Registry::open(config.registry(), prefix).map_err(exit::input)
}
