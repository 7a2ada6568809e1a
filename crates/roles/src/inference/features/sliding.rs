//! Sums over the last n values without ever subtracting: a window is two stacks,
//! the older values summed from the newest of them backwards, the newer ones
//! forwards. What leaves is popped, what comes is added, and once in n values the
//! newer become the older ones: O(1) amortised, and no error grows, since every
//! sum is made of at most n additions of values that are in the window.
//!
//! Where a window is divided follows from how many values it has seen, so one that
//! is filled again from its values goes on with the same digits.
//!
//! Moments are put together as in P. Pébay, "Formulas for robust, one-pass parallel
//! computation of covariances and arbitrary-order statistical moments" (2008).
//!
//! Not here: what is looked at through a window.

/// Something that two neighbouring stretches of values come to together.
pub(super) trait Aggregate: Copy {
    /// This stretch, and the one after it.
    fn then(self, later: Self) -> Self;
}

/// The last values, at most `capacity`, and what they come to.
#[derive(Clone, Debug)]
pub(super) struct Sliding<A> {
    capacity: usize,
    /// Each with all that is newer in this stack; the oldest last.
    front: Vec<A>,
    /// The newer values, each alone, the newest last.
    back: Vec<A>,
    back_total: Option<A>,
}

impl<A: Aggregate> Sliding<A> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, front: Vec::new(), back: Vec::new(), back_total: None }
    }

    /// The window after `seen` values, of which these are the last; there are at
    /// least as many as it holds.
    pub(super) fn filled(capacity: usize, seen: usize, last: &[A]) -> Self {
        let newer = if seen <= capacity { seen } else { (seen - capacity - 1) % capacity + 1 };
        let (older, newer) = last[last.len() - seen.min(capacity)..].split_at(seen.min(capacity) - newer);
        let mut window = Self::new(capacity);
        window.back.extend_from_slice(older);
        window.turn();
        for one in newer {
            window.push(*one);
        }
        window
    }

    pub(super) fn push(&mut self, one: A) {
        if self.front.len() + self.back.len() == self.capacity {
            if self.front.is_empty() {
                self.turn();
            }
            self.front.pop();
        }
        self.back_total = Some(self.back_total.map_or(one, |total| total.then(one)));
        self.back.push(one);
    }

    /// What the values come to, once the window is full.
    pub(super) fn full(&self) -> Option<A> {
        if self.front.len() + self.back.len() < self.capacity {
            return None;
        }
        match (self.front.last(), self.back_total) {
            (Some(front), Some(back)) => Some(front.then(back)),
            (front, back) => front.copied().or(back),
        }
    }

    /// The newer values become the older ones.
    fn turn(&mut self) {
        for one in self.back.drain(..).rev() {
            let sum = self.front.last().map_or(one, |later| one.then(*later));
            self.front.push(sum);
        }
        self.back_total = None;
    }
}

/// Count, mean, and the sums of squared and cubed distances from the mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    count: f64,
    pub(super) mean: f64,
    squares: f64,
    cubes: f64,
}

/// A deviation below this share of the mean is rounding, and counts as none.
const ROUNDING: f64 = 1e-10;

impl Moments {
    pub(super) const fn of(value: f64) -> Self {
        Self { count: 1.0, mean: value, squares: 0.0, cubes: 0.0 }
    }

    /// Standard deviation; `lost` degrees of freedom are taken off the count.
    pub(super) fn deviation(&self, lost: f64) -> f64 {
        let deviation = libm::sqrt(self.squares / (self.count - lost));
        if deviation > ROUNDING * self.mean.abs() { deviation } else { 0.0 }
    }

    /// Fisher's moment coefficient of skewness, g1; none where nothing varies.
    pub(super) fn skew(&self) -> Option<f64> {
        let deviation = self.deviation(0.0);
        (deviation > 0.0).then(|| self.cubes / self.count / (deviation * deviation * deviation))
    }
}

impl Aggregate for Moments {
    fn then(self, later: Self) -> Self {
        let (a, b) = (self.count, later.count);
        let count = a + b;
        let step = later.mean - self.mean;
        let part = step * step * a * b / count;
        Self {
            count,
            mean: self.mean + step * b / count,
            squares: self.squares + later.squares + part,
            cubes: self.cubes
                + later.cubes
                + part * step * (a - b) / count
                + 3.0 * step * (a * later.squares - b * self.squares) / count,
        }
    }
}

/// Means of pairs and their sums of squared and mixed distances.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoMoments {
    count: f64,
    means: (f64, f64),
    squares: (f64, f64),
    mixed: f64,
}

impl CoMoments {
    pub(super) const fn of(x: f64, y: f64) -> Self {
        Self { count: 1.0, means: (x, y), squares: (0.0, 0.0), mixed: 0.0 }
    }

    /// Pearson's correlation; none where one side does not vary.
    pub(super) fn correlation(&self) -> Option<f64> {
        let varies =
            |squares: f64, mean: f64| libm::sqrt(squares / self.count) > ROUNDING * mean.abs() && squares > 0.0;
        (varies(self.squares.0, self.means.0) && varies(self.squares.1, self.means.1))
            .then(|| (self.mixed / (libm::sqrt(self.squares.0) * libm::sqrt(self.squares.1))).clamp(-1.0, 1.0))
    }
}

impl Aggregate for CoMoments {
    fn then(self, later: Self) -> Self {
        let (a, b) = (self.count, later.count);
        let count = a + b;
        let (x, y) = (later.means.0 - self.means.0, later.means.1 - self.means.1);
        let weight = a * b / count;
        Self {
            count,
            means: (self.means.0 + x * b / count, self.means.1 + y * b / count),
            squares: (
                self.squares.0 + later.squares.0 + x * x * weight,
                self.squares.1 + later.squares.1 + y * y * weight,
            ),
            mixed: self.mixed + later.mixed + x * y * weight,
        }
    }
}

/// The highest value and the newest bar that had it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Highest {
    pub(super) value: f64,
    pub(super) bar: u64,
}

impl Aggregate for Highest {
    fn then(self, later: Self) -> Self {
        if later.value >= self.value { later } else { self }
    }
}
