//! From an ensemble to the form that explaining works on.
//!
//! Not here: what that form is (`program`), and the points themselves (`quadrature`).

use std::collections::{BTreeMap, HashMap};

use super::{
    InvalidEnsemble,
    columns::{Columns, Table, threshold},
    lanes::Number,
    program::{Form, GROUP, Group, Kind, MAX_POINTS, MIN_POINTS, Pass, Places, Program, Repeat, Run, Span, Split},
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
            runs: Vec::new(),
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
        compiler.program.biases[of.output] += shape.mean;
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
    /// The mean over the training data.
    mean: f64,
}

impl Shape {
    /// None where the nodes make no tree.
    fn new(tree: &Tree, features: usize) -> Option<Self> {
        let count = tree.nodes.len();
        let mut shape =
            Self { shares: vec![0.0; count], above: vec![None; count], held: vec![1.0; count], distinct: 0, mean: 0.0 };
        let mut parents = vec![0; count];
        for (index, node) in tree.nodes.iter().enumerate() {
            let NodeKind::Split(split) = &node.kind else { continue };
            for child in [split.left, split.right] {
                let free = child > index && child < count && parents[child] == 0;
                (free && split.feature < features).then(|| parents[child] = index + 1)?;
            }
            let [left, right] = [split.left, split.right].map(|child| tree.nodes[child].cover);
            shape.shares[index] = if left + right > 0.0 { left / (left + right) } else { 0.5 };
        }
        (count > 0 && parents.iter().skip(1).all(|&parent| parent > 0)).then_some(())?;
        shape.mean = shape.means(tree);
        shape.paths(tree);
        Some(shape)
    }

    /// Of the data that comes to a split, the share that goes this way.
    fn share(&self, split: usize, left: bool) -> f64 {
        if left { self.shares[split] } else { 1.0 - self.shares[split] }
    }

    fn means(&self, tree: &Tree) -> f64 {
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
        means[0]
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

/// Nodes in the order of their work, and where each one works.
struct Schedule {
    runs: Vec<(Kind, Vec<usize>)>,
    /// Place of each inner node.
    places: Vec<u32>,
    /// Whether the first child of each split is the left one.
    left_first: Vec<bool>,
    /// Place among the holds of each node that repeats a feature; 0 for the others.
    holds: Vec<u32>,
}

impl<T: Number> Compiler<T> {
    fn add(&mut self, tree: &Tree, shape: &Shape, output: usize) {
        if shape.distinct == 0 {
            return;
        }
        let quadrature = Quadrature::new(points_needed(shape.distinct).max(MIN_POINTS));
        let schedule = Schedule::new(tree, shape);
        let count = quadrature.points.len();
        let passes = count.div_ceil(MAX_POINTS);
        for nth in 0..passes {
            // As even as can be: 3 and 2 rather than 4 and 1.
            let (from, to) = (nth * count / passes, (nth + 1) * count / passes);
            self.pass(tree, shape, &schedule, (&quadrature.points[from..to], &quadrature.weights[from..to]));
            let open = self.program.groups.last().map_or(0, |group| group.passes.to);
            if self.program.passes.len() - open == GROUP {
                self.close_group(output);
            }
        }
        let most = &mut self.program.most;
        let nodes: usize = schedule.runs.iter().map(|(_, nodes)| nodes.len()).sum();
        most.nodes = most.nodes.max(nodes);
        most.holds = most.holds.max(1 + schedule.holds.iter().filter(|&&hold| hold > 0).count());
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

    fn pass(&mut self, tree: &Tree, shape: &Shape, schedule: &Schedule, (at, weights): (&[f64], &[f64])) {
        let mut pass = Pass {
            count: at.len(),
            points: [T::ZERO; MAX_POINTS],
            weights: [T::ZERO; MAX_POINTS],
            runs: Span { from: self.program.runs.len(), to: 0 },
        };
        for (k, (&point, &weight)) in at.iter().zip(weights).enumerate() {
            pass.points[k] = T::from_f64(point);
            pass.weights[k] = T::from_f64(weight);
        }
        let mut place = 0;
        for (kind, nodes) in &schedule.runs {
            let from = self.program.nodes.len();
            for &index in nodes {
                let NodeKind::Split(split) = &tree.nodes[index].kind else { continue };
                let mut top = self.node(tree, (index, split), shape, schedule, at);
                if !matches!(kind.form, Form::Crown) {
                    self.program.nodes.push(top);
                    continue;
                }
                let (first, second) = schedule.children(index, split);
                let below = [first, second].map(|child| match &tree.nodes[child].kind {
                    NodeKind::Split(split) => self.node(tree, (child, split), shape, schedule, at),
                    NodeKind::Leaf { .. } => top,
                });
                top.leaf = T::from_f64(below[0].share.to_f64() - below[1].share.to_f64());
                self.program.nodes.extend([top, below[0], below[1]]);
            }
            self.program.runs.push(Run { kind: *kind, nodes: Span { from, to: self.program.nodes.len() }, place });
            place += nodes.len();
        }
        pass.runs.to = self.program.runs.len();
        self.program.passes.push(pass);
    }

    fn node(
        &mut self,
        tree: &Tree,
        (index, split): (usize, &Question),
        shape: &Shape,
        schedule: &Schedule,
        at: &[f64],
    ) -> Split<T> {
        let (first, second) = schedule.children(index, split);
        let share = shape.share(index, first == split.left);
        let (mut scale, mut base) = (1.0, share);
        if let (Some(first), Some(second)) = (leaf(tree, first), leaf(tree, second)) {
            scale = first - second;
            base = second + share * scale;
        }
        let [yes, no] = if first == split.left { [1.0 - share, -share] } else { [-share, 1.0 - share] };
        let repeat = self.program.repeats.len() as u32;
        if let Some((above, left)) = shape.above[index] {
            let is_first = left == schedule.left_first[above];
            let held = shape.held[index];
            let mut repeat = Repeat {
                above: schedule.places[above],
                came: schedule.holds[above],
                place: schedule.holds[index],
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
            leaf: T::from_f64(leaf(tree, second).unwrap_or(0.0)),
            column: self.columns.of(split, self.precision),
            feature: self.feature_place(split.feature),
            first: schedule.places[first],
            second: schedule.places[second],
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

/// What tells a split from others, and whether its left child is the first.
fn kind(tree: &Tree, shape: &Shape, index: usize, split: &Question) -> (Kind, bool) {
    let [left, right] = [split.left, split.right].map(|child| question(tree, child));
    let is_end = |child: Option<&Question>| {
        child.is_some_and(|child| leaf(tree, child.left).is_some() && leaf(tree, child.right).is_some())
    };
    let is_new = |child: usize| shape.above[child].is_none();
    let (form, left_first) = match (left, right) {
        (None, None) => (Form::End, true),
        (None, Some(_)) => (Form::Side, false),
        (Some(_), None) => (Form::Side, true),
        _ if is_end(left) && is_end(right) && is_new(split.left) && is_new(split.right) => (Form::Crown, true),
        _ => (Form::Fork, true),
    };
    (Kind { form, repeats: shape.above[index].is_some() }, left_first)
}

impl Schedule {
    /// Takes all nodes of one kind whose parents are done, and those of the kind that
    /// come free meanwhile, then the kind of which most are waiting: few runs, so that
    /// the processor foresees the branches. Nodes without further ones come last.
    fn new(tree: &Tree, shape: &Shape) -> Self {
        let count = tree.nodes.len();
        let mut schedule =
            Self { runs: Vec::new(), places: vec![0; count], holds: vec![0; count], left_first: vec![true; count] };
        let mut waiting: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        let kinds: Vec<Option<(Kind, bool)>> =
            (0..count).map(|index| question(tree, index).map(|split| kind(tree, shape, index, split))).collect();
        if let Some((kind, _)) = kinds[0] {
            waiting.insert(kind, vec![0]);
        }
        let (mut place, mut hold) = (0, 0);
        let goes_on = |kind: Kind| matches!(kind.form, Form::Fork | Form::Side);
        let rank = |kind: Kind, nodes: usize| (goes_on(kind), nodes, kind);
        while let Some(&kind) =
            waiting.iter().max_by_key(|(kind, nodes)| rank(**kind, nodes.len())).map(|(kind, _)| kind)
        {
            let mut done = 0;
            let mut run = waiting.remove(&kind).unwrap_or_default();
            while let Some(&index) = run.get(done) {
                done += 1;
                schedule.places[index] = place;
                place += 1;
                schedule.left_first[index] = kinds[index].is_none_or(|(_, left_first)| left_first);
                if !goes_on(kind) {
                    continue;
                }
                if kind.repeats {
                    hold += 1;
                    schedule.holds[index] = hold;
                }
                for child in question(tree, index).map_or([0; 2], |split| [split.left, split.right]) {
                    match kinds[child] {
                        Some((same, _)) if same == kind => run.push(child),
                        Some((other, _)) => waiting.entry(other).or_default().push(child),
                        None => {}
                    }
                }
            }
            schedule.runs.push((kind, run));
        }
        schedule
    }

    /// The first child of a split and the second.
    fn children(&self, index: usize, split: &Question) -> (usize, usize) {
        if self.left_first[index] { (split.left, split.right) } else { (split.right, split.left) }
    }
}
