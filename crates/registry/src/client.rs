//! Questions to the registry over its REST interface (Confluent's, which others
//! speak too), one call a question.
//!
//! Not here: remembering answers, and asking again.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{RegistryConfig, RegistryError};

/// Beyond it no answer is read: schemas are some kilobytes.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

type Result<T> = std::result::Result<T, RegistryError>;

/// A schema as the registry keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Stored {
    /// The schema's text.
    pub(crate) schema: String,
    /// AVRO where it does not say.
    #[serde(default, rename = "schemaType")]
    schema_type: Option<String>,
    /// Other schemas that this one needs.
    #[serde(default)]
    pub(crate) references: Vec<Value>,
    /// Its id, where it was not asked for by it.
    #[serde(default)]
    pub(crate) id: u32,
    /// Its version in its subject.
    #[serde(default)]
    pub(crate) version: u32,
}

impl Stored {
    /// `AVRO`, `JSON` or another.
    pub(crate) fn schema_type(&self) -> &str {
        self.schema_type.as_deref().unwrap_or("AVRO")
    }
}

/// A registry that is asked.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
    retry: Duration,
    /// When the last question failed, and why.
    failed: Mutex<Option<(Instant, String)>>,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub(crate) fn new(config: &RegistryConfig) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(config.request_timeout_ms)))
            .tls_config(tls(&config.ca_file)?)
            .http_status_as_error(false)
            .build();
        let user = (!config.username.is_empty()).then(|| format!("{}:{}", config.username, config.password));
        Ok(Self {
            agent: agent.into(),
            base: config.url.trim_end_matches('/').to_owned(),
            authorization: user.map(|user| format!("Basic {}", STANDARD.encode(user))),
            retry: Duration::from_millis(config.retry_ms),
            failed: Mutex::new(None),
        })
    }

    /// The schema of an id.
    pub(crate) fn schema(&self, id: u32) -> Result<Stored> {
        read(self.ask("GET", &format!("/schemas/ids/{id}"), None)?)
    }

    /// The newest version of a subject.
    pub(crate) fn latest(&self, subject: &str) -> Result<Stored> {
        read(self.ask("GET", &format!("/subjects/{}/versions/latest", escaped(subject)), None)?)
    }

    /// The version of a subject that is this schema.
    pub(crate) fn find(&self, subject: &str, schema_type: &str, schema: &str) -> Result<Stored> {
        let body = json!({ "schema": schema, "schemaType": schema_type });
        read(self.ask("POST", &format!("/subjects/{}", escaped(subject)), Some(&body))?)
    }

    /// How versions of a subject must fit, in the registry's word.
    pub(crate) fn level(&self, subject: &str) -> Result<String> {
        let of_subject = self.ask("GET", &format!("/config/{}?defaultToGlobal=true", escaped(subject)), None);
        let level = match of_subject {
            Err(RegistryError::NotFound(_)) => self.ask("GET", "/config", None)?,
            other => other?,
        };
        Ok(level["compatibilityLevel"].as_str().unwrap_or("NONE").to_owned())
    }

    /// Whether a schema fits the newest version, or why not in the registry's words.
    pub(crate) fn fits(&self, subject: &str, schema_type: &str, schema: &str) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Answer {
            is_compatible: bool,
            #[serde(default)]
            messages: Vec<String>,
            reason: Option<String>,
        }
        let path = format!("/compatibility/subjects/{}/versions/latest?verbose=true", escaped(subject));
        let body = json!({ "schema": schema, "schemaType": schema_type });
        let Answer { is_compatible, mut messages, reason } = read(self.ask("POST", &path, Some(&body))?)?;
        messages.extend(reason);
        Ok((!is_compatible).then(|| messages.join("; ")))
    }

    /// Registers a schema as the newest version of a subject, and says its id.
    pub(crate) fn register(&self, subject: &str, schema_type: &str, schema: &str) -> Result<u32> {
        #[derive(Deserialize)]
        struct Answer {
            id: u32,
        }
        let body = json!({ "schema": schema, "schemaType": schema_type });
        let path = format!("/subjects/{}/versions", escaped(subject));
        read::<Answer>(self.ask("POST", &path, Some(&body))?).map(|answer| answer.id)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        if let Some((at, why)) = &*self.failed()
            && at.elapsed() < self.retry
        {
            return Err(RegistryError::Away(why.clone()));
        }
        let answer = self.call(method, path, body);
        *self.failed() = match &answer {
            Err(RegistryError::Away(why)) => Some((Instant::now(), why.clone())),
            _ => None,
        };
        answer
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map_or_else(String::new, Value::to_string);
        let away = |detail: &dyn std::fmt::Display| {
            RegistryError::Away(format!(
                "the schema registry at {} does not answer ({detail}): is it running, and is `url` in `[registry]` right?",
                self.base
            ))
        };
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("accept", CONTENT_TYPE)
            .header("content-type", CONTENT_TYPE);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(body).map_err(|error| RegistryError::Refused(format!("registry.url: {error}")))?;
        let mut answer = self.agent.run(request).map_err(|error| away(&error))?;
        let status = answer.status().as_u16();
        let bytes =
            answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(|error| away(&error))?;
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        let words = value.as_ref().and_then(|value| value["message"].as_str()).map(str::to_owned);
        match (status, value) {
            (200..300, Some(value)) => Ok(value),
            // Only a registry's own 404 says that there is no such thing.
            (404, Some(value)) if (40_400..40_500).contains(&value["error_code"].as_u64().unwrap_or(0)) => {
                Err(RegistryError::NotFound(words.unwrap_or_default()))
            }
            (408 | 429 | 500.., _) => Err(RegistryError::Away(format!(
                "the schema registry at {} is in trouble: it answered {status}: {}",
                self.base,
                words.unwrap_or_default()
            ))),
            (401 | 403, _) => Err(RegistryError::Refused(format!(
                "the schema registry at {} refuses (it answered {status}: {}): check `username` and `password` in `[registry]`, and the rights of that user",
                self.base,
                words.unwrap_or_default()
            ))),
            (status, Some(_)) if words.is_some() && status != 404 => {
                Err(RegistryError::Refused(words.unwrap_or_default()))
            }
            _ => Err(RegistryError::Refused(format!(
                "{} answered {status} to {method} {path}, not as a schema registry does: is the path of `url` in `[registry]` right?",
                self.base
            ))),
        }
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(Instant, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tls(ca_file: &str) -> Result<ureq::tls::TlsConfig> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
    let config = TlsConfig::builder().provider(TlsProvider::NativeTls);
    if ca_file.is_empty() {
        return Ok(config.root_certs(RootCerts::PlatformVerifier).build());
    }
    let refuse = |detail: String| RegistryError::Refused(format!("registry.ca_file {ca_file}: {detail}"));
    let pem = std::fs::read(Path::new(ca_file)).map_err(|error| refuse(error.to_string()))?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(refuse("there is no certificate in it; expected PEM".to_owned()));
    }
    Ok(config.root_certs(certificates.into()).build())
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| RegistryError::Refused(format!("the schema registry's answer is none of its kind: {error}")))
}

/// A name as a part of a path.
fn escaped(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(escaped("a.b_c-d/e f"), "a.b_c-d%2Fe%20f");
    }
}
