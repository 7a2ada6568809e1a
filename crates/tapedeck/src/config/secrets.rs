//! Secrets of the config: a file names where each is kept, and never the secret.
//!
//! What is read lies apart from the sections, so that whoever prints or writes
//! down a config prints the reference.
//!
//! Not here: what the secrets are for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use toml::{Table, Value};

use super::{Config, LogKind, StoreKind};

/// A cursor key that somebody could guess protects nothing.
const CURSOR_KEY_BYTES: usize = 16;

/// The secrets by their keys.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Secrets(BTreeMap<String, String>);

/// Names only.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads what the config refers to, as far as the chosen log and store need it.
    ///
    /// # Errors
    /// The key, and what is wrong with its reference; never the secret.
    pub(super) fn read(config: &Config, variables: &BTreeMap<String, String>) -> Result<Self, (String, String)> {
        let (kafka, postgres) = (&config.kafka_section, &config.postgres_section);
        let mut references = vec![
            ("kafka.sasl_password".to_owned(), &kafka.sasl_password),
            ("kafka.key_password".to_owned(), &kafka.key_password),
            ("postgres.password".to_owned(), &postgres.password),
            ("registry.password".to_owned(), &config.registry_section.password),
            ("api.cursor_key".to_owned(), &config.api.cursor_key),
        ];
        for (name, value) in kafka.properties.iter().filter(|(name, _)| is_secret_property(name)) {
            references.push((format!("kafka.properties.{name}"), value));
        }
        if holds_password(&postgres.url) {
            let why = "it holds a password, which everybody sees who sees the config: take it out, and write password = \"env:NAME\" or \"file:PATH\"";
            return Err(("postgres.url".into(), why.into()));
        }
        let mut secrets = BTreeMap::new();
        for (key, reference) in references.into_iter().filter(|(_, reference)| !reference.is_empty()) {
            let reference = Reference::parse(reference).map_err(|why| (key.clone(), why))?;
            let is_used = match key.split('.').next() {
                Some("kafka") => config.log.kind == LogKind::Kafka,
                Some("postgres") => config.store.kind == StoreKind::Postgres,
                Some("registry") => config.registry_section.is_on(),
                _ => true,
            };
            if is_used {
                let secret = reference.read(variables).map_err(|why| (key.clone(), why))?;
                secrets.insert(key, secret);
            }
        }
        let short = |secret: &String| secret.len() < CURSOR_KEY_BYTES;
        if secrets.get("api.cursor_key").is_some_and(short) {
            let why = format!(
                "the secret it refers to is shorter than {CURSOR_KEY_BYTES} bytes: make one with `openssl rand -hex 32`"
            );
            return Err(("api.cursor_key".into(), why));
        }
        Ok(Self(secrets))
    }

    /// A secret; empty where there is none.
    pub(super) fn get(&self, key: &str) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }
}

/// Whether a property of librdkafka is one that nobody may see.
pub(super) fn is_secret_property(name: &str) -> bool {
    ["password", "secret", "ssl.key.pem"].iter().any(|word| name.contains(word)) || name == "ssl_key"
}

/// The variables that the config refers to, which are no keys of it.
pub(super) fn variables_referred_to(file: &Table, variables: &BTreeMap<String, String>) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Table(table) => table.values().for_each(|value| walk(value, found)),
            Value::String(text) => found.extend(text.strip_prefix("env:").map(str::to_owned)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    file.values().for_each(|value| walk(value, &mut found));
    found.extend(variables.values().filter_map(|text| text.trim_matches('"').strip_prefix("env:")).map(str::to_owned));
    found
}

/// Whether a connection string holds a password.
fn holds_password(url: &str) -> bool {
    let in_address =
        url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).is_some_and(|(who, _)| who.contains(':'));
    in_address || url.contains("password=")
}

enum Reference<'a> {
    Variable(&'a str),
    File(&'a str),
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Variable(name)),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path)),
            _ => Err("a secret is not written here: write \"env:NAME\" for the variable that holds it, or \"file:PATH\" for the file".into()),
        }
    }

    fn read(&self, variables: &BTreeMap<String, String>) -> Result<String, String> {
        let secret = match self {
            Self::Variable(name) => variables.get(*name).cloned().ok_or_else(|| {
                format!(
                    "the variable {name} is not set: set it for this process, or refer to a file with \"file:PATH\""
                )
            })?,
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?
            }
        };
        // Editors end a file with a newline, which no password has.
        let secret = secret.trim_end_matches(['\r', '\n']);
        match secret.is_empty() {
            true => Err("what it refers to is empty".into()),
            false => Ok(secret.to_owned()),
        }
    }
}
