//! The formulas of the features, written down slowly: each from all bars, with
//! nothing kept between two of them.
//!
//! Not here: speed.

use super::{Bar, COUNT, Row};

/// The features after these bars, without a quote.
pub(super) fn row(bars: &[Bar]) -> Row {
    let closes: Vec<f64> = bars.iter().map(|bar| bar.close).collect();
    let returns: Vec<f64> = closes.windows(2).map(|pair| (pair[1] / pair[0]).ln()).collect();
    let close = *closes.last().expect("at least one bar");
    let (mut row, before) = ([None; COUNT], |k: usize| closes.iter().rev().nth(k).copied());
    for (place, k) in [1, 5, 15, 60].into_iter().enumerate() {
        row[place] = before(k).map(|before| (close / before).ln());
    }
    row[4] = last(&returns, 15).map(|returns| deviation(returns, 1));
    row[5] = last(&returns, 60).map(|returns| deviation(returns, 1));
    row[6] = row[4].zip(row[5]).filter(|(_, long)| *long > 0.0).map(|(short, long)| short / long);
    row[7] = rsi(&closes);
    let (macd, signal) = macd(&closes);
    (row[8], row[9]) = (macd.map(|macd| macd / close), signal.map(|signal| signal / close));
    if let Some(closes) = last(&closes, 20) {
        let (mean, deviation) = (mean(closes), deviation(closes, 0));
        let (low, high) = (mean - 2.0 * deviation, mean + 2.0 * deviation);
        row[10] = (deviation > 0.0).then(|| (close - low) / (high - low));
        row[11] = Some((high - low) / mean);
    }
    row[12] = atr(bars);
    let volumes: Vec<f64> = bars.iter().map(|bar| bar.volume).collect();
    row[13] = last(&volumes, 20).map(mean).filter(|mean| *mean > 0.0).map(|mean| volumes[volumes.len() - 1] / mean);
    row[14] = before(10).map(|before| close / before - 1.0);
    row[15] = last(bars, 20).and_then(|bars| {
        let high = bars.iter().map(|bar| bar.high).fold(f64::MIN, f64::max);
        let low = bars.iter().map(|bar| bar.low).fold(f64::MAX, f64::min);
        (high > low).then(|| (close - low) / (high - low))
    });
    row[16] = last(&closes, 10).map(|closes| close / mean(closes) - 1.0);
    row[17] = last(&closes, 30).map(|closes| close / mean(closes) - 1.0);
    row[18] = last(&returns, 30).and_then(skew);
    row[19] = last(&returns, 20).map(|returns| returns.iter().filter(|one| **one > 0.0).count() as f64 / 20.0);
    row[20] = last(&returns, 31).and_then(|returns| correlation(&returns[..30], &returns[1..]));
    row[21] = last(bars, 60).map(|bars| {
        let high = bars.iter().map(|bar| bar.high).fold(f64::MIN, f64::max);
        bars.iter().rev().position(|bar| bar.high >= high).expect("one of them is the highest") as f64 / 60.0
    });
    row[22] = last(&closes, 21).and_then(|closes| {
        let way: f64 = closes.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum();
        (way > 0.0).then(|| (close - closes[0]).abs() / way)
    });
    row
}

fn last<T>(values: &[T], count: usize) -> Option<&[T]> {
    values.len().checked_sub(count).map(|from| &values[from..])
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64], lost: usize) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = (squares / (values.len() - lost) as f64).sqrt();
    if deviation > 1e-10 * mean.abs() { deviation } else { 0.0 }
}

fn skew(values: &[f64]) -> Option<f64> {
    let (mean, deviation) = (mean(values), deviation(values, 0));
    let cubes: f64 = values.iter().map(|value| (value - mean).powi(3)).sum();
    (deviation > 0.0).then(|| cubes / values.len() as f64 / deviation.powi(3))
}

fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mean_x, mean_y) = (mean(x), mean(y));
    let mixed: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let (x, y) = (deviation(x, 0), deviation(y, 0));
    (x > 0.0 && y > 0.0).then(|| mixed / 30.0 / x / y)
}

/// A mean seeded by the first `period` values and then moved by a share of each.
fn smoothed(values: &[f64], period: usize, share: f64) -> Vec<f64> {
    let Some((first, rest)) = values.split_at_checked(period) else { return Vec::new() };
    let mut means = vec![mean(first)];
    for value in rest {
        let before = means[means.len() - 1];
        means.push(before * (1.0 - share) + value * share);
    }
    means
}

fn rsi(closes: &[f64]) -> Option<f64> {
    let changes: Vec<f64> = closes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let gains: Vec<f64> = changes.iter().map(|change| change.max(0.0)).collect();
    let losses: Vec<f64> = changes.iter().map(|change| (-change).max(0.0)).collect();
    let gain = *smoothed(&gains, 14, 1.0 / 14.0).last()?;
    let loss = *smoothed(&losses, 14, 1.0 / 14.0).last()?;
    Some(match (gain > 0.0, loss > 0.0) {
        (false, false) => 50.0,
        (true, false) => 100.0,
        _ => 100.0 - 100.0 / (1.0 + gain / loss),
    })
}

fn macd(closes: &[f64]) -> (Option<f64>, Option<f64>) {
    let (fast, slow) = (smoothed(closes, 12, 2.0 / 13.0), smoothed(closes, 26, 2.0 / 27.0));
    let macd: Vec<f64> = slow.iter().zip(fast.iter().skip(14)).map(|(slow, fast)| fast - slow).collect();
    (macd.last().copied(), smoothed(&macd, 9, 0.2).last().copied())
}

fn atr(bars: &[Bar]) -> Option<f64> {
    let range = |pair: &[Bar]| {
        let (before, bar) = (pair[0].close, pair[1]);
        [bar.high - bar.low, (bar.high - before).abs(), (bar.low - before).abs()].into_iter().fold(0.0, f64::max)
    };
    let ranges: Vec<f64> = bars.windows(2).map(range).collect();
    Some(smoothed(&ranges, 14, 1.0 / 14.0).last()? / bars[bars.len() - 1].close)
}
