//! What the registry says of a schema of ours, and registering it where that
//! breaks nobody.
//!
//! Not here: which schemas those are.

use std::time::Duration;

use apache_avro::{Schema, schema_compatibility::SchemaCompatibility};
use tapedeck_contracts::compat;

use crate::{Format, Latest, Registry, RegistryError, Subject, client::Stored};

/// A registry refuses what it is registering for somebody else at that moment, with
/// words of its own; a moment later it says how things stand.
const ATTEMPTS: u32 = 3;
/// That moment, and twice as long before the last attempt.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

type Result<T> = std::result::Result<T, RegistryError>;

/// How a schema of ours stands to what the registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The subject has no version yet.
    New,
    /// It is there.
    Registered {
        /// Its id.
        id: u32,
        /// Which version it is.
        version: u32,
    },
    /// Another version is the newest, and this one may follow it.
    Fits {
        /// The newest version.
        version: u32,
        /// The rule that it was held to, in the registry's word.
        level: String,
    },
    /// This one would break who reads or wrote the newest version.
    Breaks {
        /// The newest version.
        version: u32,
        /// Why, in the registry's words where it has a rule.
        words: String,
    },
}

impl Registry {
    /// The newest version of a subject; none where it has none.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn latest(&self, subject: &str) -> Result<Option<Latest>> {
        Ok(found(self.client.latest(subject))?.map(|stored| Latest {
            id: stored.id,
            version: stored.version,
            schema_type: stored.schema_type().to_owned(),
            schema: stored.schema,
        }))
    }

    /// How a schema stands to what the registry has. Nothing changes.
    ///
    /// # Errors
    /// The registry cannot be asked.
    pub fn judge(&self, subject: &Subject) -> Result<Verdict> {
        let (name, kind) = (&subject.name, subject.format.schema_type());
        if let Some(Stored { id, version, .. }) = found(self.client.find(name, kind, &subject.schema))? {
            return Ok(Verdict::Registered { id, version });
        }
        let Some(latest) = found(self.client.latest(name))? else { return Ok(Verdict::New) };
        let (version, level) = (latest.version, self.client.level(name)?);
        let words = match level.as_str() {
            _ if latest.schema_type() != kind => {
                Some(format!("its newest version is {}, and this is {kind}", latest.schema_type()))
            }
            // A registry without a rule takes anything; readers do not.
            "NONE" => breaks(subject, &latest.schema),
            _ => self.client.fits(name, kind, &subject.schema)?,
        };
        Ok(match words {
            Some(words) => Verdict::Breaks { version, words },
            None => Verdict::Fits { version, level: if level == "NONE" { "BACKWARD".to_owned() } else { level } },
        })
    }

    /// Registers a schema unless it is there, and says its id. What would break
    /// readers is not registered.
    ///
    /// # Errors
    /// Refused where it would break readers, or the rights are missing; away where
    /// the registry cannot be asked.
    pub fn register(&self, subject: &Subject) -> Result<u32> {
        let mut refused = String::new();
        for attempt in 0..ATTEMPTS {
            std::thread::sleep(AGAIN_AFTER * attempt);
            match self.judge(subject)? {
                Verdict::Registered { id, .. } => return Ok(id),
                Verdict::Breaks { version, words } => {
                    return Err(RegistryError::Refused(format!(
                        "the schema of `{}` does not fit version {version} of subject `{}`, and was not registered: {words}",
                        subject.topic, subject.name
                    )));
                }
                Verdict::New | Verdict::Fits { .. } => {}
            }
            match self.client.register(&subject.name, subject.format.schema_type(), &subject.schema) {
                Err(RegistryError::Refused(words) | RegistryError::NotFound(words)) => refused = words,
                answer => return answer,
            }
        }
        Err(RegistryError::Refused(format!(
            "the schema of `{}` was not registered as subject `{}`: {refused}",
            subject.topic, subject.name
        )))
    }
}

/// Why a schema may not follow another, by the project's own rule.
fn breaks(subject: &Subject, latest: &str) -> Option<String> {
    let wrong = |error: &dyn std::fmt::Display| Some(format!("its newest version cannot be read: {error}"));
    match subject.format {
        Format::Json => {
            let (old, new) = match (serde_json::from_str(latest), serde_json::from_str(&subject.schema)) {
                (Ok(old), Ok(new)) => (old, new),
                (Err(error), _) | (_, Err(error)) => return wrong(&error),
            };
            let breaks = compat::breaks(&old, &new);
            (!breaks.is_empty()).then(|| breaks.join("; "))
        }
        Format::Avro => {
            let (old, new) = match (Schema::parse_str(latest), Schema::parse_str(&subject.schema)) {
                (Ok(old), Ok(new)) => (old, new),
                (Err(error), _) | (_, Err(error)) => return wrong(&error),
            };
            SchemaCompatibility::can_read(&old, &new).err().map(|error| error.to_string())
        }
    }
}

/// No such thing is an answer.
fn found<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(RegistryError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
