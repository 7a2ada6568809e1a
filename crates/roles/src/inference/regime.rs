//! What kind of market it is: the forward filter of a hidden Markov model with
//! three states, each Gaussian in (return, log realised volatility) of a bar.
//! (L. R. Rabiner, "A Tutorial on Hidden Markov Models and Selected Applications in
//! Speech Recognition", 1989, section III.)
//!
//! Both are taken per square root of a minute, so that one set of parameters fits
//! bars of any length: r / √m and ln(σ / √m), m the minutes of a bar.
//!
//! Not here: fitting the parameters (`scripts/train.py`), weights of specialists.

use serde::{Deserialize, Serialize};

/// The regimes, in the order of every array here.
pub const REGIMES: [&str; 3] = ["bull", "bear", "sideways"];

/// A regime is new when it is the most likely for so many bars in a row…
pub const CHANGE_BARS: u32 = 3;
/// … with at least this probability.
pub const CHANGE_PROBABILITY: f64 = 0.6;

/// No state becomes less likely than this: from 0 there would be no way back.
const LEAST: f64 = 1e-9;
/// An observation further from every mean than so many deviations says no more
/// than one at this distance: its square must stay a number.
const FURTHEST: f64 = 1e3;
/// Realised volatility below this counts as this: a market that stands still has
/// a logarithm.
const LEAST_VOLATILITY: f64 = 1e-7;
/// How far the probabilities of a row may be from 1 in all.
const TOLERANCE: f64 = 1e-6;

/// What a state makes observations look like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emission {
    /// Means of return and log volatility.
    pub mean: [f64; 2],
    /// Their standard deviations, over 0.
    pub deviation: [f64; 2],
    /// Their correlation, between −1 and 1.
    #[serde(default)]
    pub correlation: f64,
}

/// The parameters of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hmm {
    /// Probability of each state before the first bar.
    pub initial: [f64; 3],
    /// From the state of the row to that of the column, a bar later.
    pub transition: [[f64; 3]; 3],
    /// Of bull, bear and sideways.
    pub bull: Emission,
    /// The same.
    pub bear: Emission,
    /// The same.
    pub sideways: Emission,
}

impl Hmm {
    /// Everything that is wrong with the parameters.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let rows = [("initial", &self.initial)].into_iter();
        for (name, row) in rows.chain(self.transition.iter().map(|row| ("transition", row))) {
            if !is_distribution(row) {
                wrong.push(format!("hmm.{name}: expected 3 probabilities that sum to 1, found {row:?}"));
            }
        }
        for (name, emission) in REGIMES.into_iter().zip([&self.bull, &self.bear, &self.sideways]) {
            if !emission.mean.iter().all(|mean| mean.is_finite()) {
                wrong.push(format!("hmm.{name}.mean: expected 2 finite numbers, found {:?}", emission.mean));
            }
            if !emission.deviation.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0) {
                wrong.push(format!("hmm.{name}.deviation: expected 2 numbers over 0, found {:?}", emission.deviation));
            }
            // NaN is no number between the two either.
            if !(emission.correlation > -1.0 && emission.correlation < 1.0) {
                wrong.push(format!("hmm.{name}.correlation: expected -1 < ρ < 1, found {}", emission.correlation));
            }
        }
        wrong
    }

    /// The logarithm of each state's density at an observation.
    fn log_densities(&self, [x, y]: [f64; 2]) -> [f64; 3] {
        [&self.bull, &self.bear, &self.sideways].map(|emission| {
            let [mean_x, mean_y] = emission.mean;
            let [deviation_x, deviation_y] = emission.deviation;
            let (x, y) = (bounded((x - mean_x) / deviation_x), bounded((y - mean_y) / deviation_y));
            let rest = 1.0 - emission.correlation * emission.correlation;
            let distance = (x * x - 2.0 * emission.correlation * x * y + y * y) / rest;
            -0.5 * distance - libm::log(deviation_x * deviation_y * libm::sqrt(rest))
        })
    }
}

/// Three probabilities that sum to 1.
pub(super) fn is_distribution(row: &[f64; 3]) -> bool {
    row.iter().all(|part| (0.0..=1.0).contains(part)) && (row.iter().sum::<f64>() - 1.0).abs() <= TOLERANCE
}

fn bounded(distance: f64) -> f64 {
    distance.clamp(-FURTHEST, FURTHEST)
}

/// What the filter sees of a bar: its log return, the standard deviation of the
/// last returns, and its length in minutes. None where one of them is missing.
pub fn observation(log_return: Option<f64>, volatility: Option<f64>, minutes: f64) -> Option<[f64; 2]> {
    let scale = libm::sqrt(minutes);
    let seen = [log_return? / scale, libm::log((volatility? / scale).max(LEAST_VOLATILITY))];
    seen.iter().all(|part| part.is_finite()).then_some(seen)
}

/// A regime that held long enough to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Changed {
    /// The regime before, as an index into [`REGIMES`].
    pub from: usize,
    /// The regime now.
    pub to: usize,
    /// Probabilities at the bar before.
    pub previous: [f64; 3],
}

/// What is believed of one symbol's market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    probs: [f64; 3],
    /// The regime that was told last.
    current: usize,
    /// Another one that is likely, and for how many bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<(usize, u32)>,
}

impl Filter {
    /// What is believed before the first bar.
    pub fn new(hmm: &Hmm) -> Self {
        Self { probs: hmm.initial, current: most_likely(&hmm.initial), next: None }
    }

    /// Probability of each regime.
    pub fn probs(&self) -> [f64; 3] {
        self.probs
    }

    /// The regime that was told last, as an index into [`REGIMES`].
    pub fn current(&self) -> usize {
        self.current
    }

    /// Moves on by a bar; without an observation only time passes. Says so where
    /// the regime changed.
    pub fn take(&mut self, hmm: &Hmm, seen: Option<[f64; 2]>) -> Option<Changed> {
        let previous = self.probs;
        let prior: [f64; 3] =
            std::array::from_fn(|to| (0..3).map(|from| previous[from] * hmm.transition[from][to]).sum());
        self.probs = normalised(match seen {
            None => prior,
            Some(seen) => {
                let densities = hmm.log_densities(seen);
                // The most likely state counts 1, so that never all are 0.
                let most = densities.into_iter().fold(f64::MIN, f64::max);
                std::array::from_fn(|state| prior[state] * libm::exp(densities[state] - most))
            }
        });
        self.look(previous)
    }

    fn look(&mut self, previous: [f64; 3]) -> Option<Changed> {
        let likely = most_likely(&self.probs);
        if likely == self.current || self.probs[likely] < CHANGE_PROBABILITY {
            self.next = None;
            return None;
        }
        let bars = 1 + self.next.filter(|(state, _)| *state == likely).map_or(0, |(_, bars)| bars);
        self.next = Some((likely, bars));
        if bars < CHANGE_BARS {
            return None;
        }
        self.next = None;
        let from = std::mem::replace(&mut self.current, likely);
        Some(Changed { from, to: likely, previous })
    }
}

/// The index of the largest; of equal ones the first.
fn most_likely(probs: &[f64; 3]) -> usize {
    (1..3).fold(0, |best, state| if probs[state] > probs[best] { state } else { best })
}

/// Parts of 1, none below [`LEAST`].
fn normalised(parts: [f64; 3]) -> [f64; 3] {
    let sum: f64 = parts.iter().sum();
    // The state that explains the bar best may have had no chance before it.
    let floored = parts.map(|part| if sum > 0.0 { (part / sum).max(LEAST) } else { 1.0 });
    let sum: f64 = floored.iter().sum();
    floored.map(|part| part / sum)
}

#[cfg(test)]
mod tests;
