//! How many rows go side by side: the choice by what the processor can, and the
//! vectors of x86-64. The one file of this crate with instructions of a processor,
//! and so with code that the compiler cannot vouch for.
//!
//! Why it is sound: a function compiled for a feature of the processor is entered
//! from [`explain`] and its like alone, after [`Width::is_supported`] said yes; the instructions
//! work on registers, and those that touch memory do so through slices whose length
//! was checked.
//!
//! Not here: what is computed (`kernel`), and the portable lanes (`lanes`).

#![allow(unsafe_code, reason = "instructions of one processor family: see above why it is sound")]

#[cfg(target_arch = "x86_64")]
use super::lanes::Twice;
use super::{
    kernel::{self, Work},
    lanes::Plain,
    margins::{self, Margins},
    program::Program,
    transpose::Rows,
};

/// How many rows are explained side by side, and with which instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// Plain code, on any processor: 4 rows in `f32`, 2 in `f64`.
    Portable,
    /// AVX2 with FMA: 8 rows in `f32`, 4 in `f64`.
    Avx2,
    /// AVX-512: 16 rows in `f32`, 8 in `f64`. Up to eight rows are explained as by
    /// [`Avx2`](Self::Avx2), which gives the same digits.
    Avx512,
}

impl Width {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The widest that this processor has.
    pub fn widest() -> Self {
        Self::ALL.into_iter().rev().find(|width| width.is_supported()).unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_supported() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// Rows that fit one vector of AVX2.
#[cfg(target_arch = "x86_64")]
const FEW_ROWS: usize = 8;

/// Memory that explaining works in: made once, used again for any rows and any
/// explainer, by one thread at a time. It grows to what the largest of them needs.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// What one of several models says.
    pub(super) member: Vec<f64>,
    portable: Work<Plain<f32, 4>>,
    portable_double: Work<Plain<f64, 2>>,
    #[cfg(target_arch = "x86_64")]
    avx2: Work<x86::Avx2>,
    #[cfg(target_arch = "x86_64")]
    avx2_double: Work<x86::Avx2Double>,
    #[cfg(target_arch = "x86_64")]
    avx512: Work<x86::Avx512>,
    #[cfg(target_arch = "x86_64")]
    avx512_margins: Work<Twice<x86::Avx512>>,
    #[cfg(target_arch = "x86_64")]
    avx512_double: Work<x86::Avx512Double>,
}

impl Scratch {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Explains rows in `f32` arithmetic. The processor has to have the width.
pub(super) fn explain(width: Width, program: &Program<f32>, scratch: &mut Scratch, rows: Rows<'_>, out: &mut [f64]) {
    assert!(width.is_supported(), "an explainer is made for a width that the processor has");
    match width {
        Width::Portable => kernel::explain::<_, 8>(program, &mut scratch.portable, rows, out),
        // SAFETY: AVX2 is supported where AVX-512 is, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 if rows.len() <= FEW_ROWS * program.table.features => unsafe {
            x86::explain_avx2(program, &mut scratch.avx2, rows, out);
        },
        // SAFETY: supported, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { x86::explain_avx2(program, &mut scratch.avx2, rows, out) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { x86::explain_avx512(program, &mut scratch.avx512, rows, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Width::Avx2 | Width::Avx512 => unreachable!("asserted above"),
    }
}

/// Explains rows in `f64` arithmetic. The processor has to have the width.
pub(super) fn explain_double(
    width: Width,
    program: &Program<f64>,
    scratch: &mut Scratch,
    rows: Rows<'_>,
    out: &mut [f64],
) {
    assert!(width.is_supported(), "an explainer is made for a width that the processor has");
    match width {
        Width::Portable => kernel::explain::<_, 8>(program, &mut scratch.portable_double, rows, out),
        // SAFETY: supported, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { x86::explain_avx2(program, &mut scratch.avx2_double, rows, out) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { x86::explain_avx512(program, &mut scratch.avx512_double, rows, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Width::Avx2 | Width::Avx512 => unreachable!("asserted above"),
    }
}

/// The margins of rows, all leaves being `f32`. The processor has to have the width.
pub(super) fn margins(width: Width, of: &Margins<f32>, scratch: &mut Scratch, rows: Rows<'_>, out: &mut [f64]) {
    assert!(width.is_supported(), "an explainer is made for a width that the processor has");
    match width {
        Width::Portable => margins::margins(of, &mut scratch.portable, rows, out),
        // SAFETY: AVX2 is supported where AVX-512 is, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 if rows.len() <= FEW_ROWS * of.features() => unsafe {
            x86::margins_avx2(of, &mut scratch.avx2, rows, out);
        },
        // SAFETY: supported, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { x86::margins_avx2(of, &mut scratch.avx2, rows, out) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { x86::margins_avx512(of, &mut scratch.avx512_margins, rows, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Width::Avx2 | Width::Avx512 => unreachable!("asserted above"),
    }
}

/// The margins of rows in `f64`. The processor has to have the width.
pub(super) fn margins_double(width: Width, of: &Margins<f64>, scratch: &mut Scratch, rows: Rows<'_>, out: &mut [f64]) {
    assert!(width.is_supported(), "an explainer is made for a width that the processor has");
    match width {
        Width::Portable => margins::margins(of, &mut scratch.portable_double, rows, out),
        // SAFETY: supported, as asserted above.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { x86::margins_avx2(of, &mut scratch.avx2_double, rows, out) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { x86::margins_avx512(of, &mut scratch.avx512_double, rows, out) },
        #[cfg(not(target_arch = "x86_64"))]
        Width::Avx2 | Width::Avx512 => unreachable!("asserted above"),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::explain::{
        kernel::{self, Work},
        lanes::Lanes,
        margins::{self, Margins},
        program::Program,
        transpose::Rows,
    };

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn explain_avx2<V: Lanes>(
        program: &Program<V::Number>,
        work: &mut Work<V>,
        rows: Rows<'_>,
        out: &mut [f64],
    ) {
        kernel::explain::<_, 4>(program, work, rows, out);
    }

    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) fn explain_avx512<V: Lanes>(
        program: &Program<V::Number>,
        work: &mut Work<V>,
        rows: Rows<'_>,
        out: &mut [f64],
    ) {
        kernel::explain::<_, 4>(program, work, rows, out);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn margins_avx2<V: Lanes>(of: &Margins<V::Number>, work: &mut Work<V>, rows: Rows<'_>, out: &mut [f64]) {
        margins::margins(of, work, rows, out);
    }

    #[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
    pub(super) fn margins_avx512<V: Lanes>(
        of: &Margins<V::Number>,
        work: &mut Work<V>,
        rows: Rows<'_>,
        out: &mut [f64],
    ) {
        margins::margins(of, work, rows, out);
    }

    /// Lanes in one register. Every instruction is of the feature whose function
    /// above everything is inlined into, and nothing else makes such lanes.
    macro_rules! lanes {
        (
            $(#[$doc:meta])* $name:ident, $register:ty, $number:ty, $count:literal,
            $set1:ident, $loadu:ident, $add:ident, $sub:ident, $mul:ident, $fmadd:ident,
            choose: |$left:ident, $right:ident, $yes:ident, $no:ident| $choose:expr,
            $wide:ty, $wide_set1:ident, onto: |$lanes:ident, $sum:ident| $onto:expr, $storeu:ident,
        ) => {
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub(super) struct $name($register);

            impl Lanes for $name {
                type Number = $number;
                type Wide = $wide;
                const COUNT: usize = $count;

                #[inline(always)]
                fn splat(value: $number) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe { $set1(value) })
                }
                #[inline(always)]
                fn load(from: &[$number]) -> Self {
                    let from = &from[..$count];
                    // SAFETY: the processor has it, and as many numbers are there.
                    Self(unsafe { $loadu(from.as_ptr()) })
                }
                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe { $add(self.0, other.0) })
                }
                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe { $sub(self.0, other.0) })
                }
                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe { $mul(self.0, other.0) })
                }
                #[inline(always)]
                fn mul_add(self, times: Self, plus: Self) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe { $fmadd(self.0, times.0, plus.0) })
                }
                #[inline(always)]
                fn choose(self, threshold: $number, yes: Self, no: Self) -> Self {
                    // SAFETY: the processor has it.
                    Self(unsafe {
                        let ($left, $right, $yes, $no) = (self.0, $set1(threshold), yes.0, no.0);
                        $choose
                    })
                }
                #[inline(always)]
                fn sums(of: f64) -> $wide {
                    // SAFETY: the processor has it.
                    [unsafe { $wide_set1(of) }; _]
                }
                #[inline(always)]
                fn onto(self, $sum: $wide) -> $wide {
                    let $lanes = self.0;
                    // SAFETY: the processor has it.
                    unsafe { $onto }
                }
                #[inline(always)]
                fn unpack(sum: $wide, to: &mut [f64]) {
                    let to = &mut to[..$count];
                    for (to, part) in to.chunks_exact_mut($count / sum.len()).zip(sum) {
                        // SAFETY: the processor has it, and there is room for as many numbers.
                        unsafe { $storeu(to.as_mut_ptr(), part) };
                    }
                }
            }
        };
    }

    lanes! {
        /// Eight rows in `f32`.
        Avx2, __m256, f32, 8,
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_fmadd_ps,
        choose: |left, right, yes, no| _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(left, right)),
        [__m256d; 2], _mm256_set1_pd,
        onto: |lanes, sum| [
            _mm256_add_pd(sum[0], _mm256_cvtps_pd(_mm256_castps256_ps128(lanes))),
            _mm256_add_pd(sum[1], _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(lanes))),
        ],
        _mm256_storeu_pd,
    }

    lanes! {
        /// Four rows in `f64`.
        Avx2Double, __m256d, f64, 4,
        _mm256_set1_pd, _mm256_loadu_pd, _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_fmadd_pd,
        choose: |left, right, yes, no| _mm256_blendv_pd(no, yes, _mm256_cmp_pd::<_CMP_LT_OQ>(left, right)),
        [__m256d; 1], _mm256_set1_pd,
        onto: |lanes, sum| [_mm256_add_pd(sum[0], lanes)],
        _mm256_storeu_pd,
    }

    lanes! {
        /// Sixteen rows in `f32`.
        Avx512, __m512, f32, 16,
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_fmadd_ps,
        choose: |left, right, yes, no| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(left, right), no, yes),
        [__m512d; 2], _mm512_set1_pd,
        onto: |lanes, sum| [
            _mm512_add_pd(sum[0], _mm512_cvtps_pd(_mm512_castps512_ps256(lanes))),
            _mm512_add_pd(sum[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(lanes))),
        ],
        _mm512_storeu_pd,
    }

    lanes! {
        /// Eight rows in `f64`.
        Avx512Double, __m512d, f64, 8,
        _mm512_set1_pd, _mm512_loadu_pd, _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_fmadd_pd,
        choose: |left, right, yes, no| _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(left, right), no, yes),
        [__m512d; 1], _mm512_set1_pd,
        onto: |lanes, sum| [_mm512_add_pd(sum[0], lanes)],
        _mm512_storeu_pd,
    }
}
