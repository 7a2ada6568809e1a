//! Which models are taken, and what an update does to the set.
//!
//! Not here: the numbers that files of other libraries come to (`tapedeck_shap`).

use std::path::Path;

use tapedeck_contracts::{
    Timestamp,
    events::decision::{DataWindow, UpdateType},
};
use tapedeck_shap::{Missing, Node, NodeKind, Origin, OutputTree, Precision, Rule, Split, Tree};

use super::*;

/// An ensemble of nothing but its base margin, over `return_1` and `rsi`.
fn ensemble(margin: f64) -> Ensemble {
    let leaf = |value| Node { cover: 1.0, kind: NodeKind::Leaf { value } };
    let split =
        Split { feature: 0, rule: Rule::Less(0.0), missing: Missing::Nan, missing_left: true, left: 1, right: 2 };
    let root = Node { cover: 2.0, kind: NodeKind::Split(split) };
    Ensemble {
        features: vec!["return_1".into(), "rsi".into()],
        base_margins: vec![margin],
        trees: vec![OutputTree { output: 0, tree: Tree { nodes: vec![root, leaf(0.0), leaf(0.0)] } }],
        precision: Precision::Single,
        objective: "binary:logistic".into(),
        origin: Origin::default(),
        averaged_over: None,
    }
}

/// A model whose margin is always this.
pub(in crate::inference) fn constant(specialist: &str, margin: f64) -> Model {
    Model::new(specialist, "v1", ensemble(margin)).expect("a specialist")
}

/// A set whose specialists always say this.
pub(in crate::inference) fn set(margins: [f64; 3]) -> ModelSet {
    let [bull, bear, sideways] = margins;
    let names = ["bull_specialist", "bear_specialist", "sideways_specialist"];
    ModelSet::new([
        Arc::new(constant(names[0], bull)),
        Arc::new(constant(names[1], bear)),
        Arc::new(constant(names[2], sideways)),
    ])
}

/// A folder of models: copies of the demo's.
fn folder(versions: &[(&str, &str)]) -> (tempfile::TempDir, InferenceConfig) {
    let dir = tempfile::tempdir().expect("a folder");
    for (specialist, version) in versions {
        write(dir.path(), specialist, version);
    }
    let mut config = InferenceConfig::default();
    config.models.dir = Some(dir.path().to_owned());
    config.models.keep = 3;
    (dir, config)
}

fn write(dir: &Path, specialist: &str, version: &str) {
    fs::create_dir_all(dir.join(specialist)).expect("a folder");
    fs::write(dir.join(specialist).join(format!("{version}.json")), DEMO[0]).expect("a file");
}

const ALL: [(&str, &str); 3] = [("bull_specialist", "v1"), ("bear_specialist", "v1"), ("sideways_specialist", "v1")];

fn update(model_id: &str, stability_check: StabilityCheck) -> ModelUpdate {
    let time = Timestamp::from_micros(0);
    ModelUpdate {
        event_type: "model_update".into(),
        timestamp: time,
        model_id: model_id.into(),
        update_type: UpdateType::Incremental,
        data_window: DataWindow { start: time, end: time },
        performance_metrics: BTreeMap::new(),
        stability_check,
        specialist: None,
        version: None,
    }
}

fn passed(models: &Models, id: &str) -> Result<Updated, ModelError> {
    models.update(&update(id, StabilityCheck::Passed))
}

fn failed(models: &Models, id: &str) -> Result<Updated, ModelError> {
    models.update(&update(id, StabilityCheck::FailedRollback))
}

fn bull(models: &Models) -> String {
    models.current().versions()["bull_specialist"].clone()
}

#[test]
fn the_demos_specialists_are_there_without_a_folder_and_look_at_twenty_features() {
    let models = Models::open(&InferenceConfig::default()).expect("they are in the binary");
    assert_eq!(models.current().columns().count(), 20);
    let margins = models.current().margins(&[None; COUNT]).expect("missing values are fine");
    assert!(margins.iter().all(|margin| margin.is_finite()), "{margins:?}");
    for model in models.current().models() {
        assert!(model.ensemble().trees.len() <= 100);
    }
}

#[test]
fn the_version_with_the_largest_number_decides_at_first() {
    let (_dir, config) = folder(&[ALL.as_slice(), &[("bull_specialist", "v9"), ("bull_specialist", "v10")]].concat());
    assert_eq!(bull(&Models::open(&config).expect("all are there")), "v10");
}

#[test]
fn a_specialist_without_a_model_is_an_error_that_names_its_folder() {
    let (_dir, config) = folder(&ALL[..2]);
    let error = Models::open(&config).err().expect("one is missing").to_string();
    assert!(error.contains("sideways_specialist"), "{error}");
}

#[test]
fn an_update_swaps_one_specialist_and_whoever_holds_the_old_set_keeps_it() {
    let (dir, config) = folder(&ALL);
    let models = Models::open(&config).expect("all are there");
    let before = models.current();
    assert!(matches!(passed(&models, "bull_specialist_v2"), Err(ModelError::NotThere(_))), "it is not there yet");
    assert_eq!(bull(&models), "v1");
    write(dir.path(), "bull_specialist", "v2");
    let swapped = Updated::Swapped { specialist: "bull_specialist".into(), version: "v2".into() };
    assert_eq!(passed(&models, "bull_specialist_v2"), Ok(swapped));
    assert_eq!(bull(&models), "v2");
    assert_eq!(models.current().versions()["bear_specialist"], "v1");
    assert_eq!(before.versions()["bull_specialist"], "v1");
    assert!(matches!(passed(&models, "bull_specialist_v2"), Ok(Updated::Unchanged(_))));
}

#[test]
fn a_version_that_did_not_hold_gives_way_to_the_one_before_it() {
    let (_dir, config) = folder(&[ALL.as_slice(), &[("bull_specialist", "v2"), ("bull_specialist", "v3")]].concat());
    let models = Models::open(&config).expect("all are there");
    assert_eq!(bull(&models), "v3");
    assert!(
        matches!(failed(&models, "bull_specialist_v3"), Err(ModelError::Unusable(_))),
        "nothing is known before it"
    );
    assert_eq!(bull(&models), "v3");
    passed(&models, "bull_specialist_v2").expect("it is there");
    passed(&models, "bull_specialist_v1").expect("it is there");
    assert!(matches!(failed(&models, "bull_specialist_v2"), Ok(Updated::Unchanged(_))), "it does not decide");
    failed(&models, "bull_specialist_v1").expect("there is one before");
    assert_eq!(bull(&models), "v3", "v2 did not hold either");
    assert_eq!(models.history()["bull_specialist"], ["v3"]);
}

#[test]
fn a_history_that_was_kept_decides_again_and_what_cannot_be_read_is_named() {
    let (_dir, config) = folder(&[ALL.as_slice(), &[("bull_specialist", "v2")]].concat());
    let models = Models::open(&config).expect("all are there");
    passed(&models, "bull_specialist_v1").expect("it is there");
    let mut history = models.history();
    let restarted = Models::open(&config).expect("all are there");
    assert!(restarted.restore(&history).is_empty());
    assert_eq!((bull(&restarted), restarted.history()), ("v1".to_owned(), history.clone()));
    history.get_mut("bull_specialist").expect("one of ours").push("v7".into());
    let missing = restarted.restore(&history);
    assert!(missing.len() == 1 && missing[0].contains("v7"), "{missing:?}");
    assert_eq!(bull(&restarted), "v1");
}

#[test]
fn no_more_versions_are_kept_than_the_config_says_and_others_are_read_again() {
    let versions: Vec<String> = (1..=9).map(|n| format!("v{n}")).collect();
    let own: Vec<(&str, &str)> = versions.iter().map(|version| ("bull_specialist", version.as_str())).collect();
    let (_dir, config) = folder(&[ALL.as_slice(), &own].concat());
    let models = Models::open(&config).expect("all are there");
    for version in &versions {
        assert_eq!(models.version("bull_specialist", version).expect("it is there").version(), version);
        assert!(models.lock().models["bull_specialist"].len() <= 3);
    }
    assert!(models.version("bull_specialist", "v1").is_ok());
    for n in 1..=9 {
        passed(&models, &format!("bull_specialist_v{n}")).expect("it is there");
    }
    assert_eq!(models.history()["bull_specialist"], ["v7", "v8", "v9"]);
}

#[test]
fn names_that_would_leave_the_folder_are_refused() {
    let (_dir, config) = folder(&ALL);
    let models = Models::open(&config).expect("all are there");
    for version in ["../v1", "a/b", "", ".hidden"] {
        assert!(matches!(models.version("bull_specialist", version), Err(ModelError::Never(_))), "{version}");
    }
}

#[test]
fn a_version_that_is_there_twice_is_refused_with_both_names() {
    let (dir, config) = folder(&ALL);
    write(dir.path(), "bull_specialist", "v8");
    let folder = dir.path().join("bull_specialist");
    let there = ENDINGS.map(|ending| folder.join(format!("v8.{ending}")));
    let one = there.iter().find(|path| path.is_file()).expect("it was just written");
    let other = there.iter().find(|path| !path.is_file()).expect("there are three endings");
    fs::copy(one, other).expect("a copy");
    let error = Models::open(&config).err().expect("which of the two decides nobody knows").to_string();
    for path in [one, other] {
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    fs::remove_file(other).expect("it is gone");
    assert_eq!(bull(&Models::open(&config).expect("one is left")), "v8");
}

#[test]
fn an_update_of_an_unknown_specialist_names_those_there_are() {
    let (_dir, config) = folder(&ALL);
    let models = Models::open(&config).expect("all are there");
    let found = passed(&models, "bul_specialist_v2").expect("it is no error");
    let Updated::Unknown(text) = found else { panic!("{found:?}") };
    assert!(text.contains("`bul_specialist`") && text.contains("bull_specialist, bear_specialist"), "{text}");
}

#[test]
fn a_version_that_is_not_built_in_never_comes() {
    let models = Models::open(&InferenceConfig::default()).expect("they are in the binary");
    let error = models.version("bull_specialist", "v7").expect_err("there is v1 alone");
    assert!(matches!(&error, ModelError::Never(text) if text.contains("no version but v1")), "{error}");
    assert!(matches!(models.version("bul_specialist", "v1"), Err(ModelError::Never(_))));
}

#[test]
fn a_file_that_is_no_model_is_unusable_and_the_old_model_goes_on() {
    let (dir, config) = folder(&ALL);
    let models = Models::open(&config).expect("all are there");
    fs::write(dir.path().join("bull_specialist/v2.json"), b"{\"learner\":").expect("a file");
    let error = passed(&models, "bull_specialist_v2").expect_err("it is broken");
    assert!(matches!(&error, ModelError::Unusable(text) if text.contains("v2.json")), "{error}");
    assert_eq!(bull(&models), "v1");
}

#[test]
fn models_that_are_no_specialists_are_refused_with_the_reason() {
    let refused = |change: fn(&mut Ensemble)| {
        let mut ensemble = ensemble(0.0);
        change(&mut ensemble);
        Model::new("bull_specialist", "v1", ensemble).expect_err("it is no specialist")
    };
    assert!(refused(|e| e.features[0] = "moon_phase".into()).contains("moon_phase"));
    assert!(refused(|e| e.objective = "reg:squarederror".into()).contains("log-odds"));
    assert!(refused(|e| e.base_margins = vec![0.0; 3]).contains("3"));
    assert!(refused(|e| e.averaged_over = Some(10)).contains("random forest"));
}

#[test]
fn a_version_is_what_the_id_ends_with_unless_it_is_written() {
    assert_eq!(version_of(&update("bull_specialist_v127", StabilityCheck::Passed)).as_deref(), Some("v127"));
    assert_eq!(version_of(&update("bull_specialist", StabilityCheck::Passed)), None);
    let written = ModelUpdate { version: Some("2026-01".into()), ..update("x_v1", StabilityCheck::Passed) };
    assert_eq!(version_of(&written).as_deref(), Some("2026-01"));
}

#[test]
fn a_name_that_no_specialist_has_leaves_nothing_in_memory() {
    let (_dir, config) = folder(&ALL);
    let models = Models::open(&config).expect("they are there");
    for n in 0..100 {
        let name = format!("stranger_{n}");
        assert!(matches!(models.version(&name, "v1"), Err(ModelError::NotThere(_))));
    }
    assert_eq!(models.lock().models.len(), ALL.len());
}

#[test]
fn a_version_without_a_number_is_there_to_be_named_and_never_the_newest() {
    let (_dir, config) = folder(&[
        ALL[0],
        ("bull_specialist", "tuned"),
        ("bull_specialist", "v10"),
        ("bull_specialist", "v9"),
        ALL[1],
        ALL[2],
    ]);
    let models = Models::open(&config).expect("every specialist has one");
    assert_eq!(models.current().versions()["bull_specialist"], "v10");
    assert_eq!(models.versions("bull_specialist"), ["tuned", "v1", "v9", "v10"]);
    assert!(models.version("bull_specialist", "tuned").is_ok());
    assert!(models.versions("no_such_specialist").is_empty());
}
