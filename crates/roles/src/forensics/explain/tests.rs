//! Batches of decisions, explained: the same as one by one, by the versions that
//! decided, and what is refused is named.
//!
//! Not here: the role between log and store.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;
use tapedeck_contracts::{EventId, Timestamp};

use super::*;
use crate::{
    forensics::explained::tests::DECISION,
    inference::{
        InferenceConfig,
        posted::{Question, answer},
    },
};

fn demo() -> Arc<Models> {
    Arc::new(Models::open(&InferenceConfig::default()).unwrap())
}

/// A decision of the models that are current, on features made of a seed.
fn decided(models: &Models, seed: u32) -> TradingDecision {
    let set = models.current();
    let names = set.models().iter().flat_map(|model| model.ensemble().features.clone());
    let value = |nth: usize| match (nth as u32 ^ seed).wrapping_mul(0x9e37_79b9) >> 8 {
        draw if draw % 17 == 0 => None,
        draw => Some(f64::from(draw) / f64::from(1 << 24) - 0.5),
    };
    let features = names.enumerate().map(|(nth, name)| (name, value(nth))).collect();
    let question = serde_json::json!({"symbol": "BTCUSDT", "features": features_json(&features)});
    let question: Question = serde_json::from_value(question).unwrap();
    let (id, time) = (EventId::from_file("explain", seed.into()), Timestamp::from_micros(seed.into()));
    answer(&InferenceConfig::default(), &set, &question, id, time).unwrap().decision
}

fn features_json(features: &BTreeMap<String, Option<f64>>) -> serde_json::Value {
    serde_json::to_value(features).unwrap()
}

fn explained(decisions: &[TradingDecision]) -> Result<Vec<Draft>, Refusal> {
    let decisions: Vec<_> = decisions.iter().collect();
    Explaining::new(demo(), Pool::default()).explain(&decisions)
}

fn refused(change: impl FnOnce(&mut TradingDecision)) -> Refusal {
    let models = demo();
    let mut decisions: Vec<_> = (0..3).map(|seed| decided(&models, seed)).collect();
    change(&mut decisions[1]);
    let refusal = explained(&decisions).unwrap_err();
    assert_eq!(refusal.index, 1, "{refusal:?}");
    refusal
}

fn one_of(map: &ByName<Option<f64>>) -> String {
    map.keys().nth(3).unwrap().to_owned()
}

#[test]
fn each_adds_up_to_the_margin_that_decided() {
    let models = demo();
    let decisions: Vec<_> = (0..700).map(|seed| decided(&models, seed)).collect();
    for (draft, decision) in explained(&decisions).unwrap().iter().zip(&decisions) {
        let record = &draft.record;
        assert_eq!(record.decision_id, decision.decision_id.as_str());
        assert!(record.additivity_error() < 1e-5, "{}", record.additivity_error());
        let p = crate::inference::decide::sigmoid(record.margin);
        assert!((p.max(1.0 - p) - decision.confidence).abs() < 1e-12);
    }
}

#[test]
fn a_decision_that_names_no_versions_is_explained_by_those_that_are_current() {
    let mut decision = decided(&demo(), 7);
    let named = explained(std::slice::from_ref(&decision)).unwrap();
    decision.model_versions.clear();
    let unnamed = explained(&[decision]).unwrap();
    assert_eq!(unnamed[0].record, named[0].record);
    assert_eq!(unnamed[0].record.specialists[0].version, "v1");
}

#[test]
fn what_can_never_be_explained_is_named_by_its_path() {
    let path = |change: fn(&mut TradingDecision)| {
        let refusal = refused(change);
        assert!(!refusal.may_come, "{refusal:?}");
        refusal.path.unwrap()
    };
    assert_eq!(path(|it| _ = it.features.insert("moon", Some(1.0))), "$.features.moon");
    let missing = refused(|it| _ = it.features.remove(&one_of(&it.features)));
    assert!(missing.path.unwrap().starts_with("$.features."), "{}", missing.detail);
    let infinite = refused(|it| {
        let name = one_of(&it.features);
        it.features.insert(&name, Some(f64::INFINITY));
    });
    assert!(infinite.path.unwrap().starts_with("$.features."), "{}", infinite.detail);
    let stranger = path(|it| _ = it.model_versions.insert("crab_specialist", "v1".into()));
    assert_eq!(stranger, "$.strategy_weights.crab_specialist");
    let unknown = path(|it| {
        it.strategy_weights.insert("crab_specialist", 0.0);
    });
    assert_eq!(unknown, "$.strategy_weights.crab_specialist");
    let too_large = refused(|it| it.features.values_mut().for_each(|value| *value = Some(1e300)));
    assert!(too_large.detail.contains("f32"), "{}", too_large.detail);
}

#[test]
fn a_version_that_is_not_there_may_come_and_then_explains() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let names = [("bull_specialist", "v1.json"), ("bear_specialist", "v1.ubj"), ("sideways_specialist", "v1.txt")];
    for (specialist, file) in names {
        std::fs::create_dir(dir.path().join(specialist)).unwrap();
        std::fs::copy(shipped.join(specialist).join(file), dir.path().join(specialist).join(file)).unwrap();
    }
    let mut config = InferenceConfig::default();
    config.models.dir = Some(dir.path().to_owned());
    let models = Arc::new(Models::open(&config).unwrap());
    let mut explaining = Explaining::new(Arc::clone(&models), Pool::default());
    let old = decided(&models, 1);
    let mut new = decided(&models, 2);
    new.model_versions.insert("bull_specialist", "v2".into());
    let refusal = explaining.explain(&[&old, &new]).unwrap_err();
    assert!(refusal.may_come && refusal.index == 1, "{refusal:?}");
    assert_eq!(refusal.path.unwrap(), "$.model_versions.bull_specialist");
    let folder = dir.path().join("bull_specialist");
    std::fs::copy(folder.join("v1.json"), folder.join("v2.json")).unwrap();
    let drafts = explaining.explain(&[&old, &new]).unwrap();
    let versions: Vec<_> = drafts.iter().map(|draft| draft.record.specialists[1].version.as_str()).collect();
    assert_eq!(versions, ["v1", "v2"]);
}

#[test]
fn more_kinds_of_decisions_than_are_kept_ready_are_all_explained() {
    let models = demo();
    let decisions: Vec<_> = (0..3 * MAX_PLANS as u32)
        .map(|n| {
            let mut decision = decided(&models, n);
            decision.risk_checks.insert(&format!("check_{}", n % (2 * MAX_PLANS as u32)), n % 2 == 0);
            decision
        })
        .collect();
    let mut explaining = Explaining::new(models, Pool::default());
    let drafts = explaining.explain(&decisions.iter().collect::<Vec<_>>()).unwrap();
    for (draft, decision) in drafts.iter().zip(&decisions) {
        assert!(draft.mixture.set().is_of(decision));
    }
    assert_eq!(explaining.plans.len(), MAX_PLANS);
}

#[test]
fn a_decision_that_is_none_of_our_models_is_refused() {
    let decision: TradingDecision = tapedeck_contracts::decode::decode(DECISION.as_bytes()).unwrap();
    assert!(!explained(&[decision]).unwrap_err().may_come, "neither bear v90 nor bull v127 is built in");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_batch_gives_each_the_same_digits_as_alone_and_records_used_before_leave_no_trace(
        seeds in prop::collection::vec(0_u32..1_000_000, 1..70),
    ) {
        let models = demo();
        let decisions: Vec<_> = seeds.iter().map(|seed| {
            let mut decision = decided(&models, *seed);
            // Two plans, mixed.
            if seed % 3 == 0 {
                decision.risk_checks.clear();
                decision.reasons = vec!["a".into(); (seed % 4) as usize];
                decision.account = None;
            }
            decision
        }).collect();
        let pool = Pool::default();
        let mut explaining = Explaining::new(models, pool.clone());
        let all: Vec<_> = decisions.iter().collect();
        let first = explaining.explain(&all).unwrap();
        let records: Vec<Box<Record>> = first.iter().map(|draft| draft.record.clone()).collect();
        pool.give(first.into_iter().rev());
        let again = explaining.explain(&all).unwrap();
        for ((record, again), decision) in records.iter().zip(&again).zip(&decisions) {
            prop_assert_eq!(record, &again.record);
            let alone = explained(std::slice::from_ref(decision)).unwrap();
            prop_assert_eq!(record, &alone[0].record);
        }
    }
}
