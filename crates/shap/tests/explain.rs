//! The fast explanation against the slow ones, at every width that this processor has.
//!
//! Not here: models that the real libraries trained (`trained`), and reference files
//! (`explain_files`).

#![allow(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod common;

use common::{ensembles, rows};
use proptest::prelude::*;
use tapedeck_shap::{
    Ensemble, Explainer, MismatchError, Missing, Node, NodeKind, Origin, OutputTree, Precision, RowError, Rule,
    Scratch, Split, Tree, Weighted, WeightedError, Width, reference::by_leaves,
};

const FEATURES: usize = 5;

fn widths() -> impl Iterator<Item = Width> {
    Width::ALL.into_iter().filter(|width| width.is_supported())
}

fn explained(explainer: &Explainer, rows: &[f64]) -> Vec<f64> {
    let mut out = vec![f64::NAN; rows.len() / explainer.features().len() * explainer.contributions()];
    explainer.explain_f64(rows, &mut Scratch::new(), &mut out).unwrap();
    out
}

fn explained_f32(explainer: &Explainer, rows: &[f64]) -> Vec<f64> {
    let rows: Vec<f32> = rows.iter().map(|&value| value as f32).collect();
    let mut out = vec![f64::NAN; rows.len() / explainer.features().len() * explainer.contributions()];
    explainer.explain(&rows, &mut Scratch::new(), &mut out).unwrap();
    out
}

fn expected(ensemble: &Ensemble, rows: &[f64]) -> Vec<f64> {
    rows.chunks(ensemble.features.len()).flat_map(|row| by_leaves(ensemble, row)).collect()
}

fn farthest(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    // A NaN is as far as can be.
    ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(
        0.0,
        |far, gap| {
            if gap <= far { far } else { gap }
        },
    )
}

fn to_f32(rows: &[f64]) -> Vec<f64> {
    rows.iter().map(|&value| f64::from(value as f32)).collect()
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Leaves as XGBoost has them: numbers of `f32`.
fn with_narrow_leaves(mut ensemble: Ensemble) -> Ensemble {
    for node in ensemble.trees.iter_mut().flat_map(|of| &mut of.tree.nodes) {
        if let NodeKind::Leaf { value } = &mut node.kind {
            *value = f64::from(*value as f32);
        }
    }
    ensemble
}

fn many_rows(features: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(rows(features), 0..40).prop_map(|rows| rows.concat())
}

proptest! {
    #[test]
    fn every_width_gives_what_the_slow_way_gives(ensemble in ensembles(FEATURES), rows in many_rows(FEATURES)) {
        let slow = expected(&ensemble, &rows);
        let slow_of_f32 = expected(&ensemble, &to_f32(&rows));
        for width in widths() {
            let single = Explainer::new(&ensemble).unwrap().with_width(width).unwrap();
            let double = Explainer::double(&ensemble).unwrap().with_width(width).unwrap();
            let close = if ensemble.precision == Precision::Double { 1e-11 } else { 2e-6 };
            prop_assert!(farthest(&explained(&single, &rows), &slow) < close, "{width:?}, f64 rows");
            prop_assert!(farthest(&explained(&double, &rows), &slow) < 1e-11, "{width:?}, f64 rows in f64");
            prop_assert!(farthest(&explained_f32(&single, &rows), &slow_of_f32) < 2e-6, "{width:?}, f32 rows");
            prop_assert!(farthest(&explained_f32(&double, &rows), &slow_of_f32) < 1e-11, "{width:?}, f32 rows in f64");
        }
    }

    #[test]
    fn margins_of_many_rows_are_to_the_last_bit_those_of_one_after_the_other(
        ensemble in ensembles(FEATURES), rows in many_rows(FEATURES), as_xgboost in any::<bool>(),
    ) {
        let ensemble = if as_xgboost { with_narrow_leaves(ensemble) } else { ensemble };
        let narrow: Vec<f32> = rows.iter().map(|&value| value as f32).collect();
        let mut expected = vec![0.0; rows.len() / FEATURES * ensemble.outputs()];
        let mut expected_of_f32 = expected.clone();
        ensemble.margins(&rows, &mut expected).unwrap();
        ensemble.margins(&narrow, &mut expected_of_f32).unwrap();
        for width in widths() {
            let explainer = Explainer::new(&ensemble).unwrap().with_width(width).unwrap();
            let (mut scratch, mut out) = (Scratch::new(), vec![f64::NAN; expected.len()]);
            explainer.margins_f64(&rows, &mut scratch, &mut out).unwrap();
            prop_assert_eq!(bits(&out), bits(&expected), "{:?}", width);
            explainer.margins(&narrow, &mut scratch, &mut out).unwrap();
            prop_assert_eq!(bits(&out), bits(&expected_of_f32), "{:?}, f32 rows", width);
        }
    }

    #[test]
    fn contributions_and_bias_are_the_margin(ensemble in ensembles(FEATURES), rows in many_rows(FEATURES)) {
        let explainer = Explainer::double(&ensemble).unwrap();
        let mut margins = vec![0.0; rows.len() / FEATURES * ensemble.outputs()];
        ensemble.margins(&rows, &mut margins).unwrap();
        for (margin, phi) in margins.iter().zip(explained(&explainer, &rows).chunks(FEATURES + 1)) {
            prop_assert!((margin - phi.iter().sum::<f64>()).abs() < 1e-11);
        }
    }

    #[test]
    fn a_feature_that_no_split_asks_for_gets_nothing(ensemble in ensembles(FEATURES - 1), rows in many_rows(FEATURES)) {
        let mut wider = ensemble;
        wider.features.push("dummy".into());
        for phi in explained(&Explainer::new(&wider).unwrap(), &rows).chunks(FEATURES + 1) {
            prop_assert_eq!(phi[FEATURES - 1].to_bits(), 0.0_f64.to_bits());
        }
    }

    #[test]
    fn features_that_change_places_take_their_contributions_along(
        ensemble in ensembles(FEATURES), rows in many_rows(FEATURES),
    ) {
        let turned = |feature: usize| (feature + 2) % FEATURES;
        let mut other = ensemble.clone();
        for node in other.trees.iter_mut().flat_map(|of| &mut of.tree.nodes) {
            if let NodeKind::Split(split) = &mut node.kind {
                split.feature = turned(split.feature);
            }
        }
        let mut other_rows = rows.clone();
        for (other, row) in other_rows.chunks_mut(FEATURES).zip(rows.chunks(FEATURES)) {
            (0..FEATURES).for_each(|feature| other[turned(feature)] = row[feature]);
        }
        let ours = explained(&Explainer::new(&ensemble).unwrap(), &rows);
        let theirs = explained(&Explainer::new(&other).unwrap(), &other_rows);
        for (ours, theirs) in ours.chunks(FEATURES + 1).zip(theirs.chunks(FEATURES + 1)) {
            for feature in 0..FEATURES {
                prop_assert_eq!(ours[feature].to_bits(), theirs[turned(feature)].to_bits());
            }
        }
    }

    #[test]
    fn a_row_alone_gets_the_same_digits_as_among_others(ensemble in ensembles(FEATURES), rows in many_rows(FEATURES)) {
        for width in widths() {
            let explainer = Explainer::new(&ensemble).unwrap().with_width(width).unwrap();
            let alone: Vec<f64> = rows.chunks(FEATURES).flat_map(|row| explained_f32(&explainer, row)).collect();
            let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u64>>();
            prop_assert_eq!(bits(&alone), bits(&explained_f32(&explainer, &rows)));
        }
    }
}

/// A tree of one path on which each node asks for another feature, or for one of so many.
fn path(nodes: usize, features: usize) -> Ensemble {
    let mut tree = Tree { nodes: vec![Node { cover: 4096.0, kind: NodeKind::Leaf { value: 1.0 } }] };
    let mut at = 0;
    for nth in 0..nodes {
        let (left, right) = (tree.nodes.len(), tree.nodes.len() + 1);
        let cover = tree.nodes[at].cover;
        let rule = Rule::Less(if nth % 3 == 0 { 1.0 } else { -1.0 });
        let (missing, missing_left) = (Missing::Nan, nth % 2 == 0);
        tree.nodes[at].kind =
            NodeKind::Split(Split { feature: nth % features, rule, missing, missing_left, left, right });
        let value = (nth as f64 * 0.7).sin();
        let share = 0.55 + 0.4 * (nth as f64 * 0.3).cos();
        for share in [share, 1.0 - share] {
            tree.nodes.push(Node { cover: cover * share, kind: NodeKind::Leaf { value } });
        }
        at = if nth % 5 < 3 { left } else { right };
    }
    Ensemble {
        features: (0..features).map(|nth| format!("f{nth}")).collect(),
        base_margins: vec![0.25],
        trees: vec![OutputTree { output: 0, tree }],
        precision: Precision::Single,
        objective: String::new(),
        origin: Origin::default(),
        averaged_over: None,
    }
}

#[test]
fn paths_of_any_number_of_features_are_exact() {
    for (nodes, features) in [(1, 1), (7, 7), (8, 8), (9, 9), (17, 17), (40, 33), (70, 60), (200, 7)] {
        let ensemble = path(nodes, features);
        let rows: Vec<f64> = (0..features * 3).map(|nth| [0.5, -2.0, f64::NAN, 3.0, 0.0][nth * nth % 5]).collect();
        let slow = expected(&ensemble, &rows);
        for width in widths() {
            let single = Explainer::new(&ensemble).unwrap().with_width(width).unwrap();
            let double = Explainer::double(&ensemble).unwrap().with_width(width).unwrap();
            let far = (farthest(&explained(&single, &rows), &slow), farthest(&explained(&double, &rows), &slow));
            assert!(far.0 < 2e-6 && far.1 < 1e-11, "{nodes} nodes, {features} features, {width:?}: {far:?}");
        }
    }
}

#[test]
fn margins_of_a_tree_too_large_to_be_worked_as_a_whole_are_the_same() {
    let mut ensemble = path(600, 1);
    let rows: Vec<f64> = (0..100).map(|nth| if nth == 7 { f64::NAN } else { f64::from(nth) / 99.0 }).collect();
    for precision in [Precision::Single, Precision::Double] {
        ensemble.precision = precision;
        let (mut expected, mut out) = (vec![0.0; rows.len()], vec![f64::NAN; rows.len()]);
        for ensemble in [ensemble.clone(), with_narrow_leaves(ensemble.clone())] {
            ensemble.margins(&rows, &mut expected).unwrap();
            Explainer::new(&ensemble).unwrap().margins_f64(&rows, &mut Scratch::new(), &mut out).unwrap();
            assert_eq!(bits(&out), bits(&expected));
        }
    }
}

#[test]
fn a_row_that_does_not_fit_is_refused_with_its_place() {
    let explainer = Explainer::new(&path(3, 3)).unwrap();
    let mut scratch = Scratch::new();
    let mut out = vec![0.0; 8];
    let infinite = explainer.explain(&[0.0, 1.0, 2.0, 0.0, f32::INFINITY, 2.0], &mut scratch, &mut out).unwrap_err();
    assert_eq!(infinite.to_string(), "row 1: feature 1 (`f1`) is infinite");
    let too_large = explainer.explain_f64(&[0.0, 0.0, 1e300], &mut scratch, &mut out[..4]).unwrap_err();
    assert_eq!(too_large.to_string(), "row 0: feature 2 (`f2`) is infinite once it is rounded to f32");
    let narrow = explainer.explain(&[0.0, 1.0], &mut scratch, &mut out).unwrap_err();
    assert_eq!(narrow, RowError::Width { numbers: 2, features: 3 });
    let cramped = explainer.explain(&[0.0; 6], &mut scratch, &mut out[..7]).unwrap_err();
    assert_eq!(cramped, RowError::Output { rows: 2, each: 4, place: 7 });
}

#[test]
fn nodes_that_make_no_tree_are_refused() {
    let breaks: [fn(&mut Ensemble); 5] = [
        |ensemble| ensemble.trees[0].output = 1,
        |ensemble| ensemble.trees[0].tree.nodes.clear(),
        |ensemble| split(ensemble).feature = 3,
        |ensemble| split(ensemble).left = 99,
        |ensemble| split(ensemble).left = 0,
    ];
    for broken in breaks {
        let mut ensemble = path(3, 3);
        broken(&mut ensemble);
        assert_eq!(Explainer::new(&ensemble).unwrap_err().tree, 0);
    }
}

fn split(ensemble: &mut Ensemble) -> &mut Split {
    match &mut ensemble.trees[0].tree.nodes[0].kind {
        NodeKind::Split(split) => split,
        NodeKind::Leaf { .. } => panic!("the root of these trees is a split"),
    }
}

proptest! {
    #[test]
    fn weighted_models_are_explained_as_the_sum_of_their_parts(
        ensembles in prop::collection::vec(ensembles(FEATURES), 1..4),
        rows in many_rows(FEATURES),
        weights in prop::collection::vec(-1.0..2.0, 120),
    ) {
        let mut ensembles = ensembles;
        let outputs = ensembles[0].outputs();
        ensembles.retain(|ensemble| ensemble.outputs() == outputs);
        let members: Vec<Explainer> = ensembles.iter().map(|ensemble| Explainer::double(ensemble).unwrap()).collect();
        let parts: Vec<Vec<f64>> = members.iter().map(|member| explained(member, &rows)).collect();
        let (count, each) = (rows.len() / FEATURES, members[0].contributions());
        let weights = &weights[..count * members.len()];
        let mut contributions = vec![f64::NAN; count * each];
        let mut margins = vec![f64::NAN; count * members.len() * outputs];
        let models = Weighted::new(members).unwrap();
        let mut scratch = Scratch::new();
        models.explain_f64(&rows, weights, &mut scratch, &mut contributions, &mut margins).unwrap();
        for at in 0..contributions.len() {
            let weights = weights[at / each * parts.len()..].iter();
            let sum: f64 = weights.zip(&parts).map(|(weight, part)| weight * part[at]).sum();
            prop_assert!((contributions[at] - sum).abs() < 1e-12);
        }
        for (at, margin) in margins.iter().enumerate() {
            let (row, member, output) = (at / outputs / parts.len(), at / outputs % parts.len(), at % outputs);
            let part = &parts[member][row * each + output * (FEATURES + 1)..][..=FEATURES];
            prop_assert!((margin - part.iter().sum::<f64>()).abs() < 1e-12);
        }
    }
}

#[test]
fn models_that_do_not_go_together_are_refused() {
    let explainer = |nodes, features| Explainer::new(&path(nodes, features)).unwrap();
    assert_eq!(Weighted::new(Vec::new()).unwrap_err(), MismatchError::None);
    let mut other = path(2, 3);
    other.features[1] = "macd".into();
    let renamed = Weighted::new(vec![explainer(2, 3), Explainer::new(&other).unwrap()]).unwrap_err();
    assert_eq!(renamed.to_string(), "model 1 has other features than model 0: feature 1 is `macd`, not `f1`");
    let shorter = Weighted::new(vec![explainer(2, 3), explainer(2, 2)]).unwrap_err();
    assert_eq!(shorter.to_string(), "model 1 has other features than model 0: 2 and not 3");
    let models = Weighted::new(vec![explainer(2, 2), explainer(3, 2)]).unwrap();
    let (mut out, mut margins) = ([0.0; 3], [0.0; 2]);
    let mut explain =
        |weights: &[f64]| models.explain(&[0.0, 1.0], weights, &mut Scratch::new(), &mut out, &mut margins);
    assert_eq!(explain(&[1.0]).unwrap_err(), WeightedError::Weights { weights: 1, rows: 1, members: 2 });
    assert_eq!(explain(&[1.0, f64::NAN]).unwrap_err(), WeightedError::NotFinite { row: 0, member: 1 });
    explain(&[1.0, 0.0]).unwrap();
}
