//! The form that explaining works on: a tree cut into runs of nodes of one kind,
//! in an order in which each finds what it needs, with everything that does not
//! depend on the row worked out.
//!
//! Not here: how it is made (`compile`), what the columns hold (`columns`), and
//! what is done at each node (`kernel`).

use super::columns::Table;

/// At most so many points are taken at once: their vectors and those of a node stay
/// in registers. A tree that needs more is passed several times, with other points.
pub(super) const MAX_POINTS: usize = 4;

/// At least so many are taken, though one would do for a tree of one split or two:
/// one variant less of the code, which is there for each number of points.
pub(super) const MIN_POINTS: usize = 2;

/// All trees of an ensemble.
#[derive(Debug, Clone)]
pub(super) struct Program<T> {
    /// What is made of rows.
    pub(super) table: Table,
    /// What a row of no known feature gets, one an output.
    pub(super) biases: Vec<f64>,
    /// Slices of `passes`, in the order of outputs.
    pub(super) groups: Vec<Group>,
    /// Trees, or parts of their integrals.
    pub(super) passes: Vec<Pass<T>>,
    /// Slices of `nodes`.
    pub(super) runs: Vec<Run>,
    /// Nodes of all passes.
    pub(super) nodes: Vec<Split<T>>,
    /// What nodes need besides whose feature is on their path already.
    pub(super) repeats: Vec<Repeat<T>>,
    /// For each group the sums that its features add to: `output * features + feature`.
    pub(super) sums: Vec<u32>,
    /// The most places that a pass needs.
    pub(super) most: Places,
}

/// How many vectors of each sort a pass works in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places {
    /// Inner nodes.
    pub(super) nodes: usize,
    /// Nodes that repeat a feature, and one for those that do not.
    pub(super) holds: usize,
    /// Different features.
    pub(super) features: usize,
}

/// One tree, for up to [`MAX_POINTS`] of its points.
#[derive(Debug, Clone)]
pub(super) struct Pass<T> {
    /// How many points.
    pub(super) count: usize,
    /// Where the integrand is taken.
    pub(super) points: [T; MAX_POINTS],
    /// What each value counts.
    pub(super) weights: [T; MAX_POINTS],
    /// Its runs.
    pub(super) runs: Span,
}

/// Passes of one output whose contributions are added up in the numbers of the lanes,
/// before they are added to those of others in `f64`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) passes: Span,
    /// Its part of [`Program::sums`], by place of the feature.
    pub(super) sums: Span,
}

/// So many passes are a group: that many times fewer conversions to `f64`, at the
/// price of as many roundings as one larger tree has.
pub(super) const GROUP: usize = 4;

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    pub(super) fn of<U>(self, all: &[U]) -> &[U] {
        &all[self.from..self.to]
    }
}

/// Nodes of one kind that follow each other; crowns are three nodes each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) nodes: Span,
    /// Place of the first; the others follow.
    pub(super) place: usize,
}

/// What tells nodes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) form: Form,
    /// The node's feature is on its path already.
    pub(super) repeats: bool,
}

/// What is below a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Form {
    /// Two splits.
    Fork,
    /// A split, and a leaf as the second child.
    Side,
    /// Two leaves.
    End,
    /// Two splits of two leaves each that ask for features which are not on their path:
    /// all three are done at once.
    Crown,
}

/// A node. Its children are called first and second, because where one is a leaf it
/// is the second, whether left or right. With z the share of training data that went to
/// the first child, and D what the first is worth more than the second:
#[derive(Debug, Clone, Copy)]
pub(super) struct Split<T> {
    /// Left below it.
    pub(super) threshold: T,
    /// `[goes to the first child] - z` of a row that goes left; with two leaves times D.
    pub(super) yes: T,
    /// The same of a row that goes right.
    pub(super) no: T,
    /// `z`; with two leaves what the node is worth when its feature is not known.
    pub(super) share: T,
    /// Worth of the second child, if a leaf; on top of a crown what its first child is
    /// worth more than the second when the features of neither are known.
    pub(super) leaf: T,
    /// The column compared.
    pub(super) column: u32,
    /// Place of its feature among those of the pass.
    pub(super) feature: u32,
    /// Place of the first child, if no leaf.
    pub(super) first: u32,
    /// Place of the second child, if no leaf.
    pub(super) second: u32,
    /// Index into [`Program::repeats`].
    pub(super) repeat: u32,
}

/// What a node needs besides whose feature is on its path already. With b the share
/// of training data that holds all conditions on the feature above, F = t + (1 - t) b.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeat<T> {
    /// Place of the nearest node above that asks for the feature.
    pub(super) above: u32,
    /// Whether the row came to that node by the feature: place among the holds; 0
    /// where it is the first.
    pub(super) came: u32,
    /// Place of whether the row comes to this one.
    pub(super) place: u32,
    /// 1 below the first, -1 below the second child of the node above.
    pub(super) side: T,
    /// That child's share.
    pub(super) offset: T,
    /// `t / F` at each point.
    pub(super) points: [T; MAX_POINTS],
    /// `b / F²` at each point.
    pub(super) weights: [T; MAX_POINTS],
}
