//! The filter's numbers: against Bayes' rule written down directly, at the edges
//! of what floats can hold, and when it says that a regime is new.
//!
//! Not here: whether it finds the generator's regimes, which is tested with the
//! parameters that are shipped.

use proptest::prelude::*;

use super::*;

fn hmm() -> Hmm {
    let emission = |mean: [f64; 2], deviation| Emission { mean, deviation, correlation: 0.2 };
    Hmm {
        initial: [0.2, 0.2, 0.6],
        transition: [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.02, 0.03, 0.95]],
        bull: emission([0.001, -6.0], [0.002, 0.5]),
        bear: emission([-0.001, -5.0], [0.004, 0.5]),
        sideways: emission([0.0, -7.0], [0.001, 0.5]),
    }
}

/// Bayes' rule with the density as books have it.
fn slowly(hmm: &Hmm, probs: [f64; 3], [x, y]: [f64; 2]) -> [f64; 3] {
    let states = [hmm.bull, hmm.bear, hmm.sideways];
    let mut posterior = [0.0; 3];
    for (to, state) in states.iter().enumerate() {
        let prior: f64 = (0..3).map(|from| probs[from] * hmm.transition[from][to]).sum();
        let (zx, zy) = ((x - state.mean[0]) / state.deviation[0], (y - state.mean[1]) / state.deviation[1]);
        let rest = 1.0 - state.correlation.powi(2);
        let density = (-(zx * zx - 2.0 * state.correlation * zx * zy + zy * zy) / (2.0 * rest)).exp()
            / (std::f64::consts::TAU * state.deviation[0] * state.deviation[1] * rest.sqrt());
        posterior[to] = prior * density;
    }
    let sum: f64 = posterior.iter().sum();
    posterior.map(|part| part / sum)
}

proptest! {
    #[test]
    fn probabilities_are_those_of_bayes_rule(seen in prop::collection::vec((-0.005_f64..0.005, -7.5_f64..-4.5), 1..40)) {
        let hmm = hmm();
        let mut filter = Filter::new(&hmm);
        let mut probs = hmm.initial;
        for (x, y) in seen {
            probs = slowly(&hmm, probs, [x, y]);
            filter.take(&hmm, Some([x, y]));
            for (found, expected) in filter.probs().into_iter().zip(probs) {
                prop_assert!((found - expected).abs() < 1e-6, "{:?}, expected {probs:?}", filter.probs());
            }
        }
    }

    #[test]
    fn whatever_is_seen_probabilities_are_numbers_that_sum_to_1(
        seen in prop::collection::vec(prop::option::of((prop::num::f64::NORMAL, prop::num::f64::NORMAL)), 1..40),
    ) {
        let mut filter = Filter::new(&hmm());
        for seen in seen {
            filter.take(&hmm(), seen.map(|(x, y)| [x, y]));
            prop_assert!(filter.probs().iter().all(|part| (0.0..=1.0).contains(part)), "{:?}", filter.probs());
            prop_assert!((filter.probs().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn a_state_without_a_chance_is_found_all_the_same_when_all_else_explains_nothing() {
    let mut hmm = hmm();
    hmm.transition = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    hmm.initial = [1.0, 0.0, 0.0];
    let mut filter = Filter::new(&hmm);
    filter.take(&hmm, Some([-0.9, 3.0]));
    assert!(filter.probs().iter().all(|part| part.is_finite() && *part > 0.0), "{:?}", filter.probs());
    for _ in 0..5 {
        filter.take(&hmm, Some([-0.004, -5.0]));
    }
    assert_eq!(REGIMES[filter.current()], "bear", "{:?}", filter.probs());
}

#[test]
fn a_regime_is_new_after_three_bars_of_six_tenths_in_a_row_and_is_told_once() {
    let hmm = hmm();
    let mut filter = Filter::new(&hmm);
    let (bear, calm) = (Some([-0.002, -4.8]), Some([0.0, -7.0]));
    let mut told = Vec::new();
    // Two bars are not enough, and what breaks the row begins it anew.
    for (bar, seen) in [bear, bear, calm, bear, bear, bear, bear, bear].into_iter().enumerate() {
        let before = filter.probs();
        if let Some(changed) = filter.take(&hmm, seen) {
            assert_eq!(changed.previous.map(f64::to_bits), before.map(f64::to_bits));
            told.push((bar, REGIMES[changed.from], REGIMES[changed.to]));
        }
    }
    assert_eq!(told, [(5, "sideways", "bear")]);
}

#[test]
fn without_an_observation_only_time_passes() {
    let hmm = hmm();
    let mut filter = Filter::new(&hmm);
    filter.take(&hmm, None);
    let expected = [0.2 * 0.9 + 0.2 * 0.05 + 0.6 * 0.02, 0.2 * 0.05 + 0.2 * 0.9 + 0.6 * 0.03];
    assert!((filter.probs()[0] - expected[0]).abs() < 1e-12 && (filter.probs()[1] - expected[1]).abs() < 1e-12);
}

#[test]
fn an_observation_is_the_same_for_bars_of_any_length() {
    let minute = observation(Some(0.004), Some(0.008), 1.0).expect("both are there");
    let four = observation(Some(0.008), Some(0.016), 4.0).expect("both are there");
    assert_eq!(minute.map(f64::to_bits), four.map(f64::to_bits));
    assert_eq!(observation(Some(0.1), None, 1.0), None);
    assert!(observation(Some(0.0), Some(0.0), 1.0).expect("standing still is seen")[1].is_finite());
}

#[test]
fn a_filter_that_was_kept_goes_on_with_the_same_digits() {
    let hmm = hmm();
    let mut filter = Filter::new(&hmm);
    for n in 0..50 {
        let kept = serde_json::to_vec(&filter).expect("numbers");
        let mut restored: Filter = serde_json::from_slice(&kept).expect("it was just kept");
        let seen = Some([f64::from(n % 7) * 0.001 - 0.003, -5.0 - f64::from(n % 3)]);
        assert_eq!(filter.take(&hmm, seen), restored.take(&hmm, seen));
        assert_eq!(filter.probs().map(f64::to_bits), restored.probs().map(f64::to_bits));
    }
}

#[test]
fn parameters_that_are_none_are_named() {
    let mut wrong = hmm();
    wrong.initial = [0.5, 0.5, 0.5];
    wrong.transition[1] = [f64::NAN, 0.0, 0.0];
    wrong.bear.deviation = [0.0, 1.0];
    wrong.sideways.correlation = 1.0;
    let names: Vec<String> =
        wrong.wrong().iter().map(|text| text.split(':').next().expect("a name").to_owned()).collect();
    assert_eq!(names, ["hmm.initial", "hmm.transition", "hmm.bear.deviation", "hmm.sideways.correlation"]);
    assert!(hmm().wrong().is_empty());
}
