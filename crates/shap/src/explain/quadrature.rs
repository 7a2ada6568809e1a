//! Gauss-Legendre points and weights on [0, 1], and how many a tree needs.
//!
//! Not here: what is integrated (`mod`), and the points of one pass (`compile`).

/// Points and weights of one rule: `∫₀¹ g(t) dt ≈ Σ weight · g(point)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quadrature {
    /// Where the integrand is taken, ascending, inside (0, 1).
    pub(super) points: Vec<f64>,
    /// What each value counts; they sum to 1.
    pub(super) weights: Vec<f64>,
}

/// Enough points for a tree whose paths hold at most `distinct` features.
///
/// The integrand is a polynomial of degree `distinct - 1`, for which half as many
/// points are exact. Beyond 52 features fewer do: the coefficient of the Chebyshev
/// polynomial of degree `m` in a product of `d` factors that are linear in t and
/// between 0 and 1 falls like `exp(-m²/d)`, and `2·3.6·√d` is a degree where that
/// is below the last digit of an `f64`.
pub(super) fn points_needed(distinct: usize) -> usize {
    let enough = (3.6 * (distinct as f64).sqrt()).ceil() as usize;
    distinct.div_ceil(2).min(enough).max(1)
}

impl Quadrature {
    /// The rule of `count` points: roots of the Legendre polynomial by Newton's
    /// method, from the usual first guess `cos(π (i + 3/4) / (n + 1/2))`.
    pub(super) fn new(count: usize) -> Self {
        let mut points = vec![0.5; count];
        let mut weights = vec![1.0; count];
        for i in 0..count.div_ceil(2) {
            let mut x = cos(std::f64::consts::PI * (i as f64 + 0.75) / (count as f64 + 0.5));
            if 2 * i + 1 == count {
                x = 0.0;
            }
            for _ in 0..20 {
                let (value, slope) = legendre(count, x);
                let step = value / slope;
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            let (_, slope) = legendre(count, x);
            let weight = 1.0 / ((1.0 - x * x) * slope * slope);
            points[i] = 0.5 - 0.5 * x;
            points[count - 1 - i] = 0.5 + 0.5 * x;
            weights[i] = weight;
            weights[count - 1 - i] = weight;
        }
        Self { points, weights }
    }
}

/// The Legendre polynomial of degree `n ≥ 1` at `x` inside (-1, 1), and its slope.
fn legendre(n: usize, x: f64) -> (f64, f64) {
    let (mut before, mut value) = (1.0, x);
    for k in 2..=n {
        let k = k as f64;
        (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
    }
    (value, n as f64 * (before - x * value) / (1.0 - x * x))
}

/// The cosine of an angle up to π/2, by its series: the same digits on every machine.
fn cos(angle: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for k in 1..12 {
        term *= -angle * angle / ((2 * k - 1) * (2 * k)) as f64;
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integral(count: usize, integrand: impl Fn(f64) -> f64) -> f64 {
        let rule = Quadrature::new(count);
        rule.points.iter().zip(&rule.weights).map(|(&point, weight)| weight * integrand(point)).sum()
    }

    #[test]
    fn a_rule_is_exact_for_every_power_below_twice_its_points() {
        for count in 1..40 {
            for power in 0..2 * count {
                let sum = integral(count, |t| t.powi(power as i32));
                assert!((sum * (power + 1) as f64 - 1.0).abs() < 1e-13, "{count} points, power {power}: {sum}");
            }
        }
    }

    #[test]
    fn long_paths_are_integrated_to_the_last_digits_with_fewer_points() {
        for distinct in [64, 100, 500, 3000] {
            let points = points_needed(distinct);
            assert!(points < distinct.div_ceil(2));
            let degree = distinct as i32 - 1;
            let power = integral(points, |t| t.powi(degree)) * distinct as f64;
            assert!((power - 1.0).abs() < 1e-12, "{distinct} features on {points} points: {power}");
            let mixed = integral(points, |t| (t * (1.0 - t) * 4.0).powi(degree / 2));
            let finer = integral(4 * points, |t| (t * (1.0 - t) * 4.0).powi(degree / 2));
            assert!((mixed - finer).abs() < 1e-12, "{distinct} features on {points} points: {mixed} {finer}");
        }
    }
}
