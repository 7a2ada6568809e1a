//! What the api asks of forensics: explanations as they are kept, what the models that
//! decided would have said of other values, and what other models would have decided.
//!
//! Not here: HTTP, and how a decision is explained.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::Value;
use tapedeck_api::{Explains, ExplainsError};
use tapedeck_roles::{
    forensics::{
        FeatureSet, FeatureSetId, ReDecideError, ReDecider, Record, WhatIfError,
        answer::{self, AnswerError},
        item, models_of, what_if,
    },
    inference::{InferenceConfig, Models},
};
use tapedeck_store::{Explained, Store};

/// The models, and how they are weighed.
pub(crate) struct Why {
    /// Those of the process; where it has none, they are opened when somebody asks.
    models: Mutex<Option<Arc<Models>>>,
    config: InferenceConfig,
}

impl Why {
    pub(crate) fn new(models: Option<Arc<Models>>, config: InferenceConfig) -> Self {
        Self { models: Mutex::new(models), config }
    }

    fn models(&self) -> Result<Arc<Models>, ExplainsError> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(models) = &*models {
            return Ok(Arc::clone(models));
        }
        let opened = Models::open(&self.config).map_err(|error| {
            ExplainsError::Unavailable(format!("the models of [inference] cannot be had here: {error}"))
        })?;
        Ok(Arc::clone(models.insert(Arc::new(opened))))
    }
}

impl Explains for Why {
    fn explanation(&self, store: &dyn Store, decision_id: &str, top: usize) -> Result<Option<Value>, ExplainsError> {
        Ok(answer::read(store, decision_id, top).map_err(broken)?.map(value))
    }

    fn items(&self, rows: &[Explained]) -> Vec<Value> {
        rows.iter().map(|row| value(item(row))).collect()
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
        let models = models_of(&record, &set, &*self.models()?).map_err(unanswered)?;
        Ok(Some(value(what_if(&record, &set, &models, features, self.config.band).map_err(unanswered)?)))
    }

    fn re_decide(
        &self,
        store: &dyn Store,
        rows: &[Explained],
        versions: &BTreeMap<String, String>,
    ) -> Result<Value, ExplainsError> {
        let models = self.models()?;
        let mut decider = ReDecider::new(&self.config, &models, versions).map_err(undecided)?;
        // A page has a handful of them, and most rows that of the row before.
        let mut names: BTreeMap<FeatureSetId, FeatureSet> = BTreeMap::new();
        for row in rows {
            let id = FeatureSetId(row.feature_set);
            match names.get(&id) {
                Some(set) => decider.take(&record(row)?, set).map_err(undecided)?,
                None => {
                    let (record, set) = answer::open(store, row).map_err(broken)?;
                    decider.take(&record, &set).map_err(undecided)?;
                    names.insert(record.feature_set, set);
                }
            }
        }
        Ok(value(decider.finish()))
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

/// The record of a row whose names are at hand.
fn record(row: &Explained) -> Result<Record, ExplainsError> {
    let (chain, index) = (row.chain, row.index);
    let record = Record::read(&row.record).map_err(|error| broken(AnswerError::Record { chain, index, error }))?;
    if record.feature_set.0 == row.feature_set {
        return Ok(record);
    }
    Err(ExplainsError::Broken(format!(
        "chain {chain}, record {index}: its column names another feature set than its bytes"
    )))
}

fn undecided(error: ReDecideError) -> ExplainsError {
    match error.path() {
        Some(path) => ExplainsError::Wrong { path, detail: error.to_string() },
        None => ExplainsError::Unavailable(error.to_string()),
    }
}

fn unanswered(error: WhatIfError) -> ExplainsError {
    match (error.path(), &error) {
        (Some(path), _) => ExplainsError::Wrong { path, detail: error.to_string() },
        (None, WhatIfError::Model { .. }) => ExplainsError::Unavailable(error.to_string()),
        (None, _) => ExplainsError::Broken(error.to_string()),
    }
}
