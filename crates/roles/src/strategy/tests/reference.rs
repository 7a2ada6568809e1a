//! The rules written again, slowly: each bar looks at the whole history. What
//! they say over random bars must be the same, also when the state is written
//! and read again in between.
//!
//! Not here: gathering.

use proptest::prelude::*;
use rust_decimal::Decimal;
use tapedeck_contracts::{Dec, events::MarketData};

use super::{bar, breakout, compiled, number, rsi, sma};
use crate::strategy::{Strategies, StrategyConfig};

/// The stances (1, 0, −1) after each bar.
type Stances = Vec<i32>;

fn mean(values: &[Decimal]) -> Decimal {
    values.iter().sum::<Decimal>() / Decimal::from(values.len())
}

fn sma_stances(closes: &[Decimal], fast: usize, slow: usize) -> Stances {
    let sign = |end: usize| {
        let last = |bars: usize| mean(&closes[end - bars..end]);
        // Means as fractions of fast · slow, so that none is rounded.
        let (fast_mean, slow_mean) = (last(fast), last(slow));
        let difference = (fast_mean - slow_mean).round_dp(15);
        difference.cmp(&Decimal::ZERO) as i32
    };
    let mut held = 0;
    (1..=closes.len())
        .map(|end| {
            if end > slow {
                match (sign(end - 1), sign(end)) {
                    (..=0, 1) => held = 1,
                    (0.., -1) => held = -1,
                    _ => {}
                }
            }
            held
        })
        .collect()
}

/// Wilder's index from the first close on, in the form of his book: a smoothed
/// mean is the one before × (n − 1) + the new one, over n.
fn rsi_at(closes: &[Decimal], period: usize) -> Option<f64> {
    let float = |value: Decimal| value.to_string().parse::<f64>().expect("a decimal is a number");
    let changes: Vec<f64> = closes.windows(2).map(|pair| float(pair[1]) - float(pair[0])).collect();
    let seed = changes.get(..period)?;
    let n = period as f64;
    let smoothed = |part: fn(f64) -> f64| {
        let first = seed.iter().copied().map(part).sum::<f64>() / n;
        changes[period..].iter().copied().map(part).fold(first, |mean, new| (mean * (n - 1.0) + new) / n)
    };
    let (gain, loss) = (smoothed(|change| change.max(0.0)), smoothed(|change| (-change).max(0.0)));
    Some(if gain + loss < 1e-12 { 50.0 } else { 100.0 * gain / (gain + loss) })
}

/// The stances after each bar, or none where a value is too near to a line for
/// floats to say on which side it is.
fn rsi_stances(closes: &[Decimal], period: usize) -> Option<Stances> {
    let mut held = 0;
    let mut before: Option<f64> = None;
    let mut stances = Vec::new();
    for end in 1..=closes.len() {
        let now = rsi_at(&closes[..end], period);
        if let Some(now) = now
            && [30.0, 50.0, 70.0].iter().any(|line| (now - line).abs() < 1e-6)
        {
            return None;
        }
        if let (Some(before), Some(now)) = (before, now) {
            if before < 30.0 && now > 30.0 {
                held = 1;
            }
            if before > 70.0 && now < 70.0 {
                held = -1;
            }
            if (held == 1 && now > 50.0) || (held == -1 && now < 50.0) {
                held = 0;
            }
        }
        before = now;
        stances.push(held);
    }
    Some(stances)
}

fn breakout_stances(bars: &[MarketData], entry: usize, exit: usize) -> Stances {
    let mut held = 0;
    (0..bars.len())
        .map(|at| {
            let before = |bars_before: usize| at.checked_sub(bars_before).map(|from| &bars[from..at]);
            let high = |window| before(window).and_then(|bars| bars.iter().filter_map(|bar| bar.high).max());
            let low = |window| before(window).and_then(|bars| bars.iter().filter_map(|bar| bar.low).min());
            let close = bars[at].price;
            if high(entry).is_some_and(|high| close > high) {
                held = 1;
            } else if low(entry).is_some_and(|low| close < low) {
                held = -1;
            } else if (held == 1 && low(exit).is_some_and(|low| close < low))
                || (held == -1 && high(exit).is_some_and(|high| close > high))
            {
                held = 0;
            }
            held
        })
        .collect()
}

/// The stances that a strategy's signals lead to; its state is written and read
/// again after every `kept_every` bars.
fn stances(config: &StrategyConfig, bars: &[MarketData], kept_every: usize) -> Stances {
    let mut strategies = compiled(std::slice::from_ref(config));
    let mut held = Decimal::ZERO;
    let mut stances = Vec::new();
    for (at, bar) in bars.iter().enumerate() {
        for signal in strategies.market(bar) {
            let target = signal.signal.target_position.expect("ours always have a target").0;
            let bought = if signal.signal.action == tapedeck_contracts::events::Action::Buy { 1 } else { -1 };
            assert_eq!(held + signal.signal.quantity.0 * Decimal::from(bought), target, "quantity leads to the target");
            assert_ne!(held, target, "a signal changes something");
            held = target;
        }
        stances.push(held.cmp(&Decimal::ZERO) as i32);
        if at % kept_every == kept_every - 1 {
            strategies = read_again(strategies, config);
        }
    }
    stances
}

fn read_again(mut strategies: Strategies, config: &StrategyConfig) -> Strategies {
    let mut again = compiled(std::slice::from_ref(config));
    for (key, value) in strategies.take_changed() {
        again.restore(&key, &value).expect("it was written just now");
    }
    again
}

fn bars_of(steps: &[(i64, i64, i64)]) -> Vec<MarketData> {
    let mut price = 10_000;
    let step = |(step, up, down): &(i64, i64, i64)| {
        price = (price + step).max(100);
        (number(price + up, 2), number(price - down, 2), number(price, 2))
    };
    let prices: Vec<(Dec, Dec, Dec)> = steps.iter().map(step).collect();
    prices.into_iter().zip(1..).map(|((high, low, close), n)| bar(n, high, low, close)).collect()
}

fn steps() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
    proptest::collection::vec((-60_i64..=60, 0_i64..40, 0_i64..40), 1..160)
}

proptest! {
    #[test]
    fn sma_says_what_the_means_of_the_whole_history_say(steps in steps(), fast in 1_usize..8, more in 1_usize..12, kept in 1_usize..50) {
        let bars = bars_of(&steps);
        let closes: Vec<_> = bars.iter().map(|bar| bar.price.0).collect();
        prop_assert_eq!(stances(&sma(fast, fast + more), &bars, kept), sma_stances(&closes, fast, fast + more));
    }

    #[test]
    fn rsi_says_what_wilders_formula_says(steps in steps(), period in 1_usize..15, kept in 1_usize..50) {
        let bars = bars_of(&steps);
        let closes: Vec<_> = bars.iter().map(|bar| bar.price.0).collect();
        if let Some(expected) = rsi_stances(&closes, period) {
            prop_assert_eq!(stances(&rsi(period), &bars, kept), expected);
        }
    }

    #[test]
    fn breakout_says_what_the_extremes_of_the_windows_say(steps in steps(), entry in 1_usize..12, exit in 1_usize..12, kept in 1_usize..50) {
        let bars = bars_of(&steps);
        prop_assert_eq!(stances(&breakout(entry, exit), &bars, kept), breakout_stances(&bars, entry, exit));
    }

    #[test]
    fn state_that_was_read_is_written_the_same(steps in steps(), kind in 0_usize..3, trades in any::<bool>()) {
        let config = [sma(3, 9), rsi(7), breakout(8, 5)][kind].clone();
        let mut events = bars_of(&steps);
        if trades {
            events = events.iter().map(|bar| super::trade("BTC", bar.timestamp.micros() / 3, bar.price)).collect();
        }
        let mut strategies = compiled(std::slice::from_ref(&config));
        for event in &events {
            strategies.market(event);
        }
        let kept = strategies.take_changed();
        prop_assert_eq!(kept.len(), 1);
        let mut again = compiled(std::slice::from_ref(&config));
        again.restore(&kept[0].0, &kept[0].1).expect("it was written just now");
        let next = bar(10_000, number(1, 0), number(1, 0), number(1, 0));
        prop_assert_eq!(strategies.market(&next), again.market(&next));
        prop_assert_eq!(strategies.take_changed(), again.take_changed());
    }
}
