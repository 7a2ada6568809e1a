//! Rows side by side: the few operations on a vector of rows that explaining
//! needs, and their portable form over plain arrays.
//!
//! Not here: the vectors of one processor family and the choice among them
//! (`width`), and what is done with the rows (`kernel`).

/// A number that rows hold or that is computed with: `f32` or `f64`.
pub(super) trait Number: Copy + PartialOrd + Send + Sync + 'static {
    const ZERO: Self;
    const INFINITY: Self;
    /// The lowest finite number.
    const LOWEST: Self;
    /// The least number of this kind that is not below `value`: what is below the
    /// one is below the other.
    fn at_least(value: f64) -> Self;
    /// The least number of this kind that is above `value`: what is below it is not
    /// above `value`.
    fn above(value: f64) -> Self;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = f32::INFINITY;
    const LOWEST: Self = f32::MIN;
    fn at_least(value: f64) -> Self {
        let near = value as f32;
        if f64::from(near) < value { near.next_up() } else { near }
    }
    fn above(value: f64) -> Self {
        let near = value as f32;
        if f64::from(near) <= value { near.next_up() } else { near }
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const INFINITY: Self = f64::INFINITY;
    const LOWEST: Self = f64::MIN;
    fn at_least(value: f64) -> Self {
        value
    }
    fn above(value: f64) -> Self {
        value.next_up()
    }
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

/// A vector with one number of each of `COUNT` rows.
pub(super) trait Lanes: Copy {
    /// What it holds.
    type Number: Number;
    /// As many `f64`: sums across trees.
    type Wide: Copy;
    /// How many rows.
    const COUNT: usize;

    fn splat(value: Self::Number) -> Self;
    /// The first `COUNT` numbers.
    fn load(from: &[Self::Number]) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * times + plus`, rounded once where the processor can.
    fn mul_add(self, times: Self, plus: Self) -> Self;
    /// `yes` in lanes below the threshold, `no` in the others.
    fn choose(self, threshold: Self::Number, yes: Self, no: Self) -> Self;
    /// A sum of this in each lane.
    fn sums(of: f64) -> Self::Wide;
    /// The sums with this added.
    fn onto(self, sum: Self::Wide) -> Self::Wide;
    /// The sum of each lane, into the first `COUNT` places.
    fn unpack(sum: Self::Wide, to: &mut [f64]);
}

/// Lanes without any instruction of one processor family: loops over arrays that
/// the compiler turns into whatever vectors the target has.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
pub(super) struct Plain<T, const N: usize>([T; N]);

impl<T, const N: usize> Lanes for Plain<T, N>
where
    T: Number + std::ops::Add<Output = T> + std::ops::Sub<Output = T> + std::ops::Mul<Output = T>,
{
    type Number = T;
    type Wide = [f64; N];
    const COUNT: usize = N;

    #[inline(always)]
    fn splat(value: T) -> Self {
        Self([value; N])
    }
    #[inline(always)]
    fn load(from: &[T]) -> Self {
        let mut lanes = [T::ZERO; N];
        lanes.copy_from_slice(&from[..N]);
        Self(lanes)
    }
    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i] + other.0[i];
        }
        self
    }
    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i] - other.0[i];
        }
        self
    }
    #[inline(always)]
    fn mul(mut self, other: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i] * other.0[i];
        }
        self
    }
    #[inline(always)]
    fn mul_add(mut self, times: Self, plus: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i] * times.0[i] + plus.0[i];
        }
        self
    }
    #[inline(always)]
    fn choose(mut self, threshold: T, yes: Self, no: Self) -> Self {
        for i in 0..N {
            self.0[i] = if self.0[i] < threshold { yes.0[i] } else { no.0[i] };
        }
        self
    }
    #[inline(always)]
    fn sums(of: f64) -> Self::Wide {
        [of; N]
    }
    #[inline(always)]
    fn onto(self, mut sum: Self::Wide) -> Self::Wide {
        for (sum, lane) in sum.iter_mut().zip(self.0) {
            *sum += lane.to_f64();
        }
        sum
    }
    #[inline(always)]
    fn unpack(sum: Self::Wide, to: &mut [f64]) {
        to[..N].copy_from_slice(&sum);
    }
}

/// Two vectors for one: what is not arithmetic at a node (finding it, its numbers, and
/// branches that are not foreseen) is done once for twice the rows.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Twice<V>(V, V);

#[cfg(target_arch = "x86_64")]
impl<V: Lanes> Lanes for Twice<V> {
    type Number = V::Number;
    type Wide = (V::Wide, V::Wide);
    const COUNT: usize = 2 * V::COUNT;

    #[inline(always)]
    fn splat(value: V::Number) -> Self {
        Self(V::splat(value), V::splat(value))
    }
    #[inline(always)]
    fn load(from: &[V::Number]) -> Self {
        let (first, second) = from.split_at(V::COUNT);
        Self(V::load(first), V::load(second))
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.add(other.0), self.1.add(other.1))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.sub(other.0), self.1.sub(other.1))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(self.0.mul(other.0), self.1.mul(other.1))
    }
    #[inline(always)]
    fn mul_add(self, times: Self, plus: Self) -> Self {
        Self(self.0.mul_add(times.0, plus.0), self.1.mul_add(times.1, plus.1))
    }
    #[inline(always)]
    fn choose(self, threshold: V::Number, yes: Self, no: Self) -> Self {
        Self(self.0.choose(threshold, yes.0, no.0), self.1.choose(threshold, yes.1, no.1))
    }
    #[inline(always)]
    fn sums(of: f64) -> Self::Wide {
        (V::sums(of), V::sums(of))
    }
    #[inline(always)]
    fn onto(self, sum: Self::Wide) -> Self::Wide {
        (self.0.onto(sum.0), self.1.onto(sum.1))
    }
    #[inline(always)]
    fn unpack(sum: Self::Wide, to: &mut [f64]) {
        let (first, second) = to.split_at_mut(V::COUNT);
        V::unpack(sum.0, first);
        V::unpack(sum.1, second);
    }
}
