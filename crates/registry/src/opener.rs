//! Opening framed values: the schema by its id, asked for once, and the body as
//! the JSON that the contract is written in.
//!
//! Not here: what is done about a value that cannot be opened.

use std::sync::Arc;

use bytes::Bytes;
use tapedeck_log::{Unframe, UnframeError};

use crate::{Frame, HEAD_BYTES, Plan, Registry, RegistryError, client::Stored, known::Schema};

impl Unframe for Registry {
    fn is_framed(&self, value: &[u8]) -> bool {
        Frame::is_one(value)
    }

    fn open(&self, _topic: &str, value: &Bytes) -> Result<Bytes, UnframeError> {
        let poison = |detail: String| UnframeError::Poison { path: None, detail };
        let Frame { id, body } = Frame::read(value).ok_or_else(|| {
            poison(format!("the frame is cut off: {} bytes, and {HEAD_BYTES} stand before any body", value.len()))
        })?;
        match &*self.schema(id)? {
            Schema::Json => Ok(body),
            Schema::Avro(plan) => plan.read(&body).map(Bytes::from).map_err(|fault| UnframeError::Poison {
                detail: format!("the body does not fit schema {id}, which its frame names: {fault}"),
                path: Some(fault.path),
            }),
            Schema::Unusable(why) => Err(poison(format!("schema {id}, which the frame names, cannot be used: {why}"))),
        }
    }
}

impl Registry {
    fn schema(&self, id: u32) -> Result<Arc<Schema>, UnframeError> {
        if let Some(schema) = self.known.schema(id) {
            return Ok(schema);
        }
        let unknown = |words: &str| {
            UnframeError::Unknown(format!(
                "the schema registry at {} knows no schema {id}, which the frame names{words}; register it, then replay this dead letter",
                self.config.url
            ))
        };
        if self.known.is_hopeless(id) {
            return Err(unknown(" (asked a moment ago)"));
        }
        match self.client.schema(id) {
            Ok(stored) => {
                let schema = Arc::new(usable(&stored));
                self.known.remember(id, Arc::clone(&schema));
                Ok(schema)
            }
            Err(RegistryError::NotFound(words)) => {
                self.known.not_found(id);
                Err(unknown(&format!(" ({words})")))
            }
            // What a person must set right says nothing of the record either.
            Err(RegistryError::Away(why) | RegistryError::Refused(why)) => Err(UnframeError::Away(why)),
        }
    }
}

fn usable(stored: &Stored) -> Schema {
    match stored.schema_type() {
        _ if !stored.references.is_empty() => {
            Schema::Unusable("it refers to other schemas, which this version does not follow".to_owned())
        }
        "JSON" => Schema::Json,
        "AVRO" => Plan::parse(&stored.schema).map_or_else(Schema::Unusable, Schema::Avro),
        other => Schema::Unusable(format!("it is of the type {other}; JSON and AVRO are read")),
    }
}
