//! The effective config: the defaults, the file over them, the environment over
//! both, and what is wrong with them together.
//!
//! Not here: what a section means, which its role or crate says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tapedeck_api::{ApiConfig, WsConfig};
use tapedeck_flow::{config::DeliveryConfig, emitter::EmitterConfig};
use tapedeck_kafka::KafkaConfig;
use tapedeck_registry::RegistryConfig;
use tapedeck_roles::{
    forward_test::{
        BrokerSetup, SourceInfo,
        config::{BrokerConfig, EssConfig, RiskConfig, SessionConfig},
    },
    inference::InferenceConfig,
    instruments::Instrument,
    market::{
        self,
        config::{MarketConfig, SourceConfig},
    },
    strategy::{Strategies, StrategyConfig},
};
use tapedeck_store::PostgresConfig;

mod cluster;
mod inference;
mod limits;
mod load;
mod places;
mod secrets;

pub(crate) use load::load;
use places::Places;
use secrets::Secrets;

/// Everything that can be configured; see `default.toml` for each key's reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data: DataConfig,
    pub(crate) log: LogConfig,
    /// Secrets in it are references; [`Config::kafka`] reads them.
    #[serde(rename = "kafka")]
    pub(crate) kafka_section: KafkaConfig,
    /// Its password is a reference; [`Config::registry`] reads it.
    #[serde(rename = "registry")]
    pub(crate) registry_section: RegistryConfig,
    pub(crate) store: StoreConfig,
    /// Secrets in it are references; [`Config::postgres`] reads them.
    #[serde(rename = "postgres")]
    pub(crate) postgres_section: PostgresConfig,
    pub(crate) api: ApiConfig,
    pub(crate) ws: WsConfig,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) emitter: EmitterConfig,
    pub(crate) market: MarketConfig,
    /// Without what the sessions say; [`Config::inference`] has it.
    #[serde(rename = "inference")]
    pub(crate) inference_section: InferenceConfig,
    pub(crate) broker: BrokerConfig,
    pub(crate) risk: RiskConfig,
    pub(crate) ess: EssConfig,
    #[serde(default)]
    pub(crate) sources: Vec<SourceConfig>,
    #[serde(default)]
    pub(crate) instruments: Vec<Instrument>,
    #[serde(default)]
    pub(crate) strategies: Vec<StrategyConfig>,
    #[serde(default)]
    pub(crate) sessions: Vec<SessionConfig>,
    /// Where each key was set.
    #[serde(skip)]
    places: Places,
    /// What the references led to.
    #[serde(skip)]
    secrets: Secrets,
}

/// The `[data]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataConfig {
    pub(crate) dir: PathBuf,
}

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogConfig {
    pub(crate) kind: LogKind,
    pub(crate) max_record_bytes: usize,
    pub(crate) max_topic_bytes: u64,
    pub(crate) compression: Compression,
    pub(crate) session_timeout_ms: u64,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogKind {
    /// In this process, in the data folder.
    Embedded,
    /// On a cluster.
    Kafka,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// A file in the data folder.
    Sqlite,
    /// A server.
    Postgres,
}

/// How batches lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Compression {
    None,
    Lz4,
}

/// The `[store]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreConfig {
    pub(crate) kind: StoreKind,
    pub(crate) busy_timeout_ms: u64,
    pub(crate) retention_days: RetentionDays,
}

/// Days that each table keeps its rows from their ingest; 0 keeps for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionDays {
    pub(crate) exec_reports: u64,
    pub(crate) risk_metrics: u64,
    pub(crate) alerts: u64,
    pub(crate) signals: u64,
    pub(crate) forensics: u64,
}

impl Config {
    /// What is wrong with the sections together, each line with its place and its
    /// remedy.
    pub(crate) fn check(&self) -> Vec<String> {
        self.wrong().into_iter().map(|text| self.placed(text)).collect()
    }

    /// What is set and does nothing beside the rest; not wrong, and likely not meant.
    pub(crate) fn idle(&self) -> Vec<String> {
        cluster::idle(self).into_iter().map(|text| self.placed(text)).collect()
    }

    /// The `[kafka]` section with its secrets.
    pub(crate) fn kafka(&self) -> KafkaConfig {
        let mut kafka = self.kafka_section.clone();
        kafka.sasl_password = self.secrets.get("kafka.sasl_password");
        kafka.key_password = self.secrets.get("kafka.key_password");
        for (name, value) in &mut kafka.properties {
            if secrets::is_secret_property(name) {
                *value = self.secrets.get(&format!("kafka.properties.{name}"));
            }
        }
        kafka
    }

    /// The `[registry]` section with its secret.
    pub(crate) fn registry(&self) -> RegistryConfig {
        RegistryConfig { password: self.secrets.get("registry.password"), ..self.registry_section.clone() }
    }

    /// The `[postgres]` section with its secret.
    pub(crate) fn postgres(&self) -> PostgresConfig {
        PostgresConfig { password: self.secrets.get("postgres.password"), ..self.postgres_section.clone() }
    }

    /// The secret that all api processes sign cursors with; none where the data
    /// folder's own key is used.
    pub(crate) fn cursor_secret(&self) -> Option<String> {
        Some(self.secrets.get("api.cursor_key")).filter(|secret| !secret.is_empty())
    }

    /// With the line at which the key stands that a text begins with.
    fn placed(&self, text: String) -> String {
        match self.places.of_text(&text, &self.strategies) {
            Some(place) => format!("{place}: {text}"),
            None => text,
        }
    }

    fn wrong(&self) -> Vec<String> {
        let mut wrong = market::check(&self.market, &self.sources);
        let (_, compilations) = Strategies::compile(&self.strategies);
        for compilation in compilations {
            let id = &compilation.strategy_id;
            wrong.extend(compilation.diagnostics.iter().map(|text| format!("strategies `{id}`: {text}")));
        }
        for strategy in &self.strategies {
            if !self.sessions.iter().any(|session| session.id == strategy.session_id) {
                wrong.push(format!(
                    "strategies `{}`: session_id `{}` is no session; add `[[sessions]]` with that id",
                    strategy.id, strategy.session_id
                ));
            }
        }
        for (strategy, source) in
            self.strategies.iter().filter_map(|strategy| Some((strategy, strategy.source.as_ref()?)))
        {
            let session = self.sessions.iter().find(|session| session.id == strategy.session_id);
            if let Some(session) = session.filter(|session| session.market_source != *source) {
                wrong.push(format!(
                    "strategies `{}`: source `{source}` is not what session `{}` listens to (`{}`), so none of its signals \
                     would trade; leave `source` out",
                    strategy.id, session.id, session.market_source
                ));
            }
        }
        wrong.extend(self.broker_setup().check());
        wrong.extend(inference::check(self));
        wrong.extend(limits::check(&self.log, &self.delivery, &self.emitter));
        wrong.extend(cluster::check(self));
        wrong.extend(self.registry_section.check());
        wrong
    }

    /// The strategies, each with the market source of its session unless it
    /// names one itself.
    pub(crate) fn strategies_of_sources(&self) -> Vec<StrategyConfig> {
        let mut strategies = self.strategies.clone();
        for strategy in strategies.iter_mut().filter(|strategy| strategy.source.is_none()) {
            let session = self.sessions.iter().find(|session| session.id == strategy.session_id);
            strategy.source = session.map(|session| session.market_source.clone());
        }
        strategies
    }

    /// What the paper broker is made of.
    pub(crate) fn broker_setup(&self) -> BrokerSetup {
        let source = |source: &SourceConfig| SourceInfo {
            id: source.id.clone(),
            venue: source.venue.clone(),
            volume_unit: source.volume_unit,
        };
        BrokerSetup {
            sessions: self.sessions.clone(),
            instruments: self.instruments.clone(),
            broker: self.broker.clone(),
            risk: self.risk.clone(),
            ess: self.ess.clone(),
            sources: self.sources.iter().map(source).collect(),
        }
    }
}
