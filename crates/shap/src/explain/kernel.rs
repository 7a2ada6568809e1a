//! What is done at each node, for a vector of rows at a time.
//!
//! Going down, a node multiplies what came to it, at each point t, by
//! `r = z + t δ` with `δ = [goes to the first child] - z` and hands it to its children (the second
//! one gets what the first one does not). Going up, it adds `δ Σ P D` to its feature and
//! is worth `second + r D`. The module above says why.
//!
//! Vectors are taken in bands: each node is worked for all vectors of a band, so that what
//! it costs to find it, and that the processor does not foresee what comes next, is
//! shared by them. What is kept of a band stays in the first-level cache, however large the
//! tree (`compile`).
//!
//! Everything here is inlined into one function for each width (`width`), so that it
//! is compiled for that processor.
//!
//! Not so, without optimisation, what is done at nodes of one kind: every variable of all of them
//! at once would be on the stack.
//!
//! Not here: instructions (`lanes`, `width`).

use std::cell::Cell;

use super::{
    lanes::{Lanes, Number},
    program::{Below, Form, Kind, MAX_POINTS, Pass, Program, Repeat, Split},
    transpose::{MOST_LANES, Rows, transpose},
};

/// Rows taken through a tree before the next tree is fetched: a model that is larger than
/// the second-level cache would be read from memory for every band, and the processor
/// foresees the steps of a tree that it has just passed.
pub(super) const MANY_ROWS: usize = 512;

/// Vectors that explaining works in; they grow to what the largest model needs.
#[derive(Debug, Clone)]
pub(super) struct Work<V: Lanes> {
    /// Block of rows by block, the columns of the program.
    pub(super) columns: Vec<V>,
    /// Block by block, the sums over trees: outputs × features.
    pub(super) sums: Vec<V::Wide>,
    /// By slot the product of what a node's path counts, at each point; once its
    /// children are done, what it is worth.
    pub(super) points: Vec<V>,
    /// By slot, a node's δ.
    deltas: Vec<V>,
    /// By slot, after one that is always 1: whether rows came to a node by its feature, 1 or 0.
    holds: Vec<V>,
    /// Sums of the group, by place of the feature.
    tree: Vec<V>,
}

impl<V: Lanes> Default for Work<V> {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            sums: Vec::new(),
            points: Vec::new(),
            deltas: Vec::new(),
            holds: Vec::new(),
            tree: Vec::new(),
        }
    }
}

impl<V: Lanes> Work<V> {
    /// Room for bands of so many blocks.
    #[inline(always)]
    fn fit(&mut self, program: &Program<V::Number>, band: usize, bands: usize) {
        let zero = V::splat(V::Number::ZERO);
        let grow = |vectors: &mut Vec<V>, count: usize| {
            if vectors.len() < count {
                vectors.resize(count, zero);
            }
        };
        grow(&mut self.columns, bands * band * program.table.columns.len());
        grow(&mut self.points, band * MAX_POINTS * program.most.slots);
        grow(&mut self.deltas, band * program.most.slots);
        grow(&mut self.holds, band * (program.most.slots + 1));
        grow(&mut self.tree, band * program.most.features);
        self.sums.clear();
        self.sums.resize(bands * band * program.biases.len() * program.table.features, V::sums(0.0));
    }
}

/// Explains rows of finite or missing numbers, bands of N vectors of them at a time; what
/// is left over and fills less than half a band, vector by vector.
#[inline(always)]
pub(super) fn explain<V: Lanes, const N: usize>(
    program: &Program<V::Number>,
    work: &mut Work<V>,
    rows: Rows<'_>,
    out: &mut [f64],
) {
    let features = program.table.features;
    let width = program.biases.len() * (features + 1);
    let (count, band) = (out.len() / width, N * V::COUNT);
    let left = if 2 * (count % band) > band { 0 } else { count % band };
    let (in_bands, alone) = out.split_at_mut((count - left) * width);
    if !in_bands.is_empty() {
        batches::<V, N>(program, work, rows.slice(0, count - left, features), in_bands);
    }
    if !alone.is_empty() {
        batches::<V, 1>(program, work, rows.slice(count - left, left, features), alone);
    }
}

/// Batches of rows, and bands of N vectors of them.
#[inline(always)]
fn batches<V: Lanes, const N: usize>(
    program: &Program<V::Number>,
    work: &mut Work<V>,
    rows: Rows<'_>,
    out: &mut [f64],
) {
    let band = N * V::COUNT;
    let features = program.table.features;
    let width = program.biases.len() * (features + 1);
    let (columns, sums) = (program.table.columns.len(), program.biases.len() * features);
    for (nth, out) in out.chunks_mut(MANY_ROWS * width).enumerate() {
        let count = out.len() / width;
        let bands = count.div_ceil(band);
        work.fit(program, N, bands);
        for block in 0..count.div_ceil(V::COUNT) {
            let from = block * V::COUNT;
            let rows = rows.slice(nth * MANY_ROWS + from, (count - from).min(V::COUNT), features);
            let columns = &mut work.columns[block / N * N * columns..][..N * columns];
            transpose(&program.table, rows, columns, (N, block % N));
        }
        for group in &program.groups {
            for band in 0..bands {
                for pass in group.passes.of(&program.passes) {
                    match pass.count {
                        2 => take::<V, 2, N>(program, pass, work, band),
                        3 => take::<V, 3, N>(program, pass, work, band),
                        _ => take::<V, 4, N>(program, pass, work, band),
                    }
                }
                let sums = &mut work.sums[band * N * sums..][..N * sums];
                let (sums, _) = sums.as_chunks_mut::<N>();
                let (tree, _) = work.tree.as_chunks_mut::<N>();
                for (&sum, tree) in group.sums.of(&program.sums).iter().zip(tree) {
                    for (sum, tree) in sums[sum as usize].iter_mut().zip(tree) {
                        *sum = tree.onto(*sum);
                        *tree = V::splat(V::Number::ZERO);
                    }
                }
            }
        }
        for (block, out) in out.chunks_mut(V::COUNT * width).enumerate() {
            let (sums, _) = work.sums[block / N * N * sums..][..N * sums].as_chunks::<N>();
            write::<V, N>(program, sums, block % N, out);
        }
    }
}

/// Sums of one block of a band to rows, with the biases.
#[inline(always)]
fn write<V: Lanes, const N: usize>(program: &Program<V::Number>, sums: &[[V::Wide; N]], block: usize, out: &mut [f64]) {
    let features = program.table.features;
    let mut lanes = [0.0; MOST_LANES];
    let width = program.biases.len() * (features + 1);
    for (output, bias) in program.biases.iter().enumerate() {
        let start = output * (features + 1);
        for feature in 0..features {
            V::unpack(sums[output * features + feature][block], &mut lanes);
            for (row, lane) in out.chunks_exact_mut(width).zip(&lanes) {
                row[start + feature] = *lane;
            }
        }
        out.chunks_exact_mut(width).for_each(|row| row[start + features] = *bias);
    }
}

/// Where a pass works, and what it reads: what there is of each row, for N blocks. Cells,
/// so that a node's places are looked up once and not for every block.
#[derive(Clone, Copy)]
struct Place<'a, V: Lanes, const K: usize, const N: usize> {
    repeats: &'a [Repeat<V::Number>],
    columns: &'a [[V; N]],
    points: &'a [[Cell<[V; K]>; N]],
    deltas: &'a [[Cell<V>; N]],
    holds: &'a [[Cell<V>; N]],
    tree: &'a [[Cell<V>; N]],
    at: [V; K],
}

/// One pass for one band of rows.
#[inline(always)]
fn take<V: Lanes, const K: usize, const N: usize>(
    program: &Program<V::Number>,
    pass: &Pass<V::Number>,
    work: &mut Work<V>,
    band: usize,
) {
    let columns = program.table.columns.len();
    let (points, _) = work.points.as_chunks_mut::<K>();
    let place = Place::<V, K, N> {
        repeats: &program.repeats,
        columns: work.columns[band * N * columns..][..N * columns].as_chunks().0,
        points: Cell::from_mut(points).as_slice_of_cells().as_chunks().0,
        deltas: cells(&mut work.deltas),
        holds: cells(&mut work.holds),
        tree: cells(&mut work.tree),
        at: splat(&pass.points),
    };
    place.points[0].iter().for_each(|points| points.set(splat(&pass.weights)));
    place.holds[0].iter().for_each(|hold| hold.set(V::splat(V::Number::from_f64(1.0))));
    for step in pass.steps.of(&program.steps) {
        place.step(step.kind, step.nodes.of(&program.nodes));
    }
}

/// Vectors in places that are written by turns.
#[inline(always)]
fn cells<V, const N: usize>(vectors: &mut [V]) -> &[[Cell<V>; N]] {
    Cell::from_mut(vectors).as_slice_of_cells().as_chunks().0
}

#[inline(always)]
fn splat<V: Lanes, const K: usize>(values: &[V::Number; MAX_POINTS]) -> [V; K] {
    std::array::from_fn(|k| V::splat(values[k]))
}

#[expect(clippy::needless_range_loop, reason = "a block is one index into all that a node has")]
impl<V: Lanes, const K: usize, const N: usize> Place<'_, V, K, N> {
    #[inline(always)]
    fn step(&self, kind: Kind, nodes: &[Split<V::Number>]) {
        match (kind.form, kind.repeats, kind.below) {
            (Form::Fork, false, _) => self.hand_down::<true, false>(nodes),
            (Form::Fork, true, _) => self.hand_down::<true, true>(nodes),
            (Form::Side, false, _) => self.hand_down::<false, false>(nodes),
            (Form::Side, true, _) => self.hand_down::<false, true>(nodes),
            (Form::ForkUp, false, _) => self.hand_up::<true, false>(nodes),
            (Form::ForkUp, true, _) => self.hand_up::<true, true>(nodes),
            (Form::SideUp, false, _) => self.hand_up::<false, false>(nodes),
            (Form::SideUp, true, _) => self.hand_up::<false, true>(nodes),
            (Form::End, false, _) => self.turn::<false>(nodes),
            (Form::End, true, _) => self.turn::<true>(nodes),
            (Form::Hook, false, Below::None) => self.turn_two::<false, false>(nodes),
            (Form::Hook, false, _) => self.turn_two::<false, true>(nodes),
            (Form::Hook, true, Below::None) => self.turn_two::<true, false>(nodes),
            (Form::Hook, true, _) => self.turn_two::<true, true>(nodes),
            (Form::Crown, false, Below::None) => self.turn_three::<false>(nodes),
            (Form::Crown, true, Below::None) => self.turn_three::<true>(nodes),
            (Form::Crown, false, Below::One) => self.turn_repeats::<false, false>(nodes),
            (Form::Crown, true, Below::One) => self.turn_repeats::<true, false>(nodes),
            (Form::Crown, false, Below::Two) => self.turn_repeats::<false, true>(nodes),
            (Form::Crown, true, Below::Two) => self.turn_repeats::<true, true>(nodes),
        }
    }

    /// On the way down at nodes with a child that has a slot of its own.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn hand_down<const BOTH: bool, const REPEATS: bool>(&self, nodes: &[Split<V::Number>]) {
        for node in nodes {
            let top = self.ready::<REPEATS>(node);
            let (slot, first) = (&self.points[node.slot as usize], &self.points[node.below as usize]);
            let second = if BOTH { &self.points[node.below as usize + 1] } else { first };
            for block in 0..N {
                let ratio = top.worth(top.keep(block));
                let came = slot[block].get();
                let gone: [V; K] = std::array::from_fn(|k| came[k].mul(ratio[k]));
                first[block].set(gone);
                if BOTH {
                    second[block].set(std::array::from_fn(|k| came[k].sub(gone[k])));
                }
            }
        }
    }

    /// On the way up at such nodes.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn hand_up<const BOTH: bool, const REPEATS: bool>(&self, nodes: &[Split<V::Number>]) {
        for node in nodes.iter().rev() {
            let top = self.ready::<REPEATS>(node);
            let (slot, first) = (&self.points[node.slot as usize], &self.points[node.below as usize]);
            let second = if BOTH { &self.points[node.below as usize + 1] } else { first };
            let leaf = V::splat(node.leaf);
            for block in 0..N {
                let (first, second) = (first[block].get(), if BOTH { second[block].get() } else { [leaf; K] });
                let delta = top.deltas[block].get();
                slot[block].set(top.told(block, (delta, top.worth(delta)), slot[block].get(), first, second));
            }
        }
    }

    /// Down and up again at nodes of two leaves.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn turn<const REPEATS: bool>(&self, nodes: &[Split<V::Number>]) {
        for node in nodes {
            let (end, slot) = (self.ready::<REPEATS>(node), &self.points[node.slot as usize]);
            for block in 0..N {
                slot[block].set(end.end(block, slot[block].get()));
            }
        }
    }

    /// Down and up again at nodes with a child of two leaves, and a leaf.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn turn_two<const REPEATS: bool, const BELOW: bool>(&self, nodes: &[Split<V::Number>]) {
        for nodes in nodes.as_chunks::<2>().0 {
            let (top, one) = (self.ready::<REPEATS>(&nodes[0]), self.ready::<BELOW>(&nodes[1]));
            let (slot, leaf) = (&self.points[nodes[0].slot as usize], V::splat(nodes[0].leaf));
            for block in 0..N {
                let delta = if BELOW { top.keep(block) } else { top.delta(block) };
                let (came, ratio) = (slot[block].get(), top.worth(delta));
                let first = one.end(block, std::array::from_fn(|k| came[k].mul(ratio[k])));
                slot[block].set(top.told(block, (delta, ratio), came, first, [leaf; K]));
            }
        }
    }

    /// Down and up again at nodes and their two children, each of two leaves, that ask for
    /// features which are new on their paths. What came to the second child sums to what
    /// came to both less what came to the first.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn turn_three<const REPEATS: bool>(&self, nodes: &[Split<V::Number>]) {
        for nodes in nodes.as_chunks::<3>().0 {
            let top = self.ready::<REPEATS>(&nodes[0]);
            let (one, two) = (self.ready::<false>(&nodes[1]), self.ready::<false>(&nodes[2]));
            let (slot, base) = (&self.points[nodes[0].slot as usize], V::splat(nodes[0].leaf));
            let start = one.start.add(two.start);
            for block in 0..N {
                let [delta, delta_one, delta_two] = [top.delta(block), one.delta(block), two.delta(block)];
                let (came, ratio) = (slot[block].get(), top.worth(delta));
                let sum_one = product(one.start, &came, &ratio);
                one.give(block, delta_one, sum_one);
                two.give(block, delta_two, sum(start, &came).sub(sum_one));
                let difference = delta_one.sub(delta_two);
                let more: [V; K] = std::array::from_fn(|k| difference.mul_add(self.at[k], base));
                top.give(block, delta, top.weighted(&came, &more));
                let second = two.worth(delta_two);
                slot[block].set(std::array::from_fn(|k| ratio[k].mul_add(more[k], second[k])));
            }
        }
    }

    /// The same where the first child repeats a feature, or both do.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn turn_repeats<const REPEATS: bool, const BOTH: bool>(&self, nodes: &[Split<V::Number>]) {
        for nodes in nodes.as_chunks::<3>().0 {
            let top = self.ready::<REPEATS>(&nodes[0]);
            let (one, two) = (self.ready::<true>(&nodes[1]), self.ready::<BOTH>(&nodes[2]));
            let slot = &self.points[nodes[0].slot as usize];
            for block in 0..N {
                let delta = top.keep(block);
                let (came, ratio) = (slot[block].get(), top.worth(delta));
                let first: [V; K] = std::array::from_fn(|k| came[k].mul(ratio[k]));
                let second = two.end(block, std::array::from_fn(|k| came[k].sub(first[k])));
                let first = one.end(block, first);
                slot[block].set(top.told(block, (delta, ratio), came, first, second));
            }
        }
    }

    /// Looks up what a node needs.
    #[inline(always)]
    fn ready<const REPEATS: bool>(&self, node: &Split<V::Number>) -> Ready<'_, V, K, N, REPEATS> {
        let slot = node.slot as usize;
        let repeat = REPEATS.then(|| &self.repeats[node.repeat as usize]);
        let [side, offset] = repeat.map_or([V::Number::ZERO; 2], |repeat| [repeat.side, repeat.offset]).map(V::splat);
        let (above, came) = repeat.map_or((0, 0), |repeat| (repeat.above as usize, repeat.came as usize));
        Ready {
            column: &self.columns[node.column as usize],
            threshold: node.threshold,
            yes: V::splat(node.yes),
            no: V::splat(node.no),
            share: V::splat(node.share),
            start: V::splat(node.start),
            at: repeat.map_or(self.at, |repeat| splat(&repeat.points)),
            weights: repeat.map_or(self.at, |repeat| splat(&repeat.weights)),
            phi: &self.tree[node.feature as usize],
            deltas: &self.deltas[slot],
            holds: if REPEATS { &self.holds[slot + 1] } else { &self.holds[0] },
            above: &self.deltas[above],
            came: &self.holds[came],
            side,
            offset,
        }
    }
}

/// A node with all that it needs at hand; names as in [`Split`] and [`Repeat`].
struct Ready<'a, V: Lanes, const K: usize, const N: usize, const REPEATS: bool> {
    column: &'a [V; N],
    threshold: V::Number,
    yes: V,
    no: V,
    share: V,
    start: V,
    at: [V; K],
    weights: [V; K],
    phi: &'a [Cell<V>; N],
    deltas: &'a [Cell<V>; N],
    holds: &'a [Cell<V>; N],
    above: &'a [Cell<V>; N],
    came: &'a [Cell<V>; N],
    side: V,
    offset: V,
}

impl<V: Lanes, const K: usize, const N: usize, const REPEATS: bool> Ready<'_, V, K, N, REPEATS> {
    /// Each row's δ.
    #[inline(always)]
    fn delta(&self, block: usize) -> V {
        let delta = self.column[block].choose(self.threshold, self.yes, self.no);
        if REPEATS { delta.mul(self.hold(block)) } else { delta }
    }

    /// The same, kept for nodes below that repeat the feature.
    #[inline(always)]
    fn keep(&self, block: usize) -> V {
        let mut delta = self.column[block].choose(self.threshold, self.yes, self.no);
        if REPEATS {
            let hold = self.hold(block);
            self.holds[block].set(hold);
            delta = delta.mul(hold);
        }
        self.deltas[block].set(delta);
        delta
    }

    /// Whether rows came to a node by all conditions on its feature above: of the h that
    /// came so to the nearest node above, `δ + z h` went to its first child and
    /// `(1 - z) h - δ` to its second.
    #[inline(always)]
    fn hold(&self, block: usize) -> V {
        self.side.mul_add(self.above[block].get(), self.offset.mul(self.came[block].get()))
    }

    /// The factor of a node's first child; of a node of two leaves what it is worth.
    #[inline(always)]
    fn worth(&self, delta: V) -> [V; K] {
        std::array::from_fn(|k| delta.mul_add(self.at[k], self.share))
    }

    /// The sum of such products, as the node weighs the points: all alike where its
    /// feature is new.
    #[inline(always)]
    fn weighted(&self, values: &[V; K], others: &[V; K]) -> V {
        if !REPEATS {
            return product(self.start, values, others);
        }
        product(self.start, &std::array::from_fn(|k| values[k].mul(self.weights[k])), others)
    }

    /// A node of two leaves is handed what came, and says what it is worth.
    #[inline(always)]
    fn end(&self, block: usize, came: [V; K]) -> [V; K] {
        let delta = self.delta(block);
        let sum = if REPEATS { product(self.start, &came, &self.weights) } else { sum(self.start, &came) };
        self.give(block, delta, sum);
        self.worth(delta)
    }

    /// A node is told what its children are worth, and says what it is worth.
    #[inline(always)]
    fn told(&self, block: usize, (delta, ratio): (V, [V; K]), came: [V; K], first: [V; K], second: [V; K]) -> [V; K] {
        let more: [V; K] = std::array::from_fn(|k| first[k].sub(second[k]));
        self.give(block, delta, self.weighted(&came, &more));
        std::array::from_fn(|k| ratio[k].mul_add(more[k], second[k]))
    }

    /// Adds to what the node's feature contributes.
    #[inline(always)]
    fn give(&self, block: usize, delta: V, sum: V) {
        self.phi[block].set(delta.mul_add(sum, self.phi[block].get()));
    }
}

#[inline(always)]
fn sum<V: Lanes, const K: usize>(start: V, values: &[V; K]) -> V {
    values.iter().fold(start, |sum, value| sum.add(*value))
}

#[inline(always)]
fn product<V: Lanes, const K: usize>(start: V, values: &[V; K], others: &[V; K]) -> V {
    (0..K).fold(start, |sum, k| values[k].mul_add(others[k], sum))
}
