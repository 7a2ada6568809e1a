//! Points and weights of Radau and Gauss on [0, 1], and how many a tree needs.
//!
//! Not here: what is integrated (`mod`), and the points of one pass (`compile`).

/// Points and weights of one rule: `∫₀¹ g(t) dt ≈ at_zero · g(0) + Σ weight · g(point)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quadrature {
    /// What the value at 0 counts.
    pub(super) at_zero: f64,
    /// Where else the integrand is taken, ascending, inside (0, 1).
    pub(super) points: Vec<f64>,
    /// What each value counts; with `at_zero` they sum to 1.
    pub(super) weights: Vec<f64>,
}

/// Enough points for a tree whose paths hold at most `distinct` features, with 0 as a further
/// one or without it.
///
/// The integrand is a polynomial of degree `distinct - 1`, for which half as many
/// points are exact. Beyond 52 features fewer do: the coefficient of the Chebyshev
/// polynomial of degree `m` in a product of `d` factors that are linear in t and
/// between 0 and 1 falls like `exp(-m²/d)`, and `2·3.6·√d` is a degree where that
/// is below the last digit of an `f64`.
pub(super) fn points_needed(distinct: usize, with_zero: bool) -> usize {
    let enough = (3.6 * (distinct as f64).sqrt()).ceil() as usize;
    let exact = if with_zero { distinct / 2 } else { distinct.div_ceil(2) };
    exact.min(enough)
}

impl Quadrature {
    /// Radau's rule of 0 and `count` further points, exact for polynomials of degree up to
    /// twice as many: the roots of `P_count + P_count+1` but -1,
    /// by Newton's method from those of the Chebyshev polynomials of the same sort.
    pub(super) fn radau(count: usize) -> Self {
        let all = count as f64 + 1.0;
        let mut rule = Self { at_zero: 1.0 / (all * all), points: Vec::new(), weights: Vec::new() };
        for nth in 1..=count {
            let mut x = -cos(std::f64::consts::TAU * nth as f64 / (2.0 * all - 1.0));
            for _ in 0..20 {
                let ((one, its_slope), (other, others_slope)) = (legendre(count, x), legendre(count + 1, x));
                let (value, slope) = (one + other, its_slope + others_slope);
                let step = value / (slope - value / (1.0 + x));
                x -= step;
                if step.abs() < 1e-16 {
                    break;
                }
            }
            let (_, slope) = legendre(count, x);
            rule.points.push(0.5 + 0.5 * x);
            rule.weights.push(0.5 / ((1.0 - x) * slope * slope));
        }
        rule
    }

    /// Gauss's rule of `count` points, exact for polynomials of a degree below twice as many:
    /// roots of the Legendre polynomial by Newton's method, from the usual first guess
    /// `cos(π (i + 3/4) / (n + 1/2))`.
    pub(super) fn gauss(count: usize) -> Self {
        let mut rule = Self { at_zero: 0.0, points: vec![0.5; count], weights: vec![1.0; count] };
        for nth in 0..count.div_ceil(2) {
            let mut x = cos(std::f64::consts::PI * (nth as f64 + 0.75) / (count as f64 + 0.5));
            if 2 * nth + 1 == count {
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
            for (place, x) in [(nth, -x), (count - 1 - nth, x)] {
                rule.points[place] = 0.5 + 0.5 * x;
                rule.weights[place] = 1.0 / ((1.0 - x * x) * slope * slope);
            }
        }
        rule
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

/// The cosine of an angle up to π, by its series: the same digits on every machine.
fn cos(angle: f64) -> f64 {
    if angle > std::f64::consts::FRAC_PI_2 {
        return -cos(std::f64::consts::PI - angle);
    }
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

    fn integral(rule: &Quadrature, integrand: impl Fn(f64) -> f64) -> f64 {
        let sum: f64 = rule.points.iter().zip(&rule.weights).map(|(&point, weight)| weight * integrand(point)).sum();
        sum + rule.at_zero * integrand(0.0)
    }

    #[test]
    fn a_rule_is_exact_for_every_power_that_its_points_are_enough_for() {
        for count in 1..40 {
            for (rule, degree) in [(Quadrature::radau(count), 2 * count), (Quadrature::gauss(count), 2 * count - 1)] {
                for power in 0..=degree {
                    let sum = integral(&rule, |t| t.powi(power as i32));
                    assert!((sum * (power + 1) as f64 - 1.0).abs() < 1e-13, "{count} points, power {power}: {sum}");
                }
            }
        }
    }

    #[test]
    fn long_paths_are_integrated_to_the_last_digits_with_fewer_points() {
        for (distinct, with_zero) in [64, 100, 500, 3000].into_iter().flat_map(|many| [(many, true), (many, false)]) {
            let points = points_needed(distinct, with_zero);
            assert!(points < distinct / 2);
            let [rule, finer] = [points, 4 * points]
                .map(|points| if with_zero { Quadrature::radau(points) } else { Quadrature::gauss(points) });
            let degree = distinct as i32 - 1;
            let power = integral(&rule, |t| t.powi(degree)) * distinct as f64;
            assert!((power - 1.0).abs() < 1e-12, "{distinct} features on {points} points: {power}");
            let mixed = integral(&rule, |t| (t * (1.0 - t) * 4.0).powi(degree / 2));
            let finer = integral(&finer, |t| (t * (1.0 - t) * 4.0).powi(degree / 2));
            assert!((mixed - finer).abs() < 1e-12, "{distinct} features on {points} points: {mixed} {finer}");
        }
    }
}
