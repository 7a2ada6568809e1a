//! What the role keeps, once, and what it sets aside.
//!
//! Not here: crashes, and the check of what is kept.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use rust_decimal::Decimal;
use tapedeck_contracts::{
    Dec, Timestamp,
    events::{
        TradingDecision,
        decision::{AskingSignal, CheckNumbers, Outcome},
    },
};
use tapedeck_flow::DeliveryConfig;
use tapedeck_log::Log;
use tapedeck_roles::{
    forensics::{FeatureSet, Record, answer},
    inference::Models,
};
use tapedeck_store::Explanations;

use crate::common::*;

fn read(tape: &Tape, decision: &TradingDecision) -> Record {
    let row = tape.store.explained(decision.decision_id.as_str()).unwrap().unwrap();
    Record::read(&row.record).unwrap()
}

#[test]
fn every_decision_of_the_demo_is_explained_once_and_adds_up() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 400);
    tape.emit(&decisions);
    tape.settle();
    tape.assert_whole(&decisions);
    for decision in &decisions {
        let record = read(&tape, decision);
        assert!(record.additivity_error() < 1e-5, "{}", record.additivity_error());
        let p = 1.0 / (1.0 + (-record.margin).exp());
        assert!((p.max(1.0 - p) - decision.confidence).abs() < 1e-6, "the margin is not the one that decided");
        let set = tape.store.feature_set(record.feature_set.0).unwrap().unwrap();
        assert!(FeatureSet::from_bytes(&set).unwrap().is_of(decision));
        let found = (record.action, record.outcome, &record.symbol);
        assert_eq!(found, (decision.action, decision.outcome, &decision.symbol));
    }
    let taken: std::collections::BTreeSet<_> = decisions.iter().map(|decision| decision.action as u8).collect();
    assert_eq!(taken.len(), 3, "the demo buys, sells and holds");
}

#[test]
fn the_sums_of_importance_are_those_of_the_records() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 300);
    tape.emit(&decisions);
    tape.settle();
    let (from, to) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX / 2));
    let sums = tape.store.importance(from, to, None).unwrap();
    assert_eq!(sums.iter().map(|sum| sum.decisions).sum::<u64>(), 300);
    let btc: Vec<_> = tape.rows().into_iter().filter(|row| row.symbol == "BTCUSDT").collect();
    let first = |row: &tapedeck_store::Explained| Record::read(&row.record).unwrap().features[0].contribution;
    let wanted: f64 = btc.iter().map(|row| f64::from(first(row).abs())).sum();
    let found: f64 = sums.iter().filter(|sum| sum.symbol == "BTCUSDT").map(|sum| sum.sums[0]).sum();
    assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
}

#[test]
fn what_comes_again_changes_nothing_however_long_ago_it_came() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 120);
    tape.emit(&decisions);
    tape.settle();
    let rows = tape.rows();
    let heads = tape.store.chain_heads().unwrap();
    // With a window of two ids, the runtime knows of none of these.
    let short = || DeliveryConfig { dedupe_window: 2, ..Options::default().delivery };
    tape.emit(&decisions[..60]);
    tape.settle_with(Options { delivery: short(), ..Options::default() });
    assert_eq!(tape.rows(), rows);
    let ends =
        |heads: &[tapedeck_store::ChainHead]| heads.iter().map(|head| (head.records, head.hash)).collect::<Vec<_>>();
    assert_eq!(ends(&tape.store.chain_heads().unwrap()), ends(&heads));
    // Mixed with new ones, in one batch.
    let later: Vec<_> = (120..180).map(|n| decision(&tape.models, n)).collect();
    let mixed: Vec<_> = decisions[60..].iter().zip(&later).flat_map(|(old, new)| [old.clone(), new.clone()]).collect();
    tape.emit(&mixed);
    tape.settle_with(Options { delivery: short(), ..Options::default() });
    tape.assert_whole(&[decisions, later].concat());
}

#[test]
fn a_decision_is_compared_with_the_one_before_of_its_symbol_across_batches_and_restarts() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 90);
    for part in decisions.chunks(30) {
        tape.emit(part);
        tape.settle();
    }
    for (nth, decision) in decisions.iter().enumerate() {
        let record = read(&tape, decision);
        let before = decisions[..nth].iter().rev().find(|before| before.symbol == decision.symbol);
        let found = record.previous.as_ref().map(|previous| (previous.index, previous.margin));
        let before = before.map(|before| read(&tape, before)).map(|before| (before.index, before.margin as f32));
        assert_eq!(found, before);
    }
}

#[test]
fn what_can_never_be_explained_is_set_aside_with_its_path_and_the_rest_goes_on() {
    let tape = Tape::new();
    let mut all = decisions(&tape.models, 60);
    all[7].features.insert("moon_phase", Some(0.5));
    let name = all[11].features.keys().next().unwrap().to_owned();
    all[11].features.remove(&name);
    all[20].reasons = vec!["a code that is an essay ".repeat(100)];
    all[30].features.insert("rsi", Some(1e300));
    let mut bodies: Vec<_> = all.iter().map(record).collect();
    // The contract itself refuses weights that do not sum to one.
    let mut wrong = all[3].clone();
    wrong.strategy_weights.values_mut().for_each(|weight| *weight /= 2.0);
    bodies[3] = record(&wrong);
    tape.log.append(bodies).unwrap();
    tape.settle();
    let mut paths: Vec<_> = tape.dead_letters().into_iter().map(|(_, path, _)| path.unwrap_or_default()).collect();
    paths.sort();
    let missing = format!("$.features.{name}");
    let mut wanted = ["", "$.features.moon_phase", "$.features.rsi", "$.strategy_weights", missing.as_str()];
    wanted.sort_unstable();
    assert_eq!(paths, wanted);
    let bad = [3, 7, 11, 20, 30];
    let good: Vec<_> = (0..60).filter(|nth| !bad.contains(nth)).map(|nth| all[nth].clone()).collect();
    tape.assert_whole(&good);
}

#[test]
fn an_unknown_version_is_waited_for_then_set_aside_and_the_others_are_explained() {
    let (_dir, config) = folder();
    sets_aside_after(&Tape::with_models(Arc::new(Models::open(&config).unwrap())), 4);
}

#[test]
fn a_version_that_is_not_built_in_is_set_aside_at_once() {
    sets_aside_after(&Tape::new(), 0);
}

/// A decision of an unknown version is a dead letter after so many more tries.
fn sets_aside_after(tape: &Tape, retries: u64) {
    let mut all = decisions(&tape.models, 40);
    all[5].model_versions.insert("bull_specialist", "v127".into());
    tape.emit(&all);
    let running = Running::start(tape, Options::default());
    running.until(|| tape.is_settled());
    assert_eq!(running.gauges.record_retries.load(Relaxed), retries);
    running.end().unwrap();
    let letters = tape.dead_letters();
    let (_, path, text) = &letters[0];
    assert_eq!((letters.len(), path.as_deref()), (1, Some("$.model_versions.bull_specialist")));
    assert!(text.contains("bull_specialist v127"), "{text}");
    all.remove(5);
    tape.assert_whole(&all);
}

#[test]
fn a_version_that_comes_while_it_is_waited_for_explains() {
    let (dir, config) = folder();
    let tape = Tape::with_models(Arc::new(Models::open(&config).unwrap()));
    let mut all = decisions(&tape.models, 40);
    all[6].model_versions.insert("bull_specialist", "v2".into());
    tape.emit(&all);
    let patient = DeliveryConfig { record_tries: u32::MAX, ..Options::default().delivery };
    let running = Running::start(&tape, Options { delivery: patient, ..Options::default() });
    running.until(|| running.gauges.record_retries.load(Relaxed) >= 2);
    let others = all.iter().filter(|other| partition_of(&other.symbol) != partition_of(&all[6].symbol)).count();
    running.until(|| tape.rows().len() >= others);
    let folder = dir.path().join("bull_specialist");
    std::fs::copy(folder.join("v1.json"), folder.join("v2.json.part")).unwrap();
    std::fs::rename(folder.join("v2.json.part"), folder.join("v2.json")).unwrap();
    running.until(|| tape.is_settled());
    running.end().unwrap();
    tape.assert_whole(&all);
    let record = read(&tape, &all[6]);
    assert!(record.specialists.iter().any(|part| part.version == "v2"), "{:?}", record.specialists);
    assert_eq!(tape.dead_letters(), []);
}

#[test]
fn the_answer_says_what_the_decision_said() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 20);
    tape.emit(&decisions);
    tape.settle();
    for decision in &decisions {
        let found = answer::read(&*tape.store, decision.decision_id.as_str(), 5).unwrap().unwrap();
        assert_eq!((found.confidence.to_bits(), &found.reasons), (decision.confidence.to_bits(), &decision.reasons));
        assert_eq!(found.risk_checks, decision.risk_checks);
        assert_eq!(found.explanations.features.len(), 5);
        assert_eq!(found.regime_reasoning.probabilities, decision.regime_probs);
        let named: f64 = found.explanations.features.iter().map(|feature| feature.shap).sum();
        let sum = found.explanations.base_value + named + found.explanations.other.shap;
        assert!((sum - found.explanations.prediction).abs() < 1e-5);
        let before = found.audit.index.checked_sub(1);
        let previous = before.map(|before| tape.store.chain(found.audit.chain, before, 1).unwrap()[0].hash);
        let previous = previous.map(|hash| tapedeck_roles::forensics::Hash(hash).to_string());
        assert!(previous.is_none() || previous == found.audit.previous_hash);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(serde_json::from_value::<answer::Answer>(json).unwrap(), found);
    }
    assert!(answer::read(&*tape.store, "nobody decided this", 5).unwrap().is_none());
}

#[test]
fn a_failed_risk_check_and_the_asking_signal_are_told_with_their_numbers() {
    let tape = Tape::new();
    let mut decision = decisions(&tape.models, 1).remove(0);
    let number = |text| tapedeck_contracts::Dec::parse(text).unwrap();
    let numbers = CheckNumbers { value: number("1.2"), limit: number("1") };
    decision.outcome = Outcome::Rejected;
    decision.reasons = vec!["position_limit".into()];
    decision.risk_checks.insert("position_limit_ok", false);
    decision.failed_checks.insert("position_limit_ok", numbers);
    decision.signal = Some(AskingSignal { strategy_id: "sma".into(), action: decision.action, confidence: Some(0.75) });
    tape.emit(std::slice::from_ref(&decision));
    tape.settle();
    let found = answer::read(&*tape.store, decision.decision_id.as_str(), 5).unwrap().unwrap();
    assert_eq!((found.failed_checks["position_limit_ok"], &found.signal), (numbers, &decision.signal));
    assert!(found.text.contains("failed the check position_limit_ok (1.2 of at most 1)."), "{}", found.text);
    assert!(found.text.contains("A signal of sma asked for it"), "{}", found.text);
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["failed_checks"]["position_limit_ok"], serde_json::json!({ "value": 1.2, "limit": 1 }));
    assert_eq!(serde_json::from_value::<answer::Answer>(json).unwrap(), found);
}

#[test]
fn where_all_features_are_named_the_rest_is_a_plain_zero() {
    let tape = Tape::new();
    let decisions = decisions(&tape.models, 1);
    tape.emit(&decisions);
    tape.settle();
    let found = answer::read(&*tape.store, decisions[0].decision_id.as_str(), usize::MAX).unwrap().unwrap();
    assert_eq!(serde_json::to_value(found.explanations.other).unwrap().to_string(), r#"{"count":0,"shap":0.0}"#);
}

#[test]
fn a_decision_is_compared_with_the_one_before_of_its_own_account() {
    let tape = Tape::new();
    let mut all = decisions(&tape.models, 24);
    // Two accounts take turns in each symbol.
    for (nth, decision) in all.iter_mut().enumerate() {
        let account = ["ACC-1", "ACC-2"][nth / SYMBOLS.len() % 2];
        decision.account = Some(account.to_owned());
    }
    tape.emit(&all[..14]);
    tape.settle();
    // The same over a restart, whose last records come from the store.
    tape.emit(&all[14..]);
    tape.settle();
    let records: Vec<Record> = tape.rows().iter().map(|row| Record::read(&row.record).unwrap()).collect();
    assert_eq!(records.len(), all.len());
    for record in &records {
        let is_before = |other: &&Record| {
            (other.chain, &other.symbol, &other.account) == (record.chain, &record.symbol, &record.account)
                && other.index < record.index
        };
        let before = records.iter().filter(is_before).map(|other| other.index).max();
        assert_eq!(record.previous.as_ref().map(|previous| previous.index), before, "{}", record.symbol);
    }
}

#[test]
fn another_decision_under_a_used_id_is_set_aside_and_the_same_one_is_a_duplicate() {
    let tape = Tape::new();
    let all = decisions(&tape.models, 12);
    tape.emit(&all[..8]);
    tape.settle();
    // Each under the id of an earlier one of its symbol, kept or of the same batch.
    let under = |nth: usize, id_of: usize, event: &str| TradingDecision {
        event_id: Some(event.into()),
        decision_id: all[id_of].decision_id.clone(),
        ..all[nth].clone()
    };
    let again = under(1, 1, "the same under another event's id");
    let mut more = under(2, 2, "only more of it");
    more.quantity = Dec(more.quantity.0 + Decimal::ONE);
    tape.emit(&all[8..]);
    tape.emit(&[again, more, under(11, 3, "of a kept one"), under(4, 8, "of one in its batch")]);
    let running = Running::start(&tape, Options::default());
    running.until(|| tape.is_settled());
    assert_eq!(running.gauges.duplicates.load(Relaxed), 1);
    running.end().unwrap();
    let letters = tape.dead_letters();
    assert_eq!(letters.len(), 3, "{letters:?}");
    for (_, path, text) in &letters {
        assert_eq!(path.as_deref(), Some("$.decision_id"));
        assert!(text.contains("another decision has this id"), "{text}");
    }
    tape.assert_whole(&all);
}
