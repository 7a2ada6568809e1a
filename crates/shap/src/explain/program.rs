//! The form that explaining works on: a tree as steps in an order in which each finds
//! what it needs, with everything that does not depend on the row worked out.
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

/// What is taken together, nodes of one kind after each other, has at most so many slots:
/// two for each split that is passed down and up. Below the top of a larger tree, each
/// part of it has the same slots in turn. What a band keeps of them, and of its rows, is in
/// the first-level cache, or little of it in the second.
pub(super) const PART: usize = 48;

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
    /// What is done with the nodes of all passes, in its order.
    pub(super) steps: Vec<Step>,
    /// Nodes of all passes.
    pub(super) nodes: Vec<Split<T>>,
    /// What nodes need besides whose feature is on their path already.
    pub(super) repeats: Vec<Repeat<T>>,
    /// For each group the sums that its features add to: `output * features + feature`.
    pub(super) sums: Vec<u32>,
    /// The most places that a pass or a group needs.
    pub(super) most: Places,
}

/// How many vectors of each sort are worked in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places {
    /// Slots for nodes at work.
    pub(super) slots: usize,
    /// Different features of a group.
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
    /// Its part of [`Program::steps`].
    pub(super) steps: Span,
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

/// Nodes of one kind are done, or the first half of what there is to do at them; on the way
/// up the last comes first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) kind: Kind,
    /// Slice of [`Program::nodes`]; the children that are done with a node come after it.
    pub(super) nodes: Span,
}

/// What tells steps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) form: Form,
    /// The node's feature is on its path already.
    pub(super) repeats: bool,
    /// So are those of the children that are done with it.
    pub(super) below: Below,
}

/// What is below a node, and which way it is passed. A child of two leaves is done with its
/// parent, and nothing of it is ever in memory, where the other child is a leaf or the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// On the way down, with two splits below.
    Fork,
    /// The same on the way up.
    ForkUp,
    /// On the way down, with a split, and a leaf as the second child.
    Side,
    /// The same on the way up.
    SideUp,
    /// Two leaves: down and up again at once, like all that follow.
    End,
    /// A split of two leaves, and a leaf as the second child.
    Hook,
    /// Two splits of two leaves each.
    Crown,
}

impl Form {
    /// What is done on the way up; none where all is done at once.
    pub(super) fn up(self) -> Option<Self> {
        match self {
            Self::Fork => Some(Self::ForkUp),
            Self::Side => Some(Self::SideUp),
            _ => None,
        }
    }
}

/// Which of the children that are done with a node ask for a feature that is on their
/// path already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Below {
    None,
    /// The first.
    One,
    Two,
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
    /// Worth of the second child, if a leaf; of a crown what its first child is
    /// worth more than the second when the features of neither are known.
    pub(super) leaf: T,
    /// What the integrand's value at 0 adds to the sum over the points.
    pub(super) start: T,
    /// The column compared.
    pub(super) column: u32,
    /// Place of its feature among those of the group.
    pub(super) feature: u32,
    /// Its slot.
    pub(super) slot: u32,
    /// Slot of its first child; the second has the next.
    pub(super) below: u32,
    /// Index into [`Program::repeats`].
    pub(super) repeat: u32,
}

/// What a node needs besides whose feature is on its path already. With b the share
/// of training data that holds all conditions on the feature above, F = t + (1 - t) b.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeat<T> {
    /// Slot of the nearest node above that asks for the feature.
    pub(super) above: u32,
    /// Whether the row came to that node by the feature: place among the holds, which is
    /// one after its slot; 0 where it is the first.
    pub(super) came: u32,
    /// 1 below the first, -1 below the second child of the node above.
    pub(super) side: T,
    /// That child's share.
    pub(super) offset: T,
    /// `t / F` at each point.
    pub(super) points: [T; MAX_POINTS],
    /// `b / F²` at each point.
    pub(super) weights: [T; MAX_POINTS],
}
