//! What is done at each node, for a vector of rows at a time.
//!
//! Going down, a node multiplies what came to it, at each point t, by
//! `r = z + t δ` with `δ = [goes to the first child] - z` and hands it to its children (the second
//! one gets what the first one does not). Going up, it adds `δ Σ P D` to its feature and
//! is worth `second + r D`. The module above says why.
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

/// Rows taken through a tree before the next tree is fetched, for a model that fits
/// the second-level cache: their sums stay in the first.
const FEW_ROWS: usize = 64;
/// The same for a larger model, which would be read from memory for every batch.
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
    #[inline(always)]
    fn fit(&mut self, program: &Program<V::Number>, blocks: usize) {
        let zero = V::splat(V::Number::ZERO);
        let grow = |vectors: &mut Vec<V>, count: usize| {
            if vectors.len() < count {
                vectors.resize(count, zero);
            }
        };
        grow(&mut self.columns, blocks * program.table.columns.len());
        grow(&mut self.points, MAX_POINTS * program.most.nodes);
        grow(&mut self.deltas, program.most.nodes);
        grow(&mut self.holds, program.most.holds);
        grow(&mut self.tree, program.most.features);
        self.sums.clear();
        self.sums.resize(blocks * program.biases.len() * program.table.features, V::sums(0.0));
    }
}

/// Explains rows of finite or missing numbers.
#[inline(always)]
pub(super) fn explain<V: Lanes>(program: &Program<V::Number>, work: &mut Work<V>, rows: Rows<'_>, out: &mut [f64]) {
    let batch = if program.nodes.len() < LARGE { FEW_ROWS } else { MANY_ROWS };
    let width = program.biases.len() * (program.table.features + 1);
    for (nth, out) in out.chunks_mut(batch * width).enumerate() {
        let count = out.len() / width;
        let blocks = count.div_ceil(V::COUNT);
        work.fit(program, blocks);
        let columns = program.table.columns.len();
        for block in 0..blocks {
            let from = block * V::COUNT;
            let rows = rows.slice(nth * batch + from, (count - from).min(V::COUNT), program.table.features);
            transpose(&program.table, rows, &mut work.columns[block * columns..][..columns]);
        }
        let sums = program.biases.len() * program.table.features;
        for group in &program.groups {
            for block in 0..blocks {
                for pass in group.passes.of(&program.passes) {
                    match pass.count {
                        2 => take::<V, 2>(program, pass, work, block),
                        3 => take::<V, 3>(program, pass, work, block),
                        _ => take::<V, 4>(program, pass, work, block),
                    }
                }
                let sums = &mut work.sums[block * sums..][..sums];
                for (&sum, tree) in group.sums.of(&program.sums).iter().zip(&mut work.tree) {
                    let sum = &mut sums[sum as usize];
                    *sum = tree.onto(*sum);
                    *tree = V::splat(V::Number::ZERO);
                }
            }
        }
        for (block, out) in out.chunks_mut(V::COUNT * width).enumerate() {
            write::<V>(program, &work.sums[block * sums..][..sums], out);
        }
    }
}

/// Sums to rows, with the biases.
#[inline(always)]
fn write<V: Lanes>(program: &Program<V::Number>, sums: &[V::Wide], out: &mut [f64]) {
    let features = program.table.features;
    let mut lanes = [0.0; MOST_LANES];
    let width = program.biases.len() * (features + 1);
    for (output, bias) in program.biases.iter().enumerate() {
        let start = output * (features + 1);
        for feature in 0..features {
            V::unpack(sums[output * features + feature], &mut lanes);
            for (row, lane) in out.chunks_exact_mut(width).zip(&lanes) {
                row[start + feature] = *lane;
            }
        }
        out.chunks_exact_mut(width).for_each(|row| row[start + features] = *bias);
    }
}

/// Where a pass works, and what it reads.
struct Place<'a, V: Lanes, const K: usize> {
    repeats: &'a [Repeat<V::Number>],
    columns: &'a [V],
    points: &'a mut [[V; K]],
    deltas: &'a mut [V],
    holds: &'a mut [V],
    tree: &'a mut [V],
    at: [V; K],
}

/// One pass for one block of rows.
#[inline(always)]
fn take<V: Lanes, const K: usize>(
    program: &Program<V::Number>,
    pass: &Pass<V::Number>,
    work: &mut Work<V>,
    block: usize,
) {
    let columns = program.table.columns.len();
    let (points, _) = work.points.as_chunks_mut::<K>();
    let mut place = Place {
        repeats: &program.repeats,
        columns: &work.columns[block * columns..][..columns],
        points,
        deltas: &mut work.deltas,
        holds: &mut work.holds,
        tree: &mut work.tree,
        at: splat(&pass.points),
    };
    place.points[0] = splat(&pass.weights);
    place.holds[0] = V::splat(V::Number::from_f64(1.0));
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

impl<V: Lanes, const K: usize> Place<'_, V, K> {
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

    /// On the way down at a node with a child that is no leaf.
    #[inline(always)]
    fn hand_down<const BOTH: bool, const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..) {
            let mut delta = self.columns[node.column as usize].below(node.threshold, node.yes, node.no);
            let mut at = self.at;
            if REPEATS {
                let repeat = &self.repeats[node.repeat as usize];
                let hold = self.hold(repeat);
                self.holds[repeat.place as usize] = hold;
                delta = delta.mul(hold);
                at = splat(&repeat.points);
            }
            self.deltas[place] = delta;
            let share = V::splat(node.share);
            let came = self.points[place];
            let first: [V; K] = std::array::from_fn(|k| came[k].mul(delta.mul_add(at[k], share)));
            self.points[node.first as usize] = first;
            if BOTH {
                self.points[node.second as usize] = std::array::from_fn(|k| came[k].sub(first[k]));
            }
        }
    }

    /// On the way up at such a node.
    #[inline(always)]
    fn hand_up<const BOTH: bool, const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..first + nodes.len()).rev() {
            let delta = self.deltas[place];
            let came = self.points[place];
            let first = self.points[node.first as usize];
            let second = if BOTH { self.points[node.second as usize] } else { [V::splat(node.leaf); K] };
            let more: [V; K] = std::array::from_fn(|k| first[k].sub(second[k]));
            self.give(node, delta, self.product::<REPEATS>(node, &came, &more));
            let at = if REPEATS { splat(&self.repeats[node.repeat as usize].points) } else { self.at };
            let share = V::splat(node.share);
            self.points[place] = std::array::from_fn(|k| delta.mul_add(at[k], share).mul_add(more[k], second[k]));
        }
    }

    /// Down and up again at a node of two leaves.
    #[inline(always)]
    fn turn<const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        for (node, place) in nodes.iter().zip(first..) {
            let (delta, at) = self.question::<REPEATS>(node);
            let came = self.points[place];
            self.give(node, delta, self.sum::<REPEATS>(node, &came));
            let base = V::splat(node.share);
            self.points[place] = std::array::from_fn(|k| delta.mul_add(at[k], base));
        }
    }

    /// Down and up again at a node and its two children, each of two leaves. What came
    /// to the second child sums to what came to both less what came to the first.
    #[inline(always)]
    fn turn_three<const REPEATS: bool>(&mut self, nodes: &[Split<V::Number>], first: usize) {
        let (crowns, _) = nodes.as_chunks::<3>();
        for ([top, one, two], place) in crowns.iter().zip(first..) {
            let (delta, at) = self.question::<REPEATS>(top);
            let (delta_one, _) = self.question::<false>(one);
            let (delta_two, _) = self.question::<false>(two);
            let came = self.points[place];
            let share = V::splat(top.share);
            let ratio: [V; K] = std::array::from_fn(|k| delta.mul_add(at[k], share));
            let sum_one = self.product::<false>(one, &came, &ratio);
            let sum_two = self.sum::<false>(two, &came).sub(sum_one);
            self.give(one, delta_one, sum_one);
            self.give(two, delta_two, sum_two);
            let (base, difference) = (V::splat(top.leaf), delta_one.sub(delta_two));
            let more: [V; K] = std::array::from_fn(|k| difference.mul_add(self.at[k], base));
            self.give(top, delta, self.product::<REPEATS>(top, &came, &more));
            let base = V::splat(two.share);
            self.points[place] = std::array::from_fn(|k| {
                let worth_two = delta_two.mul_add(self.at[k], base);
                ratio[k].mul_add(more[k], worth_two)
            });
        }
    }

    /// A node's δ for each row, and its points.
    #[inline(always)]
    fn question<const REPEATS: bool>(&self, node: &Split<V::Number>) -> (V, [V; K]) {
        let delta = self.columns[node.column as usize].below(node.threshold, node.yes, node.no);
        if !REPEATS {
            return (delta, self.at);
        }
        let repeat = &self.repeats[node.repeat as usize];
        (delta.mul(self.hold(repeat)), splat(&repeat.points))
    }

    /// The sum over the points, as a node weighs them.
    #[inline(always)]
    fn sum<const REPEATS: bool>(&self, node: &Split<V::Number>, values: &[V; K]) -> V {
        let mut sum = values[0];
        if !REPEATS {
            for value in &values[1..] {
                sum = sum.add(*value);
            }
            return sum;
        }
        let weights: [V; K] = splat(&self.repeats[node.repeat as usize].weights);
        sum = sum.mul(weights[0]);
        for k in 1..K {
            sum = values[k].mul_add(weights[k], sum);
        }
        sum
    }

    /// The sum of products over the points, as a node weighs them.
    #[inline(always)]
    fn product<const REPEATS: bool>(&self, node: &Split<V::Number>, came: &[V; K], more: &[V; K]) -> V {
        let mut weighted = *more;
        if REPEATS {
            let weights: [V; K] = splat(&self.repeats[node.repeat as usize].weights);
            weighted = std::array::from_fn(|k| more[k].mul(weights[k]));
        }
        let mut sum = came[0].mul(weighted[0]);
        for k in 1..K {
            sum = came[k].mul_add(weighted[k], sum);
        }
        sum
    }

    /// Adds to what the node's feature contributes.
    #[inline(always)]
    fn give(&mut self, node: &Split<V::Number>, delta: V, sum: V) {
        let phi = &mut self.tree[node.feature as usize];
        *phi = delta.mul_add(sum, *phi);
    }

    /// Whether rows came to a node by all conditions on its feature above: of the h that
    /// came so to the nearest node above, `δ + z h` went to its first child and
    /// `(1 - z) h - δ` to its second.
    #[inline(always)]
    fn hold(&self, repeat: &Repeat<V::Number>) -> V {
        let share = V::splat(repeat.offset).mul(self.holds[repeat.came as usize]);
        V::splat(repeat.side).mul_add(self.deltas[repeat.above as usize], share)
    }
}
