//! XGBoost's models, as JSON or UBJSON: gradient-boosted trees, random forests and
//! DART, files of 1.0 and later.
//!
//! A leaf's value is what `split_conditions` has at it (times `weight_drop` under DART),
//! its cover is `sum_hessian`. At a split by category the listed ones go right.
//!
//! Not here: UBJSON's bytes (`ubjson`), the shape of trees (`build`), and what the
//! start score is under each objective (`objective`).

mod file;
mod objective;

use file::{File, Float, Model, RawTree};
use serde::Deserialize;

use super::{MAX_FEATURES, MAX_OUTPUTS, ModelError, Trees, bounded, build, made_up_names, ubjson};
use crate::{Ensemble, Missing, Node, NodeKind, Origin, OutputTree, Precision, Rule, Tree};

/// XGBoost takes no category from here on, nor any below 0, for one it knows.
const CATEGORIES_END: f32 = 16_777_216.0;

pub(super) fn read_json(bytes: &[u8], trees: Trees) -> Result<Ensemble, ModelError> {
    let bytes = file::quoted(bytes);
    let mut text = serde_json::Deserializer::from_slice(&bytes);
    let file = with_path(&mut text)?;
    text.end().map_err(|error| ModelError::broken("after the model", error.to_string()))?;
    ensemble(file, trees)
}

pub(super) fn read_ubjson(bytes: &[u8], trees: Trees) -> Result<Ensemble, ModelError> {
    let mut reader = ubjson::Reader::new(bytes);
    let file = with_path(reader.value())?;
    reader.end().map_err(|error| ModelError::broken("after the model", error.to_string()))?;
    ensemble(file, trees)
}

fn with_path<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<File, ModelError> {
    let mut track = serde_path_to_error::Track::new();
    File::deserialize(serde_path_to_error::Deserializer::new(deserializer, &mut track))
        .map_err(|error| ModelError::broken(track.path().to_string(), error.to_string()))
}

fn ensemble(file: File, trees: Trees) -> Result<Ensemble, ModelError> {
    let learner = file.learner;
    let (model, weights) = booster(learner.gradient_booster)?;
    let columns = number("num_feature", &learner.learner_model_param.num_feature)?;
    bounded("features", columns, MAX_FEATURES)?;
    let features = learner.feature_names;
    if !features.is_empty() && features.len() != columns {
        let reason = format!("{} names for {columns} features", features.len());
        return Err(ModelError::broken("feature_names", reason));
    }
    let classes = number("num_class", &learner.learner_model_param.num_class)?;
    let targets = learner.learner_model_param.num_target.as_deref().map_or(Ok(1), |text| number("num_target", text))?;
    let outputs = bounded("outputs", classes.max(targets).max(1), MAX_OUTPUTS)?;
    let base_margins =
        objective::base_margins(&learner.objective.name, &learner.learner_model_param.base_score, outputs)?;

    let all = model.trees.as_deref().unwrap_or_default();
    let tree_info = model.tree_info.as_deref().unwrap_or_default();
    let said = number("num_trees", model.gbtree_model_param.as_ref().map_or("0", |param| &param.num_trees))?;
    for (what, count) in [
        ("num_trees", said),
        ("tree_info", tree_info.len()),
        ("weight_drop", weights.as_ref().map_or(all.len(), Vec::len)),
    ] {
        if count != all.len() {
            return Err(ModelError::broken(what, format!("it is of {count} trees, and there are {}", all.len())));
        }
    }
    let kept = match (trees, learner.attributes.get("best_iteration")) {
        (Trees::Best, Some(best)) => trees_until(number("best_iteration", best)?, &model, outputs)?.min(all.len()),
        _ => all.len(),
    };
    let output_tree = |(nth, raw): (usize, &RawTree)| {
        let output = usize::try_from(tree_info[nth]).unwrap_or(usize::MAX);
        if output >= outputs {
            let reason = format!("it is of output {}, and there are {outputs}", tree_info[nth]);
            return Err(ModelError::broken(format!("tree {nth}"), reason));
        }
        let weight = weights.as_ref().map_or(1.0, |weights| weights[nth].0);
        Ok(OutputTree { output, tree: tree(nth, raw, columns, weight)? })
    };
    // Trees that are left out are looked at as well: a broken file is not used in part.
    let mut trees = all.iter().enumerate().map(output_tree).collect::<Result<Vec<_>, _>>()?;
    trees.truncate(kept);
    Ok(Ensemble {
        features: if features.is_empty() { made_up_names(columns) } else { features },
        base_margins,
        trees,
        precision: Precision::Single,
        objective: learner.objective.name,
        origin: Origin {
            library: "XGBoost".to_owned(),
            version: file.version.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
            left_out_trees: all.len() - kept,
        },
        averaged_over: None,
    })
}

/// The trees, and under DART the weight of each.
fn booster(booster: file::Booster) -> Result<(Model, Option<Vec<Float>>), ModelError> {
    let lacks = |field: &str| ModelError::broken("gradient_booster", format!("it has no `{field}`"));
    match booster.name.as_str() {
        "gbtree" => {
            let mut model = booster.model.ok_or_else(|| lacks("model"))?;
            let weights = model.weight_drop.take().filter(|weights| !weights.is_empty());
            Ok((model, weights))
        }
        "dart" => {
            let inner = booster.gbtree.ok_or_else(|| lacks("gbtree"))?;
            Ok((inner.model, Some(booster.weight_drop.ok_or_else(|| lacks("weight_drop"))?)))
        }
        "gblinear" => Err(ModelError::Refused("it is linear (`gblinear`), and has no trees".to_owned())),
        other => Err(ModelError::Refused(format!("its booster `{}` is unknown", other.escape_debug()))),
    }
}

/// How many trees the iterations up to this one have.
fn trees_until(iteration: usize, model: &Model, outputs: usize) -> Result<usize, ModelError> {
    if let Some(starts) = &model.iteration_indptr {
        let end = starts.get(iteration.saturating_add(1)).or(starts.last()).copied().unwrap_or(i64::MAX);
        return usize::try_from(end).map_err(|_| ModelError::broken("iteration_indptr", format!("{end} trees")));
    }
    // Files before 2.0.
    let parallel = model.gbtree_model_param.as_ref().and_then(|param| param.num_parallel_tree.as_deref());
    let parallel = parallel.map_or(Ok(1), |text| number("num_parallel_tree", text))?.max(1);
    Ok(iteration.saturating_add(1).saturating_mul(parallel).saturating_mul(outputs))
}

fn tree(nth: usize, raw: &RawTree, columns: usize, weight: f32) -> Result<Tree, ModelError> {
    let count = raw.left_children.len();
    check_lengths(nth, raw)?;
    let deleted = number("num_deleted", &raw.tree_param.num_deleted)?;
    let mut categories = Categories::new(nth, raw)?;
    let splits_by_category = |node: usize| raw.split_type.get(node).is_some_and(|kind| *kind == 1);
    let sets: Vec<Option<Box<[u32]>>> = (0..count)
        .map(|node| if splits_by_category(node) { categories.take(node).map(Some) } else { Ok(None) })
        .collect::<Result<_, _>>()?;
    let node = |node: usize| {
        let cover = f64::from(raw.sum_hessian[node].0);
        let condition = raw.split_conditions[node].0;
        let children = [raw.left_children[node], raw.right_children[node]];
        if children[0] == -1 {
            // Two numbers of 24 bits have a product of 48: nothing is lost.
            return Ok(Node { cover, kind: NodeKind::Leaf { value: f64::from(condition) * f64::from(weight) } });
        }
        let feature = usize::try_from(raw.split_indices[node]).unwrap_or(usize::MAX);
        if feature >= columns {
            let reason = format!("it splits on feature {}, and there are {columns}", raw.split_indices[node]);
            return Err(ModelError::broken(build::place(nth, name(node)), reason));
        }
        let rule = match &sets[node] {
            Some(set) => Rule::Categories { set: set.clone(), member_left: false },
            None => Rule::Less(f64::from(condition)),
        };
        // A negative child is outside of any tree.
        let children = children.map(|child| usize::try_from(child).unwrap_or(usize::MAX));
        let missing = (Missing::Nan, raw.default_left[node].0);
        Ok(Node { cover, kind: build::split(feature, rule, missing, children) })
    };
    build::tree(nth, (count, deleted), node, name)
}

fn name(node: usize) -> String {
    format!("node {node}")
}

fn check_lengths(nth: usize, raw: &RawTree) -> Result<(), ModelError> {
    let broken = |reason| Err(ModelError::broken(format!("tree {nth}"), reason));
    let leaf_width =
        raw.tree_param.size_leaf_vector.as_deref().map_or(Ok(1), |text| number("size_leaf_vector", text))?;
    if leaf_width > 1 || raw.leaf_weights.as_ref().is_some_and(|weights| !weights.is_empty()) {
        return Err(ModelError::Refused(format!("the leaves of tree {nth} hold vectors (`multi_output_tree`)")));
    }
    let count = number("num_nodes", &raw.tree_param.num_nodes)?;
    if count == 0 {
        return broken("it has no nodes".to_owned());
    }
    let lengths = [
        ("left_children", raw.left_children.len()),
        ("right_children", raw.right_children.len()),
        ("split_conditions", raw.split_conditions.len()),
        ("split_indices", raw.split_indices.len()),
        ("sum_hessian", raw.sum_hessian.len()),
        ("default_left", raw.default_left.len()),
        ("split_type", if raw.split_type.is_empty() { count } else { raw.split_type.len() }),
    ];
    match lengths.iter().find(|(_, length)| *length != count) {
        Some((array, length)) => broken(format!("`{array}` has {length} numbers, and the tree has {count} nodes")),
        None => Ok(()),
    }
}

/// The categories of a tree's splits. Each split takes its own stretch of the list, so
/// that what comes out is no longer than what was in the file.
struct Categories<'a> {
    tree: usize,
    raw: &'a RawTree,
    /// Which of the stretches is next: they are in the order of their nodes.
    next: usize,
    taken: usize,
}

impl<'a> Categories<'a> {
    fn new(tree: usize, raw: &'a RawTree) -> Result<Self, ModelError> {
        let of_category = raw.split_type.iter().filter(|kind| **kind == 1).count();
        let lengths = [raw.categories_nodes.len(), raw.categories_segments.len(), raw.categories_sizes.len()];
        if lengths.iter().any(|length| *length != of_category) {
            let reason = format!("{of_category} splits are by category, and the sets of {lengths:?} are listed");
            return Err(ModelError::broken(format!("tree {tree}"), reason));
        }
        Ok(Self { tree, raw, next: 0, taken: 0 })
    }

    /// The set of a node. Called for nodes in ascending order.
    fn take(&mut self, node: usize) -> Result<Box<[u32]>, ModelError> {
        let broken = |reason| ModelError::broken(build::place(self.tree, name(node)), reason);
        let listed = self.raw.categories_nodes.get(self.next).copied();
        if listed.and_then(|listed| usize::try_from(listed).ok()) != Some(node) {
            return Err(broken(format!("its categories are not the next that are listed (of {listed:?})")));
        }
        let start = usize::try_from(self.raw.categories_segments[self.next]).unwrap_or(usize::MAX);
        let size = usize::try_from(self.raw.categories_sizes[self.next]).unwrap_or(usize::MAX);
        let categories = self.raw.categories.get(start..start.saturating_add(size));
        self.taken = self.taken.saturating_add(size);
        self.next += 1;
        let Some(categories) = categories.filter(|_| self.taken <= self.raw.categories.len()) else {
            return Err(broken(format!("its {size} categories from {start} on are not in the tree's list")));
        };
        let mut set = Vec::with_capacity(categories.len());
        for category in categories {
            match u32::try_from(*category).ok().filter(|category| *category < CATEGORIES_END as u32) {
                Some(category) => set.push(category),
                None => return Err(broken(format!("{category} is no category"))),
            }
        }
        set.sort_unstable();
        set.dedup();
        Ok(set.into_boxed_slice())
    }
}

/// XGBoost writes its parameters as texts.
fn number(field: &str, text: &str) -> Result<usize, ModelError> {
    text.parse().map_err(|_| ModelError::broken(field, format!("`{}` is no count", text.escape_debug())))
}
