//! What is said of a dozen decisions, and that nothing is said that is not so.
//!
//! Not here: which reasons there are.

use rust_decimal::Decimal;
use tapedeck_contracts::events::decision::AskingSignal;

use super::*;
use crate::forensics::{
    FailedCheck, Moved, Previous,
    record::tests::{typical, typical_set},
};

fn told(record: &Record) -> String {
    let Sentences { outcome, features, regime, strategy } = sentences(record, &typical_set());
    format!("{outcome}\n{features}\n{regime}\n{strategy}")
}

/// A record with nothing before it.
fn first() -> Record {
    typical(0, 0)
}

fn before(record: &mut Record) -> &mut Previous {
    record.previous.as_mut().expect("it has one")
}

#[test]
fn a_contribution_that_hardly_moved_is_told_with_the_digits_that_did() {
    let mut record = typical(0, 4);
    let now = record.features[3].contribution;
    before(&mut record).moved = vec![Moved { feature: 3, before: now + 0.000_02 }];
    let said = told(&record);
    assert!(said.contains("feature_03 from -0.19838 to -0.19840"), "{said}");
}

#[test]
fn a_dozen_decisions_are_told_as_their_numbers_are() {
    let mut cases: Vec<(&str, Record)> = vec![
        ("the first of its symbol", first()),
        ("a buy after a hold", typical(0, 4)),
        ("a sale", Record { action: Action::Sell, ..first() }),
    ];
    let hold = Record { action: Action::Hold, reasons: vec!["below_threshold".into()], margin: 0.0125, ..first() };
    cases.push(("a hold", hold));
    let mut rejected = Record { outcome: Outcome::Rejected, reasons: vec!["position_limit".into()], ..first() };
    rejected.checks[2] = false;
    cases.push(("a rejection", rejected.clone()));
    rejected.failed_checks = vec![FailedCheck { check: 2, value: Decimal::new(12, 1), limit: Decimal::ONE }];
    let signal = AskingSignal { strategy_id: "sma".into(), action: Action::Buy, confidence: Some(0.9999) };
    rejected.signal = Some(signal);
    cases.push(("a rejection with its numbers, on a signal", rejected.clone()));
    rejected.signal = None;
    rejected.checks[0] = false;
    rejected.reasons.push("concentration".into());
    cases.push(("a rejection for two reasons", rejected.clone()));
    rejected.checks = vec![true; 3];
    rejected.failed_checks.clear();
    rejected.reasons = vec!["signal_disagrees".into()];
    cases.push(("a rejection with no check that failed", rejected));
    let mut sure = first();
    sure.regime_probs = vec![0.0, 1.0, 0.0];
    sure.specialists.iter_mut().for_each(|part| part.weight = 0.0);
    sure.specialists[1].weight = 1.0;
    cases.push(("one regime and one specialist for certain", sure));
    let mut nearly = first();
    nearly.regime_probs = vec![0.0001, 0.9998, 0.0001];
    nearly.margin = 9.5;
    cases.push(("nearly certain", nearly));
    let mut tied = first();
    tied.regime_probs = vec![0.5, 0.5, 0.0];
    tied.specialists.iter_mut().for_each(|part| (part.weight, part.margin) = (0.25, -0.5));
    cases.push(("ties", tied));
    let mut silent = first();
    silent.specialists.iter_mut().for_each(|part| part.margin = 0.0);
    silent.features.iter_mut().for_each(|feature| feature.contribution = 0.0);
    (silent.base, silent.margin) = (0.0, 0.0);
    cases.push(("nothing says anything", silent));
    let mut turned = typical(0, 4);
    before(&mut turned).regime_probs = vec![0.5, 0.3, 0.2];
    before(&mut turned).weights = vec![0.1, 0.6, 0.3];
    before(&mut turned).moved.clear();
    cases.push(("another regime before and the same weight", turned));
    let mut small = first();
    small.features[3].contribution = 1.5e-7;
    small.features[19].value = Some(1_234_567.891);
    small.features[18].value = Some(-0.000_012_345_678);
    cases.push(("small and large numbers", small));
    let text: Vec<String> = cases.iter().map(|(name, record)| format!("## {name}\n{}", told(record))).collect();
    insta::assert_snapshot!(text.join("\n\n"));
}

#[test]
fn a_number_is_told_in_six_digits_and_never_as_another_one() {
    let cases = [
        (0.0, "0"),
        (45.3, "45.3"),
        (0.1 + 0.2, "0.3"),
        (-1234.5678, "-1234.57"),
        (1e-9, "1.00000e-9"),
        (12_345_678.0, "1.23457e7"),
        (999_999.7, "1000000"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text);
    }
    assert_eq!((percent(0.9999).as_str(), percent(0.0001).as_str()), ("more than 99.9 %", "less than 0.1 %"));
    assert_eq!((percent(1.0).as_str(), percent(0.0).as_str()), ("100.0 %", "0.0 %"));
    assert_eq!((signed(-0.0), signed(1e-5).as_str()), ("0".to_owned(), "+1.0e-5"));
}
