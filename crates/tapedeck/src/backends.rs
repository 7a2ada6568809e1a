//! The log and the store that the config names, opened; and the topics that must
//! be there.
//!
//! Not here: what runs on them, and changing a topic that is there (`topics apply`).

use std::{path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tapedeck_flow::{Stop, topics};
use tapedeck_kafka::{KafkaConfig, KafkaLog};
use tapedeck_log::{
    Log, TopicConfig, TopicInfo,
    embedded::{EmbeddedConfig, EmbeddedLog},
};
use tapedeck_store::{
    PostgresConfig, PostgresStore, Store,
    sqlite::{SqliteConfig, SqliteStore},
};

use crate::{
    awaited::{Awaited, Words},
    cli::Role,
    config::{Compression, Config, LogKind, StoreKind},
    deck::REPLAY_FILE,
    emitters, exit,
    folder::MEMBER_FILE,
    migrate,
};

/// The embedded log's file in the data folder.
pub(crate) const LOG_FILE: &str = "log.db";
/// SQLite's file in the data folder.
pub(crate) const STORE_FILE: &str = "store.db";
/// Names of its own on a cluster, for a folder that must not mix with others.
const OWN_NAMES_FILE: &str = "cluster.json";

/// What a deck leaves in its folder wherever its log and store are.
const OF_A_DECK: [&str; 2] = [MEMBER_FILE, emitters::DIR];

/// What stands before the names of a folder's topics, groups and tables, beside
/// the config's: a replay or a rehearsal shares the servers and nothing on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnNames {
    /// Before the names of topics, groups and transactional ids.
    pub(crate) prefix: String,
    /// The schema of the tables.
    pub(crate) schema: String,
    /// What the folder is for; empty in those of earlier versions.
    #[serde(default)]
    what: String,
}

impl OwnNames {
    /// Those of a folder that has some.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn of(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(OWN_NAMES_FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                exit::folder(format!("{} cannot be read ({error}): give another folder with --data", path.display()))
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(exit::folder(format!("cannot read {}: {error}", path.display()))),
        }
    }

    /// Gives a folder names of its own, where a cluster is configured and it has
    /// none yet. `what` says what the folder is for.
    ///
    /// # Errors
    /// The folder is one of `up`, which would find its own topics no more, or of something
    /// else; it cannot be written.
    pub(crate) fn give(dir: &Path, config: &Config, what: &str) -> anyhow::Result<Option<Self>> {
        if !is_on_servers(config) {
            return Ok(None);
        }
        if let Some(names) = Self::of(dir)? {
            if !names.what.is_empty() && names.what != what {
                let (dir, is) = (dir.display(), &names.what);
                return Err(exit::input(format!(
                    "{dir} is the folder of a {is}, and a {what} would mix with it: give another folder with --data"
                )));
            }
            return Ok(Some(names));
        }
        if OF_A_DECK.iter().any(|name| dir.join(name).exists()) {
            return Err(exit::input(format!(
                "{} is a data folder of `up`, and a {what} would mix with it: give another folder with --data",
                dir.display()
            )));
        }
        let id = &uuid::Uuid::new_v4().simple().to_string()[..8];
        let (prefix, schema) = (&config.kafka_section.prefix, &config.postgres_section.schema);
        let names = Self {
            prefix: format!("{prefix}{what}-{id}."),
            schema: format!("{schema}_{what}_{id}"),
            what: what.to_owned(),
        };
        let write = || {
            std::fs::create_dir_all(dir)?;
            std::fs::write(dir.join(OWN_NAMES_FILE), serde_json::to_vec_pretty(&names)?)
        };
        write().map_err(|error| exit::folder(format!("cannot write in {}: {error}", dir.display())))?;
        Ok(Some(names))
    }

    /// Refuses roles that trade in a folder that was a replay's or a demo's: they would
    /// go on in its topics, where nobody looks for them.
    ///
    /// # Errors
    /// There is such a role, and the folder has such names.
    pub(crate) fn refuse_trading(dir: &Path, config: &Config, roles: &[Role]) -> anyhow::Result<()> {
        let trades = roles.iter().any(|role| !matches!(role, Role::Recorder | Role::Api));
        let Some(names) = Self::of(dir)?.filter(|_| trades && is_on_servers(config)) else { return Ok(()) };
        if !["replay", "demo"].contains(&&*names.what) {
            return Ok(());
        }
        Err(exit::input(format!(
            "{dir} is the folder of a {what}, whose topics begin with `{prefix}`: give another folder with --data, or \
             look at this one with `tapedeck up --roles api --data {dir}`",
            dir = dir.display(),
            what = names.what,
            prefix = names.prefix
        )))
    }
}

/// Whether log or store are servers that others use too.
fn is_on_servers(config: &Config) -> bool {
    config.log.kind == LogKind::Kafka || config.store.kind == StoreKind::Postgres
}

/// The cluster as a folder sees it.
///
/// # Errors
/// The folder's own names cannot be read.
pub(crate) fn kafka_config(dir: &Path, config: &Config) -> anyhow::Result<KafkaConfig> {
    let mut kafka = config.kafka();
    if let Some(names) = OwnNames::of(dir)? {
        kafka.prefix = names.prefix;
    }
    Ok(kafka)
}

fn postgres_config(dir: &Path, config: &Config) -> anyhow::Result<PostgresConfig> {
    let mut postgres = config.postgres();
    if let Some(names) = OwnNames::of(dir)? {
        postgres.schema = names.schema;
    }
    Ok(postgres)
}

/// Opens the log.
///
/// # Errors
/// The folder's files are damaged, too new, or cannot be written; the cluster does
/// not answer or refuses, with what was tried.
pub(crate) fn open_log(dir: &Path, config: &Config) -> anyhow::Result<Arc<dyn Log>> {
    match config.log.kind {
        LogKind::Embedded => Ok(EmbeddedLog::open(dir, embedded_config(config)).map_err(exit::folder)?),
        LogKind::Kafka => Ok(KafkaLog::connect(&kafka_config(dir, config)?)?),
    }
}

/// Opens the log of a cluster whenever its brokers answer, and makes the topics that
/// are missing then.
///
/// # Errors
/// The cluster refuses, or its topics do not fit.
pub(crate) fn await_log(
    dir: &Path,
    config: &Config,
    wanted: Vec<TopicConfig>,
    stop: Stop,
) -> anyhow::Result<Arc<Awaited<dyn Log>>> {
    let at_first = format!("none of the brokers {} has answered yet", config.kafka_section.bootstrap_servers);
    let (dir, config, mut connected) = (dir.to_owned(), config.clone(), None);
    let open = move || {
        let log = match &connected {
            Some(log) => Arc::clone(log),
            None => Arc::clone(connected.insert(open_log(&dir, &config)?)),
        };
        migrate::refuse_half_moved_log(&*log, &kafka_config(&dir, &config)?.prefix)?;
        make_topics(&*log, &config, &wanted)?;
        Ok(log)
    };
    let until_then = "roles wait, and POST /api/v1/events/{topic}?ack=spool is taken";
    Awaited::open(open, &at_first, Words { name: "log", until_then }, stop)
}

/// Opens a store on a server, now or when it answers, unless somebody began to move to
/// it and has not finished.
///
/// # Errors
/// It refuses, or is half moved.
pub(crate) fn await_store(dir: &Path, config: &Config, stop: Stop) -> anyhow::Result<Arc<Awaited<dyn Store>>> {
    let (dir, config) = (dir.to_owned(), config.clone());
    let open = move || {
        let store = open_store(&dir, &config)?;
        refuse_half_moved(&dir, &config, None, &*store)?;
        Ok(store)
    };
    let until_then = "what is to be kept waits in the log, and what is asked of it gets a 503";
    Awaited::open(open, "PostgreSQL has not answered yet", Words { name: "store", until_then }, stop)
}

/// Opens the store.
///
/// # Errors
/// Those of [`open_log`], of the store.
pub(crate) fn open_store(dir: &Path, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match config.store.kind {
        StoreKind::Sqlite => {
            let sqlite = SqliteConfig { busy_timeout: Duration::from_millis(config.store.busy_timeout_ms) };
            Ok(SqliteStore::open(&dir.join(STORE_FILE), sqlite).map_err(exit::folder)?)
        }
        StoreKind::Postgres => Ok(PostgresStore::open(&postgres_config(dir, config)?)?),
    }
}

/// Refuses a log or a store that somebody began to move to and has not finished.
///
/// # Errors
/// One is, with what to do; those of both.
pub(crate) fn refuse_half_moved(
    dir: &Path,
    config: &Config,
    log: Option<&dyn Log>,
    store: &dyn Store,
) -> anyhow::Result<()> {
    if let Some(log) = log.filter(|_| config.log.kind == LogKind::Kafka) {
        migrate::refuse_half_moved_log(log, &kafka_config(dir, config)?.prefix)?;
    }
    match config.store.kind {
        StoreKind::Sqlite => Ok(()),
        StoreKind::Postgres => migrate::refuse_half_moved_store(store, &postgres_config(dir, config)?.schema),
    }
}

/// Whether the store is there already; nothing is made.
///
/// # Errors
/// Those of [`open_store`], also where it is not there and may not be made.
pub(crate) fn has_store(dir: &Path, config: &Config) -> anyhow::Result<bool> {
    match config.store.kind {
        StoreKind::Sqlite => Ok(dir.join(STORE_FILE).exists()),
        StoreKind::Postgres => Ok(PostgresStore::is_there(&postgres_config(dir, config)?)?),
    }
}

fn embedded_config(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        max_record_bytes: config.log.max_record_bytes,
        max_topic_bytes: config.log.max_topic_bytes,
        compress: config.log.compression == Compression::Lz4,
        session_timeout: Duration::from_millis(config.log.session_timeout_ms),
        ..EmbeddedConfig::default()
    }
}

/// The topics of the catalogue as this config wants them; without retention where
/// a folder keeps everything.
pub(crate) fn wanted_topics(config: &Config, keeps_all: bool) -> Vec<TopicConfig> {
    let bytes = (config.log.max_topic_bytes > 0).then_some(config.log.max_topic_bytes);
    let mut topics = topics::of_catalogue(bytes);
    if keeps_all {
        topics.iter_mut().for_each(|topic| (topic.retention, topic.retention_bytes) = (None, None));
    }
    topics
}

/// Makes the topics that are missing. On a cluster none is changed that is there:
/// one that cannot be worked with is an error.
///
/// # Errors
/// Those of the log; a topic that cannot be worked with, and what to do.
pub(crate) fn make_topics(log: &dyn Log, config: &Config, wanted: &[TopicConfig]) -> anyhow::Result<()> {
    if config.log.kind == LogKind::Embedded {
        return log.create_topics(wanted).map_err(exit::folder);
    }
    let there = log.topics()?;
    let unfit: Vec<String> = wanted.iter().filter_map(|topic| unfit(topic, find(&there, topic)?)).collect();
    if !unfit.is_empty() {
        return Err(exit::input(format!(
            "topics of the cluster do not fit:\n  {}\n`tapedeck topics plan` shows all that differs, `tapedeck topics apply` changes what can be changed",
            unfit.join("\n  ")
        )));
    }
    let missing: Vec<TopicConfig> = wanted.iter().filter(|topic| find(&there, topic).is_none()).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !config.kafka_section.create_topics {
        let names: Vec<&str> = missing.iter().map(|topic| &*topic.name).collect();
        return Err(exit::input(format!(
            "topics are missing and kafka.create_topics is false: {}. Make them with `tapedeck topics apply` as somebody who may",
            names.join(", ")
        )));
    }
    log.create_topics(&missing)?;
    Ok(())
}

/// Whether a folder keeps everything: a replay, which may go on after days.
pub(crate) fn keeps_all(dir: &Path) -> bool {
    dir.join(REPLAY_FILE).exists()
}

/// A topic among those that are there.
pub(crate) fn find<'a>(there: &'a [TopicInfo], wanted: &TopicConfig) -> Option<&'a TopicInfo> {
    there.iter().find(|info| info.config.name == wanted.name)
}

/// Why a topic cannot be worked with, where it cannot: state and keys go by the
/// number of partitions, and a state that is not compacted loses what is old.
fn unfit(wanted: &TopicConfig, there: &TopicInfo) -> Option<String> {
    let name = &wanted.name;
    if there.config.partitions < wanted.partitions {
        return Some(format!("{name} has {} partitions, not {}", there.config.partitions, wanted.partitions));
    }
    let cleanup = (there.config.delete, there.config.compact);
    (cleanup != (wanted.delete, wanted.compact))
        .then(|| format!("{name} is cleaned up by {}, not by {}", cleanup_of(&there.config), cleanup_of(wanted)))
}

/// `delete`, `compact` or `compact,delete`, as Kafka writes it.
pub(crate) fn cleanup_of(topic: &TopicConfig) -> &'static str {
    match (topic.compact, topic.delete) {
        (true, true) => "compact,delete",
        (true, false) => "compact",
        (false, true) => "delete",
        (false, false) => "nothing",
    }
}
