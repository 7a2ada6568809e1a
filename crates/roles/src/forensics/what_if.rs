//! What would have been: the models that decided, with the weights of that decision,
//! asked again with other values of some features.
//!
//! Regimes, weights, position and risk checks stay as they were: only what the
//! specialists say is asked again.
//!
//! Not here: where records and models come from.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::events::Action;
use tapedeck_shap::{Explainer, RowError, Scratch};
use thiserror::Error;

use super::{ExplainError, Explanation, FeatureSet, Mixture, Model, Part, Record, answer::plain};
use crate::inference::{
    Models,
    decide::sigmoid,
    models::{self, ModelError},
};

/// Both decisions, side by side. Margins and contributions are log-odds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The decision.
    pub decision_id: String,
    /// As it was made.
    pub before: Case,
    /// With the values asked for.
    pub after: Case,
    /// How far p has to be from one half for more than a HOLD, in `after`.
    pub band: f64,
    /// Every feature, the largest change of its contribution first.
    pub features: Vec<Compared>,
}

/// What comes of some values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The weighted margin.
    pub margin: f64,
    /// The logistic function of it.
    pub p: f64,
    /// What it says to do: of a decision that was made, what it did.
    pub action: Action,
    /// The margin of each specialist, before it is weighted.
    pub specialists: BTreeMap<String, f64>,
}

/// A feature in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its value as it was; null is a missing value.
    pub value_before: Option<f64>,
    /// Its value as asked for.
    pub value_after: Option<f64>,
    /// Its weighted SHAP value as it was.
    pub shap_before: f64,
    /// Its weighted SHAP value with the values asked for.
    pub shap_after: f64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WhatIfError {
    /// A feature was named that the decision has not.
    #[error("`{0}` is no feature of the decision")]
    UnknownFeature(String),
    /// A value is infinite for a model, or not a number.
    #[error("the value of `{0}` is infinite for a model, or no number; null is a missing value")]
    Infinite(String),
    /// A version that decided is not there.
    #[error("{specialist} {version}, which decided, cannot be had: {detail}")]
    Model {
        /// Whose.
        specialist: String,
        /// Which.
        version: String,
        /// Why.
        detail: ModelError,
    },
    /// The models are not those of the record.
    #[error("the models do not fit the record: {0}")]
    Unfit(String),
}

impl WhatIfError {
    /// Where in the question, as a JSON path.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::UnknownFeature(name) | Self::Infinite(name) => Some(format!("$.features.{name}")),
            Self::Model { .. } | Self::Unfit(_) => None,
        }
    }
}

impl From<ExplainError> for WhatIfError {
    fn from(error: ExplainError) -> Self {
        Self::Unfit(error.to_string())
    }
}

/// The models that decided, in the order of the record's specialists.
///
/// # Errors
/// One of them is not there.
pub fn models_of(record: &Record, set: &FeatureSet, models: &Models) -> Result<Vec<Arc<models::Model>>, WhatIfError> {
    let parts = set.specialists().iter().zip(&record.specialists);
    let model = |(specialist, part): (&String, &super::Specialist)| {
        models.version(specialist, &part.version).map_err(|detail| WhatIfError::Model {
            specialist: specialist.clone(),
            version: part.version.clone(),
            detail,
        })
    };
    parts.map(model).collect()
}

/// Asks the models of a record, as [`models_of`] gives them, with other values of some
/// features. `band` is the config's: how far p has to be from one half for more than a
/// HOLD.
///
/// # Errors
/// A feature that the decision has not, a value that a model does not take, models that
/// are not the record's.
pub fn what_if(
    record: &Record,
    set: &FeatureSet,
    models: &[Arc<models::Model>],
    changes: &BTreeMap<String, Option<f64>>,
    band: f64,
) -> Result<WhatIf, WhatIfError> {
    let mut values: Vec<Option<f64>> = record.features.iter().map(|feature| feature.value).collect();
    for (name, value) in changes {
        let place = set.features().binary_search(name).map_err(|_| WhatIfError::UnknownFeature(name.clone()))?;
        if value.is_some_and(|value| !value.is_finite()) {
            return Err(WhatIfError::Infinite(name.clone()));
        }
        values[place] = *value;
    }
    let (explanation, margins) = ask(record, set, models, &values)?;
    let p = sigmoid(explanation.margin);
    let action = match p {
        p if p >= 0.5 + band => Action::Buy,
        p if p <= 0.5 - band => Action::Sell,
        _ => Action::Hold,
    };
    let named = |margins: &mut dyn Iterator<Item = f64>| set.specialists().iter().cloned().zip(margins).collect();
    let mut before = record.specialists.iter().map(|part| plain(part.margin));
    Ok(WhatIf {
        decision_id: record.decision_id.clone(),
        before: Case {
            margin: record.margin,
            p: sigmoid(record.margin),
            action: record.action,
            specialists: named(&mut before),
        },
        after: Case { margin: explanation.margin, p, action, specialists: named(&mut margins.into_iter()) },
        band,
        features: compared(record, set, &values, &explanation),
    })
}

/// The explanation of other values, and each model's margin.
fn ask(
    record: &Record,
    set: &FeatureSet,
    models: &[Arc<models::Model>],
    values: &[Option<f64>],
) -> Result<(Explanation, Vec<f64>), WhatIfError> {
    let named: Vec<Model<'_>> = models
        .iter()
        .map(|model| Model { specialist: model.specialist(), features: &model.ensemble().features })
        .collect();
    let mixture = Mixture::new(set.clone(), &named)?;
    let values: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    let (mut scratch, mut found) = (Scratch::new(), Vec::new());
    for (nth, model) in models.iter().enumerate() {
        let explainer = Explainer::new(model.ensemble()).map_err(|error| WhatIfError::Unfit(error.to_string()))?;
        let (mut row, mut phi, mut margin) = (Vec::new(), vec![0.0; explainer.contributions()], [0.0]);
        mixture.gather(nth, &values, &mut row);
        let asked = explainer.explain_f64(&row, &mut scratch, &mut phi);
        asked.and_then(|()| model.ensemble().margins(&row, &mut margin)).map_err(|error| match error {
            RowError::Infinite { name, .. } => WhatIfError::Infinite(name),
            other => WhatIfError::Unfit(other.to_string()),
        })?;
        found.push((model.version(), margin[0], phi));
    }
    let parts: Vec<Part<'_>> =
        found.iter().map(|(version, margin, phi)| Part { version, margin: *margin, phi }).collect();
    let mut explanation = Explanation::default();
    mixture.weigh(record.specialists.iter().map(|part| part.weight), &parts, &mut explanation)?;
    Ok((explanation, found.iter().map(|(_, margin, _)| *margin).collect()))
}

fn compared(record: &Record, set: &FeatureSet, values: &[Option<f64>], explanation: &Explanation) -> Vec<Compared> {
    let named = set.features().iter().zip(&record.features).zip(values).zip(&explanation.contributions);
    let mut features: Vec<Compared> = named
        .map(|(((name, feature), value), after)| Compared {
            name: name.clone(),
            value_before: feature.value,
            value_after: *value,
            shap_before: plain(feature.contribution),
            shap_after: plain(*after as f32),
        })
        .collect();
    let change = |feature: &Compared| (feature.shap_after - feature.shap_before).abs();
    features.sort_by(|one, other| change(other).total_cmp(&change(one)));
    features
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::forensics::record::tests::{typical, typical_set};
    use crate::inference::InferenceConfig;

    /// A record of the demo's models, with every value missing.
    pub(in crate::forensics) fn of_the_demo() -> (Record, FeatureSet, Vec<Arc<models::Model>>) {
        let models = Models::open(&InferenceConfig::default()).unwrap();
        let mut all: Vec<_> = models.current().models().to_vec();
        all.sort_by(|one, other| one.specialist().cmp(other.specialist()));
        let names = |list: Vec<String>| list.into_iter().collect::<std::collections::BTreeSet<_>>();
        let features = names(all.iter().flat_map(|model| model.ensemble().features.clone()).collect());
        let specialists = names(all.iter().map(|model| model.specialist().to_owned()).collect());
        let old = typical_set();
        let set = FeatureSet::new(
            features.into_iter().collect(),
            old.regimes().to_vec(),
            specialists.into_iter().collect(),
            old.checks().to_vec(),
        );
        let set = set.unwrap();
        let mut record = typical(0, 0);
        record.specialists.iter_mut().for_each(|part| part.version = "v1".into());
        record.features = vec![crate::forensics::Feature::default(); set.features().len()];
        let values: Vec<_> = record.features.iter().map(|feature| feature.value).collect();
        let (explanation, _) = ask(&record, &set, &all, &values).unwrap();
        (record.base, record.margin) = (explanation.base, explanation.margin);
        for (feature, phi) in record.features.iter_mut().zip(&explanation.contributions) {
            feature.contribution = *phi as f32;
        }
        (record, set, all)
    }

    #[test]
    fn nothing_changed_changes_nothing_and_a_value_changes_what_it_touches() {
        let (record, set, models) = of_the_demo();
        let same = what_if(&record, &set, &models, &BTreeMap::new(), 0.05).unwrap();
        assert_eq!(same.before.margin.to_bits(), same.after.margin.to_bits());
        assert!(same.features.iter().all(|feature| feature.shap_before.to_bits() == feature.shap_after.to_bits()));
        let changes = BTreeMap::from([("rsi".to_owned(), Some(95.0))]);
        let other = what_if(&record, &set, &models, &changes, 0.05).unwrap();
        assert!((other.after.margin - other.before.margin).abs() > 1e-9);
        let sum: f64 = other.features.iter().map(|feature| feature.shap_after).sum();
        assert!((record.base + sum - other.after.margin).abs() < 1e-5);
        let rsi = other.features.iter().find(|feature| feature.name == "rsi").unwrap();
        assert_eq!((rsi.value_before, rsi.value_after), (None, Some(95.0)));
    }

    #[test]
    fn the_band_decides_what_is_to_be_done() {
        let (record, set, models) = of_the_demo();
        let p = sigmoid(record.margin);
        let off = (p - 0.5).abs();
        let action = |band| what_if(&record, &set, &models, &BTreeMap::new(), band).unwrap().after.action;
        assert_eq!(action(off + 1e-9), Action::Hold);
        assert_eq!(action(off - 1e-9), if p > 0.5 { Action::Buy } else { Action::Sell });
    }

    #[test]
    fn what_is_no_feature_or_no_number_is_named_by_its_path() {
        let (record, set, models) = of_the_demo();
        let ask = |name: &str, value| {
            let changes = BTreeMap::from([(name.to_owned(), Some(value))]);
            what_if(&record, &set, &models, &changes, 0.05).unwrap_err().path()
        };
        assert_eq!(ask("moon_phase", 0.5).unwrap(), "$.features.moon_phase");
        assert_eq!(ask("rsi", f64::NAN).unwrap(), "$.features.rsi");
    }
}
