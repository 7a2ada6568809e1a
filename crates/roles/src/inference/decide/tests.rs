//! What a decision is, by the numbers that it was made of.
//!
//! Not here: which models there are, and the book over time.

use proptest::prelude::*;
use tapedeck_contracts::{Body, Timestamp};

use super::*;
use crate::inference::{
    book::tests::{holding, walk},
    features::COUNT,
    models::tests::{constant, set},
    risk::{CONCENTRATION, CORRELATION, POSITION},
};

fn config() -> InferenceConfig {
    InferenceConfig { max_size: Dec(Decimal::from(10)), lot: Dec(Decimal::new(1, 1)), ..InferenceConfig::default() }
}

fn situation<'a>(own: &'a Holding) -> Situation<'a> {
    Situation {
        decision_id: EventId::from("d-1"),
        timestamp: Timestamp::from_micros(1_000_000),
        correlation_id: Some("c-1".into()),
        symbol: "A",
        row: [Some(1.0); COUNT],
        is_warm: true,
        regime_probs: [0.5, 0.25, 0.25],
        signal: None,
        own,
        others: Vec::new(),
    }
}

/// A decision whose p is this.
fn decided(p: f64, change: impl FnOnce(&mut Situation<'_>)) -> Decided {
    let own = holding(0, walk(7, 50));
    let margin = libm::log(p / (1.0 - p));
    let mut situation = situation(&own);
    change(&mut situation);
    decide(&config(), &set([margin; 3]), situation).expect("features that are finite")
}

#[test]
fn p_beyond_the_band_buys_or_sells_and_within_it_holds() {
    for (p, action, quantity) in [
        (0.56, Action::Buy, "1.2"),
        (0.54, Action::Hold, "0"),
        (0.46, Action::Hold, "0"),
        (0.44, Action::Sell, "1.2"),
        (0.999, Action::Buy, "9.9"),
    ] {
        let Decided { decision, .. } = decided(p, |_| {});
        assert_eq!((decision.action, decision.quantity.to_string().as_str()), (action, quantity), "p = {p}");
        assert!((decision.confidence - p.max(1.0 - p)).abs() < 1e-12);
        assert_eq!(decision.outcome, Outcome::Accepted);
    }
}

#[test]
fn a_hold_says_why_and_has_no_risk_decision() {
    let Decided { decision, risk } = decided(0.5, |_| {});
    assert_eq!(decision.reasons, [BELOW_THRESHOLD]);
    assert_eq!(risk, None);
    assert!(decision.risk_checks.values().all(|passed| *passed));
}

#[test]
fn the_margin_is_the_weighted_sum_of_the_specialists() {
    let own = holding(0, walk(7, 50));
    let found = decide(&config(), &set([2.0, -1.0, 0.5]), situation(&own)).expect("finite").decision;
    let margin = 0.5 * 2.0 - 0.25 + 0.25 * 0.5;
    assert!((found.confidence - sigmoid(margin)).abs() < 1e-12);
    assert!((found.strategy_weights["bull_specialist"] - 0.5).abs() < 1e-12);
    assert!((found.regime_probs["sideways"] - 0.25).abs() < 1e-12);
    assert_eq!(found.model_versions.len(), 3);
}

#[test]
fn a_signal_that_wants_another_direction_rejects_and_one_that_agrees_does_not() {
    let asking = |action| AskingSignal { strategy_id: "sma".into(), action, confidence: Some(0.7) };
    let Decided { decision, risk } = decided(0.9, |situation| situation.signal = Some(asking(Action::Sell)));
    assert_eq!(decision.signal, Some(asking(Action::Sell)));
    assert_eq!((decision.action, decision.outcome), (Action::Buy, Outcome::Rejected));
    assert_eq!(decision.reasons, [SIGNAL_DISAGREES]);
    let risk = risk.expect("there was something to trade");
    assert!(!risk.approved && risk.checks.values().all(|passed| *passed));
    assert_eq!(risk.reasons, [SIGNAL_DISAGREES]);
    let agreed = decided(0.9, |situation| situation.signal = Some(asking(Action::Buy))).decision;
    assert_eq!((agreed.outcome, agreed.reasons.len()), (Outcome::Accepted, 0));
}

#[test]
fn without_enough_bars_or_a_whole_lot_nothing_is_taken() {
    let cold = decided(0.9, |situation| situation.is_warm = false);
    assert_eq!((cold.decision.reasons.as_slice(), cold.accepted()), ([NOT_WARM.to_owned()].as_slice(), None));
    let own = holding(0, walk(7, 50));
    let coarse = InferenceConfig { lot: Dec(Decimal::from(100)), ..config() };
    let found = decide(&coarse, &set([3.0; 3]), situation(&own)).expect("finite").decision;
    assert_eq!((found.quantity, found.reasons), (Dec::ZERO, vec![BELOW_LOT.to_owned()]));
}

#[test]
fn each_risk_check_that_fails_is_a_reason_and_the_decision_is_kept() {
    let (own, other) = (holding(9, walk(7, 100)), holding(1, walk(7, 100)));
    let situation = Situation { others: vec![&other], ..situation(&own) };
    let found = decide(&config(), &set([3.0; 3]), situation).expect("finite");
    assert_eq!(found.decision.outcome, Outcome::Rejected);
    assert_eq!(found.decision.reasons, ["position_limit", "concentration", "correlation"]);
    assert_eq!(found.decision.position_before, Some(Dec(Decimal::from(9))));
    for check in [POSITION, CONCENTRATION, CORRELATION] {
        assert!(!found.decision.risk_checks[check]);
    }
    let risk = found.risk.expect("there was something to trade");
    assert_eq!((risk.approved, risk.limits.len()), (false, 3));
    assert_eq!(found.decision.risk_checks, risk.checks);
}

#[test]
fn a_feature_that_is_missing_is_null_and_those_that_no_model_names_are_left_out() {
    let own = holding(0, walk(7, 50));
    let mut row = [None; COUNT];
    row[0] = Some(0.25);
    let found = decide(&config(), &set([0.0; 3]), Situation { row, ..situation(&own) }).expect("finite").decision;
    assert_eq!(found.features, ByName::from([("return_1", Some(0.25)), ("rsi", None)]));
}

#[test]
fn an_infinite_feature_is_an_error_that_names_it() {
    let own = holding(0, walk(7, 50));
    let mut row = [None; COUNT];
    row[0] = Some(f64::INFINITY);
    let error = decide(&config(), &set([0.0; 3]), Situation { row, ..situation(&own) }).expect_err("it is infinite");
    assert!(error.contains("return_1"), "{error}");
}

proptest! {
    #[test]
    fn whatever_the_margins_the_record_is_valid_and_its_size_within_bounds(
        margins in [-50.0_f64..50.0, -50.0..50.0, -50.0..50.0],
        a in 0.0_f64..1.0,
        share in 0.0_f64..1.0,
    ) {
        let own = holding(0, walk(7, 50));
        let probs = [a * share, a * (1.0 - share), 1.0 - a];
        let found = decide(&config(), &set(margins), Situation { regime_probs: probs, ..situation(&own) }).expect("finite");
        prop_assert!(found.decision.validate().is_ok(), "{:?}", found.decision.validate());
        prop_assert!(found.decision.quantity.0 <= Decimal::from(10));
        prop_assert_eq!(found.decision.quantity.0 % Decimal::new(1, 1), Decimal::ZERO);
        prop_assert_eq!(found.risk.is_some(), found.decision.action != Action::Hold);
        let signed = found.accepted().unwrap_or_default();
        prop_assert_eq!(signed.is_sign_negative() && !signed.is_zero(), found.decision.action == Action::Sell && !signed.is_zero());
    }
}

#[test]
fn a_sigmoid_is_a_half_at_0_and_stays_within_0_and_1() {
    assert!((sigmoid(0.0) - 0.5).abs() < 1e-15);
    assert!((sigmoid(1.0) + sigmoid(-1.0) - 1.0).abs() < 1e-15);
    assert!((0.0..=1.0).contains(&sigmoid(-1e9)) && (0.0..=1.0).contains(&sigmoid(1e9)));
    // A model of nothing but its base.
    assert!((constant("x", 0.7).margin(&[None; COUNT]).expect("finite") - 0.7).abs() < 1e-12);
}
