//! What another version would have decided, of the demo's specialists and copies of them
//! under other names.
//!
//! Not here: HTTP and the command line.

use std::{fs, path::Path};

use super::*;
use crate::{forensics::what_if::tests::of_the_demo, inference::InferenceConfig};

const BULL: &str = "bull_specialist";

/// The demo's models as files, and the bear's file as the bull's version 2.
fn folder() -> (tempfile::TempDir, InferenceConfig, Models) {
    let dir = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models");
    let copies = [
        ("bull_specialist/v1.json", "bull_specialist/v1.json"),
        ("bear_specialist/v1.ubj", "bear_specialist/v1.ubj"),
        ("sideways_specialist/v1.txt", "sideways_specialist/v1.txt"),
        ("bear_specialist/v1.ubj", "bull_specialist/v2.ubj"),
    ];
    for (from, to) in copies {
        let to = dir.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(models.join(from), to).unwrap();
    }
    let mut config = InferenceConfig::default();
    config.models.dir = Some(dir.path().to_owned());
    let models = Models::open(&config).unwrap();
    (dir, config, models)
}

fn instead(version: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(BULL.to_owned(), version.to_owned())])
}

/// The record, as the config would have decided it.
fn decided(config: &InferenceConfig) -> (Record, FeatureSet) {
    let (mut record, set, _) = of_the_demo();
    let p = sigmoid(record.margin);
    record.action = action_of(p, config.band);
    record.quantity = quantity_of(record.action, p, config.size_of(&record.symbol));
    (record, set)
}

fn one(config: &InferenceConfig, models: &Models, version: &str, record: &Record, set: &FeatureSet) -> ReDecided {
    let mut decider = ReDecider::new(config, models, &instead(version)).unwrap();
    decider.take(record, set).unwrap();
    decider.finish()
}

#[test]
fn the_version_that_decided_decides_the_same_again() {
    let (_dir, config, models) = folder();
    let (record, set) = decided(&config);
    let found = one(&config, &models, "v1", &record, &set);
    assert_eq!((found.decisions, found.same, found.other_config), (1, 1, 0), "{found:?}");
    assert_eq!(found.means.p_before.to_bits(), found.means.p_after.to_bits());
}

#[test]
fn another_version_is_told_with_both_margins_and_what_moved() {
    let (_dir, mut config, models) = folder();
    // No HOLD between them: the two stand on different sides of it.
    config.band = 0.0;
    let (mut record, set) = decided(&config);
    let found = one(&config, &models, "v2", &record, &set);
    let after = found.means.p_after;
    assert_ne!(after.to_bits(), found.means.p_before.to_bits());
    // Recorded as the opposite of what the other model says.
    record.action = if after >= 0.5 { Action::Sell } else { Action::Buy };
    let found = one(&config, &models, "v2", &record, &set);
    assert_eq!((found.other_action, found.changes.len(), found.items.len()), (1, 1, 1), "{found:?}");
    let item = &found.items[0];
    assert_eq!(item.before.margin.to_bits(), record.margin.to_bits());
    assert!(item.apart() > 0.0 && item.moved.len() == MOVED, "{item:?}");
    let moves: Vec<f64> = item.moved.iter().map(|moved| (moved.shap_after - moved.shap_before).abs()).collect();
    assert!(moves[0] > 0.0 && moves.is_sorted_by(|more, less| more >= less), "{moves:?}");
}

#[test]
fn a_config_that_is_not_the_one_of_then_is_counted() {
    let (_dir, mut config, models) = folder();
    let (record, set) = decided(&config);
    config.max_size = Dec(Decimal::from(7));
    config.band = 0.0;
    let found = one(&config, &models, "v1", &record, &set);
    assert_eq!(found.other_config, 1, "{found:?}");
}

#[test]
fn what_cannot_be_asked_is_named_with_what_can() {
    let (_dir, config, models) = folder();
    let ask = |specialist: &str, version: &str| {
        let instead = BTreeMap::from([(specialist.to_owned(), version.to_owned())]);
        let error = ReDecider::new(&config, &models, &instead).err().unwrap();
        (error.path().unwrap(), error.to_string())
    };
    let (path, text) = ask(BULL, "v9");
    assert!(path == "$.model.bull_specialist" && text.ends_with("versions there are: v1, v2"), "{text}");
    let (path, text) = ask("crab_specialist", "v1");
    assert!(path == "$.model.crab_specialist" && text.contains("bear_specialist"), "{text}");

    let (mut record, set) = decided(&config);
    let features: Vec<String> = set.features().iter().filter(|name| *name != "rsi").cloned().collect();
    let lists = (set.regimes().to_vec(), set.specialists().to_vec(), set.checks().to_vec());
    let without = FeatureSet::new(features, lists.0, lists.1, lists.2).unwrap();
    record.features.pop();
    let mut decider = ReDecider::new(&config, &models, &instead("v2")).unwrap();
    let error = decider.take(&record, &without).unwrap_err();
    assert!(matches!(&error, ReDecideError::OtherFeatures { feature, .. } if feature == "rsi"), "{error}");
}

#[test]
fn sums_of_two_pages_are_those_of_one() {
    let (_dir, config, models) = folder();
    let (record, set) = decided(&config);
    let other = Record { margin: record.margin + 1.0, ..record.clone() };
    let mut decider = ReDecider::new(&config, &models, &instead("v2")).unwrap();
    decider.take(&record, &set).unwrap();
    decider.take(&other, &set).unwrap();
    let together = decider.finish();
    let mut added = ReDecided::default();
    added.add(one(&config, &models, "v2", &record, &set));
    added.add(one(&config, &models, "v2", &other, &set));
    assert_eq!((added.decisions, added.same, &added.changes), (together.decisions, together.same, &together.changes));
    assert!((added.means.p_before - together.means.p_before).abs() < 1e-12);
    assert!((added.means.p_moved - together.means.p_moved).abs() < 1e-12);
}
