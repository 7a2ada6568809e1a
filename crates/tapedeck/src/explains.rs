//! What the api asks of forensics: explanations as they are kept, and what the models
//! that decided would have said of other values.
//!
//! Not here: HTTP, and how a decision is explained.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use serde_json::Value;
use tapedeck_api::{Explains, ExplainsError};
use tapedeck_roles::{
    forensics::{
        FeatureSet, WhatIfError,
        answer::{self, AnswerError},
        models_of, what_if,
    },
    inference::Models,
};
use tapedeck_store::{Explained, Store};

/// The models, where this process has them, and how far p has to be from one half.
pub(crate) struct Why {
    pub(crate) models: Option<Arc<Models>>,
    pub(crate) band: f64,
}

impl Explains for Why {
    fn explanation(&self, store: &dyn Store, decision_id: &str, top: usize) -> Result<Option<Value>, ExplainsError> {
        Ok(answer::read(store, decision_id, top).map_err(broken)?.map(value))
    }

    fn items(&self, rows: &[Explained]) -> Result<Vec<Value>, ExplainsError> {
        rows.iter().map(|row| Ok(value(answer::item(row).map_err(broken)?))).collect()
    }

    fn features(&self, bytes: &[u8]) -> Result<Vec<String>, ExplainsError> {
        let set = FeatureSet::from_bytes(bytes).map_err(|error| ExplainsError::Broken(error.to_string()))?;
        Ok(set.features().to_vec())
    }

    fn what_if(
        &self,
        store: &dyn Store,
        decision_id: &str,
        features: &BTreeMap<String, Option<f64>>,
    ) -> Result<Option<Value>, ExplainsError> {
        let Some(row) = store.explained(decision_id)? else { return Ok(None) };
        let (record, set) = answer::open(store, &row).map_err(broken)?;
        let models = self.models.as_ref().ok_or_else(|| {
            ExplainsError::Unavailable("this process has no models: ask one that runs `tapedeck up`".into())
        })?;
        let models = models_of(&record, &set, models).map_err(unanswered)?;
        Ok(Some(value(what_if(&record, &set, &models, features, self.band).map_err(unanswered)?)))
    }
}

fn value(answer: impl Serialize) -> Value {
    serde_json::to_value(answer).expect("answers are text, decimals and finite numbers")
}

fn broken(error: AnswerError) -> ExplainsError {
    match error {
        AnswerError::Store(error) => ExplainsError::Store(error),
        other => ExplainsError::Broken(other.to_string()),
    }
}

fn unanswered(error: WhatIfError) -> ExplainsError {
    match (error.path(), &error) {
        (Some(path), _) => ExplainsError::Wrong { path, detail: error.to_string() },
        (None, WhatIfError::Model { .. }) => ExplainsError::Unavailable(error.to_string()),
        (None, _) => ExplainsError::Broken(error.to_string()),
    }
}
