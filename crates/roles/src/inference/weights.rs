//! How much each specialist counts: regime probabilities times a row-stochastic
//! matrix, from regimes (rows) to specialists (columns).
//!
//! Not here: where the probabilities come from (`regime`).

use super::regime::{REGIMES, is_distribution};

/// From regimes to specialists. The identity gives each regime its own.
pub type Matrix = [[f64; 3]; 3];

/// Each specialist decides alone in its own regime.
pub const IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// The weight of each specialist; they sum to 1 within 1e-6, as rows and
/// probabilities do.
pub fn weights(probs: [f64; 3], matrix: &Matrix) -> [f64; 3] {
    let parts: [f64; 3] =
        std::array::from_fn(|specialist| (0..3).map(|regime| probs[regime] * matrix[regime][specialist]).sum());
    let sum: f64 = parts.iter().sum();
    parts.map(|part| part / sum)
}

/// Everything that is wrong with a matrix.
pub fn wrong(matrix: &Matrix) -> Vec<String> {
    let rows = matrix.iter().zip(REGIMES).filter(|(row, _)| !is_distribution(row));
    rows.map(|(row, regime)| format!("matrix: the row of `{regime}` must be 3 weights that sum to 1, found {row:?}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> impl Strategy<Value = [f64; 3]> {
        (0.0_f64..1.0, 0.0_f64..1.0, 0.001_f64..1.0).prop_map(|(a, b, c)| [a, b, c].map(|part| part / (a + b + c)))
    }

    proptest! {
        #[test]
        fn weights_sum_to_1_and_are_none_below_0(probs in parts(), rows in [parts(), parts(), parts()]) {
            prop_assert!(wrong(&rows).is_empty());
            let weights = weights(probs, &rows);
            prop_assert!(weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
            prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn the_identity_gives_each_regime_its_own_specialist() {
        let found = weights([0.65, 0.15, 0.20], &IDENTITY);
        for (found, expected) in found.into_iter().zip([0.65, 0.15, 0.20]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn a_matrix_spreads_a_regime_over_specialists() {
        let matrix = [[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]];
        let found = weights([0.4, 0.4, 0.2], &matrix);
        for (found, expected) in found.into_iter().zip([0.22, 0.52, 0.26]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn rows_that_do_not_sum_to_1_are_named() {
        let found = wrong(&[[1.0, 0.0, 0.0], [0.5, 0.4, 0.0], [f64::NAN, 0.0, 1.0]]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`bear`") && found[1].contains("`sideways`"), "{found:?}");
    }
}
