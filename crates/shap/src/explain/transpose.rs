//! Rows as they come, one after the other, and the columns of some of them side by side.
//!
//! Not here: what a column holds (`columns`), and what is done with them (`kernel`,
//! `margins`).

use super::{
    columns::{Source, Table, flushed},
    lanes::{Lanes, Number},
};

/// The widest vectors hold so many numbers.
pub(super) const MOST_LANES: usize = 32;

/// Row-major rows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

impl Rows<'_> {
    /// How many numbers.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn len(self) -> usize {
        match self {
            Self::Single(rows) => rows.len(),
            Self::Double(rows) => rows.len(),
        }
    }

    /// So many rows of this width.
    #[inline(always)]
    pub(super) fn slice(self, from: usize, count: usize, width: usize) -> Self {
        match self {
            Self::Single(rows) => Self::Single(&rows[from * width..][..count * width]),
            Self::Double(rows) => Self::Double(&rows[from * width..][..count * width]),
        }
    }
}

/// Rows to columns, rounded and with missing values filled in.
#[inline(always)]
pub(super) fn transpose<V: Lanes>(table: &Table, rows: Rows<'_>, columns: &mut [V], (blocks, block): (usize, usize)) {
    let mut lanes = [V::Number::ZERO; MOST_LANES];
    for (column, vector) in table.columns.iter().zip(columns.iter_mut().skip(block).step_by(blocks)) {
        match rows {
            Rows::Single(rows) => gather(rows, column.feature, table, &mut lanes),
            Rows::Double(rows) => gather(rows, column.feature, table, &mut lanes),
        }
        match &column.source {
            Source::Number(fill) => lanes.iter_mut().for_each(|lane| *lane = fill.of(*lane)),
            Source::Answer(..) => lanes.iter_mut().for_each(|lane| *lane = column.of(*lane)),
        }
        *vector = V::load(&lanes);
    }
}

/// One feature of each row, as the model's library sees it.
#[inline(always)]
fn gather<T: Number, R: Number>(rows: &[R], feature: usize, table: &Table, lanes: &mut [T; MOST_LANES]) {
    for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(table.features)) {
        let value = row[feature].to_f64();
        *lane = if table.rounds { T::from_f64(f64::from(value as f32)) } else { flushed(T::from_f64(value)) };
    }
}
