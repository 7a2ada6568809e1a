//! Framing bodies on their way into the log.
//!
//! Not here: which topics, and where ids come from.

use bytes::Bytes;

use crate::{Fault, Format, Frame, Plan, RegistryError, Subject};

/// Frames the bodies of one topic.
#[derive(Debug)]
pub(crate) struct Writer {
    id: u32,
    /// None writes JSON.
    plan: Option<Plan>,
}

impl Writer {
    /// A writer of a subject whose schema has this id.
    ///
    /// # Errors
    /// The schema cannot be used, which is a mistake of ours.
    pub(crate) fn new(subject: &Subject, id: u32) -> Result<Self, RegistryError> {
        let plan = match subject.format {
            Format::Json => None,
            Format::Avro => Some(Plan::parse(&subject.schema).map_err(|why| {
                RegistryError::Refused(format!("the schema of `{}` cannot be used: {why}", subject.topic))
            })?),
        };
        Ok(Self { id, plan })
    }

    /// The framed value of a JSON body.
    ///
    /// # Errors
    /// The body does not fit the schema.
    pub(crate) fn frame(&self, json: &[u8]) -> Result<Bytes, Fault> {
        let mut value = Frame::begin(self.id, json.len());
        match &self.plan {
            None => value.extend_from_slice(json),
            Some(plan) => plan.write(json, &mut value)?,
        }
        Ok(value.into())
    }
}
