//! Percentiles and medians of what was measured.
//!
//! Not here: measuring.

use std::time::Duration;

/// One line: p50, p99, p99.9 and the maximum, in milliseconds.
pub(crate) fn print(what: &str, mut samples: Vec<Duration>, beside: &str) {
    samples.sort_unstable();
    let at = |share: f64| {
        let index = ((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len().max(1)) - 1;
        samples.get(index).map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e3)
    };
    println!(
        "{what:<44} p50 {:>8.2} ms  p99 {:>8.2} ms  p99.9 {:>8.2} ms  max {:>8.2} ms  n {}{beside}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        samples.len()
    );
}

/// The middle one of several rates.
pub(crate) fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
