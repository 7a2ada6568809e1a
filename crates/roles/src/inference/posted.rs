//! A decision that somebody asks for with features of their own, as
//! `POST /api/v1/decisions` takes them: the same weights, models, thresholds and
//! size, and nothing kept.
//!
//! The position that it is checked against is the one that the question names; the
//! rest of the book is not looked at, so concentration and correlation pass.
//!
//! Not here: HTTP, ids, and whether the decision is written to the log.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tapedeck_contracts::{Dec, EventId, FieldError, Timestamp};

use super::{
    book::Holding,
    config::InferenceConfig,
    decide::{Decided, Situation, decide},
    features::{COUNT, FEATURES, Row, place_of},
    models::ModelSet,
    regime::{REGIMES, is_distribution},
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The instrument.
    pub symbol: String,
    /// For whom; the config's account where absent.
    #[serde(default)]
    pub account: Option<String>,
    /// Every feature of every model; null is a missing value. Features of ours that no
    /// model looks at are left out.
    pub features: BTreeMap<String, Option<f64>>,
    /// Probability of bull, bear and sideways; those before the first bar where absent.
    #[serde(default)]
    pub regime_probs: Option<BTreeMap<String, f64>>,
    /// The position before the decision; 0 where absent.
    #[serde(default)]
    pub position_before: Option<Dec>,
    /// What it belongs to across topics.
    #[serde(default)]
    pub correlation_id: Option<String>,
}

/// Answers a question, as of a time.
///
/// # Errors
/// The first field that is missing or lies, by its JSON path.
pub fn answer(
    config: &InferenceConfig,
    models: &ModelSet,
    question: &Question,
    decision_id: EventId,
    timestamp: Timestamp,
) -> Result<Decided, FieldError> {
    let row = row_of(models, &question.features)?;
    let regime_probs = match &question.regime_probs {
        None => config.hmm.initial,
        Some(probs) => probs_of(probs)?,
    };
    let mut own = Holding::default();
    own.add(question.position_before.unwrap_or_default().0);
    let situation = Situation {
        decision_id,
        timestamp,
        correlation_id: question.correlation_id.clone(),
        symbol: &question.symbol,
        row,
        is_warm: true,
        regime_probs,
        signal: None,
        own: &own,
        others: Vec::new(),
    };
    let mut decided = decide(config, models, situation).map_err(|detail| FieldError::new(path_of(&row), detail))?;
    if question.account.is_some() {
        decided.decision.account.clone_from(&question.account);
    }
    Ok(decided)
}

/// The path of what a model did not take: the feature that is too large for its f32, which
/// is all that it refuses of finite numbers.
fn path_of(row: &Row) -> String {
    let too_large = |value: &Option<f64>| value.is_some_and(|value| !(value as f32).is_finite());
    match row.iter().position(too_large) {
        Some(place) => format!("$.features.{}", FEATURES[place].name),
        None => "$.features".to_owned(),
    }
}

/// The row of features by name.
fn row_of(models: &ModelSet, named: &BTreeMap<String, Option<f64>>) -> Result<Row, FieldError> {
    let mut row = [None; COUNT];
    for (name, value) in named {
        if value.is_some_and(|value| !value.is_finite()) {
            return Err(FieldError::new(format!("$.features.{name}"), "expected a finite number or null".to_owned()));
        }
        let place = place_of(name).ok_or_else(|| unknown(name))?;
        row[place] = *value;
    }
    let needed: BTreeSet<&str> = models.columns().map(|place| FEATURES[place].name).collect();
    let missing: Vec<&str> = needed.into_iter().filter(|name| !named.contains_key(*name)).collect();
    match missing[..] {
        [] => Ok(row),
        [first, ..] => {
            let others = match missing.len() {
                1 => String::new(),
                _ => format!("; missing are {}", missing.join(", ")),
            };
            let detail = format!("missing; a model looks at it, and null says that it has no value{others}");
            Err(FieldError::new(format!("$.features.{first}"), detail))
        }
    }
}

fn unknown(name: &str) -> FieldError {
    let near = FEATURES.iter().map(|feature| (strsim::jaro_winkler(name, feature.name), feature.name));
    let hint = match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        // Below this two words have little in common, and a hint would mislead.
        Some((likeness, near)) if likeness > 0.7 => format!("did you mean `{near}`?"),
        _ => "docs/decisions.md lists those there are".to_owned(),
    };
    FieldError::new(format!("$.features.{name}"), format!("there is no such feature; {hint}"))
}

fn probs_of(named: &BTreeMap<String, f64>) -> Result<[f64; 3], FieldError> {
    let probs = REGIMES.map(|regime| named.get(regime).copied().unwrap_or(f64::NAN));
    if is_distribution(&probs) && named.len() == REGIMES.len() {
        return Ok(probs);
    }
    let detail = format!("expected probabilities of {} that sum to 1, found {named:?}", REGIMES.join(", "));
    Err(FieldError::new("$.regime_probs", detail))
}

#[cfg(test)]
mod tests {
    use tapedeck_contracts::events::signal::Action;

    use super::{super::models::tests::set, *};

    fn question() -> Question {
        let text = r#"{"symbol":"A","features":{"return_1":0.1,"rsi":null,"atr":5}}"#;
        serde_json::from_str(text).expect("a question")
    }

    fn answered(question: &Question) -> Result<Decided, FieldError> {
        let config = InferenceConfig::default();
        answer(&config, &set([2.0; 3]), question, EventId::from("d-1"), Timestamp::from_micros(0))
    }

    #[test]
    fn features_in_give_a_decision_out() {
        let decision = answered(&question()).expect("nothing is wrong with it").decision;
        assert_eq!((decision.action, decision.features.len()), (Action::Buy, 2));
        assert_eq!(decision.account, None);
        let asked = Question { account: Some("A".into()), ..question() };
        assert_eq!(answered(&asked).expect("nothing is wrong with it").decision.account.as_deref(), Some("A"));
        let large = Question { position_before: Some(Dec::parse("9.9").expect("a decimal")), ..question() };
        let rejected = answered(&large).expect("nothing is wrong with it").decision;
        assert_eq!(rejected.reasons, ["position_limit"]);
        let numbers = rejected.failed_checks["position_limit_ok"];
        assert_eq!(
            (numbers.value, numbers.limit),
            (Dec(rejected.quantity.0 + large.position_before.expect("9.9").0), Dec(10.into()))
        );
    }

    #[test]
    fn what_is_missing_or_lies_is_named_by_its_path() {
        let mut missing = question();
        missing.features.remove("rsi");
        assert_eq!(answered(&missing).expect_err("rsi is missing").path, "$.features.rsi");
        let mut infinite = question();
        infinite.features.insert("rsi".into(), Some(f64::INFINITY));
        assert_eq!(answered(&infinite).expect_err("it is infinite").path, "$.features.rsi");
        let mut large = question();
        large.features.insert("return_1".into(), Some(1e39));
        assert_eq!(answered(&large).expect_err("f32 has no room for it").path, "$.features.return_1");
        let mut unknown = question();
        unknown.features.insert("rsl".into(), None);
        let error = answered(&unknown).expect_err("there is none");
        assert!(error.path == "$.features.rsl" && error.detail.ends_with("did you mean `rsi`?"), "{error:?}");
        let probs = BTreeMap::from([("bull".to_owned(), 0.5), ("bear".to_owned(), 0.5)]);
        let two = Question { regime_probs: Some(probs), ..question() };
        assert_eq!(answered(&two).expect_err("there are three regimes").path, "$.regime_probs");
    }
}
