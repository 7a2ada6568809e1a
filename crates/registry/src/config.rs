//! The `[registry]` section, and what is wrong with it.
//!
//! Not here: defaults with their reasons for people, which `default.toml` of the
//! binary shows.

use serde::{Deserialize, Serialize};
use tapedeck_contracts::catalogue::Catalogue;

/// How bodies are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON, its schema a JSON Schema.
    #[default]
    Json,
    /// Avro's binary form.
    Avro,
}

impl Format {
    /// The registry's word for schemas of this form.
    pub fn schema_type(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Avro => "AVRO",
        }
    }
}

/// The `[registry]` section. Both forms are read wherever they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// Where the registry answers, `http://host:port` and, where it has one, a
    /// path; empty for no registry.
    pub url: String,
    /// How bodies are written.
    pub format: Format,
    /// Whether what is written is framed; reading needs no word.
    pub write: bool,
    /// The topics that are written so; all of the contract where empty.
    pub topics: Vec<String>,
    /// Registers a schema that is not there yet, where that breaks nobody; else
    /// only those are used that are there.
    pub auto_register: bool,
    /// Who this is, where the registry asks.
    pub username: String,
    /// The password, already read from where the config refers to; never shown.
    pub password: String,
    /// PEM file of the authorities that are trusted; the system's where empty.
    pub ca_file: String,
    /// How long one question may take.
    pub request_timeout_ms: u64,
    /// After one that failed, so long none is asked.
    pub retry_ms: u64,
    /// How long a start waits for a registry that does not answer.
    pub start_wait_ms: u64,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            format: Format::Json,
            write: false,
            topics: Vec::new(),
            auto_register: false,
            username: String::new(),
            password: String::new(),
            ca_file: String::new(),
            request_timeout_ms: 3_000,
            retry_ms: 500,
            start_wait_ms: 30_000,
        }
    }
}

impl RegistryConfig {
    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// What is wrong, each text with its key first and its remedy.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.is_on() {
            if self.write {
                wrong.push("registry.write needs a registry: set registry.url, or leave it out".to_owned());
            }
            return wrong;
        }
        if !["http://", "https://"]
            .iter()
            .any(|scheme| self.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        {
            wrong.push(format!("registry.url is \"{}\": expected http://host:port or https://host:port", self.url));
        }
        if self.url.split('/').nth(2).is_some_and(|host| host.contains('@')) {
            wrong.push("registry.url names a user: set registry.username and registry.password instead".to_owned());
        }
        for topic in &self.topics {
            if Catalogue::get().topic(topic).is_none_or(|topic| topic.event.is_none()) {
                wrong.push(format!(
                    "registry.topics names `{topic}`, which carries no event of the contract: `tapedeck schema list` shows those that do"
                ));
            }
        }
        if self.username.is_empty() != self.password.is_empty() {
            wrong.push("registry.username and registry.password belong together: give both, or neither".to_owned());
        }
        let ranges = [
            ("request_timeout_ms", self.request_timeout_ms, 100..=10_000, "longer ones cost a role its seat"),
            ("retry_ms", self.retry_ms, 10..=60_000, "in between records wait"),
            ("start_wait_ms", self.start_wait_ms, 0..=600_000, "a start that waits longer looks hung"),
        ];
        for (key, value, range, why) in ranges {
            if !range.contains(&value) {
                wrong.push(format!(
                    "registry.{key} is {value}: it must be from {} to {} ({why})",
                    range.start(),
                    range.end()
                ));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_url_there_is_no_registry_and_nothing_to_check() {
        assert_eq!((RegistryConfig::default().is_on(), RegistryConfig::default().check()), (false, Vec::new()));
    }

    #[test]
    fn what_is_wrong_names_its_key_and_a_remedy() {
        let config = RegistryConfig {
            url: "registry:8081".into(),
            topics: vec!["alerts".into()],
            username: "deck".into(),
            request_timeout_ms: 60_000,
            ..RegistryConfig::default()
        };
        let wrong = config.check();
        for (text, key) in
            wrong.iter().zip(["registry.url", "registry.topics", "registry.username", "registry.request_timeout_ms"])
        {
            assert!(text.starts_with(key), "{text}");
        }
        assert_eq!(wrong.len(), 4);
        let write = RegistryConfig { write: true, ..RegistryConfig::default() };
        assert!(write.check()[0].contains("registry.url"));
    }

    #[test]
    fn a_url_with_a_user_in_it_is_refused() {
        let config = RegistryConfig { url: "https://me:secret@registry".into(), ..RegistryConfig::default() };
        assert!(config.check()[0].contains("registry.username"));
        assert!(!config.check()[0].contains("secret"));
    }
}
