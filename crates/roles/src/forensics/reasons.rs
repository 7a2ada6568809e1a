//! Why a decision came out as it did, as codes and numbers that follow from its
//! record and from nothing else.
//!
//! Not here: sentences.

use serde::Serialize;
use tapedeck_contracts::{
    Dec,
    events::{
        Action,
        decision::{CheckNumbers, Outcome},
    },
};

use super::{FeatureSet, Record};

/// How many features are named on each side.
const NAMED: usize = 3;

/// A reason. Contributions and margins are log-odds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason<'a> {
    /// The most likely regime; the first by name where two are as likely.
    Regime {
        /// Its name.
        regime: &'a str,
        /// Its probability.
        probability: f64,
        /// How much more likely than the second it is; its probability if there is one only.
        lead: f64,
        /// Its probability at the symbol's decision before.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<f32>,
        /// The most likely regime at the symbol's decision before.
        #[serde(skip_serializing_if = "Option::is_none")]
        most_likely_before: Option<&'a str>,
    },
    /// The specialist whose weighted margin is the largest, either way.
    Dominant {
        /// Its name.
        specialist: &'a str,
        /// Its weight.
        weight: f64,
        /// Its own margin.
        margin: f32,
        /// Weight times margin.
        contribution: f64,
        /// By how much it is larger than the second, both without their signs.
        lead: f64,
        /// Its weight at the symbol's decision before.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight_before: Option<f32>,
    },
    /// A feature that pushed towards BUY or SELL, as the decision went.
    Pushed(Share<'a>),
    /// A feature that pushed the other way.
    HeldBack(Share<'a>),
    /// A feature whose contribution moved since the symbol's decision before.
    Moved {
        /// Its name.
        feature: &'a str,
        /// Its contribution then.
        before: f32,
        /// Its contribution now.
        now: f32,
    },
    /// The decision was rejected.
    Rejected {
        /// The codes that it brought.
        reasons: &'a [String],
        /// The risk checks that failed.
        failed_checks: Vec<Failed<'a>>,
    },
}

/// A risk check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failed<'a> {
    /// Its name.
    pub check: &'a str,
    /// What was measured, and the most that it may be, where the decision told them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numbers: Option<CheckNumbers>,
}

/// A feature's share in a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share<'a> {
    /// Its name.
    pub feature: &'a str,
    /// Its value; none is a missing value.
    pub value: Option<f64>,
    /// Its contribution.
    pub contribution: f32,
}

/// The reasons of a record, whose names are in `set`. A name that the set has not is
/// left out: check first that the set is the record's.
pub fn reasons<'a>(record: &'a Record, set: &'a FeatureSet) -> Vec<Reason<'a>> {
    let mut found = Vec::new();
    found.extend(regime(record, set));
    found.extend(dominant(record, set));
    match record.action {
        Action::Buy => sides(record, set, 1.0, &mut found),
        Action::Sell => sides(record, set, -1.0, &mut found),
        Action::Hold => {}
    }
    for moved in record.previous.iter().flat_map(|previous| &previous.moved) {
        if let (Some(feature), Some(now)) = (set.features().get(moved.feature), record.features.get(moved.feature)) {
            found.push(Reason::Moved { feature, before: moved.before, now: now.contribution });
        }
    }
    if record.outcome == Outcome::Rejected {
        found.push(Reason::Rejected { reasons: &record.reasons, failed_checks: failed(record, set).collect() });
    }
    found
}

/// The checks that failed, each with its numbers where they were told.
pub(super) fn failed<'a>(record: &'a Record, set: &'a FeatureSet) -> impl Iterator<Item = Failed<'a>> {
    let checks = set.checks().iter().zip(&record.checks).enumerate().filter(|(_, (_, passed))| !**passed);
    checks.map(|(place, (check, _))| {
        let numbers = record.failed_checks.iter().find(|failed| failed.check == place);
        let numbers = numbers.map(|found| CheckNumbers { value: Dec(found.value), limit: Dec(found.limit) });
        Failed { check, numbers }
    })
}

fn regime<'a>(record: &Record, set: &'a FeatureSet) -> Option<Reason<'a>> {
    let (at, lead) = largest(record.regime_probs.iter().copied())?;
    let before = record.previous.as_ref().and_then(|previous| previous.regime_probs.get(at).copied());
    let probs_before = record.previous.iter().flat_map(|previous| &previous.regime_probs);
    let first_before = largest(probs_before.map(|probability| f64::from(*probability))).map(|(at, _)| at);
    let most_likely_before = first_before.and_then(|at| set.regimes().get(at)).map(String::as_str);
    let (regime, probability) = (set.regimes().get(at)?, record.regime_probs[at]);
    Some(Reason::Regime { regime, probability, lead, before, most_likely_before })
}

fn dominant<'a>(record: &Record, set: &'a FeatureSet) -> Option<Reason<'a>> {
    let contribution = |at: usize| record.specialists[at].weight * f64::from(record.specialists[at].margin);
    let (at, lead) = largest((0..record.specialists.len()).map(|at| contribution(at).abs()))?;
    let (weight, margin) = (record.specialists[at].weight, record.specialists[at].margin);
    let weight_before = record.previous.as_ref().and_then(|previous| previous.weights.get(at).copied());
    let specialist = set.specialists().get(at)?;
    Some(Reason::Dominant { specialist, weight, margin, contribution: contribution(at), lead, weight_before })
}

/// The place of the largest number, the first of equals, and how far the second is.
fn largest(numbers: impl Iterator<Item = f64>) -> Option<(usize, f64)> {
    let mut sorted: Vec<(usize, f64)> = numbers.enumerate().collect();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
    let (at, first) = *sorted.first()?;
    Some((at, first - sorted.get(1).map_or(0.0, |second| second.1)))
}

/// The features with the largest contributions with and against a direction.
fn sides<'a>(record: &Record, set: &'a FeatureSet, direction: f32, found: &mut Vec<Reason<'a>>) {
    let shares = set.features().iter().zip(&record.features);
    let mut shares: Vec<Share<'a>> = shares
        .map(|(name, feature)| Share { feature: name, value: feature.value, contribution: feature.contribution })
        .collect();
    shares.sort_by(|one, other| other.contribution.abs().total_cmp(&one.contribution.abs()));
    let with = shares.iter().filter(|share| share.contribution * direction > 0.0);
    found.extend(with.take(NAMED).cloned().map(Reason::Pushed));
    let against = shares.iter().filter(|share| share.contribution * direction < 0.0);
    found.extend(against.take(NAMED).cloned().map(Reason::HeldBack));
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::forensics::FailedCheck;
    use crate::forensics::record::tests::{typical, typical_set};

    #[test]
    fn reasons_say_what_the_numbers_say() {
        let (record, set) = (typical(0, 4), typical_set());
        let found = serde_json::to_value(reasons(&record, &set)).unwrap();
        assert_eq!((&found[0]["regime"], &found[0]["probability"]), (&"bull".into(), &0.65.into()));
        assert!((found[0]["lead"].as_f64().unwrap() - 0.45).abs() < 1e-12);
        assert_eq!((&found[1]["specialist"], &found[1]["weight"]), (&"bull_specialist".into(), &0.6.into()));
        assert!((found[1]["lead"].as_f64().unwrap() - 0.14).abs() < 1e-6);
        let named: Vec<_> = (2..8).map(|at| (found[at]["code"].as_str(), found[at]["feature"].as_str())).collect();
        let pushed = ["feature_19", "feature_18", "feature_17"].map(|name| (Some("pushed"), Some(name)));
        let held = ["feature_00", "feature_01", "feature_02"].map(|name| (Some("held_back"), Some(name)));
        assert_eq!(named, [pushed, held].concat());
        assert_eq!((&found[8]["code"], &found[8]["feature"]), (&"moved".into(), &"feature_03".into()));
    }

    #[test]
    fn a_sale_is_pushed_by_what_speaks_against_a_rise_and_a_hold_by_nothing() {
        let set = typical_set();
        let record = Record { action: Action::Sell, ..typical(0, 0) };
        let found = reasons(&record, &set);
        assert!(matches!(&found[2], Reason::Pushed(share) if share.feature == "feature_00"), "{found:?}");
        let record = Record { action: Action::Hold, ..record };
        assert_eq!(reasons(&record, &set).len(), 2);
    }

    #[test]
    fn a_rejected_decision_names_its_codes_and_the_checks_that_failed() {
        let set = typical_set();
        let mut record = Record { outcome: Outcome::Rejected, reasons: vec!["risk".into()], ..typical(0, 0) };
        record.checks[1] = false;
        let of = |record: &Record, numbers| {
            let failed_checks = vec![Failed { check: "correlation_ok", numbers }];
            assert_eq!(
                reasons(record, &set).last(),
                Some(&Reason::Rejected { reasons: &record.reasons, failed_checks })
            );
        };
        of(&record, None);
        let (value, limit) = (Decimal::new(97, 2), Decimal::new(95, 2));
        record.failed_checks = vec![FailedCheck { check: 1, value, limit }];
        of(&record, Some(CheckNumbers { value: Dec(value), limit: Dec(limit) }));
    }
}
