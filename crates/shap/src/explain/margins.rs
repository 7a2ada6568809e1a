//! Margins of many rows at a time, to the last bit those of one row after the other.
//!
//! A tree is worked from its leaves up: each split chooses, for a vector of rows, between
//! what its children gave. Choosing rounds nothing, and a row's trees are added in their
//! order, in `f64`, so that the sums are those of [`Ensemble::margins`].
//!
//! Not here: what a column holds (`columns`), and instructions (`lanes`, `width`).

use std::ops::Range;

use super::{
    columns::{Columns, Table, threshold},
    kernel::Work,
    lanes::{Lanes, Number},
    transpose::{MOST_LANES, Rows, transpose},
};
use crate::{Ensemble, NodeKind, Precision, Split, Tree};

/// Trees of more splits are walked row by row: all splits of a tree are worked for a
/// vector of 16 rows, of which a row alone passes some ten, at what costs five times as
/// much each.
const MOST_SPLITS: usize = 512;

/// An ensemble prepared for margins. All leaves are numbers of this kind.
#[derive(Debug, Clone)]
pub(super) struct Margins<T> {
    table: Table,
    /// The margins before any tree.
    base: Vec<f64>,
    precision: Precision,
    trees: Vec<Form<T>>,
    runs: Vec<Run>,
    choices: Vec<Choice<T>>,
    /// The most splits of a tree that is worked as a whole.
    most: usize,
}

#[derive(Debug, Clone)]
struct Form<T> {
    output: usize,
    how: How<T>,
}

/// How a tree's value is found.
#[derive(Debug, Clone)]
enum How<T> {
    /// It is one leaf.
    Leaf(T),
    /// These runs; the last choice of the last is the root's.
    Runs(Range<usize>),
    /// Row by row: it is large.
    Walk(Tree),
}

/// Which children of a split are leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    left: bool,
    right: bool,
}

/// Choices of one kind that follow each other.
#[derive(Debug, Clone)]
struct Run {
    kind: Kind,
    choices: Range<usize>,
    /// Place of the first; the others follow.
    place: usize,
}

/// A split: what left and right give is a leaf's value or in a place.
#[derive(Debug, Clone, Copy)]
struct Choice<T> {
    threshold: T,
    leaves: [T; 2],
    places: [u32; 2],
    column: u32,
}

/// Prepares an ensemble whose nodes make trees; none where a leaf is no number of this
/// kind.
pub(super) fn compile<T: Number>(ensemble: &Ensemble) -> Option<Margins<T>> {
    let mut margins = Margins {
        table: Table::default(),
        base: ensemble.base_margins.clone(),
        precision: ensemble.precision,
        trees: Vec::new(),
        runs: Vec::new(),
        choices: Vec::new(),
        most: 0,
    };
    let mut columns = Columns::default();
    for of in &ensemble.trees {
        let how = margins.tree(&of.tree, &mut columns)?;
        margins.trees.push(Form { output: of.output, how });
    }
    margins.table = columns.table(ensemble);
    Some(margins)
}

/// The same number in another kind, if there is.
fn exactly<T: Number>(value: f64) -> Option<T> {
    let number = T::from_f64(value);
    number.to_f64().total_cmp(&value).is_eq().then_some(number)
}

impl<T: Number> Margins<T> {
    /// How many numbers a row has.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn features(&self) -> usize {
        self.table.features
    }

    fn tree(&mut self, tree: &Tree, columns: &mut Columns) -> Option<How<T>> {
        if let NodeKind::Leaf { value } = tree.nodes[0].kind {
            return exactly(value).map(How::Leaf);
        }
        let mut splits: Vec<(usize, &Split)> = tree
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| match &node.kind {
                NodeKind::Split(split) => Some((index, split)),
                NodeKind::Leaf { .. } => None,
            })
            .collect();
        if splits.len() > MOST_SPLITS {
            let fits = |value: &f64| exactly::<T>(*value).is_some();
            let fit = tree.nodes.iter().all(|node| match &node.kind {
                NodeKind::Leaf { value } => fits(value),
                NodeKind::Split(_) => true,
            });
            return fit.then(|| How::Walk(tree.clone()));
        }
        // A child's index is larger than its parent's.
        let mut heights = vec![0_usize; tree.nodes.len()];
        for (index, split) in splits.iter().rev() {
            heights[*index] = 1 + heights[split.left].max(heights[split.right]);
        }
        let kind = |split: &Split| Kind { left: heights[split.left] == 0, right: heights[split.right] == 0 };
        splits.sort_by_key(|(index, split)| (heights[*index], kind(split)));
        let mut places = vec![0_u32; tree.nodes.len()];
        for (place, (index, _)) in (0..).zip(&splits) {
            places[*index] = place;
        }
        let (first, mut place) = (self.runs.len(), 0);
        for alike in splits.chunk_by(|(_, one), (_, other)| kind(one) == kind(other)) {
            let from = self.choices.len();
            for (_, split) in alike {
                let children = [split.left, split.right];
                let mut leaves = [T::ZERO; 2];
                for (leaf, child) in leaves.iter_mut().zip(children) {
                    if let NodeKind::Leaf { value } = tree.nodes[child].kind {
                        *leaf = exactly(value)?;
                    }
                }
                self.choices.push(Choice {
                    threshold: threshold(split, self.precision),
                    leaves,
                    places: children.map(|child| places[child]),
                    column: columns.of(split, self.precision),
                });
            }
            self.runs.push(Run { kind: kind(alike[0].1), choices: from..self.choices.len(), place });
            place += alike.len();
        }
        self.most = self.most.max(place);
        Some(How::Runs(first..self.runs.len()))
    }
}

/// The margins of rows of finite or missing numbers.
#[inline(always)]
pub(super) fn margins<V: Lanes>(margins: &Margins<V::Number>, work: &mut Work<V>, rows: Rows<'_>, out: &mut [f64]) {
    let (outputs, features) = (margins.base.len(), margins.table.features);
    let zero = V::splat(V::Number::ZERO);
    let grow = |vectors: &mut Vec<V>, count: usize| vectors.resize(vectors.len().max(count), zero);
    grow(&mut work.columns, margins.table.columns.len());
    grow(&mut work.points, margins.most);
    for (nth, out) in out.chunks_mut(V::COUNT * outputs).enumerate() {
        let rows = rows.slice(nth * V::COUNT, out.len() / outputs, features);
        let columns = &mut work.columns[..margins.table.columns.len()];
        transpose(&margins.table, rows, columns, (1, 0));
        work.sums.clear();
        work.sums.extend(margins.base.iter().map(|base| V::sums(*base)));
        for tree in &margins.trees {
            let value = match &tree.how {
                How::Leaf(value) => V::splat(*value),
                How::Runs(runs) => {
                    let mut last = zero;
                    for run in &margins.runs[runs.clone()] {
                        let choices = &margins.choices[run.choices.clone()];
                        last = match (run.kind.left, run.kind.right) {
                            (true, true) => choose::<V, true, true>(choices, columns, &mut work.points, run.place),
                            (true, false) => choose::<V, true, false>(choices, columns, &mut work.points, run.place),
                            (false, true) => choose::<V, false, true>(choices, columns, &mut work.points, run.place),
                            (false, false) => choose::<V, false, false>(choices, columns, &mut work.points, run.place),
                        };
                    }
                    last
                }
                How::Walk(tree) => walked(tree, margins.precision, rows, features),
            };
            let sum = &mut work.sums[tree.output];
            *sum = value.onto(*sum);
        }
        let mut lanes = [0.0; MOST_LANES];
        for (output, sum) in work.sums.iter().enumerate() {
            V::unpack(*sum, &mut lanes);
            for (row, lane) in out.chunks_exact_mut(outputs).zip(&lanes) {
                row[output] = *lane;
            }
        }
    }
}

/// One run; gives what the last choice is.
#[inline(always)]
fn choose<V: Lanes, const LEFT: bool, const RIGHT: bool>(
    choices: &[Choice<V::Number>],
    columns: &[V],
    values: &mut [V],
    first: usize,
) -> V {
    let mut value = V::splat(V::Number::ZERO);
    for (choice, place) in choices.iter().zip(first..) {
        let [left, right] = choice.leaves.map(V::splat);
        let left = if LEFT { left } else { values[choice.places[0] as usize] };
        let right = if RIGHT { right } else { values[choice.places[1] as usize] };
        value = columns[choice.column as usize].choose(choice.threshold, left, right);
        values[place] = value;
    }
    value
}

/// The leaves that rows reach.
fn walked<V: Lanes>(tree: &Tree, precision: Precision, rows: Rows<'_>, features: usize) -> V {
    let mut lanes = [V::Number::ZERO; MOST_LANES];
    match rows {
        Rows::Single(rows) => {
            for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(features)) {
                *lane = V::Number::from_f64(tree.value(row, precision));
            }
        }
        Rows::Double(rows) => {
            for (lane, row) in lanes.iter_mut().zip(rows.chunks_exact(features)) {
                *lane = V::Number::from_f64(tree.value(row, precision));
            }
        }
    }
    V::load(&lanes)
}
