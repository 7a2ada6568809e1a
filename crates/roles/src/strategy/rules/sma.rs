//! SMA crossover: long when the fast mean goes above the slow one, short when
//! it goes below. The means are sums of the last closes, kept exactly: a bar
//! costs two additions and two subtractions, however long the windows.
//!
//! Not here: what it trades.

use super::{Bar, Decimal, Deserialize, Ordering, Serialize, Stance, VecDeque, Wide, Wish, shown, wish};

/// Two simple moving averages of closes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::strategy) struct Sma {
    fast: usize,
    slow: usize,
    /// The last `slow` closes, oldest first.
    closes: VecDeque<Wide>,
    fast_sum: Wide,
    slow_sum: Wide,
    /// The sign of fast − slow at the bar before; none before the first value.
    sign: Option<i8>,
}

impl Sma {
    pub(in crate::strategy) fn new(fast: usize, slow: usize) -> Self {
        let (closes, zero) = (VecDeque::new(), Wide::default());
        Self { fast, slow, closes, fast_sum: zero, slow_sum: zero, sign: None }
    }

    pub(super) fn take(&mut self, bar: Bar, held: Stance, long_only: bool) -> Option<Wish> {
        self.push(bar.close);
        if self.closes.len() < self.slow {
            return None;
        }
        // fast_sum / fast against slow_sum / slow, without a division that rounds.
        let (fast, slow) = (Decimal::from(self.fast), Decimal::from(self.slow));
        let sign = match (self.fast_sum.0 * slow).cmp(&(self.slow_sum.0 * fast)) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        };
        let before = self.sign.replace(sign)?;
        let (wanted, word) = match (before, sign) {
            (..=0, 1) => (Stance::Long, "above"),
            (0.., -1) => (Stance::Short, "below"),
            _ => return None,
        };
        wish(wanted, held, long_only, || {
            let (fast, slow) = (shown(self.fast_sum.0 / fast), shown(self.slow_sum.0 / slow));
            format!("fast mean {fast} crossed {word} slow mean {slow}")
        })
    }

    fn push(&mut self, close: Decimal) {
        let add = |sum: &mut Wide, value: Decimal| sum.0 = (sum.0 + value).normalize();
        if self.closes.len() >= self.fast {
            add(&mut self.fast_sum, -self.closes[self.closes.len() - self.fast].0);
        }
        if self.closes.len() == self.slow
            && let Some(oldest) = self.closes.pop_front()
        {
            add(&mut self.slow_sum, -oldest.0);
        }
        add(&mut self.fast_sum, close);
        add(&mut self.slow_sum, close);
        self.closes.push_back(Wide(close));
    }

    pub(super) fn continues(&self, fresh: &Self) -> bool {
        (self.fast, self.slow) == (fresh.fast, fresh.slow) && self.closes.len() <= self.slow
    }
}
