//! From an ensemble to the form that explaining works on.
//!
//! Not here: what that form is (`program`), and the points themselves (`quadrature`).

use std::collections::{BTreeMap, HashMap};

use super::{
    InvalidEnsemble,
    columns::{Columns, Table, threshold},
    lanes::Number,
    program::{
        Below, Form, GROUP, Group, Kind, MAX_POINTS, MIN_POINTS, PART, Pass, Places, Program, Repeat, Span, Split, Step,
    },
    quadrature::{Quadrature, points_needed},
};
use crate::{Ensemble, NodeKind, Precision, Split as Question, Tree};

/// Works out all that does not depend on rows.
pub(super) fn compile<T: Number>(ensemble: &Ensemble) -> Result<Program<T>, InvalidEnsemble> {
    let mut compiler = Compiler {
        precision: ensemble.precision,
        features: ensemble.features.len(),
        columns: Columns::default(),
        group: Vec::new(),
        program: Program {
            table: Table::default(),
            biases: ensemble.base_margins.clone(),
            groups: Vec::new(),
            passes: Vec::new(),
            steps: Vec::new(),
            nodes: Vec::new(),
            repeats: Vec::new(),
            sums: Vec::new(),
            most: Places::default(),
        },
    };
    let mut output = 0;
    let mut order: Vec<usize> = (0..ensemble.trees.len()).collect();
    order.sort_by_key(|&tree| ensemble.trees[tree].output);
    for index in order {
        let of = &ensemble.trees[index];
        let shape = Shape::new(&of.tree, ensemble.features.len())
            .and_then(|shape| (of.output < ensemble.outputs()).then_some(shape))
            .ok_or(InvalidEnsemble { tree: index })?;
        compiler.program.biases[of.output] += shape.means[0];
        if of.output != output {
            compiler.close_group(output);
            output = of.output;
        }
        compiler.add(&of.tree, &shape, output);
    }
    compiler.close_group(output);
    compiler.program.table = compiler.columns.table(ensemble);
    Ok(compiler.program)
}

/// What is known of a tree's nodes before points are chosen.
struct Shape {
    /// Of the data that comes to a split, the share that goes left.
    shares: Vec<f64>,
    /// The nearest split above on the same feature, and whether below its left child.
    above: Vec<Option<(usize, bool)>>,
    /// The share of data that holds all conditions above on the split's feature.
    held: Vec<f64>,
    /// The most different features on a path.
    distinct: usize,
    /// The mean of each node over the training data.
    means: Vec<f64>,
    /// The share of all data that comes to each node.
    reached: Vec<f64>,
}

impl Shape {
    /// None where the nodes make no tree.
    fn new(tree: &Tree, features: usize) -> Option<Self> {
        let count = tree.nodes.len();
        let mut shape = Self {
            shares: vec![0.0; count],
            above: vec![None; count],
            held: vec![1.0; count],
            distinct: 0,
            means: Vec::new(),
            reached: vec![1.0; count],
        };
        let mut parents = vec![0; count];
        for (index, node) in tree.nodes.iter().enumerate() {
            let NodeKind::Split(split) = &node.kind else { continue };
            for child in [split.left, split.right] {
                let free = child > index && child < count && parents[child] == 0;
                (free && split.feature < features).then(|| parents[child] = index + 1)?;
            }
            let [left, right] = [split.left, split.right].map(|child| tree.nodes[child].cover);
            shape.shares[index] = if left + right > 0.0 { left / (left + right) } else { 0.5 };
            shape.reached[split.left] = shape.reached[index] * shape.share(index, true);
            shape.reached[split.right] = shape.reached[index] * shape.share(index, false);
        }
        (count > 0 && parents.iter().skip(1).all(|&parent| parent > 0)).then_some(())?;
        shape.means = shape.means(tree);
        shape.paths(tree);
        Some(shape)
    }

    /// Of the data that comes to a split, the share that goes this way.
    fn share(&self, split: usize, left: bool) -> f64 {
        if left { self.shares[split] } else { 1.0 - self.shares[split] }
    }

    fn means(&self, tree: &Tree) -> Vec<f64> {
        let mut means = vec![0.0; tree.nodes.len()];
        for (index, node) in tree.nodes.iter().enumerate().rev() {
            means[index] = match &node.kind {
                NodeKind::Leaf { value } => *value,
                NodeKind::Split(split) => {
                    let share = self.shares[index];
                    share * means[split.left] + (1.0 - share) * means[split.right]
                }
            };
        }
        means
    }

    /// Walks all paths, with the last split on each feature at hand.
    fn paths(&mut self, tree: &Tree) {
        enum Walk {
            Down(usize),
            Side(usize, bool),
            Up(usize),
        }
        let mut last: HashMap<usize, (usize, bool)> = HashMap::new();
        let mut walk = vec![Walk::Down(0)];
        while let Some(step) = walk.pop() {
            let (Walk::Down(index) | Walk::Side(index, _) | Walk::Up(index)) = step;
            let NodeKind::Split(split) = &tree.nodes[index].kind else { continue };
            match step {
                Walk::Down(_) => {
                    self.above[index] = last.get(&split.feature).copied();
                    if let Some((above, left)) = self.above[index] {
                        self.held[index] = self.held[above] * self.share(above, left);
                    }
                    walk.extend([Walk::Up(index), Walk::Down(split.right), Walk::Side(index, false)]);
                    walk.extend([Walk::Down(split.left), Walk::Side(index, true)]);
                }
                Walk::Side(_, left) => {
                    last.insert(split.feature, (index, left));
                    self.distinct = self.distinct.max(last.len());
                }
                Walk::Up(_) => {
                    match self.above[index] {
                        Some(above) => last.insert(split.feature, above),
                        None => last.remove(&split.feature),
                    };
                }
            }
        }
    }
}

struct Compiler<T> {
    precision: Precision,
    features: usize,
    columns: Columns,
    /// Different features of the open group, in the order of their places.
    group: Vec<usize>,
    program: Program<T>,
}

/// What is done with a tree's nodes, in its order, and where each one works.
struct Schedule {
    steps: Vec<(Kind, Vec<usize>)>,
    /// Slot of each node.
    slots: Vec<u32>,
    /// Slot of each split's first child.
    below: Vec<u32>,
    /// How many slots there are.
    most: u32,
    /// Whether the first child of each split is the left one.
    left_first: Vec<bool>,
}

/// Points of one pass, what each counts, and what the integrand's value at 0 does.
type Points<'a> = (&'a [f64], &'a [f64], f64);

impl<T: Number> Compiler<T> {
    fn add(&mut self, tree: &Tree, shape: &Shape, output: usize) {
        if shape.distinct == 0 {
            return;
        }
        // Where no data meets what was asked of a feature that is asked for again, the answer
        // of each row counts as t nears 0: what is added there is no constant.
        let with_zero = (0..tree.nodes.len()).all(|index| shape.above[index].is_none() || shape.held[index] > 0.0);
        let points = points_needed(shape.distinct, with_zero).max(MIN_POINTS);
        let quadrature = if with_zero { Quadrature::radau(points) } else { Quadrature::gauss(points) };
        let schedule = Schedule::new(tree, shape);
        let count = quadrature.points.len();
        let passes = count.div_ceil(MAX_POINTS);
        for nth in 0..passes {
            // As even as can be: 3 and 2 rather than 4 and 1.
            let (from, to) = (nth * count / passes, (nth + 1) * count / passes);
            let at_zero = if nth == 0 { quadrature.at_zero } else { 0.0 };
            self.pass(tree, shape, &schedule, (&quadrature.points[from..to], &quadrature.weights[from..to], at_zero));
            let open = self.program.groups.last().map_or(0, |group| group.passes.to);
            if self.program.passes.len() - open == GROUP {
                self.close_group(output);
            }
        }
        self.program.most.slots = self.program.most.slots.max(schedule.most as usize);
    }

    /// Passes since the last group become one.
    fn close_group(&mut self, output: usize) {
        let program = &mut self.program;
        let from = program.groups.last().map_or(0, |group| group.passes.to);
        if from == program.passes.len() {
            return;
        }
        program.most.features = program.most.features.max(self.group.len());
        let first = program.sums.len();
        program.sums.extend(self.group.drain(..).map(|feature| (output * self.features + feature) as u32));
        let sums = Span { from: first, to: program.sums.len() };
        program.groups.push(Group { passes: Span { from, to: program.passes.len() }, sums });
    }

    fn pass(&mut self, tree: &Tree, shape: &Shape, schedule: &Schedule, at: Points<'_>) {
        let mut pass = Pass {
            count: at.0.len(),
            points: [T::ZERO; MAX_POINTS],
            weights: [T::ZERO; MAX_POINTS],
            steps: Span { from: self.program.steps.len(), to: 0 },
        };
        for (k, (&point, &weight)) in at.0.iter().zip(at.1).enumerate() {
            pass.points[k] = T::from_f64(point);
            pass.weights[k] = T::from_f64(weight);
        }
        // Where steps are whose second half is to come, by their first node.
        let mut open = HashMap::new();
        for (kind, run) in &schedule.steps {
            let from = self.program.nodes.len();
            if matches!(kind.form, Form::ForkUp | Form::SideUp) {
                self.program.steps.extend(open.remove(&run[0]).map(|nodes| Step { kind: *kind, nodes }));
                continue;
            }
            for &index in run {
                let Some(split) = question(tree, index) else { continue };
                let top = self.node(tree, (index, split), shape, schedule, at);
                self.program.nodes.push(top);
                if !matches!(kind.form, Form::Hook | Form::Crown) {
                    continue;
                }
                let (first, second) = schedule.children(index, split);
                for (child, split) in [first, second].map(|child| (child, question(tree, child))) {
                    if let Some(split) = split {
                        let end = self.node(tree, (child, split), shape, schedule, at);
                        self.program.nodes.push(end);
                    }
                }
            }
            let nodes = Span { from, to: self.program.nodes.len() };
            self.program.steps.push(Step { kind: *kind, nodes });
            open.insert(run[0], nodes);
        }
        pass.steps.to = self.program.steps.len();
        self.program.passes.push(pass);
    }

    fn node(
        &mut self,
        tree: &Tree,
        (index, split): (usize, &Question),
        shape: &Shape,
        schedule: &Schedule,
        (at, _, at_zero): Points<'_>,
    ) -> Split<T> {
        let (first, second) = schedule.children(index, split);
        let share = shape.share(index, first == split.left);
        let (mut scale, mut base) = (1.0, share);
        let more = shape.means[first] - shape.means[second];
        let mut start = at_zero * shape.reached[index] * more;
        if let (Some(first), Some(second)) = (leaf(tree, first), leaf(tree, second)) {
            scale = first - second;
            base = second + share * scale;
            start = at_zero * shape.reached[index];
        }
        let [yes, no] = if first == split.left { [1.0 - share, -share] } else { [-share, 1.0 - share] };
        let repeat = self.program.repeats.len() as u32;
        if let Some((above, left)) = shape.above[index] {
            let is_first = left == schedule.left_first[above];
            let held = shape.held[index];
            // What it counts there, `b / F²`, at t = 0; with b = 0 the rule is without it.
            start = if held > 0.0 { start / held } else { 0.0 };
            let mut repeat = Repeat {
                above: schedule.slots[above],
                came: if shape.above[above].is_some() { schedule.slots[above] + 1 } else { 0 },
                side: T::from_f64(if is_first { 1.0 } else { -1.0 }),
                offset: T::from_f64(shape.share(above, left)),
                points: [T::ZERO; MAX_POINTS],
                weights: [T::ZERO; MAX_POINTS],
            };
            for (k, &t) in at.iter().enumerate() {
                let factor = t + (1.0 - t) * held;
                repeat.points[k] = T::from_f64(t / factor);
                repeat.weights[k] = T::from_f64(held / (factor * factor));
            }
            self.program.repeats.push(repeat);
        }
        Split {
            threshold: threshold(split, self.precision),
            yes: T::from_f64(yes * scale),
            no: T::from_f64(no * scale),
            share: T::from_f64(base),
            leaf: T::from_f64(leaf(tree, second).unwrap_or(more)),
            start: T::from_f64(start),
            column: self.columns.of(split, self.precision),
            feature: self.feature_place(split.feature),
            slot: schedule.slots[index],
            below: schedule.below[index],
            repeat,
        }
    }

    /// Place of a feature in the open group.
    fn feature_place(&mut self, feature: usize) -> u32 {
        let place = self.group.iter().position(|&known| known == feature).unwrap_or(self.group.len());
        if place == self.group.len() {
            self.group.push(feature);
        }
        place as u32
    }
}

fn leaf(tree: &Tree, index: usize) -> Option<f64> {
    match tree.nodes[index].kind {
        NodeKind::Leaf { value } => Some(value),
        NodeKind::Split(_) => None,
    }
}

/// What a split is as the trees' readers made it.
fn question(tree: &Tree, index: usize) -> Option<&Question> {
    match &tree.nodes[index].kind {
        NodeKind::Leaf { .. } => None,
        NodeKind::Split(split) => Some(split),
    }
}

/// What is done at a split, and whether its left child is the first.
fn kind(tree: &Tree, shape: &Shape, index: usize, split: &Question) -> (Kind, bool) {
    let [left, right] = [split.left, split.right].map(|child| question(tree, child));
    let is_end = |child: Option<&Question>| {
        child.is_some_and(|child| leaf(tree, child.left).is_some() && leaf(tree, child.right).is_some())
    };
    let repeats = |child: usize| shape.above[child].is_some();
    let (form, left_first) = match (left, right) {
        (None, None) => (Form::End, true),
        (None, Some(_)) => (if is_end(right) { Form::Hook } else { Form::Side }, false),
        (Some(_), None) => (if is_end(left) { Form::Hook } else { Form::Side }, true),
        _ if is_end(left) && is_end(right) => (Form::Crown, repeats(split.left) || !repeats(split.right)),
        _ => (Form::Fork, true),
    };
    let below = match (form, repeats(split.left), repeats(split.right)) {
        (Form::Crown, true, true) => Below::Two,
        (Form::Hook | Form::Crown, left, right) if left || right => Below::One,
        _ => Below::None,
    };
    (Kind { form, repeats: repeats(index), below }, left_first)
}

impl Schedule {
    fn new(tree: &Tree, shape: &Shape) -> Self {
        let count = tree.nodes.len();
        let mut schedule = Self {
            steps: Vec::new(),
            slots: vec![0; count],
            below: vec![0; count],
            most: 1,
            left_first: vec![true; count],
        };
        let kinds: Vec<Option<Kind>> = (0..count)
            .map(|index| {
                let (kind, left_first) = kind(tree, shape, index, question(tree, index)?);
                schedule.left_first[index] = left_first;
                Some(kind)
            })
            .collect();
        let mut sizes = vec![0; count];
        for (index, split) in (0..count).rev().filter_map(|index| Some((index, question(tree, index)?))) {
            let own = if kinds[index].is_some_and(|kind| kind.form.up().is_some()) { 2 } else { 0 };
            sizes[index] = own + sizes[split.left] + sizes[split.right];
        }
        // Depth first as long as what is below is large: the part's first node, the slot
        // that is free, and for the way up what is done.
        let mut waiting = vec![(0, 1, None)];
        while let Some((index, free, up)) = waiting.pop() {
            let (Some(split), Some(kind)) = (question(tree, index), kinds[index]) else { continue };
            if let Some(form) = up {
                schedule.steps.push((Kind { form, ..kind }, vec![index]));
            } else if let (Some(up), true) = (kind.form.up(), sizes[index] > PART) {
                schedule.down(index, split, kind, free);
                schedule.steps.push((kind, vec![index]));
                let (first, second) = schedule.children(index, split);
                waiting.extend([(index, 0, Some(up)), (second, free + 2, None), (first, free + 2, None)]);
            } else {
                schedule.part(tree, &kinds, index, free);
            }
        }
        schedule
    }

    /// A split and all below it: all of one kind whose parents are done, and those of the
    /// kind that come free meanwhile, then the kind of which most are waiting: few changes,
    /// so that the processor foresees the branches. Nodes with nothing of their own below
    /// come last, their kinds in the same order in every tree, and then the others in turn.
    fn part(&mut self, tree: &Tree, kinds: &[Option<Kind>], index: usize, mut free: u32) {
        let mut waiting: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        waiting.extend(kinds[index].map(|kind| (kind, vec![index])));
        let mut ups = Vec::new();
        let rank = |kind: Kind, nodes: usize| {
            let goes_on = kind.form.up().is_some();
            (goes_on, if goes_on { nodes } else { 0 }, kind)
        };
        while let Some(&kind) =
            waiting.iter().max_by_key(|(kind, nodes)| rank(**kind, nodes.len())).map(|(kind, _)| kind)
        {
            let mut done = 0;
            let mut run = waiting.remove(&kind).unwrap_or_default();
            while let Some(&index) = run.get(done) {
                done += 1;
                let Some(split) = question(tree, index) else { continue };
                self.down(index, split, kind, free);
                if kind.form.up().is_none() {
                    continue;
                }
                free += 2;
                for child in [split.left, split.right] {
                    match kinds[child] {
                        Some(same) if same == kind => run.push(child),
                        Some(other) => waiting.entry(other).or_default().push(child),
                        None => {}
                    }
                }
            }
            ups.extend(kind.form.up().map(|form| (Kind { form, ..kind }, run.clone())));
            self.steps.push((kind, run));
        }
        self.steps.extend(ups.into_iter().rev());
    }

    /// The way down at a split, whose children get the next two free slots.
    fn down(&mut self, index: usize, split: &Question, kind: Kind, free: u32) {
        self.below[index] = free;
        if kind.form.up().is_some() {
            let (first, second) = self.children(index, split);
            self.slots[first] = free;
            self.slots[second] = free + 1;
            self.most = self.most.max(free + 2);
        }
    }

    /// The first child of a split and the second.
    fn children(&self, index: usize, split: &Question) -> (usize, usize) {
        if self.left_first[index] { (split.left, split.right) } else { (split.right, split.left) }
    }
}
