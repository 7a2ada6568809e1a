//! The explanation of a weighted ensemble from those of its specialists: its SHAP
//! values are sum_k w_k phi_k, exactly, because its margin is sum_k w_k f_k.
//!
//! Not here: the specialists' own SHAP values (`tapedeck_shap`), and which versions
//! decided.

use std::{cmp::Ordering, sync::Arc};

use tapedeck_contracts::events::TradingDecision;
use thiserror::Error;

use super::{
    FeatureSet, FeatureSetId, MAX_MOVED,
    record::{FailedCheck, Feature, Moved, Previous, Record, Specialist},
};

/// A model as an explanation needs it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// The specialist whose model it is.
    pub specialist: &'a str,
    /// Its features, in the order of a row.
    pub features: &'a [String],
}

/// Why a decision cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExplainError {
    /// A model needs a feature that the decision has not; null would be a missing value.
    #[error(
        "`{feature}` is needed by the model of {specialist}, and the decision has no such feature; null would say that it has no value"
    )]
    MissingFeature {
        /// The feature.
        feature: String,
        /// Whose model.
        specialist: String,
    },
    /// No model knows a feature of the decision.
    #[error("`{0}` is a feature that none of the decision's models knows")]
    UnknownFeature(String),
    /// The decision weighs a specialist that has no model.
    #[error("there is no model of `{0}`")]
    MissingModel(String),
    /// A model of a specialist that the decision does not weigh, or two of one.
    #[error("the decision has no weight of its own for `{0}`, whose model it names")]
    MissingWeight(String),
    /// The decision's names are not those of the feature set.
    #[error("the decision's names are not those of feature set {0}: make a set of the decision's own")]
    OtherNames(FeatureSetId),
    /// A part has another number of contributions than its model has features.
    #[error("{specialist}: {found} contributions for {features} features and a base value")]
    Width {
        /// Whose part.
        specialist: String,
        /// How many contributions there are.
        found: usize,
        /// How many features its model has.
        features: usize,
    },
}

impl ExplainError {
    /// Where in the decision, as a JSON path.
    pub fn path(&self) -> Option<String> {
        match self {
            Self::MissingFeature { feature, .. } | Self::UnknownFeature(feature) => {
                Some(format!("$.features.{feature}"))
            }
            Self::MissingModel(name) | Self::MissingWeight(name) => Some(format!("$.strategy_weights.{name}")),
            Self::OtherNames(_) | Self::Width { .. } => None,
        }
    }
}

/// How the features of a decision's models lie in its feature set. Made once for a
/// feature set and its models, used for every decision of them.
#[derive(Clone, Debug)]
pub struct Mixture {
    set: Arc<FeatureSet>,
    id: FeatureSetId,
    /// For each specialist of the set, for each feature of its model: its place in the set.
    places: Vec<Vec<usize>>,
}

/// What one specialist's model says of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The version of the model.
    pub version: &'a str,
    /// What the model predicts (log-odds), from its own sum over the trees.
    pub margin: f64,
    /// A contribution for each of its features, in the order of its row, and then
    /// its base value: as `tapedeck_shap::Explainer` gives them.
    pub phi: &'a [f64],
}

/// The explanation of a weighted ensemble, in f64, before it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// sum_k w_k base_k.
    pub base: f64,
    /// sum_k w_k margin_k.
    pub margin: f64,
    /// sum_k w_k phi_k, in the order of the feature set.
    pub contributions: Vec<f64>,
}

impl Mixture {
    /// Finds the features of the models, one model for each specialist of the set.
    ///
    /// # Errors
    /// A feature that a model needs and the set has not, one that no model knows, a
    /// specialist without a model, a model without a specialist.
    pub fn new(set: FeatureSet, models: &[Model<'_>]) -> Result<Self, ExplainError> {
        let mut places = vec![None; set.specialists().len()];
        let mut known = vec![false; set.features().len()];
        for model in models {
            let name = || model.specialist.to_owned();
            let at = find(set.specialists(), model.specialist).filter(|at| places[*at].is_none());
            let at = at.ok_or_else(|| ExplainError::MissingWeight(name()))?;
            let mut of_model = Vec::with_capacity(model.features.len());
            for feature in model.features {
                let place = find(set.features(), feature);
                let missing = || ExplainError::MissingFeature { feature: feature.clone(), specialist: name() };
                let place = place.ok_or_else(missing)?;
                known[place] = true;
                of_model.push(place);
            }
            places[at] = Some(of_model);
        }
        if let Some(at) = places.iter().position(Option::is_none) {
            return Err(ExplainError::MissingModel(set.specialists()[at].clone()));
        }
        if let Some(at) = known.iter().position(|known| !known) {
            return Err(ExplainError::UnknownFeature(set.features()[at].clone()));
        }
        Ok(Self { id: set.id(), set: Arc::new(set), places: places.into_iter().flatten().collect() })
    }

    /// The names.
    pub const fn set(&self) -> &Arc<FeatureSet> {
        &self.set
    }

    /// The id of the names.
    pub const fn id(&self) -> FeatureSetId {
        self.id
    }

    /// Appends the row of a specialist's model, NaN where a value is missing. The
    /// specialist is named by its place in the set.
    ///
    /// # Errors
    /// The decision has other names.
    ///
    /// # Panics
    /// When the set has no such specialist.
    pub fn push_row(
        &self,
        decision: &TradingDecision,
        specialist: usize,
        values: &mut Vec<f64>,
        rows: &mut Vec<f64>,
    ) -> Result<(), ExplainError> {
        if !self.set.is_of(decision) {
            return Err(ExplainError::OtherNames(self.id));
        }
        values.clear();
        values.extend(decision.features.values().map(|value| value.unwrap_or(f64::NAN)));
        self.gather(specialist, values, rows);
        Ok(())
    }

    /// Appends the row of a specialist's model, given the values of all features in the
    /// order of the set.
    pub(super) fn gather(&self, specialist: usize, values: &[f64], rows: &mut Vec<f64>) {
        rows.extend(self.places[specialist].iter().map(|place| values[*place]));
    }

    /// Weighs the parts, one for each specialist in the order of the set, and adds them
    /// in that order.
    ///
    /// # Errors
    /// The decision has other names, or a part another width than its model.
    pub fn explain(
        &self,
        decision: &TradingDecision,
        parts: &[Part<'_>],
        out: &mut Explanation,
    ) -> Result<(), ExplainError> {
        if !self.set.is_of(decision) {
            return Err(ExplainError::OtherNames(self.id));
        }
        self.weigh(decision.strategy_weights.values().copied(), parts, out)
    }

    /// [`explain`](Self::explain) of a decision that is known to have the set's names: its
    /// weights, in their order.
    pub(super) fn weigh(
        &self,
        weights: impl Iterator<Item = f64>,
        parts: &[Part<'_>],
        out: &mut Explanation,
    ) -> Result<(), ExplainError> {
        if let Some(specialist) = self.set.specialists().get(parts.len()) {
            return Err(ExplainError::MissingModel(specialist.clone()));
        }
        (out.base, out.margin) = (0.0, 0.0);
        out.contributions.clear();
        out.contributions.resize(self.set.features().len(), 0.0);
        let named = self.set.specialists().iter().zip(weights);
        for (((name, weight), places), part) in named.zip(&self.places).zip(parts) {
            let Some((base, phi)) = part.phi.split_last().filter(|(_, phi)| phi.len() == places.len()) else {
                let (found, features) = (part.phi.len(), places.len());
                return Err(ExplainError::Width { specialist: name.clone(), found, features });
            };
            out.base += weight * base;
            out.margin += weight * part.margin;
            for (place, phi) in places.iter().zip(phi) {
                out.contributions[*place] += weight * phi;
            }
        }
        Ok(())
    }

    /// Fills a record with the decision and its explanation; `previous` is the record of
    /// the decision before it of the same symbol and account, in the same chain, with its names.
    pub fn fill(
        &self,
        record: &mut Record,
        decision: &TradingDecision,
        parts: &[Part<'_>],
        explanation: &Explanation,
        previous: Option<(&Record, &FeatureSet)>,
    ) {
        self.fill_own(record, decision, parts, explanation);
        self.remember(record, previous);
    }

    /// Fills all of a record but its place in a chain and the decision before it, which
    /// stay as they are.
    pub(super) fn fill_own(
        &self,
        record: &mut Record,
        decision: &TradingDecision,
        parts: &[Part<'_>],
        explanation: &Explanation,
    ) {
        record.feature_set = self.id;
        record.decision_id.clone_from(&decision.decision_id.0);
        record.correlation_id.clone_from(&decision.correlation_id);
        record.time = decision.timestamp;
        record.account.clone_from(&decision.account);
        record.symbol.clone_from(&decision.symbol);
        (record.action, record.outcome) = (decision.action, decision.outcome);
        record.quantity = decision.quantity.0;
        record.position_before = decision.position_before.map(|position| position.0);
        record.confidence = decision.confidence;
        record.reasons.clone_from(&decision.reasons);
        refill(&mut record.regime_probs, decision.regime_probs.values().copied());
        record.specialists.resize_with(parts.len(), Specialist::default);
        for ((kept, weight), part) in record.specialists.iter_mut().zip(decision.strategy_weights.values()).zip(parts) {
            part.version.clone_into(&mut kept.version);
            (kept.weight, kept.margin) = (*weight, part.margin as f32);
        }
        refill(&mut record.checks, decision.risk_checks.values().copied());
        let checks = decision.risk_checks.keys().enumerate();
        let failed =
            checks.filter_map(|(check, name)| decision.failed_checks.get(name).map(|numbers| (check, numbers)));
        let failed =
            failed.map(|(check, numbers)| FailedCheck { check, value: numbers.value.0, limit: numbers.limit.0 });
        record.failed_checks.clear();
        if !decision.failed_checks.is_empty() {
            record.failed_checks.extend(failed);
        }
        record.signal.clone_from(&decision.signal);
        (record.base, record.margin) = (explanation.base, explanation.margin);
        let contributions = explanation.contributions.iter();
        let features = decision.features.values().zip(contributions);
        refill(&mut record.features, features.map(|(value, phi)| Feature { value: *value, contribution: *phi as f32 }));
    }

    /// Fills in what is remembered of the symbol's decision before: its record and its names.
    pub(super) fn remember(&self, record: &mut Record, previous: Option<(&Record, &FeatureSet)>) {
        let Some((before, names)) = previous else {
            record.previous = None;
            return;
        };
        let empty = || Previous {
            index: 0,
            action: before.action,
            margin: 0.0,
            regime_probs: Vec::new(),
            weights: Vec::new(),
            moved: Vec::with_capacity(MAX_MOVED + 1),
        };
        let kept = record.previous.get_or_insert_with(empty);
        (kept.index, kept.action, kept.margin) = (before.index, before.action, before.margin as f32);
        let same_regimes = names.regimes() == self.set.regimes();
        let same_specialists = names.specialists() == self.set.specialists();
        refill(&mut kept.regime_probs, before.regime_probs.iter().filter(|_| same_regimes).map(|p| *p as f32));
        let weights = before.specialists.iter().filter(|_| same_specialists);
        refill(&mut kept.weights, weights.map(|specialist| specialist.weight as f32));
        kept.moved.clear();
        let same_features = names.features() == self.set.features();
        for (feature, now) in record.features.iter().enumerate() {
            let place =
                if same_features { Some(feature) } else { find(names.features(), &self.set.features()[feature]) };
            let Some(before) = place.and_then(|place| before.features.get(place)) else { continue };
            let before = before.contribution;
            let by = |moved: &Moved| (record.features[moved.feature].contribution - moved.before).abs();
            let move_now = (now.contribution - before).abs();
            let rank = kept.moved.iter().take_while(|moved| by(moved).total_cmp(&move_now) != Ordering::Less).count();
            if move_now > 0.0 && rank < MAX_MOVED {
                kept.moved.insert(rank, Moved { feature, before });
                kept.moved.truncate(MAX_MOVED);
            }
        }
    }
}

fn find(names: &[String], name: &str) -> Option<usize> {
    names.binary_search_by(|known| known.as_str().cmp(name)).ok()
}

fn refill<T>(list: &mut Vec<T>, items: impl Iterator<Item = T>) {
    list.clear();
    list.extend(items);
}

#[cfg(test)]
pub(crate) mod tests {
    use tapedeck_contracts::decode::decode;
    use tapedeck_shap::{Ensemble, Explainer, Scratch};

    use super::*;

    pub(crate) const DECISION: &str = r#"{"event_type":"trading_decision","timestamp":"2025-10-21T14:30:00Z",
        "decision_id":"550e8400-e29b-41d4-a716-446655440000","account":"ACC-1","symbol":"AAPL","action":"BUY","quantity":100,
        "confidence":0.85,"regime_probs":{"bull":0.65,"bear":0.15,"sideways":0.20},"strategy_weights":{"bear":0.25,"bull":0.75},
        "model_versions":{"bear":"v90","bull":"v127"},"features":{"macd":0.5,"rsi":45.5,"volume_ratio":null},
        "risk_checks":{"position_limit_ok":true},"position_before":"0","outcome":"accepted","reasons":[]}"#;

    pub(crate) fn decision() -> TradingDecision {
        decode(DECISION.as_bytes()).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Bear knows rsi and macd, in another order than the set; bull all three.
    pub(crate) fn mixture() -> Mixture {
        let (bear, bull) = (names(&["rsi", "macd"]), names(&["macd", "rsi", "volume_ratio"]));
        let bear = Model { specialist: "bear", features: &bear };
        let bull = Model { specialist: "bull", features: &bull };
        Mixture::new(FeatureSet::of(&decision()).unwrap(), &[bull, bear]).unwrap()
    }

    pub(crate) const PARTS: [Part<'static>; 2] = [
        Part { version: "v90", margin: -1.0, phi: &[-0.5, -0.25, -0.25] },
        Part { version: "v127", margin: 1.5, phi: &[1.0, 0.5, -0.125, 0.125] },
    ];

    #[test]
    fn contributions_are_weighted_and_meet_by_name() {
        let mut found = Explanation::default();
        mixture().explain(&decision(), &PARTS, &mut found).unwrap();
        assert_eq!(found, Explanation { base: 0.03125, margin: 0.875, contributions: vec![0.6875, 0.25, -0.09375] });
        let mut record = Record::default();
        mixture().fill(&mut record, &decision(), &PARTS, &found, None);
        assert!(record.additivity_error() < 1e-12);
        assert_eq!(record.features[1].value, Some(45.5));
        assert_eq!(record.features[2].value, None);
    }

    #[test]
    fn a_missing_value_is_a_nan_of_the_row_and_a_missing_key_an_error() {
        let (mut values, mut rows) = (Vec::new(), Vec::new());
        mixture().push_row(&decision(), 1, &mut values, &mut rows).unwrap();
        mixture().push_row(&decision(), 0, &mut values, &mut rows).unwrap();
        assert!(rows[2].is_nan());
        rows.remove(2);
        assert_eq!(rows, [0.5, 45.5, 45.5, 0.5]);
        let set = FeatureSet::of(&decision()).unwrap();
        let features = names(&["atr"]);
        let model = Model { specialist: "bull", features: &features };
        let error = Mixture::new(set.clone(), &[model]).unwrap_err();
        assert_eq!(error, ExplainError::MissingFeature { feature: "atr".into(), specialist: "bull".into() });
        let features = names(&["macd", "rsi"]);
        let both = ["bear", "bull"].map(|specialist| Model { specialist, features: &features });
        assert_eq!(Mixture::new(set.clone(), &both).unwrap_err(), ExplainError::UnknownFeature("volume_ratio".into()));
        assert_eq!(Mixture::new(set.clone(), &both[..1]).unwrap_err(), ExplainError::MissingModel("bull".into()));
        let other = Model { specialist: "crab", features: &features };
        assert_eq!(Mixture::new(set, &[other]).unwrap_err(), ExplainError::MissingWeight("crab".into()));
    }

    #[test]
    fn other_names_and_parts_of_another_width_are_refused() {
        let mut other = decision();
        other.features.insert("atr", None);
        let mut out = Explanation::default();
        let error = mixture().explain(&other, &PARTS, &mut out).unwrap_err();
        assert!(matches!(error, ExplainError::OtherNames(_)));
        let error = mixture().explain(&decision(), &[PARTS[1], PARTS[1]], &mut out).unwrap_err();
        assert_eq!(error, ExplainError::Width { specialist: "bear".into(), found: 4, features: 2 });
        let error = mixture().explain(&decision(), &PARTS[..1], &mut out).unwrap_err();
        assert_eq!(error, ExplainError::MissingModel("bull".into()));
    }

    #[test]
    fn the_features_that_moved_most_are_remembered_largest_first() {
        let (mixture, decision) = (mixture(), decision());
        let mut explanation = Explanation { base: 0.0, margin: 0.875, contributions: vec![0.5, 0.25, -0.25] };
        let (mut before, mut now) = (Record::default(), Record { index: 7, ..Record::default() });
        mixture.fill(&mut before, &decision, &PARTS, &explanation, None);
        explanation.contributions = vec![0.5, 0.375, 0.25];
        mixture.fill(&mut now, &decision, &PARTS, &explanation, Some((&before, mixture.set())));
        let previous = now.previous.unwrap();
        let moved: Vec<_> = previous.moved.iter().map(|moved| (moved.feature, moved.before)).collect();
        assert_eq!(moved, [(2, -0.25), (1, 0.25)]);
        assert_eq!(previous.weights, [0.25, 0.75]);
    }

    #[test]
    fn a_specialist_of_the_project_is_explained_and_adds_up() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/sideways_specialist/v1.txt");
        let ensemble = Ensemble::read(&std::fs::read(path).unwrap()).unwrap();
        let explainer = Explainer::new(&ensemble).unwrap();
        let mut decision = decision();
        decision.features = explainer.features().iter().map(|name| (name.clone(), Some(0.25))).collect();
        decision.strategy_weights = [("bull".to_owned(), 1.0)].into();
        let model = Model { specialist: "bull", features: explainer.features() };
        let mixture = Mixture::new(FeatureSet::of(&decision).unwrap(), &[model]).unwrap();
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        mixture.push_row(&decision, 0, &mut values, &mut rows).unwrap();
        let mut phi = vec![0.0; explainer.contributions()];
        explainer.explain_f64(&rows, &mut Scratch::new(), &mut phi).unwrap();
        let mut margin = [0.0];
        ensemble.margins(&rows, &mut margin).unwrap();
        let part = Part { version: "v1", margin: margin[0], phi: &phi };
        let (mut explanation, mut record) = (Explanation::default(), Record::default());
        mixture.explain(&decision, &[part], &mut explanation).unwrap();
        mixture.fill(&mut record, &decision, &[part], &explanation, None);
        assert!(record.additivity_error() < 1e-6, "{}", record.additivity_error());
    }
}
