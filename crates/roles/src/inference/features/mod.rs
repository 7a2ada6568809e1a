//! What a decision looks at: numbers of the last final bars of a symbol, each O(1)
//! amortised a bar, with + − × ÷ √ and `libm` alone.
//!
//! A feature is null until it is warm, and where it has no value (no volume was
//! traded, nothing moved). The formulas stand in [`FEATURES`]; `docs/decisions.md`
//! has the same table. In them c, h, l, v are close, high, low and volume of the
//! last bar, c₋ₖ the close k bars before, rₜ = ln(cₜ / cₜ₋₁), and a subscript n says:
//! over the last n values.
//!
//! Not here: where bars come from, regimes, models.

mod recursive;
mod sliding;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use tapedeck_contracts::events::{MarketData, MarketKind};

use self::{
    recursive::Smoothed,
    sliding::{CoMoments, Highest, Moments, Sliding},
};

/// How many features there are.
pub const COUNT: usize = FEATURES.len();

/// The values of all features, in the order of [`FEATURES`].
pub type Row = [Option<f64>; COUNT];

/// A feature: its name, its formula, and the bars after which it can have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// As models name it.
    pub name: &'static str,
    /// How it is made.
    pub formula: &'static str,
    /// With fewer bars it is null.
    pub bars: u64,
}

const fn feature(name: &'static str, bars: u64, formula: &'static str) -> Feature {
    Feature { name, formula, bars }
}

/// All features.
pub const FEATURES: [Feature; 24] = [
    feature("return_1", 2, "ln(c / c₋₁)"),
    feature("return_5", 6, "ln(c / c₋₅)"),
    feature("return_15", 16, "ln(c / c₋₁₅)"),
    feature("return_60", 61, "ln(c / c₋₆₀)"),
    feature("volatility_15", 16, "standard deviation of r₁₅, n − 1 degrees of freedom"),
    feature("volatility_60", 61, "standard deviation of r₆₀, n − 1 degrees of freedom"),
    feature("volatility_ratio", 61, "volatility_15 / volatility_60; null where nothing moved"),
    feature("rsi", 15, "100 · g / (g + d), g and d Wilder's means of 14 gains and losses; no loss 100, neither 50"),
    feature("macd", 26, "(EMA₁₂(c) − EMA₂₆(c)) / c"),
    feature("macd_signal", 34, "EMA₉(EMA₁₂(c) − EMA₂₆(c)) / c"),
    feature("bollinger_place", 20, "(c − (m − 2s)) / 4s, m mean and s population deviation of c₂₀; null where s is 0"),
    feature("bollinger_width", 20, "4s / m of the same m and s"),
    feature("atr", 15, "Wilder's mean of 14 true ranges max(h − l, abs(h − c₋₁), abs(l − c₋₁)), / c"),
    feature("volume_ratio", 20, "v / mean of v₂₀; null where nothing was traded"),
    feature("momentum_10", 11, "c / c₋₁₀ − 1"),
    feature("range_place_20", 20, "(c − min l₂₀) / (max h₂₀ − min l₂₀); null where they are equal"),
    feature("sma_distance_10", 10, "c / mean of c₁₀ − 1"),
    feature("sma_distance_30", 30, "c / mean of c₃₀ − 1"),
    feature("skew_30", 31, "skewness g₁ of r₃₀; null where nothing varies"),
    feature("up_share_20", 21, "share of r₂₀ that are above 0"),
    feature(
        "autocorrelation_30",
        32,
        "Pearson correlation of the last 30 pairs (rₜ₋₁, rₜ); null where one side is constant",
    ),
    feature("since_high_60", 60, "bars since the newest of the highest h₆₀, / 60"),
    feature("efficiency_20", 21, "abs(c − c₋₂₀) / sum of the 20 abs(cₜ − cₜ₋₁); null where nothing moved"),
    feature("spread", 1, "(ask − bid) / mid of the bar, else of the symbol's last quote; null where there was none"),
];

/// Where a feature stands in a [`Row`].
pub fn place_of(name: &str) -> Option<usize> {
    FEATURES.iter().position(|feature| feature.name == name)
}

/// From so many bars on every feature that can have a value has one.
pub const WARM_BARS: u64 = 61;

/// Bars that are remembered: those that the longest return reaches.
const HISTORY: usize = 61;

/// A final bar as features see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// The highest price.
    pub high: f64,
    /// The lowest price.
    pub low: f64,
    /// The last price.
    pub close: f64,
    /// What was traded.
    pub volume: f64,
}

impl Bar {
    /// The final bar that a market event is, if it is one. What it leaves out of
    /// high and low is the higher and the lower of open and close.
    pub fn of(data: &MarketData) -> Option<Self> {
        if data.kind() != MarketKind::Bar || data.is_final == Some(false) {
            return None;
        }
        let close = data.close.unwrap_or(data.price).0;
        let open = data.open.map_or(close, |open| open.0);
        Some(Self {
            high: float(data.high.map_or(open.max(close), |high| high.0)),
            low: float(data.low.map_or(open.min(close), |low| low.0)),
            close: float(close),
            volume: float(data.volume.0),
        })
    }
}

/// A decimal as the float that its digits and its power of ten come to: two exact
/// numbers (up to 15 digits) and one division, the same on every machine.
#[expect(clippy::cast_precision_loss, reason = "beyond 53 bits the nearest float is meant")]
pub fn float(value: Decimal) -> f64 {
    let digits = value.mantissa() as f64;
    if value.scale() == 0 { digits } else { digits / 10_u128.pow(value.scale()) as f64 }
}

/// The features of one symbol, bar after bar.
#[derive(Clone, Debug)]
pub struct Features {
    /// Bars seen.
    seen: u64,
    /// The last of them, oldest first.
    bars: VecDeque<Bar>,
    spread: Option<f64>,
    ema_12: Smoothed,
    ema_26: Smoothed,
    macd_signal: Smoothed,
    gain: Smoothed,
    loss: Smoothed,
    true_range: Smoothed,
    windows: Windows,
}

/// What is looked at through windows.
#[derive(Clone, Debug)]
struct Windows {
    returns_15: Sliding<Moments>,
    returns_30: Sliding<Moments>,
    returns_60: Sliding<Moments>,
    ups_20: Sliding<Moments>,
    moves_20: Sliding<Moments>,
    pairs_30: Sliding<CoMoments>,
    closes_10: Sliding<Moments>,
    closes_20: Sliding<Moments>,
    closes_30: Sliding<Moments>,
    volumes_20: Sliding<Moments>,
    highs_20: Sliding<Highest>,
    lows_20: Sliding<Highest>,
    highs_60: Sliding<Highest>,
}

/// The features as they are kept: what the windows hold follows from the bars.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    seen: u64,
    /// High, low, close, volume.
    bars: Vec<[f64; 4]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spread: Option<f64>,
    /// The smoothed means, in the order of the struct.
    means: [(u32, f64); 6],
}

impl Default for Features {
    fn default() -> Self {
        Self {
            seen: 0,
            bars: VecDeque::with_capacity(HISTORY),
            spread: None,
            ema_12: Smoothed::exponential(12),
            ema_26: Smoothed::exponential(26),
            macd_signal: Smoothed::exponential(9),
            gain: Smoothed::wilder(14),
            loss: Smoothed::wilder(14),
            true_range: Smoothed::wilder(14),
            windows: Windows::filled(0, &[]),
        }
    }
}

impl Features {
    /// Takes the next final bar.
    pub fn take(&mut self, bar: Bar) {
        self.smooth(bar);
        if self.bars.len() == HISTORY {
            self.bars.pop_front();
        }
        self.bars.push_back(bar);
        self.seen += 1;
        let bars = self.bars.make_contiguous();
        let newest = &bars[bars.len().saturating_sub(3)..];
        self.windows.push(&Singles::of(newest, self.seen));
    }

    /// Takes bid and ask of a quote, or of a bar that has them.
    pub fn quote(&mut self, data: &MarketData) {
        let (Some(bid), Some(ask)) = (data.bid, data.ask) else { return };
        let (bid, ask) = (float(bid.0), float(ask.0));
        self.spread = finite((ask - bid) / ((ask + bid) / 2.0));
    }

    /// Bars seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// All features after the last bar.
    pub fn row(&self) -> Row {
        let mut row = [None; COUNT];
        let Some(bar) = self.bars.back() else { return row };
        let windows = &self.windows;
        let change = |back: usize| self.close(back).map(|before| libm::log(bar.close / before));
        let (short, long) = (deviation(&windows.returns_15), deviation(&windows.returns_60));
        let macd = self.macd();
        let bands = windows.closes_20.full().map(|closes| (closes.mean, closes.deviation(0.0)));
        let distance = |closes: &Sliding<Moments>| closes.full().map(|closes| bar.close / closes.mean - 1.0);
        let range = windows.highs_20.full().zip(windows.lows_20.full());
        let values = [
            change(1),
            change(5),
            change(15),
            change(60),
            short,
            long,
            short.zip(long).and_then(|(short, long)| ratio(short, long)),
            self.rsi(),
            macd.map(|macd| macd / bar.close),
            self.macd_signal.get().map(|signal| signal / bar.close),
            bands.and_then(|(mean, deviation)| ratio(bar.close - (mean - 2.0 * deviation), 4.0 * deviation)),
            bands.map(|(mean, deviation)| 4.0 * deviation / mean),
            self.true_range.get().map(|range| range / bar.close),
            windows.volumes_20.full().and_then(|volumes| ratio(bar.volume, volumes.mean)),
            self.close(10).map(|before| bar.close / before - 1.0),
            // Lows are kept with their sign turned.
            range.and_then(|(high, low)| ratio(bar.close + low.value, high.value + low.value)),
            distance(&windows.closes_10),
            distance(&windows.closes_30),
            windows.returns_30.full().and_then(|returns| returns.skew()),
            windows.ups_20.full().map(|ups| ups.mean),
            windows.pairs_30.full().and_then(|pairs| pairs.correlation()),
            windows.highs_60.full().map(|high| whole(self.seen - high.bar) / 60.0),
            windows
                .moves_20
                .full()
                .zip(self.close(20))
                .and_then(|(moves, before)| ratio((bar.close - before).abs(), 20.0 * moves.mean)),
            self.spread,
        ];
        for (place, value) in row.iter_mut().zip(values) {
            *place = value.and_then(finite);
        }
        row
    }

    /// As it is kept, in JSON.
    pub fn kept(&self) -> Vec<u8> {
        let bars = self.bars.iter().map(|bar| [bar.high, bar.low, bar.close, bar.volume]).collect();
        let means = self.means().map(|mean| mean.kept());
        let kept = Kept { seen: self.seen, bars, spread: self.spread, means };
        serde_json::to_vec(&kept).expect("numbers that are finite")
    }

    /// Goes on from what was kept, with the same digits.
    ///
    /// # Errors
    /// It is none that this code wrote.
    pub fn restored(kept: &[u8]) -> Result<Self, String> {
        let kept: Kept = serde_json::from_slice(kept).map_err(|error| error.to_string())?;
        let seen = usize::try_from(kept.seen).map_err(|error| error.to_string())?;
        if kept.bars.len() != seen.min(HISTORY) {
            return Err(format!("expected {} bars, found {}", seen.min(HISTORY), kept.bars.len()));
        }
        let bars: Vec<Bar> =
            kept.bars.iter().map(|&[high, low, close, volume]| Bar { high, low, close, volume }).collect();
        let fresh = Self::default();
        let [ema_12, ema_26, macd_signal, gain, loss, true_range] = fresh.means();
        let means = kept.means;
        Ok(Self {
            seen: kept.seen,
            spread: kept.spread,
            ema_12: ema_12.restored(means[0]),
            ema_26: ema_26.restored(means[1]),
            macd_signal: macd_signal.restored(means[2]),
            gain: gain.restored(means[3]),
            loss: loss.restored(means[4]),
            true_range: true_range.restored(means[5]),
            windows: Windows::filled(seen, &bars),
            bars: bars.into(),
        })
    }

    fn means(&self) -> [Smoothed; 6] {
        [self.ema_12, self.ema_26, self.macd_signal, self.gain, self.loss, self.true_range]
    }

    /// Moves the smoothed means by a bar that is not among the others yet.
    fn smooth(&mut self, bar: Bar) {
        self.ema_12.push(bar.close);
        self.ema_26.push(bar.close);
        if let Some(macd) = self.macd() {
            self.macd_signal.push(macd);
        }
        let Some(before) = self.bars.back() else { return };
        let change = bar.close - before.close;
        self.gain.push(change.max(0.0));
        self.loss.push((-change).max(0.0));
        let range = (bar.high - bar.low).max((bar.high - before.close).abs()).max((bar.low - before.close).abs());
        self.true_range.push(range);
    }

    fn macd(&self) -> Option<f64> {
        Some(self.ema_12.get()? - self.ema_26.get()?)
    }

    fn rsi(&self) -> Option<f64> {
        let (gain, loss) = (self.gain.get()?, self.loss.get()?);
        Some(if gain + loss > 0.0 { 100.0 * gain / (gain + loss) } else { 50.0 })
    }

    /// The close so many bars before the last.
    fn close(&self, back: usize) -> Option<f64> {
        self.bars.iter().rev().nth(back).map(|bar| bar.close)
    }
}

/// What one bar adds to the windows.
struct Singles {
    close: Moments,
    volume: Moments,
    high: Highest,
    low: Highest,
    /// With the bar before: return, up or not, move.
    change: Option<(Moments, Moments, Moments)>,
    /// With the two bars before.
    pair: Option<CoMoments>,
}

impl Singles {
    /// Of the last of some bars, which is number `seen`.
    fn of(bars: &[Bar], seen: u64) -> Self {
        let at = bars.len() - 1;
        let bar = bars[at];
        let change = |at: usize| libm::log(bars[at].close / bars[at - 1].close);
        let one = (at >= 1).then(|| change(at));
        Self {
            close: Moments::of(bar.close),
            volume: Moments::of(bar.volume),
            high: Highest { value: bar.high, bar: seen },
            low: Highest { value: -bar.low, bar: seen },
            change: one.map(|one| {
                let up = if one > 0.0 { 1.0 } else { 0.0 };
                (Moments::of(one), Moments::of(up), Moments::of((bar.close - bars[at - 1].close).abs()))
            }),
            pair: one.filter(|_| at >= 2).map(|one| CoMoments::of(change(at - 1), one)),
        }
    }
}

impl Windows {
    /// The windows after `seen` bars, of which these are the last.
    fn filled(seen: usize, bars: &[Bar]) -> Self {
        let first = seen - bars.len();
        let single = |at: usize| Singles::of(&bars[at.saturating_sub(2)..=at], (first + at + 1) as u64);
        let singles: Vec<Singles> = (0..bars.len()).map(single).collect();
        let all = |of: fn(&Singles) -> Moments| singles.iter().map(of).collect::<Vec<_>>();
        let highs = |of: fn(&Singles) -> Highest| singles.iter().map(of).collect::<Vec<_>>();
        let changes: Vec<_> = singles.iter().filter_map(|single| single.change).collect();
        let changes = |of: fn(&(Moments, Moments, Moments)) -> Moments| changes.iter().map(of).collect::<Vec<_>>();
        let (closes, volumes) = (all(|single| single.close), all(|single| single.volume));
        let (high, low) = (highs(|single| single.high), highs(|single| single.low));
        let returns = changes(|change| change.0);
        let pairs: Vec<_> = singles.iter().filter_map(|single| single.pair).collect();
        let (one, two) = (seen.saturating_sub(1), seen.saturating_sub(2));
        Self {
            returns_15: Sliding::filled(15, one, &returns),
            returns_30: Sliding::filled(30, one, &returns),
            returns_60: Sliding::filled(60, one, &returns),
            ups_20: Sliding::filled(20, one, &changes(|change| change.1)),
            moves_20: Sliding::filled(20, one, &changes(|change| change.2)),
            pairs_30: Sliding::filled(30, two, &pairs),
            closes_10: Sliding::filled(10, seen, &closes),
            closes_20: Sliding::filled(20, seen, &closes),
            closes_30: Sliding::filled(30, seen, &closes),
            volumes_20: Sliding::filled(20, seen, &volumes),
            highs_20: Sliding::filled(20, seen, &high),
            lows_20: Sliding::filled(20, seen, &low),
            highs_60: Sliding::filled(60, seen, &high),
        }
    }

    fn push(&mut self, single: &Singles) {
        for closes in [&mut self.closes_10, &mut self.closes_20, &mut self.closes_30] {
            closes.push(single.close);
        }
        self.volumes_20.push(single.volume);
        self.highs_20.push(single.high);
        self.highs_60.push(single.high);
        self.lows_20.push(single.low);
        if let Some((one, up, step)) = single.change {
            for returns in [&mut self.returns_15, &mut self.returns_30, &mut self.returns_60] {
                returns.push(one);
            }
            self.ups_20.push(up);
            self.moves_20.push(step);
        }
        if let Some(pair) = single.pair {
            self.pairs_30.push(pair);
        }
    }
}

fn deviation(returns: &Sliding<Moments>) -> Option<f64> {
    returns.full().map(|returns| returns.deviation(1.0))
}

/// A quotient; none where there is nothing to divide by.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// A number of bars within a window.
#[expect(clippy::cast_precision_loss, reason = "at most the longest window")]
fn whole(bars: u64) -> f64 {
    bars as f64
}
