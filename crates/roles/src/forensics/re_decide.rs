//! A stretch of the past, decided again: the features, weights and regimes of decisions
//! as they were recorded, and other versions of some specialists.
//!
//! Action and quantity are made of the new probability by the band and the sizes of the
//! config as it is. Risk checks, outcomes and positions stay as they were recorded: what
//! another book would have let through is not told.
//!
//! Not here: which records, and where they come from.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{Action, decision::Outcome},
};
use tapedeck_shap::{Explainer, RowError, Scratch};
use thiserror::Error;

use super::{FeatureSet, Record, answer::plain};
use crate::inference::{
    InferenceConfig, Models,
    decide::{action_of, quantity_of, sigmoid},
    models::{Model, ModelError},
};

/// So many features are told of a decision that would have differed: what a person takes
/// in at a glance.
const MOVED: usize = 3;
/// So many models are held at once for the versions that a stretch was decided by; more
/// are read again. Each is some hundred kilobytes to megabytes.
const MAX_HELD: usize = 24;

const ACTIONS: [Action; 3] = [Action::Buy, Action::Sell, Action::Hold];

/// What came of a stretch. Margins and contributions are log-odds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReDecided {
    /// How many decisions were looked at.
    pub decisions: u64,
    /// The same action and quantity.
    pub same: u64,
    /// The same action for another quantity.
    pub other_quantity: u64,
    /// Another action.
    pub other_action: u64,
    /// Those of another action, by what was and what would have been.
    pub changes: Vec<Change>,
    /// Decisions whose own margin gives another action, or a quantity more than a lot away,
    /// by the band and the sizes of the config as it is: it was another one then, and a
    /// part of the differences comes of that.
    pub other_config: u64,
    /// How far p has to be from one half for more than a HOLD.
    pub band: f64,
    /// Means over the decisions.
    pub means: Means,
    /// Decisions of another action, newest first.
    pub items: Vec<Differing>,
}

/// From one action to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What was done.
    pub before: Action,
    /// What would have been done.
    pub after: Action,
    /// How often.
    pub decisions: u64,
}

/// Means over decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Of p, as decided.
    pub p_before: f64,
    /// Of p, by the other models.
    pub p_after: f64,
    /// Of the confidence max(p, 1 - p), as decided.
    pub confidence_before: f64,
    /// The same by the other models.
    pub confidence_after: f64,
    /// Of how far p moved, signs aside.
    pub p_moved: f64,
}

/// A decision that would have been another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Differing {
    /// The decision.
    pub decision_id: String,
    /// When it was made (event time).
    pub timestamp: Timestamp,
    /// For whom.
    pub account: Option<String>,
    /// The instrument.
    pub symbol: String,
    /// Whether it was let through, as it was recorded.
    pub outcome: Outcome,
    /// As it was made.
    pub before: Case,
    /// By the other models.
    pub after: Case,
    /// The features whose contributions moved most, the largest move first.
    pub moved: Vec<Moved>,
}

/// One way to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The weighted margin.
    pub margin: f64,
    /// The logistic function of it.
    pub p: f64,
    /// What to do.
    pub action: Action,
    /// How much.
    pub quantity: Dec,
}

/// A feature whose contribution moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// Its value; null is a missing value.
    pub value: Option<f64>,
    /// Its weighted SHAP value as it was recorded.
    pub shap_before: f64,
    /// The same by the other models.
    pub shap_after: f64,
}

/// Why a stretch cannot be decided again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReDecideError {
    /// No specialist was named.
    #[error("name at least one specialist and the version that is to decide; specialists are {0}")]
    Nothing(String),
    /// The config has no such specialist.
    #[error("there is no specialist `{specialist}`; there are {known}")]
    Unknown {
        /// The name.
        specialist: String,
        /// Those there are.
        known: String,
    },
    /// The version that was asked for cannot be used.
    #[error("{specialist} {version} cannot be had: {detail}; versions there are: {known}")]
    Version {
        /// Whose.
        specialist: String,
        /// Which.
        version: String,
        /// Why.
        detail: ModelError,
        /// Those there are.
        known: String,
    },
    /// A decision did not weigh the specialist.
    #[error("decision `{decision_id}` has no specialist `{specialist}`; it has {known}")]
    NotWeighed {
        /// The decision.
        decision_id: String,
        /// The name.
        specialist: String,
        /// Those it has.
        known: String,
    },
    /// The other model looks at a feature that was not recorded.
    #[error(
        "{specialist} {version} looks at `{feature}`, which decision `{decision_id}` did not record: it was made by models of other \
         features, and cannot be decided again by this one; a shorter stretch may be"
    )]
    OtherFeatures {
        /// Whose model.
        specialist: String,
        /// Which version.
        version: String,
        /// The feature.
        feature: String,
        /// The decision.
        decision_id: String,
    },
    /// A value is infinite for a model.
    #[error("decision `{decision_id}`: {specialist} {version} does not take the recorded values: {detail}")]
    Row {
        /// The decision.
        decision_id: String,
        /// Whose model.
        specialist: String,
        /// Which version.
        version: String,
        /// Why.
        detail: String,
    },
    /// A version that decided, and is not replaced, is not there.
    #[error("{specialist} {version}, which decided `{decision_id}` and is not replaced, cannot be had: {detail}")]
    Decider {
        /// The decision.
        decision_id: String,
        /// Whose.
        specialist: String,
        /// Which.
        version: String,
        /// Why.
        detail: ModelError,
    },
}

impl ReDecideError {
    /// Where in the question, as a JSON path; none where it is a model that decided.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::Nothing(_) => Some("$.model".to_owned()),
            Self::Unknown { specialist, .. }
            | Self::Version { specialist, .. }
            | Self::NotWeighed { specialist, .. }
            | Self::OtherFeatures { specialist, .. }
            | Self::Row { specialist, .. } => Some(format!("$.model.{specialist}")),
            Self::Decider { .. } => None,
        }
    }
}

/// A model with what explains it, made when it is first needed.
struct Held {
    model: Arc<Model>,
    explainer: Option<Explainer>,
}

/// Decides records again, one after the other.
pub struct ReDecider<'a> {
    config: &'a InferenceConfig,
    models: &'a Models,
    /// The versions that are to decide, by specialist.
    instead: BTreeMap<String, String>,
    held: BTreeMap<(String, String), Held>,
    scratch: Scratch,
    counts: [[u64; 3]; 3],
    out: ReDecided,
}

impl<'a> ReDecider<'a> {
    /// With these versions, by specialist, instead of those that decided.
    ///
    /// # Errors
    /// Nothing is named, a specialist is unknown, a version cannot be had.
    pub fn new(
        config: &'a InferenceConfig,
        models: &'a Models,
        instead: &BTreeMap<String, String>,
    ) -> Result<Self, ReDecideError> {
        let known = || models.specialists().join(", ");
        if instead.is_empty() {
            return Err(ReDecideError::Nothing(known()));
        }
        let mut held = BTreeMap::new();
        for (specialist, version) in instead {
            if !models.specialists().contains(specialist) {
                return Err(ReDecideError::Unknown { specialist: specialist.clone(), known: known() });
            }
            let model = models.version(specialist, version).map_err(|detail| ReDecideError::Version {
                specialist: specialist.clone(),
                version: version.clone(),
                detail,
                known: models.versions(specialist).join(", "),
            })?;
            held.insert((specialist.clone(), version.clone()), Held { model, explainer: None });
        }
        let out = ReDecided { band: config.band, ..ReDecided::default() };
        let (instead, scratch) = (instead.clone(), Scratch::new());
        Ok(Self { config, models, instead, held, scratch, counts: [[0; 3]; 3], out })
    }

    /// Decides one again, and counts what came of it.
    ///
    /// # Errors
    /// A model cannot be had, or is of other features.
    pub fn take(&mut self, record: &Record, set: &FeatureSet) -> Result<(), ReDecideError> {
        if let Some(specialist) = self.instead.keys().find(|name| !set.specialists().contains(*name)) {
            let (decision_id, known) = (record.decision_id.clone(), set.specialists().join(", "));
            return Err(ReDecideError::NotWeighed { decision_id, specialist: specialist.clone(), known });
        }
        let mut margin = 0.0;
        for (specialist, part) in set.specialists().iter().zip(&record.specialists) {
            let key = self.decider(record, specialist, &part.version)?;
            let model = &self.held[&key].model;
            let (row, mut found) = (row(model, record, set)?, [0.0]);
            model.ensemble().margins(&row, &mut found).map_err(|error| refused(model, record, &error))?;
            margin += part.weight * found[0];
        }
        let after = self.case(&record.symbol, margin);
        let before = Case {
            margin: record.margin,
            p: sigmoid(record.margin),
            action: record.action,
            quantity: Dec(record.quantity.normalize()),
        };
        self.count(record, &before, &after);
        if before.action != after.action {
            let moved = self.moved(record, set)?;
            self.out.items.push(Differing {
                decision_id: record.decision_id.clone(),
                timestamp: record.time,
                account: record.account.clone(),
                symbol: record.symbol.clone(),
                outcome: record.outcome,
                before,
                after,
                moved,
            });
        }
        Ok(())
    }

    /// What came of all of them.
    pub fn finish(mut self) -> ReDecided {
        let pairs = ACTIONS.iter().enumerate().flat_map(|(before, _)| (0..3).map(move |after| (before, after)));
        let counted = pairs.map(|(before, after)| Change {
            before: ACTIONS[before],
            after: ACTIONS[after],
            decisions: self.counts[before][after],
        });
        self.out.changes = counted.filter(|change| change.decisions > 0).collect();
        self.out
    }

    /// What the config says to do at a margin.
    fn case(&self, symbol: &str, margin: f64) -> Case {
        let p = sigmoid(margin);
        let action = action_of(p, self.config.band);
        let quantity = Dec(quantity_of(action, p, self.config.size_of(symbol)));
        Case { margin, p, action, quantity }
    }

    fn count(&mut self, record: &Record, before: &Case, after: &Case) {
        let now = self.case(&record.symbol, record.margin);
        let apart = |one: &Case, other: &Case| (one.quantity.0 - other.quantity.0).abs();
        let lot = self.config.size_of(&record.symbol).lot;
        let out = &mut self.out;
        out.decisions += 1;
        // A lot: the sum of the margins was made in another order then.
        out.other_config += u64::from(now.action != before.action || apart(&now, before) > lot);
        if before.action != after.action {
            out.other_action += 1;
            self.counts[place(before.action)][place(after.action)] += 1;
        } else if apart(before, after) > Decimal::ZERO {
            out.other_quantity += 1;
        } else {
            out.same += 1;
        }
        let sure = |case: &Case| case.p.max(1.0 - case.p);
        let one = Means {
            p_before: before.p,
            p_after: after.p,
            confidence_before: sure(before),
            confidence_after: sure(after),
            p_moved: (after.p - before.p).abs(),
        };
        out.means = out.means.and(out.decisions - 1, &one, 1);
    }

    /// Has the model at hand that is asked for a specialist: the one that is to decide
    /// instead, or the one that decided.
    fn decider(&mut self, record: &Record, specialist: &str, decided: &str) -> Result<(String, String), ReDecideError> {
        let version = self.instead.get(specialist).map_or(decided, String::as_str);
        let key = (specialist.to_owned(), version.to_owned());
        if self.held.len() >= MAX_HELD && !self.held.contains_key(&key) {
            let instead = &self.instead;
            self.held.retain(|(specialist, version), _| instead.get(specialist) == Some(version));
        }
        if let Entry::Vacant(place) = self.held.entry(key.clone()) {
            let model = self.models.version(specialist, version).map_err(|detail| ReDecideError::Decider {
                decision_id: record.decision_id.clone(),
                specialist: specialist.to_owned(),
                version: version.to_owned(),
                detail,
            })?;
            place.insert(Held { model, explainer: None });
        }
        Ok(key)
    }

    /// The features whose contributions moved most.
    fn moved(&mut self, record: &Record, set: &FeatureSet) -> Result<Vec<Moved>, ReDecideError> {
        let mut after = vec![0.0; set.features().len()];
        for (specialist, part) in set.specialists().iter().zip(&record.specialists) {
            let key = self.decider(record, specialist, &part.version)?;
            let held = self.held.get_mut(&key).expect("it was put there");
            let model = Arc::clone(&held.model);
            let made = match held.explainer.take() {
                Some(explainer) => explainer,
                None => Explainer::new(model.ensemble()).map_err(|error| refused(&model, record, &error))?,
            };
            let explainer = held.explainer.insert(made);
            let (row, mut phi) = (row(&model, record, set)?, vec![0.0; explainer.contributions()]);
            let explained = explainer.explain_f64(&row, &mut self.scratch, &mut phi);
            explained.map_err(|error: RowError| refused(&model, record, &error))?;
            for (name, phi) in model.ensemble().features.iter().zip(&phi) {
                if let Ok(at) = set.features().binary_search(name) {
                    after[at] += part.weight * phi;
                }
            }
        }
        let named = set.features().iter().zip(&record.features).zip(after);
        let mut all: Vec<Moved> = named
            .map(|((name, feature), after)| Moved {
                name: name.clone(),
                value: feature.value,
                shap_before: plain(feature.contribution),
                shap_after: plain(after as f32),
            })
            .collect();
        let size = |moved: &Moved| (moved.shap_after - moved.shap_before).abs();
        all.sort_by(|one, other| size(other).total_cmp(&size(one)));
        all.truncate(MOVED);
        Ok(all)
    }
}

impl ReDecided {
    /// Adds what came of more of the stretch; its items come behind.
    pub fn add(&mut self, more: Self) {
        self.means = self.means.and(self.decisions, &more.means, more.decisions);
        self.decisions += more.decisions;
        self.same += more.same;
        self.other_quantity += more.other_quantity;
        self.other_action += more.other_action;
        self.other_config += more.other_config;
        self.band = more.band;
        for change in more.changes {
            match self.changes.iter_mut().find(|own| (own.before, own.after) == (change.before, change.after)) {
                Some(own) => own.decisions += change.decisions,
                None => self.changes.push(change),
            }
        }
        self.items.extend(more.items);
    }
}

impl Means {
    /// The means of both, of so many each.
    fn and(&self, own: u64, other: &Self, others: u64) -> Self {
        let share = if others == 0 { 0.0 } else { others as f64 / (own + others) as f64 };
        let mean = |own: f64, other: f64| own + (other - own) * share;
        Self {
            p_before: mean(self.p_before, other.p_before),
            p_after: mean(self.p_after, other.p_after),
            confidence_before: mean(self.confidence_before, other.confidence_before),
            confidence_after: mean(self.confidence_after, other.confidence_after),
            p_moved: mean(self.p_moved, other.p_moved),
        }
    }
}

impl Differing {
    /// How far the margin moved, signs aside: the order in which they are worth a look.
    pub fn apart(&self) -> f64 {
        (self.after.margin - self.before.margin).abs()
    }
}

fn place(action: Action) -> usize {
    ACTIONS.iter().position(|known| *known == action).expect("all actions are listed")
}

/// The recorded values in the order of a model's features, NaN where one is missing.
fn row(model: &Model, record: &Record, set: &FeatureSet) -> Result<Vec<f64>, ReDecideError> {
    let value = |name: &String| match set.features().binary_search(name) {
        Ok(at) => Ok(record.features[at].value.unwrap_or(f64::NAN)),
        Err(_) => Err(ReDecideError::OtherFeatures {
            specialist: model.specialist().to_owned(),
            version: model.version().to_owned(),
            feature: name.clone(),
            decision_id: record.decision_id.clone(),
        }),
    };
    model.ensemble().features.iter().map(value).collect()
}

fn refused(model: &Model, record: &Record, error: &dyn std::fmt::Display) -> ReDecideError {
    ReDecideError::Row {
        decision_id: record.decision_id.clone(),
        specialist: model.specialist().to_owned(),
        version: model.version().to_owned(),
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
