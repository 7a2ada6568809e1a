//! What is done at each node, for a vector of rows at a time.
//!
//! Going down, a node multiplies what came to it, at each point t, by
//! `r = z + t δ` with `δ = [goes to the first child] - z` and hands it to its children (the second
//! one gets what the first one does not). Going up, it adds `δ Σ P D` to its feature and
//! is worth `second + r D`. The module above says why.
//!
//! Vectors are taken in bands: each node is worked for all vectors of a band, so that what
//! it costs to find it, and that the processor does not foresee where a run ends, is
//! shared by them. As many are a band as leave what a tree keeps of them in the
//! first-level cache.
//!
//! Everything here is inlined into one function for each width (`width`), so that it
//! is compiled for that processor.
//!
//! Not here: instructions (`lanes`, `width`).

use super::{
    lanes::{Lanes, Number},
    program::{Form, MAX_POINTS, Pass, Program, Repeat, Run, Split},
    transpose::{MOST_LANES, Rows, transpose},
};

/// Rows taken through a tree before the next tree is fetched, for a model that is
/// larger than the second-level cache: it would be read from memory for every band.
pub(super) const MANY_ROWS: usize = 512;
/// Where a model is large, in nodes.
const LARGE: usize = 20_000;

/// Vectors that explaining works in; they grow to what the largest model needs.
#[derive(Debug, Clone)]
pub(super) struct Work<V: Lanes> {
    /// Block of rows by block, the columns of the program.
    pub(super) columns: Vec<V>,
    /// Block by block, the sums over trees: outputs × features.
    pub(super) sums: Vec<V::Wide>,
    /// Each inner node's product of what its path counts, at each point; once its
    /// children are done, what it is worth.
    pub(super) points: Vec<V>,
    /// Each inner node's δ.
    deltas: Vec<V>,
    /// Whether rows came to a node by its feature, 1 or 0.
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
    fn fit(&mut self, program: &Program<V::Number>, blocks: usize, bands: usize) {
        let zero = V::splat(V::Number::ZERO);
        let grow = |vectors: &mut Vec<V>, count: usize| {
            if vectors.len() < count {
                vectors.resize(count, zero);
            }
        };
        grow(&mut self.columns, bands * blocks * program.table.columns.len());
        grow(&mut self.points, blocks * MAX_POINTS * program.most.nodes);
        grow(&mut self.deltas, blocks * program.most.nodes);
        grow(&mut self.holds, blocks * program.most.holds);
        grow(&mut self.tree, blocks * program.most.features);
        self.sums.clear();
        self.sums.resize(bands * blocks * program.biases.len() * program.table.features, V::sums(0.0));
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
    let batch = if program.nodes.len() < LARGE { band } else { MANY_ROWS.next_multiple_of(band) };
    let features = program.table.features;
    let width = program.biases.len() * (features + 1);
    let (columns, sums) = (program.table.columns.len(), program.biases.len() * features);
    for (nth, out) in out.chunks_mut(batch * width).enumerate() {
        let count = out.len() / width;
        let bands = count.div_ceil(band);
        work.fit(program, N, bands);
        for block in 0..count.div_ceil(V::COUNT) {
            let from = block * V::COUNT;
            let rows = rows.slice(nth * batch + from, (count - from).min(V::COUNT), features);
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

/// Sums to rows, with the biases.
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

/// Where a pass works, and what it reads: what there is of each row, for N blocks.
struct Place<'a, V: Lanes, const K: usize, const N: usize> {
    repeats: &'a [Repeat<V::Number>],
    columns: &'a [[V; N]],
    points: &'a mut [[[V; K]; N]],
    deltas: &'a mut [[V; N]],
    holds: &'a mut [[V; N]],
    tree: &'a mut [[V; N]],
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
    let mut place = Place {
        repeats: &program.repeats,
        columns: work.columns[band * N * columns..][..N * columns].as_chunks().0,
        points: points.as_chunks_mut().0,
        deltas: work.deltas.as_chunks_mut().0,
        holds: work.holds.as_chunks_mut().0,
        tree: work.tree.as_chunks_mut().0,
        at: splat(&pass.points),
    };
    place.points[0] = [splat(&pass.weights); N];
    place.holds[0] = [V::splat(V::Number::from_f64(1.0)); N];
    let runs = pass.runs.of(&program.runs);
    for run in runs {
        place.down(run, run.nodes.of(&program.nodes));
    }
    for run in runs.iter().rev() {
        place.up(run, run.nodes.of(&program.nodes));
    }
}

#[inline(always)]
fn splat<V: Lanes, const K: usize>(values: &[V::Number; MAX_POINTS]) -> [V; K] {
    std::array::from_fn(|k| V::splat(values[k]))
}

impl<V: Lanes, const K: usize, const N: usize> Place<'_, V, K, N> {
    #[inline(always)]
    fn down(&mut self, run: &Run, nodes: &[Split<V::Number>]) {
        match (run.kind.form, run.kind.repeats) {
            (Form::Fork, false) => self.hand_down::<true, false>(nodes, run.place),
            (Form::Fork, true) => self.hand_down::<true, true>(nodes, run.place),
            (Form::Side, false) => self.hand_down::<false, false>(nodes, run.place),
            (Form::Side, true) => self.hand_down::<false, true>(nodes, run.place),
            (Form::End, false) => self.turn::<false>(nodes, run.place),
            (Form::End, true) => self.turn::<true>(nodes, run.place),
            (Form::Crown, false) => self.turn_three::<false>(nodes, run.place),
            (Form::Crown, true) => self.turn_three::<true>(nodes, run.place),
        }
    }

    #[inline(always)]
    fn up(&mut self, run: &Run, nodes: &[Split<V::Number>]) {
        match (run.kind.form, run.kind.repeats) {
            (Form::Fork, false) => self.hand_up::<true, false>(nodes, run.place),
            (Form::Fork, true) => self.hand_up::<true, true>(nodes, run.place),
            (Form::Side, false) => self.hand_up::<false, false>(nodes, run.place),
            (Form::Side, true) => self.hand_up::<false, true>(nodes, run.place),
            (Form::End | Form::Crown, _) => {}
        }
    }

    /// On the way down at nodes with a child that is no leaf.
    #[inline(always)]
    fn hand_down<const BOTH: bool, const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..) {
            let (at, share) = (self.at::<REPEATS>(node), V::splat(node.share));
            let [to_first, to_second] = [node.first, node.second].map(|child| child as usize);
            for block in 0..N {
                let mut delta = self.columns[node.column as usize][block].below(node.threshold, node.yes, node.no);
                if REPEATS {
                    let repeat = &self.repeats[node.repeat as usize];
                    let hold = self.hold(repeat, block);
                    self.holds[repeat.place as usize][block] = hold;
                    delta = delta.mul(hold);
                }
                self.deltas[place][block] = delta;
                let came = self.points[place][block];
                let first: [V; K] = std::array::from_fn(|k| came[k].mul(delta.mul_add(at[k], share)));
                self.points[to_first][block] = first;
                if BOTH {
                    self.points[to_second][block] = std::array::from_fn(|k| came[k].sub(first[k]));
                }
            }
        }
    }

    /// On the way up at such nodes.
    #[inline(always)]
    fn hand_up<const BOTH: bool, const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..first + nodes.len()).rev() {
            let (at, weights) = (self.at::<REPEATS>(node), self.weights::<REPEATS>(node));
            let (share, leaf) = (V::splat(node.share), V::splat(node.leaf));
            let [of_first, of_second] = [node.first, node.second].map(|child| child as usize);
            for block in 0..N {
                let delta = self.deltas[place][block];
                let came = self.points[place][block];
                let first = self.points[of_first][block];
                let second = if BOTH { self.points[of_second][block] } else { [leaf; K] };
                let more: [V; K] = std::array::from_fn(|k| first[k].sub(second[k]));
                self.give(node, block, delta, product(&weighted::<V, K, REPEATS>(&came, &weights), &more));
                self.points[place][block] =
                    std::array::from_fn(|k| delta.mul_add(at[k], share).mul_add(more[k], second[k]));
            }
        }
    }

    /// Down and up again at nodes of two leaves.
    #[inline(always)]
    fn turn<const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..) {
            let (at, weights) = (self.at::<REPEATS>(node), self.weights::<REPEATS>(node));
            let base = V::splat(node.share);
            for block in 0..N {
                let delta = self.question::<REPEATS>(node, block);
                let came = weighted::<V, K, REPEATS>(&self.points[place][block], &weights);
                self.give(node, block, delta, sum(&came));
                self.points[place][block] = std::array::from_fn(|k| delta.mul_add(at[k], base));
            }
        }
    }

    /// Down and up again at nodes and their two children, each of two leaves. What came
    /// to the second child sums to what came to both less what came to the first.
    #[inline(always)]
    fn turn_three<const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        let (crowns, _) = nodes.as_chunks::<3>();
        for ([top, one, two], place) in crowns.iter().zip(first..) {
            let (at, weights) = (self.at::<REPEATS>(top), self.weights::<REPEATS>(top));
            let (share, base, share_two) = (V::splat(top.share), V::splat(top.leaf), V::splat(two.share));
            for block in 0..N {
                let delta = self.question::<REPEATS>(top, block);
                let delta_one = self.question::<false>(one, block);
                let delta_two = self.question::<false>(two, block);
                let came = self.points[place][block];
                let ratio: [V; K] = std::array::from_fn(|k| delta.mul_add(at[k], share));
                let sum_one = product(&came, &ratio);
                self.give(one, block, delta_one, sum_one);
                self.give(two, block, delta_two, sum(&came).sub(sum_one));
                let difference = delta_one.sub(delta_two);
                let more: [V; K] = std::array::from_fn(|k| difference.mul_add(self.at[k], base));
                self.give(top, block, delta, product(&weighted::<V, K, REPEATS>(&came, &weights), &more));
                self.points[place][block] = std::array::from_fn(|k| {
                    let worth_two = delta_two.mul_add(self.at[k], share_two);
                    ratio[k].mul_add(more[k], worth_two)
                });
            }
        }
    }

    /// A node's points.
    #[inline(always)]
    fn at<const REPEATS: bool>(&self, node: &Split<V::Number>) -> [V; K] {
        if REPEATS { splat(&self.repeats[node.repeat as usize].points) } else { self.at }
    }

    /// How a node weighs them, if its feature is on its path already.
    #[inline(always)]
    fn weights<const REPEATS: bool>(&self, node: &Split<V::Number>) -> [V; K] {
        if REPEATS { splat(&self.repeats[node.repeat as usize].weights) } else { self.at }
    }

    /// A node's δ for each row, where nodes below do not ask for it.
    #[inline(always)]
    fn question<const REPEATS: bool>(&self, node: &Split<V::Number>, block: usize) -> V {
        let delta = self.columns[node.column as usize][block].below(node.threshold, node.yes, node.no);
        if REPEATS { delta.mul(self.hold(&self.repeats[node.repeat as usize], block)) } else { delta }
    }

    /// Adds to what the node's feature contributes.
    #[inline(always)]
    fn give(&mut self, node: &Split<V::Number>, block: usize, delta: V, sum: V) {
        let phi = &mut self.tree[node.feature as usize][block];
        *phi = delta.mul_add(sum, *phi);
    }

    /// Whether rows came to a node by all conditions on its feature above: of the h that
    /// came so to the nearest node above, `δ + z h` went to its first child and
    /// `(1 - z) h - δ` to its second.
    #[inline(always)]
    fn hold(&self, repeat: &Repeat<V::Number>, block: usize) -> V {
        let share = V::splat(repeat.offset).mul(self.holds[repeat.came as usize][block]);
        V::splat(repeat.side).mul_add(self.deltas[repeat.above as usize][block], share)
    }
}

/// Values as a node weighs the points; all alike where its feature is new.
#[inline(always)]
fn weighted<V: Lanes, const K: usize, const REPEATS: bool>(values: &[V; K], weights: &[V; K]) -> [V; K] {
    if REPEATS { std::array::from_fn(|k| values[k].mul(weights[k])) } else { *values }
}

#[inline(always)]
fn sum<V: Lanes, const K: usize>(values: &[V; K]) -> V {
    values[1..].iter().fold(values[0], |sum, value| sum.add(*value))
}

#[inline(always)]
fn product<V: Lanes, const K: usize>(values: &[V; K], others: &[V; K]) -> V {
    let first = values[0].mul(others[0]);
    (1..K).fold(first, |sum, k| values[k].mul_add(others[k], sum))
}
